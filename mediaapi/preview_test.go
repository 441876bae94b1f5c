package mediaapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

func blobHash(m storage.Media) blob.Hash { return blob.Hash(m.Blob) }

// site is somebody's web server.
type site struct {
	*httptest.Server
	hits atomic.Int64
	gate chan struct{} // if set, pages wait for it
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	mux := http.NewServeMux()
	page := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			s.hits.Add(1)
			if s.gate != nil {
				<-s.gate
			}
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		}
	}
	mux.HandleFunc("/page", page("text/html", `<title>Other</title><meta property="og:title" content="The Rock"><meta property="og:image" content="test.png">`))
	mux.HandleFunc("/test.png", page("application/whatever", picture(t, 279, 129)))
	mux.HandleFunc("/picture", page("image/png", picture(t, 20, 10)))
	mux.HandleFunc("/no-picture", page("text/html", `<title>T</title><meta property="og:image" content="/page">`))
	mux.HandleFunc("/file", page("application/zip", "PK"))
	mux.HandleFunc("/long", page("text/html", "<title>Long</title>"+strings.Repeat("x", 4<<20)))
	mux.HandleFunc("/big-picture", page("text/html", `<title>T</title><meta property="og:image" content="/long.png">`))
	mux.HandleFunc("/long.png", page("image/png", picture(t, 20, 10)+strings.Repeat("x", 4<<20)))
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/to-page", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/page", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (r *rig) previewOf(address string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.get("/_matrix/client/v1/media/preview_url?url="+url.QueryEscape(address), "alice")
}

