package fedclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
)

// file serves a .well-known file.
func file(body string, headers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/matrix/server" {
			http.NotFound(w, r)
			return
		}
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fmt.Fprint(w, body)
	})
}

func srv(host string, port uint16) []*net.SRV { return []*net.SRV{{Target: host + ".", Port: port}} }

func TestServersAreFoundAsTheSpecificationSays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server id.ServerName
		set    func(w *world)
		dialed string // where the connection must go
		cert   string
		host   string // the Host header that must come
	}{
		{"an IPv4 address", "10.0.0.1", nil, "10.0.0.1:8448", "10.0.0.1", "10.0.0.1"},
		{"an IPv4 address with a port", "10.0.0.1:99", nil, "10.0.0.1:99", "10.0.0.1", "10.0.0.1:99"},
		{"an IPv6 address", "[fd00::1]", nil, "[fd00::1]:8448", "fd00::1", "[fd00::1]"},
		{"an IPv6 address with a port", "[fd00::1]:99", nil, "[fd00::1]:99", "fd00::1", "[fd00::1]:99"},
		{"a name with a port", "b.example:99", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, file(`{"m.server":"wrong.example"}`))
			w.services["_matrix-fed._tcp.b.example"] = srv("wrong.example", 1)
		}, "10.0.0.1:99", "b.example", "b.example:99"},
		{"a delegate that is an address", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.9"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"10.0.0.1"}`))
		}, "10.0.0.1:8448", "10.0.0.1", "10.0.0.1"},
		{"a delegate that is an address with a port", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.9"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"10.0.0.1:99"}`))
		}, "10.0.0.1:99", "10.0.0.1", "10.0.0.1:99"},
		{"a delegate with a port", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["m.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"m.example:99"}`))
			w.services["_matrix-fed._tcp.m.example"] = srv("wrong.example", 1)
		}, "10.0.0.1:99", "m.example", "m.example:99"},
		{"a delegate with a service record", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["s.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"m.example"}`))
			w.services["_matrix-fed._tcp.m.example"] = srv("s.example", 98)
			w.services["_matrix._tcp.m.example"] = srv("wrong.example", 1)
			w.services["_matrix-fed._tcp.b.example"] = srv("wrong.example", 1)
		}, "10.0.0.1:98", "m.example", "m.example"},
		{"a delegate with a service record of the old name", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["s.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"m.example"}`))
			w.services["_matrix._tcp.m.example"] = srv("s.example", 98)
		}, "10.0.0.1:98", "m.example", "m.example"},
		{"a delegate and nothing else", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["m.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
			w.serve("10.0.0.9:443", []string{"b.example"}, file(`{"m.server":"m.example"}`))
		}, "10.0.0.1:8448", "m.example", "m.example"},
		{"a delegate after redirects", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["www.example"], w.hosts["m.example"] = []string{"10.0.0.9"}, []string{"10.0.0.8"}, []string{"10.0.0.1"}
			w.serve("10.0.0.9:443", []string{"b.example"}, http.RedirectHandler("https://www.example/.well-known/matrix/server", http.StatusFound))
			w.serve("10.0.0.8:443", []string{"www.example"}, file(`{"m.server":"m.example"}`))
		}, "10.0.0.1:8448", "m.example", "m.example"},
		{"a service record", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["s.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
			w.services["_matrix-fed._tcp.b.example"] = srv("s.example", 98)
			w.services["_matrix._tcp.b.example"] = srv("wrong.example", 1)
		}, "10.0.0.1:98", "b.example", "b.example"},
		{"a service record of the old name", "b.example", func(w *world) {
			w.hosts["s.example"] = []string{"10.0.0.1"}
			w.services["_matrix._tcp.b.example"] = srv("s.example", 98)
		}, "10.0.0.1:98", "b.example", "b.example"},
		{"several service records, of which the first is gone", "b.example", func(w *world) {
			w.hosts["s.example"], w.hosts["gone.example"] = []string{"10.0.0.1"}, []string{"10.0.0.7"}
			w.services["_matrix._tcp.b.example"] = append(srv("gone.example", 97), srv("s.example", 98)...)
		}, "10.0.0.1:98", "b.example", "b.example"},
		{"a service record that the DNS does not tell", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.broken["_matrix-fed._tcp.b.example"] = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a name and nothing else", "b.example", func(w *world) { w.hosts["b.example"] = []string{"10.0.0.1"} }, "10.0.0.1:8448", "b.example", "b.example"},
		{"a name with several addresses, of which the first is dead", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.7", "10.0.0.1"}
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a redirect that never ends", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, http.RedirectHandler("/.well-known/matrix/server", http.StatusFound))
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a redirect away from HTTPS", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, http.RedirectHandler("http://b.example/.well-known/matrix/server", http.StatusFound))
			plain := httptest.NewServer(file(`{"m.server":"wrong.example"}`))
			w.t.Cleanup(plain.Close)
			w.listen["10.0.0.1:80"] = plain.Listener.Addr().String()
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a file behind a certificate for another name", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"other.example"}, file(`{"m.server":"wrong.example"}`))
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a file that is too large", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, file(`{"m.server":"wrong.example","x":"`+strings.Repeat("x", 50<<10)+`"}`))
		}, "10.0.0.1:8448", "b.example", "b.example"},
		{"a file that is not there, with a body that looks like one", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(404)
				fmt.Fprint(w, `{"m.server":"wrong.example"}`)
			}))
		}, "10.0.0.1:8448", "b.example", "b.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.set != nil {
				tt.set(w)
			}
			p := &peer{answers: map[string]http.HandlerFunc{}}
			p.say("GET", "/_matrix/federation/v1/version", 200, `{"server":{"name":"peer","version":"1"}}`)
			w.serve(tt.dialed, []string{tt.cert}, p)
			c := w.client()
			if _, err := c.Version(t.Context(), tt.server); err != nil {
				t.Fatal(err)
			}
			asked := p.asked()
			sni := tt.cert
			if _, err := netip.ParseAddr(sni); err == nil {
				sni = "" // addresses are not sent
			}
			want := []seen{{Method: "GET", URI: "/_matrix/federation/v1/version", Host: tt.host, SNI: sni}}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCertificatesMustBeForTheServer(t *testing.T) {
	w := newWorld(t)
	w.hosts["b.example"], w.hosts["s.example"] = []string{"10.0.0.1"}, []string{"10.0.0.1"}
	w.serve("10.0.0.1:8448", []string{"s.example"}, &peer{})
	w.services["_matrix-fed._tcp.b.example"] = srv("s.example", 8448)
	c := w.client()
	for _, server := range []id.ServerName{"b.example", "10.0.0.1", "b.example:8448"} {
		if _, err := c.Version(t.Context(), server); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", server, err)
		}
	}
	w2 := newWorld(t)
	w2.peer("b.example", "10.0.0.1")
	if _, err := w2.client(func(o *Options) { o.Authorities = w.options().Authorities }).Version(t.Context(), "b.example"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an authority that is not trusted: %v", err)
	}
}

