package mediaapi

import (
	"bytes"
	"image"
	"image/png"
	"mime"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The names A1 to A14 are those of MEDIA.md.

func TestA1TokenComesBeforeThePath(t *testing.T) {
	r := newRig(t)
	mxc := r.upload("x", "text/plain", "")
	for _, path := range []string{
		"/download/hs1/" + url.PathEscape(mxc.String()), "/download/" + mxcPath(mxc), "/download/" + mxcPath(mxc) + "/name",
		"/thumbnail/" + mxcPath(mxc), "/thumbnail/bad!/x", "/config", "/preview_url",
	} {
		expect(t, path, r.get("/_matrix/client/v1/media"+path, ""), 401, merr.MissingToken)
		expect(t, path, r.get("/_matrix/client/v1/media"+path, "unknown"), 401, merr.UnknownToken)
	}
}

func TestA2GuestsMayLook(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 10, 10), "image/png", "")
	expect(t, "download", r.get("/_matrix/client/v1/media/download/"+mxcPath(mxc), "guest"), 200, "")
	expect(t, "thumbnail", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(mxc)+"?width=5&height=5", "guest"), 200, "")
}

func TestA4A5ContentDisposition(t *testing.T) {
	for _, tt := range []struct{ name, contentType, filename, kind string }{
		{"safe type", "image/png", "ascii", "inline"},
		{"safe type with parameters and in capitals", "Text/Plain; charset=utf-8", "a.txt", "inline"},
		{"safe type after a blank", " image/png ", "a.png", "inline"},
		{"web page", "text/html", "a.html", "attachment"},
		{"drawing", "image/svg+xml", "a.svg", "attachment"},
		{"wrong type of a drawing", "image/svg", "", "attachment"},
		{"document", "application/pdf", "a.pdf", "attachment"},
		{"script", "text/javascript", "a.js", "attachment"},
		{"unknown", "application/octet-stream", "", "attachment"},
		{"no name", "image/png", "", "inline"},
		{"blanks", "image/png", "name with spaces", "inline"},
		{"semicolons", "image/png", "name;with;semicolons", "inline"},
		{"quotes and backslashes", "image/png", `a"b\c`, "inline"},
		{"an emoji", "image/png", "\U0001F414", "inline"},
		{"a line break", "image/png", "a\r\nSet-Cookie: x", "inline"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind, params, err := mime.ParseMediaType(disposition(tt.contentType, tt.filename))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			if tt.filename != "" {
				want["filename"] = tt.filename
			}
			if diff := cmp.Diff(want, params); diff != "" || kind != tt.kind {
				t.Errorf("%s %v, want %s\n%s", kind, params, tt.kind, diff)
			}
		})
	}
}

func TestA5NameOfThePathWins(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	mxc := r.upload("x", "image/png", "ascii")
	for path, want := range map[string]string{"": "ascii", "/file.png": "file.png", "/%E2%98%95": "\u2615", "/a%2Fb": "a/b", "/a;b": "a;b"} {
		for _, prefix := range []string{"/_matrix/client/v1/media", "/_matrix/media/v3"} {
			rec := r.get(prefix+"/download/"+mxcPath(mxc)+path, "alice")
			_, params, err := mime.ParseMediaType(rec.Header().Get("Content-Disposition"))
			if err != nil || params["filename"] != want {
				t.Errorf("%s%s: %q, error %v", prefix, path, rec.Header().Get("Content-Disposition"), err)
			}
		}
	}
	bare := r.upload("x", "image/png", "")
	if got := r.authed(bare).Header().Get("Content-Disposition"); got != "inline" {
		t.Errorf("without a name: %q", got)
	}
}

