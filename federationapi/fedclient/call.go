package fedclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
)

const (
	shortAnswer = 30 * time.Second
	longAnswer  = 3 * time.Minute
)

// call is one request to another server.
type call struct {
	name   string // for metrics
	method string
	path   string // from /_matrix, escaped
	query  url.Values
	body   any           // nil: none; json.RawMessage as it is, else what marshals to it
	limit  int64         // bytes of the answer
	time   time.Duration // until the answer is read; 0: shortAnswer
	// urgent requests are made also to servers that are left alone: a person waits for the answer and named the server.
	urgent bool
	// hearsay requests are to servers that a stranger may have made up: their failures are not stored, or the database could be filled with them.
	hearsay bool
	// unsigned requests do not say who asks.
	unsigned bool
	// once says that the request must not be made twice.
	once bool
	// delivery says that a server which cannot answer this cannot be sent anything.
	delivery bool
}

// path joins the prefix of an endpoint with escaped parameters.
func path(prefix string, params ...string) string {
	for _, p := range params {
		prefix += "/" + url.PathEscape(p)
	}
	return prefix
}

const (
	v1 = "/_matrix/federation/v1"
	v2 = "/_matrix/federation/v2"
)

// ask makes a request and decodes the answer, which has to be a JSON object, into out.
func (c *Client) ask(ctx context.Context, to id.ServerName, k call, out any) error {
	raw, err := c.do(ctx, to, k)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: %s answered %s with what it does not consist of: %w", ErrUnreachable, to, k.name, err)
	}
	return nil
}

// do makes a request and returns the body of the answer, a JSON value.
func (c *Client) do(ctx context.Context, to id.ServerName, k call) (json.RawMessage, error) {
	if k.time == 0 {
		k.time = shortAnswer
	}
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, k.time)
	defer cancel()
	began := time.Now() // how long it took is the same on every clock
	asked := c.clock.Now()
	resp, err := c.send(ctx, to, k)
	var answer json.RawMessage
	if err == nil {
		answer, err = c.receive(ctx, to, k, resp)
	}
	c.judge(parent, to, k, asked, err)
	c.metrics.requests.WithLabelValues(k.name, result(err)).Observe(time.Since(began).Seconds())
	if err != nil {
		c.log.Debug("federation request failed", slog.String("call", k.name), slog.String("server", string(to)), slog.Any("error", err))
	}
	return answer, err
}

func result(err error) string {
	var refused *Error
	switch {
	case err == nil:
		return resultAnswered
	case errors.As(err, &refused):
		return resultRefused
	}
	return resultUnreachable
}

// errTrouble marks failures that say nothing about the server as a whole: it answered, if only that something in it went wrong.
var errTrouble = errors.New("the server has trouble with this request")

// judge notes what the outcome of a request says about its server.
func (c *Client) judge(ctx context.Context, to id.ServerName, k call, asked time.Time, err error) {
	var refused *Error
	switch {
	case err == nil, errors.As(err, &refused), errors.Is(err, errTrouble):
		c.backoff.heard(ctx, to)
	case errors.Is(err, ErrBackoff), errors.Is(err, errOurs): // it was not asked
	case ctx.Err() != nil, c.work.Stopping(): // whoever asked went away
	default:
		c.backoff.failed(ctx, to, asked, !k.hearsay)
	}
}

// errOurs marks requests that were never made, for a reason that is not the server's.
var errOurs = errors.New("the request cannot be made")

// send makes a request and returns the answer, whose body the caller closes.
func (c *Client) send(ctx context.Context, to id.ServerName, k call) (*http.Response, error) {
	if to == c.name {
		return nil, fmt.Errorf("%w: %w: %s is this server itself", ErrUnreachable, errOurs, to)
	}
	if !k.urgent && !c.backoff.until(ctx, to).IsZero() {
		return nil, fmt.Errorf("%w (%s)", ErrBackoff, to)
	}
	r, err := c.discovery.route(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("%w: find %s: %w", ErrUnreachable, to, err)
	}
	req, err := c.request(context.WithValue(ctx, routeKey{}, r), to, r, k)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: ask %s: %w", ErrUnreachable, errOurs, to, err)
	}
	resp, err := c.servers.RoundTrip(req)
	if err != nil {
		var dial *dialError
		if errors.As(err, &dial) {
			c.discovery.lost(to)
		}
		return nil, fmt.Errorf("%w: ask %s: %w", ErrUnreachable, to, err)
	}
	return resp, nil
}

// request makes the HTTP request, signed where it has to be.
func (c *Client) request(ctx context.Context, to id.ServerName, r *route, k call) (*http.Request, error) {
	uri := k.path
	if len(k.query) > 0 {
		uri += "?" + k.query.Encode()
	}
	var content []byte
	if k.body != nil {
		raw, ok := k.body.(json.RawMessage)
		if !ok {
			var err error
			if raw, err = json.Marshal(k.body); err != nil {
				return nil, fmt.Errorf("write the body: %w", err)
			}
		}
		// What is sent is what is signed, so that the other server has nothing to misread.
		var err error
		if content, err = canonjson.Canonical(raw); err != nil {
			return nil, fmt.Errorf("write the body: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, k.method, "https://"+r.key+uri, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if req.URL.RequestURI() != uri {
		return nil, fmt.Errorf("the path %q would not arrive as it is", shorten(uri, 200))
	}
	req.Host = r.host
	req.Header.Set("User-Agent", c.agent)
	if content == nil {
		req.Body, req.ContentLength, req.GetBody = http.NoBody, 0, nil
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if !k.once {
		// An empty value says to net/http, and to nobody else, that the request may be made again when a kept connection turns out to be gone.
		req.Header["X-Idempotency-Key"] = nil
	}
	if !k.unsigned {
		req.Header.Set("Authorization", c.authorize(k.method, uri, to, content))
	}
	return req, nil
}

// receive reads the answer to a call.
func (c *Client) receive(ctx context.Context, to id.ServerName, k call, resp *http.Response) (json.RawMessage, error) {
	defer resp.Body.Close()
	limit := k.limit
	if limit == 0 || resp.StatusCode >= 400 {
		limit = mib
	}
	body, err := c.read(ctx, to, resp.Body, limit)
	if err == nil {
		err = checkJSON(body)
	}
	switch {
	case resp.StatusCode >= 400:
		return nil, c.refusal(to, k, resp.StatusCode, body, err)
	case errors.Is(err, errTooLarge), errors.Is(err, errTooDeep):
		return nil, fmt.Errorf("%w: %w: %s answered %s: %w", ErrUnreachable, errTrouble, to, k.name, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s answered %s: %w", ErrUnreachable, to, k.name, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answered %s with status %d", ErrUnreachable, to, k.name, resp.StatusCode)
	}
	return body, nil
}

// refusal is what an answer with a status of 400 or more amounts to. What does not come from Matrix, such as the page of a proxy that has lost its
// server, is transient whatever its status.
func (c *Client) refusal(to id.ServerName, k call, status int, body []byte, bad error) error {
	var said *Error
	if bad == nil {
		said = parseError(to, status, body)
	}
	gone := status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
	switch {
	case said == nil:
		return fmt.Errorf("%w: %s answered %s with status %d and no error of Matrix", ErrUnreachable, to, k.name, status)
	case status < 500:
		return said
	case gone, k.delivery:
		return fmt.Errorf("%w: %s answered %s with %d %s: %s", ErrUnreachable, to, k.name, status, said.Code, said.Message)
	}
	return fmt.Errorf("%w: %w: %s answered %s with %d %s: %s", ErrUnreachable, errTrouble, to, k.name, status, said.Code, said.Message)
}
