package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/merr"
)

// people maps tokens to callers.
type people map[string]Caller

func (p people) Authenticate(_ context.Context, token, asUser string, _ *http.Request) (Caller, error) {
	c, ok := p[token]
	if !ok {
		return Caller{}, merr.New(merr.UnknownToken, "Unknown access token")
	}
	if asUser != "" && c.AppserviceID != "" {
		c.User = "@as_user:hs"
	}
	return c, nil
}

var someone = people{
	"alice":     {User: "@alice:hs", Device: "A", TokenID: 1},
	"guest":     {User: "@1:hs", Guest: true},
	"admin":     {User: "@root:hs", Admin: true},
	"locked":    {User: "@locked:hs", Locked: true},
	"suspended": {User: "@suspended:hs", Suspended: true},
	"bridge":    {AppserviceID: "irc", Unlimited: true},
}

func newTestServer(t testing.TB, o Options, routes ...Route) *Server {
	t.Helper()
	if o.Auth == nil {
		o.Auth = someone
	}
	s, err := New(o, routes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call sends a request; lines of header are "Name: value".
func call(s http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// errcode returns the errcode of an answer, "" if it has none.
func errcode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Code  string  `json:"errcode"`
		Error *string `json:"error"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if body.Code != "" && body.Error == nil {
		t.Errorf("body %s has no error", w.Body)
	}
	return body.Code
}

func says(v any) Handler {
	return func(context.Context, *Request) (any, error) { return v, nil }
}

func TestAnswer(t *testing.T) {
	type named struct {
		Name string `json:"name"`
	}
	tests := map[string]struct {
		body any
		err  error
		want int
		json string
	}{
		"a value becomes JSON without escaping HTML": {body: named{"<a&b>"}, want: 200, json: `{"name":"<a&b>"}`},
		"nothing is an empty object":                 {want: 200, json: `{}`},
		"Empty is an empty object":                   {body: Empty{}, want: 200, json: `{}`},
		"raw JSON stays as it is":                    {body: RawJSON(`{"a": 1 }`), want: 200, json: `{"a": 1 }`},
		"a RawMessage stays as it is":                {body: json.RawMessage(`[ ]`), want: 200, json: `[ ]`},
		"a status is given":                          {body: Status{401, named{"x"}}, want: 401, json: `{"name":"x"}`},
		"a header and a status nest":                 {body: WithHeader{http.Header{"x-a": {"1"}}, Status{202, nil}}, want: 202, json: `{}`},
		"a Matrix error keeps status and fields": {
			err:  merr.New(merr.Forbidden, "no").WithStatus(418).With("a", 1),
			want: 418, json: `{"a":1,"errcode":"M_FORBIDDEN","error":"no"}`,
		},
		"a foreign error is hidden": {
			err: errors.New("secret"), want: 500, json: `{"errcode":"M_UNKNOWN","error":"Internal server error"}`,
		},
		"a value that is no JSON is an error": {
			body: func() {}, want: 500, json: `{"errcode":"M_UNKNOWN","error":"Internal server error"}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, Options{}, Route{"GET", "/x", None, RateNone, func(context.Context, *Request) (any, error) { return tt.body, tt.err }})
			w := call(s, "GET", "/x", "")
			if w.Code != tt.want || w.Body.String() != tt.json {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.want, tt.json)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
			if got, want := w.Header().Get("Content-Length"), len(tt.json); got != jsonInt(want) {
				t.Errorf("Content-Length is %s, want %d", got, want)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("Access-Control-Allow-Origin is %q", got)
			}
		})
	}
}

func jsonInt(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestRedirect(t *testing.T) {
	s := newTestServer(t, Options{}, Route{"GET", "/x", None, RateNone, says(Redirect{URL: "https://a.example/"})})
	w := call(s, "GET", "/x", "")
	if w.Code != http.StatusFound || w.Header().Get("Location") != "https://a.example/" {
		t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
	}
}

func TestPanicIsAnsweredCountedAndNotSpread(t *testing.T) {
	reg := prometheus.NewRegistry()
	var log strings.Builder
	s := newTestServer(t, Options{Metrics: reg, Log: textLog(&log)},
		Route{"GET", "/boom", None, RateNone, func(context.Context, *Request) (any, error) { panic("kaboom") }})
	w := call(s, "GET", "/boom", "")
	if w.Code != http.StatusInternalServerError || errcode(t, w) != "M_UNKNOWN" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "kaboom") || !strings.Contains(log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the log does not tell of the panic and its request %q: %s", w.Header().Get("X-Request-Id"), &log)
	}
	if n := metric(t, reg, "hearth_http_panics_total"); n != 1 {
		t.Errorf("%v panics were counted", n)
	}
	if n := metric(t, reg, "hearth_http_in_flight"); n != 0 {
		t.Errorf("%v requests are in flight", n)
	}
}

