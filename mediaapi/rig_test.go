package mediaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
	"github.com/hearthd/hearth/storage/storagetest"
)

// start is when the fake clock of every rig begins.
var start = time.Date(2024, 9, 1, 12, 0, 0, 0, time.UTC)

// rig is a media service behind the real web server, with users whose token is their name.
type rig struct {
	*Service
	t       *testing.T
	clock   *clock.Fake
	store   *storage.Store
	blobs   *blob.Dir
	remote  *fakeRemote
	cfg     config.Media
	handler http.Handler
	metrics *prometheus.Registry
	log     *lockedBuffer
}

func newRig(t *testing.T, change ...func(*config.Media)) *rig {
	t.Helper()
	cfg := config.Default().Media
	cfg.MaxUpload = 1 << 20
	for _, c := range change {
		c(&cfg)
	}
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, clock: clock.NewFake(start), store: storagetest.Open(t), blobs: blobs, remote: &fakeRemote{}, cfg: cfg,
		metrics: prometheus.NewRegistry(), log: &lockedBuffer{},
	}
	thumbs := thumbnail.New(thumbnail.Limits{}, 2)
	t.Cleanup(thumbs.Close)
	r.Service, err = New(Parts{
		Server: "hs1", Store: r.store, Blobs: blobs, Hub: hub.New(0), Clock: r.clock, Config: cfg,
		Thumbnails: thumbs, Web: safehttp.New(safehttp.NewGuard(nil, nil), "test"), Remote: r.remote,
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Metrics: r.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.work.Stop)
	handler, err := web.New(web.Options{Auth: tokenIsName{}, Servers: anyServer{}, Clock: r.clock}, r.Routes())
	if err != nil {
		t.Fatal(err)
	}
	r.handler = spec.Responses(t).Wrap(handler)
	return r
}

// freeze is a change of the configuration.
func freeze(enabled bool, at time.Time) func(*config.Media) {
	return func(m *config.Media) { m.Freeze = config.Freeze{Enabled: enabled, At: at} }
}

// reload does what SIGHUP does to the service.
func (r *rig) reload(change ...func(*config.Media)) {
	for _, c := range change {
		c(&r.cfg)
	}
	r.SetConfig(r.cfg)
}

type tokenIsName struct{}

func (tokenIsName) Authenticate(_ context.Context, token, _ string, _ *http.Request) (web.Caller, error) {
	if token == "unknown" {
		return web.Caller{}, merr.New(merr.UnknownToken, "Unknown access token")
	}
	return web.Caller{User: id.UserID("@" + token + ":hs1"), Device: "D", Guest: token == "guest", Admin: token == "admin"}, nil
}

// anyServer believes everybody.
type anyServer struct{}

func (anyServer) AuthenticateServer(context.Context, *http.Request, []byte) (id.ServerName, error) {
	return "elsewhere", nil
}

// signed makes a request as another server.
func (r *rig) signed(path string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.get(path, "", "Authorization", "X-Matrix whatever")
}

// do makes a request; an empty token is none.
func (r *rig) do(method, path, token string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequest(method, path, body)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	r.handler.ServeHTTP(rec, req)
	return rec
}

func (r *rig) get(path, token string, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.do("GET", path, token, nil, headers...)
}

// upload uploads as alice and returns the URI.
func (r *rig) upload(data, contentType, filename string) id.MXC {
	r.t.Helper()
	path := "/_matrix/media/v3/upload"
	if filename != "" {
		path += "?filename=" + strings.ReplaceAll(filename, " ", "%20")
	}
	return r.uri(r.do("POST", path, "alice", strings.NewReader(data), "Content-Type", contentType))
}

// create makes a URI as alice whose bytes come later.
func (r *rig) create() id.MXC {
	r.t.Helper()
	return r.uri(r.do("POST", "/_matrix/media/v1/create", "alice", nil))
}

