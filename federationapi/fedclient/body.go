package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	// maxDepth is how deeply the arrays and objects of an answer may be nested.
	maxDepth = 256
	// freeBytes may be read by any number of requests at once. What is larger waits for one of few places, so that many servers which
	// answer with much at the same time do not fill the memory; and for its turn among what the same server answers, so that one which
	// answers slowly does not take all of them.
	freeBytes  = 4 * mib
	largeReads = 4
	maxLarge   = 100 // that wait for their turn
	// largeTime is for how long a place is given away: who answers with much has to do so quickly.
	largeTime = 90 * time.Second
)

var (
	errTooLarge = errors.New("the answer is too large")
	errTooDeep  = errors.New("the answer is nested too deeply")
	errNotJSON  = errors.New("the answer is not JSON")
)

// read reads the body of an answer of a server, of at most limit bytes.
func (c *Client) read(ctx context.Context, from id.ServerName, body io.ReadCloser, limit int64) ([]byte, error) {
	small := min(limit, freeBytes)
	raw, err := io.ReadAll(io.LimitReader(body, small+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(raw)) <= small {
		return raw, nil
	}
	if limit <= freeBytes {
		return nil, errTooLarge
	}
	leave, err := c.largeFrom.Enter(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("wait to read a large answer: %w", err)
	}
	defer leave()
	select {
	case c.large <- struct{}{}:
		defer func() { <-c.large }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to read a large answer: %w", ctx.Err())
	}
	late := time.AfterFunc(largeTime, func() { _ = body.Close() }) // which ends reading with an error
	defer late.Stop()
	rest, err := io.ReadAll(io.LimitReader(body, limit-int64(len(raw))+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(raw)+len(rest)) > limit {
		return nil, errTooLarge
	}
	return append(raw, rest...), nil
}

// checkJSON refuses what is not one JSON value or is nested deeper than maxDepth.
func checkJSON(raw []byte) error {
	if canonjson.Deeper(raw, maxDepth) {
		return errTooDeep
	}
	if !json.Valid(raw) {
		return errNotJSON
	}
	return nil
}