func TestMetricsAreByRouteAndCode(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := newTestServer(t, Options{Metrics: reg}, Route{"GET", "/r/{room}", None, RateNone, says(nil)})
	call(s, "GET", "/r/1", "")
	call(s, "GET", "/r/2", "")
	call(s, "GET", "/unknown", "")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "hearth_http_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += l.GetName() + "=" + l.GetValue() + " "
			}
			got[labels] = m.GetHistogram().GetSampleCount()
		}
	}
	want := map[string]uint64{"code=200 route=GET /r/{room} ": 2, "code=404 route=none ": 1}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTwoServersShareNothing(t *testing.T) {
	for range 2 {
		newTestServer(t, Options{Metrics: prometheus.NewRegistry()}, Route{"GET", "/x", None, RateNone, says(nil)})
	}
	reg := prometheus.NewRegistry()
	newTestServer(t, Options{Metrics: reg})
	if _, err := New(Options{Metrics: reg}); err == nil {
		t.Error("a registry was used twice without an error")
	}
}

func TestAccessLogHasNoToken(t *testing.T) {
	var log strings.Builder
	s := newTestServer(t, Options{Log: textLog(&log), AccessLog: true, Clock: clock.NewFake(time.Unix(0, 0))},
		Route{"GET", "/x/{v}", User, RateNone, says(nil)})
	call(s, "GET", "/x/a%2Fb?access_token=alice", "", "X-Forwarded-For: 9.9.9.9")
	got := log.String()
	for _, want := range []string{"path=/x/a%2Fb ", "status=200", "user=@alice:hs", "method=GET", "ip=192.0.2.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %s: %s", want, got)
		}
	}
	if strings.Contains(got, "access_token") {
		t.Errorf("the log has the query: %s", got)
	}
}

func TestForeignErrorIsLoggedAndOursIsNot(t *testing.T) {
	var log strings.Builder
	s := newTestServer(t, Options{Log: textLog(&log)},
		Route{"GET", "/foreign", None, RateNone, func(context.Context, *Request) (any, error) { return nil, errors.New("disk full") }},
		Route{"GET", "/ours", None, RateNone, func(context.Context, *Request) (any, error) { return nil, merr.New(merr.NotYetUploaded, "later") }})
	call(s, "GET", "/ours", "")
	if log.Len() != 0 {
		t.Errorf("a Matrix error was logged: %s", &log)
	}
	call(s, "GET", "/foreign", "")
	if !strings.Contains(log.String(), "disk full") || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a foreign error was not logged: %s", &log)
	}
}

func TestGzip(t *testing.T) {
	big := RawJSON(`{"a":"` + strings.Repeat("hearth ", 1000) + `"}`)
	tests := map[string]struct {
		on     bool
		body   RawJSON
		accept string
		want   string
	}{
		"a large answer is compressed for who accepts it": {true, big, "br, gzip;q=1.0", "gzip"},
		"not when the client refuses it":                  {true, big, "gzip;q=0", ""},
		"not when the client does not speak of it":        {true, big, "", ""},
		"not when it is small":                            {true, RawJSON(`{}`), "gzip", ""},
		"not when it is off":                              {false, big, "gzip", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, Options{Gzip: tt.on}, Route{"GET", "/x", None, RateNone, says(tt.body)})
			for range 2 { // the second time with a used writer
				w := call(s, "GET", "/x", "", "Accept-Encoding: "+tt.accept)
				if got := w.Header().Get("Content-Encoding"); got != tt.want {
					t.Fatalf("Content-Encoding is %q, want %q", got, tt.want)
				}
				got := w.Body.String()
				if tt.want == "gzip" {
					got = gunzip(t, w.Body)
				}
				if got != string(tt.body) {
					t.Errorf("the body is not what was sent: %.60s", got)
				}
			}
		})
	}
}
