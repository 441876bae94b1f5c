package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	// notifyPath is where every gateway takes notifications.
	//
	// Spec: client-server-api#post_matrixclientv3pushersset
	notifyPath = "/_matrix/push/v1/notify"
	// requestTime is how long one request may take.
	requestTime = 30 * time.Second
	// maxAnswer bounds the answer of a gateway.
	maxAnswer = 64 << 10
)

// gateways makes requests to push gateways.
type gateways struct {
	web, plain *http.Client
}

func newGateways(web, plain *http.Client) gateways {
	return gateways{unredirected(web), unredirected(plain)}
}

// unredirected is a client that takes a redirect for the failure that it is: a notification is for the gateway that the app has named.
func unredirected(c *http.Client) *http.Client {
	if c == nil {
		return nil
	}
	out := *c
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}

// check refuses a pusher whose gateway can never be reached. Whether its address may be connected to is judged when it is.
//
// Spec: client-server-api#post_matrixclientv3pushersset
func (g gateways) check(w Wish) error {
	if w.Delete {
		return nil
	}
	u, err := url.Parse(w.url)
	switch {
	case err != nil || safehttp.CheckURL(u) != nil:
		return merr.New(merr.InvalidParam, "data.url is not a URL of a push gateway")
	case u.Scheme != "https" && g.plain == nil:
		return merr.New(merr.InvalidParam, "data.url must be an https URL")
	case u.EscapedPath() != notifyPath:
		return merr.Newf(merr.InvalidParam, "The path of data.url must be %s", notifyPath)
	}
	return nil
}

// reply is what a gateway has made of a notification.
type reply struct {
	status     int
	rejected   bool          // the pushkey is no good any more
	retryAfter time.Duration // that the gateway asks for
	err        error         // nil: the gateway has taken the notification, or rejected the pushkey
}

// post sends a notification that is for one pushkey.
//
// Spec: push-gateway-api#post_matrixpushv1notify
func (g gateways) post(ctx context.Context, to, pushkey string, body []byte) reply {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	client := g.web
	if req.URL.Scheme != "https" {
		client = g.plain
	}
	if client == nil { // there was one when the pusher was set
		return reply{err: fmt.Errorf("gateways without TLS are not allowed")}
	}
	res, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	out := reply{status: res.StatusCode}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		out.err = fmt.Errorf("the gateway answers %s", res.Status)
		if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
			out.retryAfter = min(time.Duration(seconds), longestPause/time.Second) * time.Second
		}
		return out
	}
	if err != nil {
		out.err = fmt.Errorf("read the gateway's answer: %w", err)
		return out
	}
	var said struct {
		Rejected []string `json:"rejected"`
	}
	// Some gateways answer nothing at all. What is not JSON rejects nothing.
	if json.Unmarshal(answer, &said) == nil {
		out.rejected = slices.Contains(said.Rejected, pushkey)
	}
	return out
}

// malformed reports whether the gateway cannot read the notification, today or tomorrow.
func (r reply) malformed() bool {
	return r.status == http.StatusBadRequest || r.status == http.StatusRequestEntityTooLarge || r.status == http.StatusUnprocessableEntity
}
