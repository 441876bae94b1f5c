package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// closing tells whether it was closed.
type closing struct {
	io.ReadSeeker
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestStreamWithContent(t *testing.T) {
	const text = "0123456789"
	tests := map[string]struct {
		method string
		header []string
		status int
		body   string
		length string
	}{
		"all of it":                         {"GET", nil, 200, text, "10"},
		"HEAD":                              {"HEAD", nil, 200, "", "10"},
		"a range":                           {"GET", []string{"Range: bytes=2-4"}, 206, "234", "3"},
		"a range that is not there":         {"GET", []string{"Range: bytes=20-"}, 416, "", ""},
		"a range of what is still the same": {"GET", []string{"Range: bytes=2-4", `If-Range: "tag"`}, 206, "234", "3"},
		"a range of what has changed":       {"GET", []string{"Range: bytes=2-4", `If-Range: "old"`}, 200, text, "10"},
		"what the client has already":       {"GET", []string{`If-None-Match: "tag"`}, 304, "", ""},
		"what the client has of old":        {"GET", []string{`If-None-Match: "old"`}, 200, text, "10"},
		"not modified since":                {"GET", []string{"If-Modified-Since: Thu, 01 Jan 1970 01:00:00 GMT"}, 304, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &closing{ReadSeeker: strings.NewReader(text)}
			s := newTestServer(t, Options{}, Route{"GET", "/x", None, RateNone, says(Stream{
				Header:  http.Header{"Content-Type": {"text/plain"}, "etag": {`"tag"`}},
				Content: c, ModTime: time.Unix(60, 0),
			})})
			w := call(s, tt.method, "/x", "", tt.header...)
			if w.Code != tt.status || tt.status != 416 && w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			if got := w.Header().Get("Content-Length"); tt.length != "" && got != tt.length {
				t.Errorf("Content-Length is %q", got)
			}
			if !c.closed {
				t.Error("the content was not closed")
			}
			if w.Header().Get("Access-Control-Expose-Headers") == "" {
				t.Error("scripts cannot read the headers of the file")
			}
		})
	}
}

func TestStreamWithReader(t *testing.T) {
	s := newTestServer(t, Options{}, Route{"GET", "/x", None, RateNone, func(context.Context, *Request) (any, error) {
		return &Stream{Status: 203, Header: http.Header{"Content-Type": {"a/b"}}, Reader: strings.NewReader("abc"), Size: 3}, nil
	}}, Route{"GET", "/nothing", None, RateNone, says(Stream{Status: 204})})
	w := call(s, "GET", "/x", "")
	if w.Code != 203 || w.Body.String() != "abc" || w.Header().Get("Content-Length") != "3" || w.Header().Get("Content-Type") != "a/b" {
		t.Errorf("got %d %q %v", w.Code, w.Body, w.Header())
	}
	if w := call(s, "HEAD", "/x", ""); w.Code != 203 || w.Body.Len() != 0 {
		t.Errorf("HEAD: got %d %q", w.Code, w.Body)
	}
	if w := call(s, "GET", "/nothing", ""); w.Code != 204 {
		t.Errorf("got %d", w.Code)
	}
}

func TestFileOverTheNetwork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	want := strings.Repeat("0123456789abcdef", streamPiece/8) // two pieces
	if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newTestServer(t, Options{}, Route{"GET", "/x", None, RateNone, func(context.Context, *Request) (any, error) {
		f, err := os.Open(path)
		return Stream{Content: f, Header: http.Header{"Content-Type": {"a/b"}}}, err
	}})
	h := httptest.NewServer(s)
	defer h.Close()
	for _, r := range []struct{ header, want string }{{"", want}, {"bytes=1-600000", want[1:600001]}} {
		req, err := http.NewRequest("GET", h.URL+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", r.header)
		resp, err := h.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != r.want {
			t.Errorf("range %q: got %d of %d bytes, error %v", r.header, len(got), len(r.want), err)
		}
	}
}

func TestStreamThatEndsEarlyBreaksTheConnection(t *testing.T) {
	s := newTestServer(t, Options{},
		Route{"GET", "/short", None, RateNone, func(context.Context, *Request) (any, error) {
			return Stream{Reader: strings.NewReader("abc"), Size: 4}, nil
		}},
		Route{"GET", "/failing", None, RateNone, func(context.Context, *Request) (any, error) {
			return Stream{Reader: io.MultiReader(strings.NewReader("abc"), failed{errors.New("disk")})}, nil
		}})
	h := httptest.NewServer(s)
	defer h.Close()
	for _, path := range []string{"/short", "/failing"} {
		resp, err := h.Client().Get(h.URL + path)
		if err != nil {
			continue // broken before the client saw the head
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the client takes a broken answer for a whole one", path)
		}
		resp.Body.Close()
	}
}

// patient records the deadlines it is given.
type patient struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (p *patient) SetReadDeadline(t time.Time) error {
	p.read = append(p.read, t)
	return nil
}

func (p *patient) SetWriteDeadline(t time.Time) error {
	p.write = append(p.write, t)
	return nil
}

func TestSlowClientsHaveDeadlines(t *testing.T) {
	s := newTestServer(t, Options{}, Route{"POST", "/x", None, RateNone, func(_ context.Context, r *Request) (any, error) {
		_, err := io.ReadAll(r.Body())
		return nil, err
	}})
	w := &patient{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, httptest.NewRequest("POST", "/x", strings.NewReader(strings.Repeat("a", 10000))))
	if len(w.read) < 3 || w.read[0].IsZero() || !w.read[len(w.read)-1].IsZero() {
		t.Errorf("deadlines for reading are %v, want one for each piece and none in the end", w.read)
	}
	if len(w.write) != 1 || w.write[0].IsZero() {
		t.Errorf("deadlines for writing are %v, want one", w.write)
	}
}

func TestHandlerLearnsThatTheClientIsGone(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error)
	s := newTestServer(t, Options{}, Route{"POST", "/wait", None, RateNone, func(ctx context.Context, r *Request) (any, error) {
		if _, err := r.Object(); err != nil {
			return nil, err
		}
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}})
	h := httptest.NewUnstartedServer(s)
	h.Config = NewServer("", s)
	h.Start()
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", h.URL+"/wait", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := h.Client().Do(req)
		done <- err
	}()
	<-begun
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler got %v", err)
	}
	if err := <-done; err == nil {
		t.Error("the client got an answer")
	}
}

func TestServerHasLimits(t *testing.T) {
	s := NewServer("127.0.0.1:0", http.NotFoundHandler())
	if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a limit is missing: %v", s)
	}
	if s.ReadTimeout != 0 || s.WriteTimeout != 0 {
		t.Error("a limit for the whole request would end syncs and uploads")
	}
}
