package pusher

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/safehttp"
)

// newHTTP is a client that goes wherever it is told to.
func newHTTP() *http.Client { return safehttp.New(safehttp.NewGuard(nil, nil), "Hearth test") }

func TestAGatewaysAnswers(t *testing.T) {
	var hits int
	mux := http.NewServeMux()
	answer := func(path string, status int, header, body string) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			hits++
			sent, _ := io.ReadAll(r.Body)
			if string(sent) != "{}" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s got %s, %s", path, sent, r.Header)
			}
			if name, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		})
	}
	answer("/good", 200, "", `{"rejected":[]}`)
	answer("/silent", 204, "", "")
	answer("/odd", 200, "", `{"rejected":"key"}`)
	answer("/rejects", 200, "", `{"rejected":["other","key"]}`)
	answer("/busy", 429, "Retry-After: 7", "")
	answer("/date", 503, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", "")
	answer("/long", 200, "", `{"rejected":["key"],"x":"`+strings.Repeat("x", maxAnswer)+`"}`)
	answer("/refuses", 400, "", "")
	answer("/moved", 307, "Location: /good", "")
	server := httptest.NewServer(mux)
	defer server.Close()
	g := newGateways(nil, newHTTP())
	for _, tt := range []struct {
		path                        string
		failed, rejected, malformed bool
		retryAfter                  time.Duration
	}{
		{path: "/good"}, {path: "/silent"}, {path: "/odd"}, {path: "/long"}, {path: "/rejects", rejected: true},
		{path: "/busy", failed: true, retryAfter: 7 * time.Second}, {path: "/date", failed: true},
		{path: "/refuses", failed: true, malformed: true}, {path: "/moved", failed: true}, {path: "/nowhere", failed: true},
	} {
		hits = 0
		r := g.post(t.Context(), server.URL+tt.path, "key", []byte("{}"))
		if (r.err != nil) != tt.failed || r.rejected != tt.rejected || r.malformed() != tt.malformed || r.retryAfter != tt.retryAfter {
			t.Errorf("%s: %+v", tt.path, r)
		}
		if hits > 1 {
			t.Errorf("%s: %d requests", tt.path, hits)
		}
	}
}

// What a user says is a gateway must not become a request to what only this machine can reach.
func TestOnlyTheOperatorSendsRequestsInside(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("there was a request") }))
	defer server.Close()
	secure := httptest.NewTLSServer(server.Config.Handler)
	defer secure.Close()
	deny := config.Default().Outbound.DenyNetworks
	web := safehttp.New(safehttp.NewGuard(deny, nil), "Hearth test")
	elsewhere := safehttp.New(safehttp.NewGuard([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}), "Hearth test")
	for _, tt := range []struct {
		url string
		g   gateways
	}{
		{server.URL, newGateways(web, nil)}, {secure.URL, newGateways(web, nil)}, {server.URL, newGateways(web, elsewhere)},
		{strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), newGateways(web, elsewhere)},
	} {
		r := tt.g.post(t.Context(), tt.url+notifyPath, "key", nil)
		if r.err == nil || tt.g.plain != nil && !errors.Is(r.err, safehttp.ErrDenied) {
			t.Errorf("%s: %+v", tt.url, r)
		}
	}
}