func TestTheGuardJudgesEveryAddress(t *testing.T) {
	guard := func(o *Options) {
		o.Guard = safehttp.NewGuard([]netip.Prefix{netip.MustParsePrefix("10.6.0.0/16"), netip.MustParsePrefix("fd00::/8")}, nil)
	}
	for _, tt := range []struct {
		name   string
		server id.ServerName
		set    func(w *world)
		denied bool
	}{
		{"an address", "10.6.0.1", nil, true},
		{"an address that stands for another", "[::ffff:10.6.0.1]", nil, true},
		{"a name", "b.example:8448", func(w *world) { w.hosts["b.example"] = []string{"10.6.0.1", "fd00::1"} }, true},
		{"a name with a good address as well", "b.example:8448", func(w *world) { w.hosts["b.example"] = []string{"10.6.0.1", "10.0.0.1"} }, false},
		{"the target of a service record", "b.example", func(w *world) {
			w.hosts["b.example"], w.hosts["s.example"] = []string{"10.0.0.1"}, []string{"10.6.0.1"}
			w.services["_matrix-fed._tcp.b.example"] = srv("s.example", 8448)
		}, true},
		{"an address as the target of a service record", "b.example", func(w *world) {
			w.services["_matrix-fed._tcp.b.example"] = srv("10.6.0.1", 8448)
		}, true},
		{"a delegate", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, file(`{"m.server":"10.6.0.1"}`))
		}, true},
		{"the host of the file", "b.example", func(w *world) { w.hosts["b.example"] = []string{"10.6.0.1"} }, true},
		{"a redirect of the file", "b.example", func(w *world) {
			w.hosts["b.example"] = []string{"10.0.0.1"}
			w.serve("10.0.0.1:443", []string{"b.example"}, http.RedirectHandler("https://10.6.0.1/", http.StatusFound))
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.set != nil {
				tt.set(w)
			}
			p := &peer{answers: map[string]http.HandlerFunc{}}
			p.say("GET", "/_matrix/federation/v1/version", 200, `{"server":{}}`)
			w.serve("10.0.0.1:8448", []string{"b.example"}, p)
			w.serve("10.6.0.1:8448", []string{"10.6.0.1", "b.example"}, p)
			_, err := w.client(guard).Version(t.Context(), tt.server)
			if tt.denied != errors.Is(err, safehttp.ErrDenied) || !tt.denied && err != nil {
				t.Error(err)
			}
			for _, address := range w.dialled() {
				if strings.Contains(address, "10.6.0.1") || strings.Contains(address, "fd00") {
					t.Errorf("connected to %s", address)
				}
			}
		})
	}
}

