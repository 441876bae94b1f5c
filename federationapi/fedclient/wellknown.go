package fedclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

// Spec: server-server-api#resolving-server-names: 24 hours where the answer says nothing, 48 at most, up to one hour for errors.
const (
	wellKnownDefault = 24 * time.Hour
	wellKnownMax     = 48 * time.Hour
	wellKnownMin     = 5 * time.Minute
	wellKnownError   = time.Hour
	maxWellKnown     = 50 * kib
	wellKnownTimeout = 10 * time.Second
)

// wellKnown is what is known of a server's .well-known file. It is not changed once it is made.
type wellKnown struct {
	delegate id.ServerName // empty: there is no file, or none that makes sense
	until    time.Time     // when to look again
	looked   time.Time     // when the last look was
	fetched  time.Time     // when delegate was read
	failures int           // how often in a row there was none
}

var errNoWellKnown = errors.New("there is no .well-known file")

// fetchWellKnown asks a host where its server is, and for how long that may be kept.
func (d *discovery) fetchWellKnown(ctx context.Context, host string) (id.ServerName, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wellKnownTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/matrix/server", nil)
	if err != nil {
		return "", 0, fmt.Errorf("make a request: %w", err)
	}
	resp, err := d.plain.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return "", 0, fmt.Errorf("%s answered %d", shorten(req.URL.Host, 255), resp.StatusCode)
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%w: %s answered %d", errNoWellKnown, shorten(req.URL.Host, 255), resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWellKnown+1))
	if err != nil {
		return "", 0, fmt.Errorf("read the file: %w", err)
	}
	delegate, err := parseWellKnown(body)
	return delegate, lifetime(resp.Header, d.clock.Now()), err
}

// parseWellKnown reads the file. Its type does not matter.
func parseWellKnown(body []byte) (id.ServerName, error) {
	if len(body) > maxWellKnown {
		return "", fmt.Errorf("%w: it is larger than %d bytes", errNoWellKnown, maxWellKnown)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(body, &file); err != nil {
		return "", fmt.Errorf("%w: it is no JSON object", errNoWellKnown)
	}
	var text string
	if json.Unmarshal(file["m.server"], &text) != nil {
		return "", fmt.Errorf("%w: it has no m.server", errNoWellKnown)
	}
	name, err := id.ParseServerName(text)
	if err != nil {
		return "", fmt.Errorf("%w: its m.server is %w", errNoWellKnown, err)
	}
	return name, nil
}

// lifetime is how long an answer may be kept by its headers, within bounds.
func lifetime(h http.Header, now time.Time) time.Duration {
	life := wellKnownDefault
	if expires, err := http.ParseTime(h.Get("Expires")); err == nil {
		life = expires.Sub(now)
	}
	for directive := range strings.SplitSeq(strings.ToLower(h.Get("Cache-Control")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache", "private":
			life = 0
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				life = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(life, wellKnownMin), wellKnownMax)
}
