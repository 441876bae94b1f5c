package remotemedia

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/mediaapi"
)

// The names S1 to S4 are those of MEDIA.md.

// world is another server and whatever it points to. It is scripted by path.
type world struct {
	*httptest.Server
	script map[string]http.HandlerFunc
	asked  []string // what came in, in order: path and query, "signed" before it where it was
}

const (
	federationPath = "/_matrix/federation/v1/media/download/abc"
	v3Path         = "/_matrix/media/v3/download/elsewhere/abc"
	r0Path         = "/_matrix/media/r0/download/elsewhere/abc"
)

func newWorld(t *testing.T, script map[string]http.HandlerFunc) *world {
	t.Helper()
	w := &world{script: script}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := w.script[r.URL.EscapedPath()]; h != nil {
			h(rw, r)
			return
		}
		refuse(404, "M_UNRECOGNIZED")(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// Stream is what the federation client does, without its search for the server and its signatures.
func (w *world) Stream(ctx context.Context, to id.ServerName, path string, query url.Values, signed bool) (*http.Response, error) {
	line := path
	if signed {
		line = "signed " + line
	}
	w.asked = append(w.asked, line+"?"+query.Encode())
	if to != "elsewhere" {
		return nil, fmt.Errorf("no server %s", to)
	}
	return w.get(ctx, http.DefaultTransport, w.URL+path+"?"+query.Encode())
}

func (w *world) Plain(ctx context.Context, url string) (*http.Response, error) {
	w.asked = append(w.asked, "plain "+strings.TrimPrefix(url, w.URL))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return safehttp.New(safehttp.NewGuard(nil, nil), "test").Do(req)
}

func (w *world) get(ctx context.Context, via http.RoundTripper, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return via.RoundTrip(req)
}

func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		if code == "" {
			fmt.Fprint(w, "<html>no</html>")
			return
		}
		fmt.Fprintf(w, `{"errcode":%q,"error":"said by a stranger"}`, code)
	}
}

// file serves bytes as a legacy endpoint does.
func file(text string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fmt.Fprint(w, text)
	}
}

// multi serves a multipart answer; lines end as they have to.
func multi(body string, headers ...string) http.HandlerFunc {
	headers = append([]string{"Content-Type", "multipart/mixed; boundary=xyz"}, headers...)
	return file(strings.ReplaceAll(body, "\n", "\r\n"), headers...)
}

const head = "--xyz\nContent-Type: application/json\n\n{}\n--xyz\n"

// got is what came of a fetch.
type got struct {
	Body, ContentType, Filename string
	Size                        int64
}

func (w *world) fetch(t *testing.T, change ...func(*mediaapi.RemoteRequest)) (got, error) {
	t.Helper()
	want := mediaapi.RemoteRequest{MXC: id.MXC{Server: "elsewhere", MediaID: "abc"}, Fallback: true, Wait: 2 * time.Second, Limit: 1000}
	for _, c := range change {
		c(&want)
	}
	m, err := New(w).FetchMedia(t.Context(), want)
	if err != nil {
		return got{}, err
	}
	defer m.Body.Close()
	body, err := io.ReadAll(m.Body)
	return got{string(body), m.ContentType, m.Filename, m.Size}, err
}

