package web

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// echo answers with its name and the variables of the path.
func echo(name string, vars ...string) Handler {
	return func(_ context.Context, r *Request) (any, error) {
		out := map[string]string{"route": name}
		for _, v := range vars {
			out[v] = r.Var(v)
		}
		return out, nil
	}
}

func TestMatching(t *testing.T) {
	const rooms = "/_matrix/client/v3/rooms/{roomID}"
	s := newTestServer(t, Options{},
		Route{"GET", rooms + "/state", None, RateNone, echo("all")},
		Route{"GET", rooms + "/state/{type}", None, RateNone, echo("type", "type")},
		Route{"GET", rooms + "/state/{type}/", None, RateNone, echo("slash", "type")},
		Route{"GET", rooms + "/state/{type}/{key}", None, RateNone, echo("key", "roomID", "type", "key")},
		Route{"PUT", rooms + "/state/{type}/{key}", None, RateNone, echo("put", "key")},
		Route{"GET", "/_matrix/client/v3/profile/{user}/{field}", None, RateNone, echo("field", "field")},
		Route{"DELETE", "/_matrix/client/v3/profile/{user}/{field}", None, RateNone, echo("delete field", "field")},
		Route{"GET", "/_matrix/client/v3/profile/{user}/displayname", None, RateNone, echo("displayname")},
		Route{"POST", "/_matrix/client/v3/login", None, RateNone, echo("login")},
		Route{"GET", "/_matrix/client/versions", None, RateNone, echo("versions")},
		Route{"GET", "/_matrix/media/{version}/download/{server}/{id}", None, RateNone, echo("media", "version", "server", "id")},
		Route{"GET", "/_synapse/admin/v1/register", None, RateNone, echo("nonce")},
		Route{"GET", "/", None, RateNone, echo("root")},
	)
	tests := map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"a literal path":                        {"POST", "/_matrix/client/v3/login", 200, `{"route":"login"}`},
		"a short path":                          {"GET", "/_matrix/client/versions", 200, `{"route":"versions"}`},
		"the root":                              {"GET", "/", 200, `{"route":"root"}`},
		"a variable early in the path":          {"GET", "/_matrix/media/r0/download/a.example/b", 200, `{"id":"b","route":"media","server":"a.example","version":"r0"}`},
		"a path without the last slash":         {"GET", "/_matrix/client/v3/rooms/!a:b/state/m.x", 200, `{"route":"type","type":"m.x"}`},
		"a path with the last slash":            {"GET", "/_matrix/client/v3/rooms/!a:b/state/m.x/", 200, `{"route":"slash","type":"m.x"}`},
		"escaped slashes stay in the variable":  {"GET", "/_matrix/client/v3/rooms/!a%2Fb:c/state/m.x%2Fy/k", 200, `{"key":"k","roomID":"!a/b:c","route":"key","type":"m.x/y"}`},
		"variables are unescaped once":          {"GET", "/_matrix/client/v3/rooms/!a:b/state/m.x/%252F", 200, `{"key":"%2F","roomID":"!a:b","route":"key","type":"m.x"}`},
		"a plus is a plus":                      {"GET", "/_matrix/client/v3/rooms/!a:b/state/m.x/a+b", 200, `{"key":"a+b","roomID":"!a:b","route":"key","type":"m.x"}`},
		"dots are not cleaned":                  {"GET", "/_matrix/client/v3/rooms/../state/m.x", 200, `{"route":"type","type":"m.x"}`},
		"a variable with spaces and UTF-8":      {"PUT", "/_matrix/client/v3/rooms/!a:b/state/m.x/%C3%A9%20%E2%82%AC", 200, `{"key":"é €","route":"put"}`},
		"a literal beats a variable":            {"GET", "/_matrix/client/v3/profile/@a:b/displayname", 200, `{"route":"displayname"}`},
		"another method of the general path":    {"DELETE", "/_matrix/client/v3/profile/@a:b/displayname", 200, `{"field":"displayname","route":"delete field"}`},
		"HEAD goes where GET goes":              {"HEAD", "/_matrix/client/versions", 200, `{"route":"versions"}`},
		"an unknown path":                       {"GET", "/_matrix/client/v3/unknown", 404, ``},
		"an unknown prefix":                     {"GET", "/_matrix/unknown", 404, ``},
		"an empty variable":                     {"GET", "/_matrix/client/v3/rooms//state", 404, ``},
		"a path that goes on":                   {"GET", "/_matrix/client/v3/login/more", 404, ``},
		"a slash too many":                      {"POST", "/_matrix/client/v3/login/", 404, ``},
		"a known path with another method":      {"PUT", "/_matrix/client/v3/login", 405, ``},
		"an unusual method":                     {"PATCH", "/_matrix/media/v3/download/a/b", 405, ``},
		"a method that does not exist":          {"BREW", "/_synapse/admin/v1/register", 405, ``},
		"invalid UTF-8 in a variable":           {"GET", "/_matrix/client/v3/rooms/%ff/state/m.x", 400, ``},
		"NUL in a variable":                     {"GET", "/_matrix/client/v3/rooms/!a/state/%00", 400, ``},
		"OPTIONS of a path is answered":         {"OPTIONS", "/_matrix/client/v3/login", 204, ``},
		"OPTIONS of an unknown path is as well": {"OPTIONS", "/_matrix/client/v3/unknown", 204, ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := call(s, tt.method, tt.path, "")
			if w.Code != tt.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status == 200 && w.Body.String() != tt.body {
				t.Errorf("got %s, want %s", w.Body, tt.body)
			}
			if tt.status == 404 || tt.status == 405 {
				if code := errcode(t, w); code != "M_UNRECOGNIZED" {
					t.Errorf("errcode is %s", code)
				}
			}
			if got := w.Header().Get("Allow") != ""; got != (tt.status == 405) {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
			for _, h := range []string{"Origin", "Methods", "Headers"} {
				if w.Header().Get("Access-Control-Allow-"+h) == "" {
					t.Errorf("there is no Access-Control-Allow-%s", h)
				}
			}
		})
	}
}

