package fedclient

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

func TestCheckSaysInPlainWordsWhatIsWrong(t *testing.T) {
	good := func(w *world, p *peer) { p.publish(time.UnixMilli(1_800_000_000_000).Add(time.Hour)) }
	for _, tt := range []struct {
		name     string
		server   id.ServerName
		set      func(w *world, p *peer)
		problems int
		want     []string
	}{
		{"all is well", peerName, good, 0, []string{
			"does not delegate", "no SRV record _matrix-fed._tcp.b.example", "on port 8448", "Requests go to [b.example:8448] with the Host header b.example",
			"10.0.0.1:8448: TLS 1.3, certificate of CN=world", "It has to be renewed soon", "It runs peer 1.", "It signs with ed25519:1",
			"until 2027-01-15T09:00:00Z",
		}},
		{"a name with a port", "b.example:8448", func(w *world, p *peer) {
			p.name = "b.example:8448"
			good(w, p)
		}, 0, []string{"says itself where it is", "Requests go to [b.example:8448]"}},
		{"a delegate", "d.example", func(w *world, p *peer) {
			w.hosts["d.example"] = []string{"10.0.0.2"}
			w.serve("10.0.0.2:443", []string{"d.example"}, file(`{"m.server":"b.example:8448"}`))
			p.name = "d.example"
			good(w, p)
		}, 0, []string{"https://d.example/.well-known/matrix/server delegates to b.example:8448 (good for 24h0m0s)", "with the Host header b.example:8448"}},
		{"a service record", peerName, func(w *world, p *peer) {
			w.services["_matrix._tcp.b.example"] = srv("b.example", 8448)
			good(w, p)
		}, 0, []string{"SRV record _matrix._tcp.b.example points to [b.example:8448]"}},
		{"a name that is not there", "x.example", nil, 1, []string{"x.example has no address: the DNS knows no x.example."}},
		{"a DNS that does not answer", peerName, func(w *world, _ *peer) {
			w.broken["_matrix-fed._tcp.b.example"] = &net.DNSError{Err: "timeout", IsTimeout: true}
			w.services["_matrix._tcp.b.example"] = []*net.SRV{{Target: "."}}
		}, 1, []string{"The DNS did not say whether there is an SRV record", "b.example cannot be found: b.example: its service record says"}},
		{"a port that is closed, and an address that works", peerName, func(w *world, p *peer) {
			w.hosts[peerName] = []string{"10.0.0.1", "10.0.0.3"}
			good(w, p)
		}, 1, []string{"10.0.0.3:8448: ", "refused", "It runs peer 1."}},
		{"an address that is denied", peerName, func(w *world, _ *peer) { w.hosts[peerName] = []string{"10.66.0.1"} }, 1,
			[]string{"10.66.0.1:8448: the address is in outbound.deny_networks"}},
		{"a certificate for another name", "10.0.0.1", nil, 1, []string{"10.0.0.1:8448: the certificate is for"}},
		{"no keys", peerName, nil, 1, []string{"Its signing keys cannot be had: it answered 404 M_UNRECOGNIZED"}},
		{"the page of a proxy", peerName, func(_ *world, p *peer) {
			p.say("GET", "/_matrix/federation/v1/version", 502, "<html>")
			p.say("GET", "/_matrix/key/v2/server", 502, "<html>")
		}, 2, []string{"with status 502 and no error of Matrix"}},
		{"keys of another server", peerName, func(_ *world, p *peer) {
			p.publish(time.Now(), func(d map[string]any) { d["server_name"] = "x.example" })
		}, 1, []string{"the key document is not good: it is of \"x.example\""}},
		{"keys that are over", peerName, func(_ *world, p *peer) { p.publish(time.Unix(1, 0)) }, 1, []string{"That is over"}},
		{"a server without TLS", peerName, func(w *world, _ *peer) {
			s := httptest.NewServer(http.NotFoundHandler())
			w.t.Cleanup(s.Close)
			w.listen["10.0.0.1:8448"] = s.Listener.Addr().String()
		}, 1, []string{"does not speak TLS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.peer(peerName, "10.0.0.1")
			if tt.set != nil {
				tt.set(w, p)
			}
			c := w.client(func(o *Options) {
				o.Guard = safehttp.NewGuard([]netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}, nil)
			})
			var text strings.Builder
			told := 0
			problems := c.Check(t.Context(), tt.server, func(s Step) {
				fmt.Fprintln(&text, s.Text)
				if s.Problem {
					told++
				}
			})
			if problems != tt.problems || told != problems {
				t.Errorf("%d problems, %d told of, want %d:\n%s", problems, told, tt.problems, text.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%q is not said:\n%s", want, text.String())
				}
			}
		})
	}
}

func TestAnUntrustedAuthorityIsNamedAsSuch(t *testing.T) {
	w := newWorld(t)
	w.peer(peerName, "10.0.0.1")
	c := w.client(func(o *Options) { o.Authorities = newWorld(t).options().Authorities })
	_, err := c.checkAddress(t.Context(), netip.MustParseAddrPort("10.0.0.1:8448"), peerName)
	if got := plainly(err); !strings.Contains(got, "authority that is not trusted") {
		t.Errorf("%s", got)
	}
	if got := plainly(tls.RecordHeaderError{}); !strings.Contains(got, "TLS") {
		t.Errorf("%s", got)
	}
}