func (r *rig) put(mxc id.MXC, token, data string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.do("PUT", "/_matrix/media/v3/upload/"+mxcPath(mxc), token, strings.NewReader(data), "Content-Type", "text/plain")
}

func (r *rig) uri(rec *httptest.ResponseRecorder) id.MXC {
	r.t.Helper()
	var out contentURI
	if rec.Code != 200 {
		r.t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		r.t.Fatal(err)
	}
	return out.URI
}

func (r *rig) row(mxc id.MXC) storage.Media {
	r.t.Helper()
	m, err := r.Info(r.t.Context(), mxc)
	if err != nil {
		r.t.Fatalf("row of %s: %v", mxc, err)
	}
	return m
}

// legacy and authed are the answers of the two download endpoints.
func (r *rig) legacy(mxc id.MXC) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.get("/_matrix/media/v3/download/"+mxcPath(mxc)+"?timeout_ms=0", "")
}

func (r *rig) authed(mxc id.MXC) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.get("/_matrix/client/v1/media/download/"+mxcPath(mxc)+"?timeout_ms=0", "alice")
}

func mxcPath(mxc id.MXC) string { return string(mxc.Server) + "/" + mxc.MediaID }

// expect checks status and, for errors, the code.
func expect(t *testing.T, what string, rec *httptest.ResponseRecorder, status int, code merr.Code) {
	t.Helper()
	var got struct {
		Code merr.Code `json:"errcode"`
	}
	if code != "" {
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Errorf("%s: status %d, not JSON: %q", what, rec.Code, rec.Body)
			return
		}
	}
	if rec.Code != status || got.Code != code {
		t.Errorf("%s: got %d %s, want %d %s (%s)", what, rec.Code, got.Code, status, code, brief(rec.Body.String()))
	}
}

func brief(s string) string { return s[:min(len(s), 200)] }

// fakeRemote is the rest of the world.
type fakeRemote struct {
	mu    sync.Mutex
	files map[id.MXC]RemoteMedia // without a Body it is made from the text
	texts map[id.MXC]string
	err   error
	asked []RemoteRequest
	// during, if set, happens while the other server answers.
	during func()
}

func (f *fakeRemote) has(mxc id.MXC, text, contentType string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files, f.texts = map[id.MXC]RemoteMedia{}, map[id.MXC]string{}
	}
	f.files[mxc] = RemoteMedia{ContentType: contentType, Size: int64(len(text))}
	f.texts[mxc] = text
}

// serves gives media as it is, once.
func (f *fakeRemote) serves(mxc id.MXC, m RemoteMedia) {
	f.has(mxc, "", m.ContentType)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[mxc] = m
}

func (f *fakeRemote) FetchMedia(_ context.Context, want RemoteRequest) (*RemoteMedia, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, want)
	if f.during != nil {
		f.during()
	}
	if f.err != nil {
		return nil, f.err
	}
	m, ok := f.files[want.MXC]
	if !ok {
		return nil, merr.New(merr.NotFound, "not there")
	}
	if m.Body == nil {
		m.Body = io.NopCloser(strings.NewReader(f.texts[want.MXC]))
	}
	return &m, nil
}

// requests returns what was asked so far and forgets it.
func (f *fakeRemote) requests() []RemoteRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.asked
	f.asked = nil
	return out
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// picture is a PNG of some size.
func picture(t testing.TB, width, height int) string {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.Set(x, y, color.NRGBA{uint8(x), uint8(y), uint8(x * y), 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var errOutage = errors.New("connection refused")

// blobsExcept are the files that are not the media's own.
func (r *rig) blobsExcept(mxc id.MXC) []blob.Hash {
	r.t.Helper()
	own := blobHash(r.row(mxc))
	var out []blob.Hash
	if err := r.blobs.Each(r.t.Context(), func(h blob.Hash, _ time.Time) error {
		if h != own {
			out = append(out, h)
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return out
}