func TestTableIsChecked(t *testing.T) {
	ok := says(nil)
	tests := map[string]struct {
		routes []Route
		want   string
	}{
		"the same route twice":         {[]Route{{"GET", "/a", None, 0, ok}, {"GET", "/a", None, 0, ok}}, "there twice"},
		"names of variables differ":    {[]Route{{"GET", "/{a}", None, 0, ok}, {"PUT", "/{b}", None, 0, ok}}, "differ only"},
		"no method":                    {[]Route{{"", "/a", None, 0, ok}}, "method"},
		"OPTIONS":                      {[]Route{{"OPTIONS", "/a", None, 0, ok}}, "method"},
		"a relative path":              {[]Route{{"GET", "a", None, 0, ok}}, "slash"},
		"no handler":                   {[]Route{{"GET", "/a", None, 0, nil}}, "handler"},
		"no auth":                      {[]Route{{"GET", "/a", 0, 0, ok}}, "who may use"},
		"only a flag for auth":         {[]Route{{"GET", "/a", WhileSuspended, 0, ok}}, "who may use"},
		"an unknown class":             {[]Route{{"GET", "/a", None, numRates, ok}}, "rate class"},
		"a pattern":                    {[]Route{{"GET", "/{a:.*}", None, 0, ok}}, "whole segment"},
		"a variable within a segment":  {[]Route{{"GET", "/a{b}", None, 0, ok}}, "whole segment"},
		"a variable that is not ended": {[]Route{{"GET", "/{b", None, 0, ok}}, "whole segment"},
		"a variable without a name":    {[]Route{{"GET", "/{}", None, 0, ok}}, "whole segment"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{}, tt.routes)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestRoutesListsTheTable(t *testing.T) {
	s := newTestServer(t, Options{},
		Route{"PUT", "/a/{b}", User, RateWrite, says(nil)},
		Route{"GET", "/a/{b}", User, RateRead, says(nil)},
		Route{"GET", "/a/b", None, RateNone, says(nil)})
	var got []string
	for _, r := range s.Routes() {
		got = append(got, r.Method+" "+r.Path)
	}
	if d := cmp.Diff([]string{"GET /a/b", "GET /a/{b}", "PUT /a/{b}"}, got); d != "" {
		t.Error(d)
	}
}

// FuzzPath looks for requests that mux and the pre-selection see differently, and for panics.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/a/b/c/d/e", "/a/%2F/c/d/", "//", "/a/b/c/d", "/%00", "/a/b/c/d/é", "/a/b/c/d/%ff", "/a/%2F /c/d/"} {
		f.Add(p)
	}
	s := newTestServer(f, Options{},
		Route{"GET", "/a/b/c/d/{e}", None, 0, echo("e", "e")}, Route{"GET", "/a/b/c/d/", None, 0, echo("slash")},
		Route{"GET", "/a/{b}/c/d/", None, 0, echo("b", "b")})
	f.Fuzz(func(t *testing.T, path string) {
		r, err := newRequest(path)
		if err != nil {
			return
		}
		covered := false
		for _, n := range s.table.nodes {
			covered = covered || n.covers(requestPath(r))
		}
		_, _, err = s.table.match(r)
		if covered != (err == nil) {
			t.Errorf("path %q: covered %v, but matching says %v", path, covered, err)
		}
	})
}