func TestA6A7Headers(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	mxc := r.upload(picture(t, 200, 200), "image/png", "")
	for path, cache := range map[string]string{
		"/_matrix/client/v1/media/download/%s":                      "private, max-age=31536000, immutable",
		"/_matrix/client/v1/media/thumbnail/%s?width=10&height=10":  "private, max-age=31536000, immutable",
		"/_matrix/client/v1/media/thumbnail/%s?width=999&height=99": "private, max-age=31536000, immutable",
		"/_matrix/media/v3/download/%s":                             "public, max-age=3600",
		"/_matrix/media/r0/thumbnail/%s?width=10&height=10":         "public, max-age=3600",
	} {
		path = strings.ReplaceAll(path, "%s", mxcPath(mxc))
		rec := r.get(path, "alice")
		expect(t, path, rec, 200, "")
		for name, want := range map[string]string{
			"Content-Security-Policy":      "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
			"Cross-Origin-Resource-Policy": "cross-origin",
			"Cache-Control":                cache,
			"X-Robots-Tag":                 "noindex, nofollow, noarchive, noimageindex",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
			"Access-Control-Allow-Origin":  "*",
		} {
			if got := rec.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		tag := rec.Header().Get("ETag")
		if tag == "" {
			t.Errorf("%s: no ETag", path)
		}
		again := r.get(path, "alice", "If-None-Match", tag)
		if again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("%s: with its ETag %d, %d bytes", path, again.Code, again.Body.Len())
		}
	}
	// Who is not let in learns nothing from an ETag.
	tag := r.authed(mxc).Header().Get("ETag")
	expect(t, "without token", r.get("/_matrix/client/v1/media/download/"+mxcPath(mxc), "", "If-None-Match", tag), 401, merr.MissingToken)
	if err := r.Quarantine(t.Context(), mxc, "admin"); err != nil {
		t.Fatal(err)
	}
	expect(t, "quarantined", r.get("/_matrix/client/v1/media/download/"+mxcPath(mxc), "alice", "If-None-Match", tag), 404, merr.NotFound)
}

func TestA8RangesAndHEAD(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	mxc := r.upload("0123456789", "video/mp4", "")
	for _, path := range []string{"/_matrix/client/v1/media/download/" + mxcPath(mxc), "/_matrix/media/v3/download/" + mxcPath(mxc)} {
		tag := r.get(path, "alice").Header().Get("ETag")
		for _, tt := range []struct {
			name      string
			headers   []string
			status    int
			body      string
			wantRange string
		}{
			{"a part", []string{"Range", "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
			{"the rest", []string{"Range", "bytes=7-"}, 206, "789", "bytes 7-9/10"},
			{"the end", []string{"Range", "bytes=-1"}, 206, "9", "bytes 9-9/10"},
			{"nothing that is there", []string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
			{"a part if unchanged", []string{"Range", "bytes=0-0", "If-Range", tag}, 206, "0", "bytes 0-0/10"},
			{"a part if it were another", []string{"Range", "bytes=0-0", "If-Range", `"other"`}, 200, "0123456789", ""},
		} {
			rec := r.get(path, "alice", tt.headers...)
			body := rec.Body.String()
			if tt.status == 416 {
				body = ""
			}
			if rec.Code != tt.status || body != tt.body || rec.Header().Get("Content-Range") != tt.wantRange {
				t.Errorf("%s: %s: %d %q %q", path, tt.name, rec.Code, body, rec.Header().Get("Content-Range"))
			}
		}
		head := r.do("HEAD", path, "alice", nil)
		if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != "10" || head.Header().Get("Content-Type") != "video/mp4" {
			t.Errorf("%s: HEAD: %d %v", path, head.Code, head.Header())
		}
	}
	if rec := r.do("HEAD", "/_matrix/client/v1/media/download/"+mxcPath(mxc), "", nil); rec.Code != 401 {
		t.Errorf("HEAD without token: %d", rec.Code)
	}
}

func TestA9OPTIONSIsAnsweredEverywhere(t *testing.T) {
	r := newRig(t)
	for _, route := range r.Routes() {
		path := strings.NewReplacer("{serverName}", "hs1", "{mediaID}", "x", "{fileName}", "n").Replace(route.Path)
		rec := r.do("OPTIONS", path, "", nil)
		if rec.Code/100 != 2 || rec.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(rec.Header().Get("Access-Control-Allow-Methods"), "HEAD") {
			t.Errorf("%s: %d %v", path, rec.Code, rec.Header())
		}
	}
}

func TestA10Thumbnails(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 1000, 500), "image/png", "holiday.png")
	for _, tt := range []struct {
		query         string
		width, height int
	}{
		{"?width=32&height=32&method=crop", 32, 32},
		{"?width=20&height=20&method=crop", 32, 32},
		{"?width=90&height=33&method=crop", 96, 48},
		{"?width=33&height=90&method=crop", 48, 96},
		{"?width=320&height=240&method=scale", 320, 160},
		{"?width=300&height=200", 320, 160},
		{"?width=32&height=32&method=scale&animated=true", 96, 48},
		{"?width=1000&height=500", 1000, 500},
		{"?width=5000&height=99999999", 1000, 500},
	} {
		rec := r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(mxc)+tt.query, "alice")
		expect(t, tt.query, rec, 200, "")
		cfg, _, err := image.DecodeConfig(bytes.NewReader(rec.Body.Bytes()))
		if err != nil || cfg.Width != tt.width || cfg.Height != tt.height {
			t.Errorf("%s: %dx%d, error %v", tt.query, cfg.Width, cfg.Height, err)
		}
		if got := rec.Header().Get("Content-Type"); got != "image/png" {
			t.Errorf("%s: type %q", tt.query, got)
		}
		if got := rec.Header().Get("Content-Disposition"); got != "inline; filename=thumbnail.png" {
			t.Errorf("%s: disposition %q", tt.query, got)
		}
	}
	for _, query := range []string{
		"", "?width=10", "?height=10", "?width=0&height=10", "?width=10&height=-1", "?width=a&height=10", "?width=1.5&height=1",
		"?width=10&height=10&method=stretch", "?width=99999999999999999999&height=1",
	} {
		expect(t, query, r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(mxc)+query, "alice"), 400, merr.Unknown)
	}
	for what, data := range map[string]string{"text": "no image", "a drawing": "<svg xmlns='http://www.w3.org/2000/svg'/>", "half an image": picture(t, 300, 300)[:400]} {
		other := r.upload(data, "image/png", "")
		expect(t, what, r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(other)+"?width=10&height=10", "alice"), 400, merr.Unknown)
	}
	bomb := r.upload(hugePNG(t), "image/png", "")
	expect(t, "a bomb", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(bomb)+"?width=10&height=10", "alice"), 413, merr.TooLarge)
	far := id.MXC{Server: "elsewhere", MediaID: "bomb"}
	r.remote.has(far, hugePNG(t), "image/png")
	expect(t, "a bomb from elsewhere", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(far)+"?width=10&height=10", "alice"), 502, merr.TooLarge)
	expect(t, "unknown media", r.get("/_matrix/client/v1/media/thumbnail/hs1/unknown?width=10&height=10", "alice"), 404, merr.NotFound)
}

