package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strconv"
)

// profiles serves what `go tool pprof` reads, of the running server.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "cpu" {
			pprof.Profile(w, r)
			return
		}
		pprof.Handler(r.PathValue("name")).ServeHTTP(w, r)
	})
}

// Profile writes a profile of the server, which `go tool pprof` reads: cpu for some seconds, or heap, allocs, goroutine, block or mutex as it
// is now.
func (c *Client) Profile(ctx context.Context, name string, seconds int, to io.Writer) error {
	address := url.URL{Scheme: "http", Host: "hearth", Path: "/debug/pprof/" + name}
	if name == "cpu" {
		address.RawQuery = url.Values{"seconds": {strconv.Itoa(seconds)}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running server: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the running server has no profile %q", name)
	}
	_, err = io.Copy(to, res.Body)
	return err
}