func TestWhatWasFoundIsKept(t *testing.T) {
	w := newWorld(t)
	w.hosts["b.example"], w.hosts["m.example"] = []string{"10.0.0.9"}, []string{"10.0.0.1"}
	looked, status, body := 0, 200, `{"m.server":"m.example:8448"}`
	w.serve("10.0.0.9:443", []string{"b.example"}, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		looked++
		rw.Header().Set("Cache-Control", "max-age=7200")
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	}))
	c := w.client()
	now := fakeClock(c)
	find := func(wantHost string, wantLooked int) {
		t.Helper()
		r, err := c.discovery.route(t.Context(), "b.example")
		if err != nil || r.host != wantHost || looked != wantLooked {
			t.Errorf("found %+v, %v after looking %d times; want %s after %d", r, err, looked, wantHost, wantLooked)
		}
	}
	find("m.example:8448", 1)
	now.Advance(2*time.Hour - time.Second)
	find("m.example:8448", 1)
	now.Advance(time.Second)
	find("m.example:8448", 2)

	// A file that is gone does not count any more; it is looked for again sooner at first.
	status, body = 404, "<html>"
	now.Advance(2 * time.Hour)
	find("b.example", 3)
	now.Advance(5*time.Minute - time.Second)
	find("b.example", 3)
	now.Advance(time.Second)
	find("b.example", 4)
	now.Advance(10*time.Minute - time.Second)
	find("b.example", 4)
	now.Advance(time.Second)
	find("b.example", 5)
	status, body = 200, `{"m.server":"m.example:8448"}`
	now.Advance(time.Hour)
	find("m.example:8448", 6)

	// A server whose file cannot be had for a while is still where it said, but not for ever.
	status = 503
	now.Advance(2 * time.Hour)
	find("m.example:8448", 7)
	w.mu.Lock()
	delete(w.listen, "10.0.0.9:443")
	w.mu.Unlock()
	c.plain.CloseIdleConnections()
	now.Advance(2 * time.Hour)
	find("m.example:8448", 7)
	now.Advance(49 * time.Hour)
	find("b.example", 7)
}

func TestAServerThatIsNotThereIsLookedForAgain(t *testing.T) {
	w := newWorld(t)
	w.hosts["b.example"] = []string{"10.0.0.9"}
	name := `{"m.server":"10.0.0.1"}`
	w.serve("10.0.0.9:443", []string{"b.example"}, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, name) }))
	for _, at := range []string{"10.0.0.2", "10.0.0.3"} {
		p := &peer{answers: map[string]http.HandlerFunc{}}
		p.say("GET", "/_matrix/federation/v1/version", 200, `{"server":{}}`)
		w.serve(at+":8448", []string{at}, p)
	}
	c := w.client()
	if _, err := c.Version(t.Context(), "b.example"); err == nil {
		t.Fatal("there is nobody at 10.0.0.1")
	}
	name = `{"m.server":"10.0.0.2"}`
	if _, err := c.Version(t.Context(), "b.example"); err == nil {
		t.Fatal("the file was read again at once")
	}
	fakeClock(c).Advance(11 * time.Minute)
	_, _ = c.Version(t.Context(), "b.example")
	if _, err := c.Version(t.Context(), "b.example"); err != nil {
		t.Errorf("after it has moved: %v", err)
	}
}

