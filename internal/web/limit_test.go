package web

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
)

func TestRateLimit(t *testing.T) {
	c := clock.NewFake(time.Unix(1000, 0))
	reg := prometheus.NewRegistry()
	limits := Limits{Classes: map[Rate]Limit{RateLogin: {PerSecond: 0.5, Burst: 2}, RateWrite: {PerSecond: 1, Burst: 1}}}
	s := newTestServer(t, Options{Clock: c, Limits: limits, Metrics: reg},
		Route{"POST", "/login", None, RateLogin, says(nil)},
		Route{"POST", "/flows", None, RateLogin, says(nil)},
		Route{"POST", "/write", User, RateWrite, says(nil)},
		Route{"POST", "/free", User, RateNone, says(nil)},
		Route{"POST", "/unconfigured", User, RateMedia, says(nil)},
		Route{"POST", "/account/{name}", None, RateNone, func(_ context.Context, r *Request) (any, error) {
			return nil, r.Spend(RateLogin, r.Var("name"))
		}})
	as := func(who string) string { return "Authorization: Bearer " + who }
	want := func(what string, status int, path string, header ...string) {
		t.Helper()
		if w := call(s, "POST", path, "", header...); w.Code != status {
			t.Errorf("%s: got %d %s, want %d", what, w.Code, w.Body, status)
		}
	}
	want("the first", 200, "/login")
	want("the second, of the same class", 200, "/flows")
	w := call(s, "POST", "/login", "")
	if w.Code != 429 || w.Body.String() != `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":2000}` {
		t.Errorf("the third: got %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After is %q", got)
	}
	want("an account of the address's name", 200, "/account/192.0.2.1")
	c.Advance(1999 * time.Millisecond)
	want("a moment too early", 429, "/login")
	c.Advance(time.Millisecond)
	want("when told", 200, "/login")
	want("no more than that", 429, "/login")
	c.Advance(time.Hour)
	want("a long pause", 200, "/login")
	want("fills the bucket", 200, "/login")
	want("but not more", 429, "/login")

	want("a user", 200, "/write", as("alice"))
	want("a user again", 429, "/write", as("alice"))
	want("another user at the same address", 200, "/write", as("admin"))
	want("one who is not limited", 200, "/write?user_id=x", as("bridge"))
	want("and again", 200, "/write?user_id=x", as("bridge"))
	want("a route without class", 200, "/free", as("alice"))
	want("a class that is not configured", 200, "/unconfigured", as("alice"))
	if n := metric(t, reg, "hearth_http_rate_limited_total"); n != 5 {
		t.Errorf("%v refusals were counted", n)
	}

	limits.Exempt = []id.UserID{"@alice:hs"}
	s.SetLimits(limits)
	want("a user who is exempt now", 200, "/write", as("alice"))
	want("others are not", 429, "/write", as("admin"))
	s.SetLimits(Limits{})
	want("nobody is limited any more", 200, "/write", as("admin"))
}

func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter(clock.NewFake(time.Unix(0, 0)), Limits{})
	l.half = 10
	limit := Limit{PerSecond: 1, Burst: 1}
	abuser := bucketID{rate: RateLogin, name: "abuser"}
	l.take(abuser, limit)
	for i := range 1000 {
		l.take(bucketID{rate: RateLogin, name: fmt.Sprint(i)}, limit)
		if n := len(l.young) + len(l.old); n > 20 {
			t.Fatalf("there are %d buckets", n)
		}
		if _, ok := l.take(abuser, limit); ok {
			t.Fatalf("an active caller was forgotten after %d others", i)
		}
	}
}

func TestClockThatGoesBackGivesNothing(t *testing.T) {
	c := clock.NewFake(time.Unix(1000, 0))
	l := newLimiter(c, Limits{})
	b := bucketID{rate: RateLogin, name: "a"}
	l.take(b, Limit{PerSecond: 1, Burst: 1})
	c.Advance(-time.Hour)
	if _, ok := l.take(b, Limit{PerSecond: 1, Burst: 1}); ok {
		t.Error("a token was given for time that did not pass")
	}
}

func TestRateNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rates() {
		if seen[r.String()] || r.String() == "" {
			t.Errorf("the name %q is there twice", r)
		}
		seen[r.String()] = true
		if DefaultLimits().Classes[r].Burst == 0 {
			t.Errorf("class %s has no default", r)
		}
	}
	if got := Rate(99).String(); got != "rate(99)" {
		t.Errorf("got %q", got)
	}
}

func TestClientIP(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	tests := map[string]struct {
		remote    string
		forwarded []string
		trusted   []netip.Prefix
		want      string
	}{
		"no proxy":                                   {"192.0.2.1:5", nil, trusted, "192.0.2.1"},
		"a client that claims to be another":         {"192.0.2.1:5", []string{"1.1.1.1"}, trusted, "192.0.2.1"},
		"a proxy that nobody trusts":                 {"10.0.0.1:5", []string{"1.1.1.1"}, nil, "10.0.0.1"},
		"a trusted proxy":                            {"10.0.0.1:5", []string{"1.1.1.1"}, trusted, "1.1.1.1"},
		"a trusted proxy over IPv6":                  {"[::1]:5", []string{"2001:db8::1"}, trusted, "2001:db8::1"},
		"an IPv4 address within IPv6":                {"[::ffff:10.0.0.1]:5", []string{"::ffff:1.1.1.1"}, trusted, "1.1.1.1"},
		"two trusted proxies":                        {"10.0.0.1:5", []string{"1.1.1.1, 10.0.0.2"}, trusted, "1.1.1.1"},
		"what stands before the client is ignored":   {"10.0.0.1:5", []string{"6.6.6.6, 1.1.1.1, 10.0.0.2"}, trusted, "1.1.1.1"},
		"several headers are one list":               {"10.0.0.1:5", []string{"6.6.6.6, 1.1.1.1", "10.0.0.2"}, trusted, "1.1.1.1"},
		"a trusted proxy that says nothing":          {"10.0.0.1:5", nil, trusted, "10.0.0.1"},
		"nonsense ends the list":                     {"10.0.0.1:5", []string{"1.1.1.1, nonsense, 10.0.0.2"}, trusted, "10.0.0.2"},
		"addresses with ports and brackets":          {"10.0.0.1:5", []string{"[2001:db8::1]:77"}, trusted, "2001:db8::1"},
		"only trusted proxies: the first of them":    {"10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, trusted, "10.0.0.3"},
		"no address at all, as on a unix socket":     {"@", []string{"1.1.1.1"}, trusted, "invalid IP"},
		"zones of IPv6 addresses make no new client": {"[fe80::1%eth0]:5", nil, trusted, "fe80::1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := clientIP(tt.remote, tt.forwarded, tt.trusted).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := network(netip.MustParseAddr("2001:db8:1:2:3:4:5:6")).String(); got != "2001:db8:1:2::" {
		t.Errorf("the network of an IPv6 client is %s", got)
	}
}

func FuzzClientIP(f *testing.F) {
	f.Add("10.0.0.1:5", "1.1.1.1, 10.0.0.2")
	f.Add("10.0.0.1:5", ",,, [::1")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		got := clientIP(remote, []string{forwarded}, trusted)
		if direct := parseAddr(remote); !isTrusted(direct, trusted) && got != direct {
			t.Errorf("%q with %q gives %s", remote, forwarded, got)
		}
	})
}
