package fedclient

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

// Stream makes a GET request for something that is not JSON, such as media, and returns the answer whatever its status. path starts with
// /_matrix and is escaped. The caller bounds the time through ctx and the size while reading, and closes the body.
func (c *Client) Stream(ctx context.Context, to id.ServerName, path string, query url.Values, signed bool) (*http.Response, error) {
	asked := c.clock.Now()
	k := call{name: "stream", method: http.MethodGet, path: path, query: query, unsigned: !signed, hearsay: true}
	resp, err := c.send(ctx, to, k)
	c.judge(ctx, to, k, asked, err)
	return resp, err
}

// Plain gets a URL that another server pointed to, without saying who asks. The guard judges the address, also of redirects. The caller bounds
// the time through ctx and the size while reading, and closes the body.
func (c *Client) Plain(ctx context.Context, target string) (*http.Response, error) {
	u, err := url.Parse(target)
	if err == nil {
		err = safehttp.CheckURL(u)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: get a URL: %w", ErrUnreachable, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: get a URL: %w", ErrUnreachable, err)
	}
	resp, err := c.plain.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: get a URL: %w", ErrUnreachable, err)
	}
	return resp, nil
}