func TestS1S2Parts(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		want got
	}{
		{"the media in the second part", multi(head + "Content-Type: text/plain\nContent-Disposition: inline; filename=a.txt\n\nhello\n--xyz--\n"),
			got{"hello", "text/plain", "a.txt", -1}},
		{"with its length", multi(head + "Content-Type: text/plain\nContent-Length: 5\n\nhello\n--xyz--\n"), got{"hello", "text/plain", "", 5}},
		{"with a length that makes no sense", multi(head + "Content-Length: -5\n\nhello\n--xyz--\n"), got{"hello", "", "", -1}},
		{"no line break at the end", multi(head + "\nhello\n--xyz--"), got{"hello", "", "", -1}},
		{"a first part without a type", multi("--xyz\n\n{}\n--xyz\n\nhello\n--xyz--\n"), got{"hello", "", "", -1}},
		{"a first part that is empty", multi("--xyz\n\n\n--xyz\n\nhello\n--xyz--\n"), got{"hello", "", "", -1}},
		{"a first part with unknown members", multi("--xyz\nContent-Type: application/json; charset=utf-8\n\n{\"a\":[1]}\n--xyz\n\nhello\n--xyz--\n"),
			got{"hello", "", "", -1}},
		{"a media that is empty", multi(head + "Content-Type: text/plain\n\n\n--xyz--\n"), got{"", "text/plain", "", -1}},
		{"line breaks in the media", multi(head + "\nhello\n\n--xy\n\n\n--xyz--\n"), got{"hello\r\n\r\n--xy\r\n\r\n", "", "", -1}},
		{"a preamble and an epilogue", multi("this is multipart\n" + head + "\nhello\n--xyz--\nbye"), got{"hello", "", "", -1}},
		{"the name in the outer header", multi(head+"\nhello\n--xyz--\n", "Content-Disposition", "attachment; filename=b.txt"),
			got{"hello", "", "b.txt", -1}},
		{"the name in both", multi(head+"Content-Disposition: attachment; filename=a.txt\n\nhello\n--xyz--\n", "Content-Disposition", "attachment; filename=b.txt"),
			got{"hello", "", "a.txt", -1}},
		{"a name of any letters", multi(head + "Content-Disposition: inline; filename*=utf-8''%F0%9F%90%94\n\nhello\n--xyz--\n"),
			got{"hello", "", "\U0001F414", -1}},
		{"a name that cannot be read", multi(head + "Content-Disposition: inline; filename=\"\n\nhello\n--xyz--\n"), got{"hello", "", "", -1}},
		{"an encoding is not undone", multi(head + "Content-Transfer-Encoding: quoted-printable\n\na=3Db\n--xyz--\n"), got{"a=3Db", "", "", -1}},
		{"an end behind the media", multi(head + "\nhello\n--xyz\n"), got{"hello", "", "", -1}},
		{"a quoted boundary", multi(head+"\nhello\n--xyz--\n", "Content-Type", `Multipart/Mixed; boundary="xyz"`), got{"hello", "", "", -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, map[string]http.HandlerFunc{federationPath: tt.h})
			have, err := w.fetch(t)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"signed " + federationPath + "?timeout_ms=2000"}, w.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestS1AnswersThatAreNotAsTheyShouldBe(t *testing.T) {
	long := strings.Repeat("x", 1001)
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"not multipart", file("hello", "Content-Type", "text/plain")},
		{"another kind of multipart", multi(head+"\nhello\n--xyz--\n", "Content-Type", "multipart/form-data; boundary=xyz")},
		{"no boundary", multi(head+"\nhello\n--xyz--\n", "Content-Type", "multipart/mixed")},
		{"an endless boundary", multi(head+"\nhello\n--xyz--\n", "Content-Type", "multipart/mixed; boundary="+strings.Repeat("x", 300))},
		{"nothing", multi("")},
		{"no part", multi("--xyz--\n")},
		{"one part", multi("--xyz\n\n{}\n--xyz--\n")},
		{"three parts", multi(head + "\nhello\n--xyz\n\nworld\n--xyz--\n")},
		{"a first part that is no JSON", multi("--xyz\nContent-Type: application/json\n\nhello\n--xyz\n\nhello\n--xyz--\n")},
		{"a first part of another type", multi("--xyz\nContent-Type: text/plain\n\n{}\n--xyz\n\nhello\n--xyz--\n")},
		{"a first part without end", multi("--xyz\n\n\"" + strings.Repeat("x", maxMetadata) + "\"\n--xyz\n\nhello\n--xyz--\n")},
		{"a media that breaks off", multi(head + "\nhello")},
		{"a preamble without end", multi(strings.Repeat("x\n", maxFraming))},
		{"a header without end", multi("--xyz\nX: " + strings.Repeat("x", 2*maxFraming) + "\n\n{}\n--xyz\n\nhello\n--xyz--\n")},
		{"a media without end", multi(head + "\n" + strings.Repeat(long, 200) + "\n--xyz--\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, map[string]http.HandlerFunc{federationPath: tt.h})
			have, err := w.fetch(t)
			if err == nil {
				t.Errorf("got %.100v", have)
			}
			if errors.As(err, new(*merr.Error)) {
				t.Errorf("the error says something to the client: %v", err)
			}
			if len(w.asked) != 1 {
				t.Errorf("asked for %v", w.asked)
			}
		})
	}
}

