package hearthtest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
)

// endpoint is what a Remote answers.
type endpoint struct {
	pattern string
	signed  bool
	honest  func(r *Remote, q *Request) Reply // called with the lock held
}

// endpoints are all of them, by the names that On takes.
var endpoints map[string]endpoint

const (
	v1 = "/_matrix/federation/v1/"
	v2 = "/_matrix/federation/v2/"
)

var unknown = Fails(http.StatusNotFound, "M_NOT_FOUND")
