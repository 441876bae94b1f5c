package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/merr"
)

const (
	pingTimeout = 15 * time.Second
	// maxPingBody is how much of a bad answer the application service gets to see again, in bytes.
	maxPingBody = 4 << 10
)

// Ping asks the application service with the given id whether it is there, and returns how long that took. If it is, what waits for it is sent
// at once. Errors: M_URL_NOT_SET, M_BAD_STATUS, M_CONNECTION_FAILED, M_CONNECTION_TIMEOUT.
//
// Spec: application-service-api#post_matrixclientv1appserviceappserviceidping
func (s *Service) Ping(ctx context.Context, appservice, txn string) (time.Duration, error) {
	w := s.workers[appservice]
	if w == nil {
		return 0, merr.New(merr.URLNotSet, "The registration of the application service has no URL")
	}
	body, err := json.Marshal(struct {
		Txn string `json:"transaction_id,omitempty"`
	}{txn})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	began := s.clock.Now()
	_, err = s.client.do(ctx, w.to, http.MethodPost, "/_matrix/app/v1/ping", nil, body)
	if err != nil {
		return 0, pingError(err)
	}
	w.wake()
	return s.clock.Now().Sub(began), nil
}

func pingError(err error) error {
	var status *statusError
	var network net.Error
	switch {
	case errors.As(err, &status):
		body := strings.ToValidUTF8(string(status.body[:min(len(status.body), maxPingBody)]), "")
		return merr.Newf(merr.BadStatus, "The application service answered %d", status.status).With("status", status.status).With("body", body)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return merr.New(merr.ConnectionTimeout, "The application service took too long to answer")
	}
	return merr.New(merr.ConnectionFailed, "The application service cannot be reached")
}