func TestS3Location(t *testing.T) {
	real := file("hello", "Content-Type", "text/plain", "Content-Disposition", "inline; filename=a.txt", "Content-Length", "5")
	want := got{"hello", "text/plain", "a.txt", 5}
	for _, tt := range []struct {
		name, location string
		script         map[string]http.HandlerFunc
		want           got
		asked          string // empty: the fetch fails
	}{
		{"an address", "HERE/cdn/x?sig=1", map[string]http.HandlerFunc{"/cdn/x": real}, want, "plain /cdn/x?sig=1"},
		{"an address that redirects", "HERE/cdn/y", map[string]http.HandlerFunc{"/cdn/x": real, "/cdn/y": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/cdn/x", http.StatusFound)
		}}, want, "plain /cdn/y"},
		{"a path of the same server", "/cdn/a%2Fx?sig=1", map[string]http.HandlerFunc{"/cdn/a%2Fx": real}, want, "/cdn/a%2Fx?sig=1"},
		{"nothing there", "HERE/cdn/x", nil, got{}, ""},
		{"a server that fails", "HERE/cdn/x", map[string]http.HandlerFunc{"/cdn/x": refuse(503, "")}, got{}, ""},
		{"a file of this machine", "file:///etc/passwd", nil, got{}, ""},
		{"no scheme", "//elsewhere/x", nil, got{}, ""},
		{"a relative path", "x", nil, got{}, ""},
		{"no address", "http://[", nil, got{}, ""},
		{"an endless address", "/" + strings.Repeat("x", maxLocation), nil, got{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.script)
			if w.script == nil {
				w.script = map[string]http.HandlerFunc{}
			}
			// What else the part says does not count.
			w.script[federationPath] = multi(head + "Content-Type: image/png\nLocation: " + strings.ReplaceAll(tt.location, "HERE", w.URL) + "\n\nno\n--xyz--\n")
			have, err := w.fetch(t)
			if (err != nil) != (tt.asked == "") {
				t.Fatal(err)
			}
			if err != nil {
				if errors.As(err, new(*merr.Error)) {
					t.Errorf("the error says something to the client: %v", err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Error(diff)
			}
			if last := w.asked[len(w.asked)-1]; last != tt.asked {
				t.Errorf("asked for %s", last)
			}
		})
	}
}

