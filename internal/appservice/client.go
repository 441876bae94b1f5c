package appservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Bounds of a request to an application service.
const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 1 << 20
)

// errMissing is the answer 404: there is no such thing, or no such endpoint.
var errMissing = errors.New("the application service does not know it")

// statusError is an answer that is no success.
type statusError struct {
	status int
	body   []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the application service answered %d", e.status)
}

func (e *statusError) Unwrap() error {
	if e.status == http.StatusNotFound {
		return errMissing
	}
	return nil
}

// client makes requests to application services. Their addresses are the operator's choice, and mostly inside, so that all may be connected
// to; but a redirect is not followed, since where it leads was not.
type client struct{ http *http.Client }

func newClient() *client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &client{&http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// do makes one request. The path is escaped. It returns the body of an answer with a status of 200 to 299, else a *statusError.
//
// Spec: application-service-api#authorisation
func (c *client) do(ctx context.Context, to *Registration, method, path string, query url.Values, body []byte) ([]byte, error) {
	target := to.URL.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+to.hsToken)
	r.Header.Set("User-Agent", "Hearth")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return nil, &statusError{answer.StatusCode, text} // as much of it as there was
	case err != nil:
		return nil, err
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return text, nil
}

// get asks for JSON.
func (c *client) get(ctx context.Context, to *Registration, path string, query url.Values, v any) error {
	text, err := c.do(ctx, to, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