// hugePNG says that it is 60,000 pixels wide and high.
func hugePNG(t *testing.T) string {
	t.Helper()
	data := []byte(picture(t, 300, 300))
	copy(data[16:24], []byte{0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60})
	return string(data)
}

func TestThumbnailsAreKeptAndMendThemselves(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 200, 200), "image/png", "")
	path := "/_matrix/client/v1/media/thumbnail/" + mxcPath(mxc) + "?width=32&height=32&method=crop"
	first := r.get(path, "alice").Body.String()
	if _, err := png.Decode(strings.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // asked for in other words
		expect(t, "again", r.get(path, "alice"), 200, "")
		expect(t, "smaller", r.get(strings.ReplaceAll(path, "32", "31"), "alice"), 200, "")
	}
	if n := countBlobs(t, r.blobs); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
	for _, h := range r.blobsExcept(mxc) {
		if err := r.blobs.Delete(h); err != nil {
			t.Fatal(err)
		}
	}
	if again := r.get(path, "alice"); again.Code != 200 || again.Body.String() != first {
		t.Errorf("after its file was lost: %d, %d bytes", again.Code, again.Body.Len())
	}
	r.loseFile(mxc)
	expect(t, "download of a lost file", r.authed(mxc), 404, merr.NotFound)
	expect(t, "thumbnail of a lost file that is kept", r.get(path, "alice"), 200, "")
	expect(t, "another thumbnail of a lost file", r.get(strings.ReplaceAll(path, "32", "90"), "alice"), 404, merr.NotFound)
	if !strings.Contains(r.log.String(), "the file of a media is missing") {
		t.Error("the loss is not logged")
	}
}