func TestS4Fallback(t *testing.T) {
	old := file("hello", "Content-Type", "text/plain")
	const (
		signed = "signed " + federationPath + "?timeout_ms=2000"
		v3     = v3Path + "?allow_remote=false&timeout_ms=2000"
		r0     = r0Path + "?allow_remote=false&timeout_ms=2000"
	)
	for _, tt := range []struct {
		name   string
		first  http.HandlerFunc
		legacy http.HandlerFunc // v3
		oldest http.HandlerFunc // r0
		change func(*mediaapi.RemoteRequest)
		asked  []string
		code   merr.Code // of the error; empty: it says nothing to clients
		ok     bool
	}{
		{"unknown endpoint", refuse(404, "M_UNRECOGNIZED"), old, nil, nil, []string{signed, v3}, "", true},
		{"unknown endpoint of a reverse proxy", refuse(404, ""), old, nil, nil, []string{signed, v3}, "", true},
		{"bad request of something else", refuse(400, ""), old, nil, nil, []string{signed, v3}, "", true},
		{"unknown method", refuse(405, "M_UNRECOGNIZED"), old, nil, nil, []string{signed, v3}, "", true},
		{"unknown twice", refuse(404, "M_UNRECOGNIZED"), refuse(404, "M_UNRECOGNIZED"), old, nil, []string{signed, v3, r0}, "", true},
		{"unknown everywhere", nil, nil, nil, nil, []string{signed, v3, r0}, merr.NotFound, false},
		{"no fallback wanted", nil, old, nil, func(r *mediaapi.RemoteRequest) { r.Fallback = false }, []string{signed}, merr.NotFound, false},
		{"legacy only", nil, old, nil, func(r *mediaapi.RemoteRequest) { r.LegacyOnly = true }, []string{v3}, "", true},
		{"legacy only, without fallback", nil, old, nil, func(r *mediaapi.RemoteRequest) { r.LegacyOnly, r.Fallback = true, false }, []string{v3}, "", true},
		{"no such media", refuse(404, "M_NOT_FOUND"), old, nil, nil, []string{signed}, merr.NotFound, false},
		{"not uploaded yet", refuse(504, "M_NOT_YET_UPLOADED"), old, nil, nil, []string{signed}, merr.NotYetUploaded, false},
		{"too large", refuse(502, "M_TOO_LARGE"), old, nil, nil, []string{signed}, merr.TooLarge, false},
		{"bad request", refuse(400, "M_UNKNOWN"), old, nil, nil, []string{signed}, "", false},
		{"not authenticated", refuse(401, "M_UNAUTHORIZED"), old, nil, nil, []string{signed}, "", false},
		{"not authenticated, without saying why", refuse(401, ""), old, nil, nil, []string{signed}, "", false},
		{"forbidden", refuse(403, "M_FORBIDDEN"), old, nil, nil, []string{signed}, "", false},
		{"too many requests", refuse(429, "M_LIMIT_EXCEEDED"), old, nil, nil, []string{signed}, "", false},
		{"trouble", refuse(500, "M_UNKNOWN"), old, nil, nil, []string{signed}, "", false},
		{"trouble of a reverse proxy", refuse(502, ""), old, nil, nil, []string{signed}, "", false},
		{"a redirection", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, v3Path, http.StatusFound) }, old, nil, nil, []string{signed}, "", false},
		{"legacy: no such media", nil, refuse(404, "M_NOT_FOUND"), old, nil, []string{signed, v3}, merr.NotFound, false},
		{"legacy: trouble", nil, refuse(503, ""), old, nil, []string{signed, v3}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, map[string]http.HandlerFunc{federationPath: tt.first, v3Path: tt.legacy, r0Path: tt.oldest})
			change := tt.change
			if change == nil {
				change = func(*mediaapi.RemoteRequest) {}
			}
			have, err := w.fetch(t, change)
			if tt.ok && (err != nil || have.Body != "hello" || have.ContentType != "text/plain") || !tt.ok && err == nil {
				t.Errorf("got %v, %v", have, err)
			}
			var e *merr.Error
			if errors.As(err, &e); e != nil && (e.Code != tt.code || strings.Contains(e.Msg, "stranger")) || e == nil && tt.code != "" {
				t.Errorf("the error is %v", err)
			}
			if diff := cmp.Diff(tt.asked, w.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNamesOfServersAreEscaped(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.fetch(t, func(r *mediaapi.RemoteRequest) { r.MXC.Server, r.LegacyOnly = "[::1]:8448", true })
	if err == nil || !strings.HasPrefix(w.asked[0], "/_matrix/media/v3/download/%5B::1%5D:8448/abc?") {
		t.Errorf("%v, %v", w.asked, err)
	}
}

func FuzzParts(f *testing.F) {
	for _, body := range []string{
		head + "Content-Type: text/plain\n\nhello\n--xyz--\n", head + "Location: https://example.org/\n\n\n--xyz--\n", "--xyz--\n", head,
		"--xyz\n\n{}\n--xyz\nContent-Disposition: inline; filename*=utf-8''%zz\n\n--xyz--",
	} {
		f.Add("multipart/mixed; boundary=xyz", strings.ReplaceAll(body, "\n", "\r\n"))
	}
	f.Add("multipart/mixed", "")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		const limit = 100
		resp := &http.Response{Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}
		p, err := readParts(resp, limit)
		if err != nil || p.location != "" {
			return
		}
		// Whether it breaks off or not, no more comes out than went in.
		if data, _ := io.ReadAll(p.media.Body); len(data) > len(body) {
			t.Errorf("%d bytes", len(data))
		}
	})
}