func TestAnIdlingServiceRecordMeansNoServer(t *testing.T) {
	w := newWorld(t)
	w.peer("b.example", "10.0.0.1")
	w.services["_matrix-fed._tcp.b.example"] = []*net.SRV{{Target: "."}}
	if _, err := w.client().Version(t.Context(), "b.example"); !errors.Is(err, errNoService) || !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestWellKnownFiles(t *testing.T) {
	for body, want := range map[string]id.ServerName{
		`{"m.server":"m.example"}`:             "m.example",
		` {"m.server":"m.example:443","a":[]}`: "m.example:443",
		`{"m.server":"[::1]:1"}`:               "[::1]:1",
		``:                                     "",
		`null`:                                 "",
		`[]`:                                   "",
		`{"m.server":7}`:                       "",
		`{"m.server":""}`:                      "",
		`{"m.server":"https://m.example"}`:     "",
		`{"m.server":"m.example/x"}`:           "",
		`{"m.server":"m.example:99999"}`:       "",
		`{"M.SERVER":"m.example"}`:             "",
		`{"m.server":"m.example"} x`:           "",
		`{"m.server":"` + strings.Repeat("a", 300) + `"}`:              "",
		`{"m.server":"m.example"}` + strings.Repeat(" ", maxWellKnown): "",
	} {
		got, err := parseWellKnown([]byte(body))
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, errNoWellKnown) {
			t.Errorf("%.60s: %q, %v", body, got, err)
		}
	}
}

func TestLifetimesHaveBounds(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		control, expires string
		want             time.Duration
	}{
		{"", "", 24 * time.Hour},
		{"max-age=3600", "", time.Hour},
		{"public, Max-Age=\"3600\"", "", time.Hour},
		{"max-age=3600", "Sun, 22 Nov 2026 02:00:00 GMT", time.Hour},
		{"", "Sun, 22 Nov 2026 02:00:00 GMT", 2 * time.Hour},
		{"", "Sun, 22 Nov 2020 02:00:00 GMT", 5 * time.Minute},
		{"max-age=1", "", 5 * time.Minute},
		{"no-store", "", 5 * time.Minute},
		{"max-age=99999999", "", 48 * time.Hour},
		{"max-age=99999999999999999999", "", 24 * time.Hour},
		{"max-age=-1", "yesterday", 24 * time.Hour},
	} {
		h := http.Header{}
		h.Set("Cache-Control", tt.control)
		h.Set("Expires", tt.expires)
		if got := lifetime(h, now); got != tt.want {
			t.Errorf("%q %q: %s, want %s", tt.control, tt.expires, got, tt.want)
		}
	}
}

func TestCachesAreBounded(t *testing.T) {
	m := map[int]int{}
	for i := range maxKnown + 10 {
		m[i] = i
		trim(m)
	}
	if len(m) != maxKnown {
		t.Errorf("%d entries", len(m))
	}
}

func TestRoutesDifferInWhatConnectionsAreFor(t *testing.T) {
	routes := []*route{
		direct("b.example"), direct("b.example:443"), direct("b.example:8448"), direct("10.0.0.1"),
		newRoute("b.example", "b.example", target{"s.example", 8448}), newRoute("b.example", "s.example", target{"s.example", 8448}),
		newRoute("b.example", "b.example", target{"s.example", 8448}, target{"r.example", 8448}),
	}
	var keys []string
	for _, r := range routes {
		if slices.Contains(keys, r.key) {
			t.Errorf("%+v has the key of another", r)
		}
		keys = append(keys, r.key)
	}
}

func FuzzWellKnown(f *testing.F) {
	for _, s := range []string{`{"m.server":"m.example:443"}`, `{"m.server":7}`, `[`, `{"m.server":"[::1]"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		name, err := parseWellKnown(body)
		if (err == nil) != (name != "") {
			t.Errorf("%q, %v", name, err)
		}
		if err == nil {
			if _, err := id.ParseServerName(string(name)); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzLifetime(f *testing.F) {
	f.Add("max-age=3600, public", "Sun, 22 Nov 2026 02:00:00 GMT")
	f.Fuzz(func(t *testing.T, control, expires string) {
		got := lifetime(http.Header{"Cache-Control": {control}, "Expires": {expires}}, time.Unix(1, 0))
		if got < wellKnownMin || got > wellKnownMax {
			t.Error(got)
		}
	})
}