func TestASmallThumbnailIsMadeOfALargerOne(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 1000, 500), "image/png", "")
	path := "/_matrix/client/v1/media/thumbnail/" + mxcPath(mxc)
	expect(t, "the larger one", r.get(path+"?width=320&height=240", "alice"), 200, "")
	// From here on nothing can be made of the media itself.
	s, err := r.blobs.Stage(t.Context(), strings.NewReader("no picture any more"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	defer s.Discard()
	m := r.row(mxc)
	m.Blob = string(s.Hash)
	small, err := r.makeNow(t.Context(), m, storage.Thumbnail{Media: m.NID, Width: 64, Height: 48, Method: methodCrop})
	if err != nil || small.ContentType != "image/png" {
		t.Errorf("a small one: %+v, %v", small, err)
	}
	for what, size := range map[string]storage.Thumbnail{
		"one more than half as large":    {Width: 640, Height: 480, Method: methodScale},
		"one of which too much is cut":   {Width: 96, Height: 96, Method: methodCrop},
		"one that might move":            {Width: 64, Height: 48, Method: methodCrop, Animated: true},
		"one of the size of the largest": {Width: 320, Height: 240, Method: methodScale},
	} {
		size.Media = m.NID
		if _, err := r.makeNow(t.Context(), m, size); err == nil {
			t.Errorf("%s was not made of the media", what)
		}
	}
}

func TestWithoutLibvipsStillPicturesStandForTheirThumbnails(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name, data, contentType string
		serves                  bool
	}{
		{"a still", picture(t, 300, 300), "image/png", true},
		{"text", "no picture", "", false},
	} {
		m := r.row(r.upload(tt.data, "image/png", ""))
		got, err := r.instead(m, storage.Thumbnail{Media: m.NID, Width: 32, Height: 32, Method: methodCrop})
		if tt.serves != (err == nil) || got.ContentType != tt.contentType || got.Blob != "" {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestThumbnailVariantsAreFew(t *testing.T) {
	seen := map[[3]any]bool{}
	for _, method := range []string{methodScale, methodCrop} {
		for w := 1; w < 5000; w = w*7/6 + 1 {
			for h := 1; h < 5000; h = h*7/6 + 1 {
				gotW, gotH := roundUp(method, w, h)
				if gotW < min(w, largestSide) || gotH < min(h, largestSide) {
					t.Fatalf("%s %dx%d becomes the smaller %dx%d", method, w, h, gotW, gotH)
				}
				seen[[3]any{method, gotW, gotH}] = true
			}
		}
	}
	if len(seen) > 60 {
		t.Errorf("%d variants", len(seen))
	}
	for _, want := range [][3]any{{methodCrop, 32, 32}, {methodCrop, 96, 96}, {methodScale, 320, 240}, {methodScale, 640, 480}, {methodScale, 800, 600}} {
		if w, h := roundUp(want[0].(string), want[1].(int), want[2].(int)); w != want[1] || h != want[2] {
			t.Errorf("%v is not made but %dx%d", want, w, h)
		}
	}
}

func TestRemoteAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   merr.Code
	}{
		{"no such media", merr.New(merr.NotFound, "no"), 404, merr.NotFound},
		{"not uploaded yet", merr.New(merr.NotYetUploaded, "no"), 504, merr.NotYetUploaded},
		{"a server that is down", errOutage, 502, merr.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.remote.err = tt.err
			expect(t, tt.name, r.authed(theirs), tt.status, tt.code)
		})
	}
	r := newRig(t)
	r.remote.has(theirs, strings.Repeat("x", 1<<20+1), "text/plain")
	expect(t, "too large", r.authed(theirs), 502, merr.TooLarge)
	if n := countBlobs(t, r.blobs); n != 0 {
		t.Errorf("%d files", n)
	}
	noTemporaryFiles(t, r)
	r.Service.remote = nil
	expect(t, "without federation", r.authed(theirs), 404, merr.NotFound)
}

func FuzzDisposition(f *testing.F) {
	for _, name := range []string{"ascii", "name;with;semicolons", "\U0001F414", "a\"b\\c\r\n", "\x00", "%41", strings.Repeat("é", 400)} {
		f.Add("image/png", name)
	}
	f.Add("Text/Plain; charset=utf-8", "")
	f.Fuzz(func(t *testing.T, contentType, filename string) {
		clean := cleanContentType(contentType)
		for i := 0; i < len(clean); i++ {
			if clean[i] < ' ' || clean[i] > '~' {
				t.Fatalf("type %q has a byte that no header may have", clean)
			}
		}
		if cleanContentType(clean) != clean {
			t.Fatalf("cleaning %q twice changes it", contentType)
		}
		if checkFilename(filename) != nil {
			return
		}
		value := disposition(clean, filename)
		for i := 0; i < len(value); i++ {
			if value[i] < ' ' && value[i] != '\t' || value[i] > '~' {
				t.Fatalf("%q has a byte that no header may have", value)
			}
		}
		kind, params, err := mime.ParseMediaType(value)
		if err != nil || kind != "inline" && kind != "attachment" || params["filename"] != filename {
			t.Fatalf("%q of %q: %s %v, error %v", value, filename, kind, params, err)
		}
	})
}