func (r *rig) previewPicture(address string) id.MXC {
	r.t.Helper()
	rec := r.previewOf(address)
	expect(r.t, address, rec, 200, "")
	var out struct {
		Image id.MXC `json:"og:image"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || out.Image.IsZero() {
		r.t.Fatalf("no picture in %s", rec.Body)
	}
	return out.Image
}

func TestPreviewAnswers(t *testing.T) {
	site := newSite(t)
	small := func(m *config.Media) { m.PreviewURL.MaxSize = 1 << 20 }
	size := float64(len(picture(t, 279, 129)))
	rock := map[string]any{"og:title": "The Rock", "og:image:type": "image/png", "og:image:width": 279.0, "og:image:height": 129.0, "matrix:image:size": size}
	for _, tt := range []struct {
		name, path string
		status     int
		code       merr.Code
		want       map[string]any
	}{
		{"a page with a picture", "/page", 200, "", rock},
		{"a redirect to it", "/to-page", 200, "", rock},
		{"a picture by itself", "/picture", 200, "", map[string]any{"og:image:type": "image/png", "og:image:width": 20.0, "og:image:height": 10.0, "matrix:image:size": float64(len(picture(t, 20, 10)))}},
		{"a picture that is none is left out", "/no-picture", 200, "", map[string]any{"og:title": "T"}},
		{"a picture that is too large is left out", "/big-picture", 200, "", map[string]any{"og:title": "T"}},
		{"another kind of file has nothing to say", "/file", 200, "", map[string]any{}},
		{"a page that does not end is read in part", "/long", 200, "", map[string]any{"og:title": "Long"}},
		{"a page that is not there", "/nothing", 502, merr.Unknown, nil},
		{"a redirect without end", "/loop", 502, merr.Unknown, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, small)
			rec := r.previewOf(site.URL + tt.path)
			expect(t, tt.path, rec, tt.status, tt.code)
			if tt.want == nil {
				return
			}
			var got map[string]any
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if uri, ok := got["og:image"]; ok {
				mxc, err := id.ParseMXC(uri.(string))
				if err != nil {
					t.Fatal(err)
				}
				expect(t, "the picture", r.authed(mxc), 200, "")
				delete(got, "og:image")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPreviewRefusesWhatIsNoWebAddress(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name, address string
		code          merr.Code
	}{
		{"nothing", "", merr.MissingParam},
		{"a file", "file:///etc/passwd", merr.InvalidParam},
		{"another scheme", "gopher://example.org/", merr.InvalidParam},
		{"no host", "http:///path", merr.InvalidParam},
		{"credentials", "http://user:secret@example.org/", merr.InvalidParam},
		{"no address", "http://[::1", merr.InvalidParam},
		{"a very long address", "http://example.org/" + strings.Repeat("x", 3000), merr.InvalidParam},
	} {
		expect(t, tt.name, r.previewOf(tt.address), 400, tt.code)
	}
	expect(t, "a guest", r.get("/_matrix/client/v1/media/preview_url?url=http://a/", "guest"), 403, merr.GuestAccessForbidden)
	r.reload(func(m *config.Media) { m.PreviewURL.Enabled = false })
	expect(t, "switched off", r.previewOf("http://example.org/"), 404, merr.Unrecognized)
}

func TestPreviewDoesNotReachDeniedNetworks(t *testing.T) {
	inside := newSite(t)
	port := inside.Listener.Addr().(interface{ String() string }).String()
	port = port[strings.LastIndexByte(port, ':'):]
	r := newRig(t)
	r.web = safehttp.New(safehttp.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, nil), "test")
	for _, address := range []string{inside.URL, "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "http://127.1.2.3" + port, "http://2130706433" + port} {
		expect(t, address, r.previewOf(address+"/page"), 502, merr.Unknown)
	}
	// An address that is allowed leads to one that is not.
	r.web = safehttp.New(safehttp.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, nil), "test")
	expect(t, "redirect", r.previewOf(inside.URL+"/elsewhere?to="+url.QueryEscape("http://127.0.0.2"+port+"/page")), 502, merr.Unknown)
	if n := inside.hits.Load(); n != 0 {
		t.Errorf("%d pages were fetched", n)
	}
}

func TestPreviewsAreKeptForAWhile(t *testing.T) {
	site := newSite(t)
	r := newRig(t)
	first := r.previewOf(site.URL + "/page#part").Body.String()
	if again := r.previewOf(site.URL + "/page").Body.String(); again != first {
		t.Errorf("the second answer differs: %s", again)
	}
	r.clock.Advance(24*time.Hour - time.Second)
	r.previewOf(site.URL + "/page")
	if n := site.hits.Load(); n != 2 {
		t.Errorf("%d fetches within the lifetime, want the page and its picture", n)
	}
	r.clock.Advance(time.Second)
	r.previewOf(site.URL + "/page")
	if n := site.hits.Load(); n != 4 {
		t.Errorf("%d fetches after the lifetime, want 4", n)
	}
	// Failures are kept too, though not as long.
	site.Server.Close()
	r.clock.Advance(24 * time.Hour)
	expect(t, "gone", r.previewOf(site.URL+"/page"), 502, merr.Unknown)
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "still gone", r.previewOf(site.URL+"/page"), 502, merr.Unknown)
}

func TestManyWhoSeeALinkFetchItOnce(t *testing.T) {
	site := newSite(t)
	site.gate = make(chan struct{})
	r := newRig(t)
	const people = 20
	done := make(chan int, people)
	for range people {
		go func() { done <- r.previewOf(site.URL + "/picture").Code }()
	}
	for site.hits.Load() == 0 { // the first has arrived
		select {
		case code := <-done:
			t.Fatalf("an answer before the page came: %d", code)
		default:
		}
	}
	close(site.gate)
	for range people {
		if code := <-done; code != 200 {
			t.Errorf("status %d", code)
		}
	}
	if n := site.hits.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestPicturesOfPreviewsGoInTheEnd(t *testing.T) {
	site := newSite(t)
	r := newRig(t)
	mxc := r.previewPicture(site.URL + "/page")
	r.clock.Advance(previewPictureAge - time.Hour)
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "kept", r.authed(mxc), 200, "")
	r.clock.Advance(2 * time.Hour)
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "gone", r.authed(mxc), 404, merr.NotFound)
}

func TestPicturesOfPreviewsCountAmongAllMedia(t *testing.T) {
	site := newSite(t)
	size := config.ByteSize(len(picture(t, 279, 129)))
	for _, tt := range []struct {
		name  string
		quota config.ByteSize
		kept  bool
	}{{"there is room", size, true}, {"there is none", size - 1, false}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(m *config.Media) { m.UserQuota, m.TotalQuota = 1, tt.quota })
			rec := r.previewOf(site.URL + "/page")
			expect(t, "preview", rec, 200, "")
			if kept := strings.Contains(rec.Body.String(), "mxc://"); kept != tt.kept {
				t.Errorf("got %s", rec.Body)
			}
			expect(t, "a picture with the bytes of the page's", r.do("POST", "/_matrix/media/v3/upload", "alice", strings.NewReader("12")), 403, merr.Forbidden)
		})
	}
}
