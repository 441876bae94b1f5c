package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// plainNames believes every server that says its name, if it also repeats the body.
type plainNames struct{}

func (plainNames) AuthenticateServer(_ context.Context, r *http.Request, body []byte) (id.ServerName, error) {
	name := strings.TrimPrefix(r.Header.Get("Authorization"), "X-Matrix ")
	if name == "nobody" || r.Header.Get("Said") != "" && r.Header.Get("Said") != string(body) {
		return "", merr.New(merr.Unauthorized, "That is not you")
	}
	return id.ServerName(name), nil
}

func TestOrigin(t *testing.T) {
	echo := func(_ context.Context, r *Request) (any, error) {
		var body struct {
			Text string `json:"text"`
		}
		if err := r.JSONOptional(&body); err != nil {
			return nil, err
		}
		return map[string]any{"origin": r.Origin, "text": len(body.Text)}, nil
	}
	s := newTestServer(t, Options{Servers: plainNames{}, BodyLimit: 100},
		Route{"GET", "/ask", Federation, RateFederation, echo},
		Route{"PUT", "/send", Federation, RateFederation, echo},
		Route{"PUT", "/long", Federation | LongBody, RateFederation, echo},
		Route{"GET", "/user", User, RateNone, echo},
	)
	long := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 200))
	tests := map[string]struct {
		method, target, auth, body, said string
		status                           int
		want                             string
	}{
		"without a signature":                      {"GET", "/ask", "", "", "", 401, "M_UNAUTHORIZED"},
		"with a token":                             {"GET", "/ask", "Bearer alice", "", "", 401, "M_UNAUTHORIZED"},
		"with a wrong signature":                   {"GET", "/ask", "X-Matrix nobody", "", "", 401, "M_UNAUTHORIZED"},
		"with a signature":                         {"GET", "/ask", "X-Matrix one.org", "", "", 200, `"origin":"one.org"`},
		"with a scheme in other letters":           {"GET", "/ask", "x-matrix", "", "", 200, `"origin":"x-matrix"`},
		"the body is part of what is signed":       {"PUT", "/send", "X-Matrix one.org", `{"text":"hi"}`, `{"text":"hi"}`, 200, `"text":2`},
		"another body than the signed one":         {"PUT", "/send", "X-Matrix one.org", `{"text":"ho"}`, `{"text":"hi"}`, 401, "M_UNAUTHORIZED"},
		"a body that is too large":                 {"PUT", "/send", "X-Matrix one.org", long, "", 413, "M_TOO_LARGE"},
		"a large body where it is to be expected":  {"PUT", "/long", "X-Matrix one.org", long, long, 200, `"text":200`},
		"an unsigned body is not even read":        {"PUT", "/send", "", long, "", 401, "M_UNAUTHORIZED"},
		"a signature does not help where users go": {"GET", "/user", "X-Matrix one.org", "", "", 401, "M_MISSING_TOKEN"},
		"unknown paths come before signatures":     {"GET", "/unknown", "", "", "", 404, "M_UNRECOGNIZED"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			if tt.said != "" {
				r.Header.Set("Said", tt.said)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func TestEveryServerHasItsOwnRate(t *testing.T) {
	s := newTestServer(t, Options{
		Servers: plainNames{}, Clock: clock.NewFake(time.Unix(1, 0)),
		Limits: Limits{Classes: map[Rate]Limit{RateFederation: {PerSecond: 1, Burst: 2}}},
	}, Route{"GET", "/ask", Federation, RateFederation, func(context.Context, *Request) (any, error) { return nil, nil }})
	ask := func(server string) int {
		r := httptest.NewRequest("GET", "/ask", nil)
		r.Header.Set("Authorization", "X-Matrix "+server)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for i, want := range []int{200, 200, 429} {
		if got := ask("greedy.org"); got != want {
			t.Errorf("request %d: %d", i, got)
		}
	}
	if got := ask("modest.org"); got != 200 {
		t.Errorf("another server: %d", got)
	}
}

func TestOneServerDoesNotHoldUpOthers(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	inside, release := make(chan struct{}), make(chan struct{})
	s := newTestServer(t, Options{Servers: plainNames{}, Clock: fake},
		Route{"GET", "/wait", Federation, RateNone, func(context.Context, *Request) (any, error) {
			inside <- struct{}{}
			<-release
			return nil, nil
		}},
		Route{"GET", "/ask", Federation, RateNone, func(context.Context, *Request) (any, error) { return nil, nil }})
	ask := func(path, server string) int {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "X-Matrix "+server)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	var all sync.WaitGroup
	for range peersInside {
		all.Go(func() { ask("/wait", "greedy.org") })
		<-inside
	}
	if got := ask("/ask", "modest.org"); got != 200 {
		t.Errorf("another server: %d", got)
	}
	late := make(chan int)
	go func() { late <- ask("/ask", "greedy.org") }()
	fake.BlockUntil(1)
	fake.Advance(peerPatience)
	if got := <-late; got != 429 {
		t.Errorf("one more than may be inside: %d", got)
	}
	go func() { late <- ask("/ask", "greedy.org") }()
	fake.BlockUntil(1)
	close(release)
	if got := <-late; got != 200 {
		t.Errorf("one whose turn came: %d", got)
	}
	all.Wait()
	if n := s.peers.known.Parties(); n != 0 {
		t.Errorf("%d servers are remembered with nothing inside", n)
	}
}

func TestLongBodiesWaitForOneAnother(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	inside, release := make(chan int), make(chan struct{})
	s := newTestServer(t, Options{Servers: plainNames{}, Clock: fake},
		Route{"PUT", "/long", Federation | LongBody, RateNone, func(_ context.Context, r *Request) (any, error) {
			body, err := io.ReadAll(r.Body())
			inside <- len(body)
			<-release
			return nil, err
		}})
	put := func(size int, name string) int {
		r := httptest.NewRequest("PUT", "/long", strings.NewReader(strings.Repeat("x", size)))
		r.Header.Set("Authorization", "X-Matrix "+name)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	var all sync.WaitGroup
	for i := range longPerAddress {
		all.Go(func() { put(3*shortBody+i, "one.org") })
		if n := <-inside; n != 3*shortBody+i {
			t.Errorf("%d bytes of the body came", n)
		}
	}
	for _, size := range []int{shortBody - 1, 0} {
		all.Go(func() { put(size, "one.org") })
		if n := <-inside; n != size {
			t.Errorf("%d bytes of a short body came", n)
		}
	}
	late := make(chan int)
	go func() { late <- put(shortBody+1, "one.org") }()
	fake.BlockUntil(1)
	fake.Advance(peerPatience)
	if got := <-late; got != 429 {
		t.Errorf("one long body too many: %d", got)
	}
	if got := put(longBody+1, "one.org"); got != 413 {
		t.Errorf("an overlong body: %d", got)
	}
	close(release)
	all.Wait()
	if n := s.peers.long.Parties() + s.peers.longFrom.Parties() + s.peers.known.Parties() + s.peers.strangers.Parties(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

func TestWhoIsNobodyHasOnlySoManyTries(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	s := newTestServer(t, Options{
		Servers: plainNames{}, Clock: fake, Limits: Limits{Classes: map[Rate]Limit{RateFederation: {PerSecond: 1, Burst: 2}}},
	}, Route{"GET", "/ask", Federation, RateNone, func(context.Context, *Request) (any, error) { return nil, nil }})
	ask := func(server, address string) int {
		r := httptest.NewRequest("GET", "/ask", nil)
		r.RemoteAddr = address
		r.Header.Set("Authorization", "X-Matrix "+server)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for i, tt := range []struct {
		server, address string
		want            int
	}{
		{"one.org", "[2a00::1]:1", 200}, {"one.org", "[2a00::1]:1", 200}, {"one.org", "[2a00::1]:1", 200},
		{"nobody", "[2a00::1]:1", 401}, {"nobody", "[2a00::2]:1", 401}, {"nobody", "[2a00::3]:1", 429}, {"one.org", "[2a00::1]:1", 429},
		{"one.org", "[2a01::1]:1", 200}, {"nobody", "[2a01::1]:1", 401},
	} {
		if got := ask(tt.server, tt.address); got != tt.want {
			t.Errorf("request %d, of %s from %s: %d", i, tt.server, tt.address, got)
		}
	}
	fake.Advance(time.Second)
	if got := ask("one.org", "[2a00::1]:1"); got != 200 {
		t.Errorf("after a while: %d", got)
	}
}

func TestWhatEverybodyMayCauseIsChargedToTheNetwork(t *testing.T) {
	s := newTestServer(t, Options{
		Clock: clock.NewFake(time.Unix(1, 0)), Limits: Limits{Classes: map[Rate]Limit{RateInvite: {PerSecond: 1, Burst: 2}}},
	}, Route{"GET", "/ask", None, RateInvite, func(_ context.Context, r *Request) (any, error) { return nil, r.SpendFrom(RateInvite, "asking") }})
	for i, tt := range []struct {
		address string
		want    int
	}{{"[2a00::1]:1", 200}, {"[2a00::2]:1", 200}, {"[2a00::3]:1", 429}, {"[2a01::1]:1", 200}} {
		r := httptest.NewRequest("GET", "/ask", nil)
		r.RemoteAddr = tt.address
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("request %d from %s: %d", i, tt.address, w.Code)
		}
	}
}
