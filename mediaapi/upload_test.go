package mediaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

func TestUploadLimits(t *testing.T) {
	r := newRig(t, func(m *config.Media) { m.MaxUpload = 100 })
	fits, over := strings.Repeat("x", 100), strings.Repeat("x", 101)
	expect(t, "as large as allowed", r.do("POST", "/_matrix/media/v3/upload", "alice", strings.NewReader(fits)), 200, "")
	expect(t, "one more", r.do("POST", "/_matrix/media/v3/upload", "alice", strings.NewReader(over)), 413, merr.TooLarge)
	// Without a Content-Length it is noticed on the way.
	expect(t, "one more, in chunks", r.do("POST", "/_matrix/media/v3/upload", "alice", io.MultiReader(strings.NewReader(over))), 413, merr.TooLarge)
	expect(t, "nothing at all", r.do("POST", "/_matrix/media/v3/upload", "alice", nil), 200, "")
	expect(t, "a guest", r.do("POST", "/_matrix/media/v3/upload", "guest", strings.NewReader("x")), 403, merr.GuestAccessForbidden)
	expect(t, "nobody", r.do("POST", "/_matrix/media/v3/upload", "", strings.NewReader("x")), 401, merr.MissingToken)
	expect(t, "a name that is too long", r.do("POST", "/_matrix/media/v3/upload?filename="+strings.Repeat("n", 1025), "alice", nil), 400, merr.InvalidParam)
	expect(t, "a name with NUL", r.do("POST", "/_matrix/media/v3/upload?filename=a%00b", "alice", nil), 400, merr.InvalidParam)
	expect(t, "another method", r.do("PATCH", "/_matrix/media/v3/upload", "alice", nil), 405, merr.Unrecognized)
	expect(t, "another path", r.get("/_matrix/media/v3/unknown", "alice"), 404, merr.Unrecognized)
	if n := countBlobs(t, r.blobs); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
	noTemporaryFiles(t, r)
}

type brokenBody struct{ sent bool }

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.sent {
		return 0, io.ErrUnexpectedEOF
	}
	b.sent = true
	return copy(p, "half"), nil
}

func TestABrokenUploadLeavesNothing(t *testing.T) {
	r := newRig(t)
	expect(t, "broken", r.do("POST", "/_matrix/media/v3/upload", "alice", &brokenBody{}), 400, merr.Unknown)
	if n := countBlobs(t, r.blobs); n != 0 {
		t.Errorf("%d files", n)
	}
	noTemporaryFiles(t, r)
}

func noTemporaryFiles(t *testing.T, r *rig) {
	t.Helper()
	if n, err := r.blobs.SweepStaged(time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Errorf("%d temporary files, error %v", n, err)
	}
}

func countBlobs(t *testing.T, d *blob.Dir) int {
	t.Helper()
	n := 0
	if err := d.Each(t.Context(), func(blob.Hash, time.Time) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConfigTellsTheLimit(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/media/v3/config"} {
		if got := r.get(path, "alice"); got.Body.String() != `{"m.upload.size":1048576}`+"\n" && got.Body.String() != `{"m.upload.size":1048576}` {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
	expect(t, "no token", r.get("/_matrix/client/v1/media/config", ""), 401, merr.MissingToken)
}

func TestAsyncUpload(t *testing.T) {
	r := newRig(t)
	mxc := r.create()
	expect(t, "somebody else", r.put(mxc, "bob", "x"), 403, merr.Forbidden)
	expect(t, "unknown id", r.put(id.MXC{Server: "hs1", MediaID: "unknown"}, "alice", "x"), 404, merr.NotFound)
	expect(t, "another server", r.put(id.MXC{Server: "hs2", MediaID: mxc.MediaID}, "alice", "x"), 404, merr.NotFound)
	expect(t, "not yet uploaded", r.authed(mxc), 504, merr.NotYetUploaded)
	expect(t, "thumbnail not yet uploaded", r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(mxc)+"?timeout_ms=0&width=1&height=1", "alice"), 504, merr.NotYetUploaded)
	expect(t, "the creator", r.put(mxc, "alice", "bytes"), 200, "")
	expect(t, "twice", r.put(mxc, "alice", "other"), 409, merr.CannotOverwriteMedia)
	expect(t, "twice, without a body", r.put(mxc, "alice", ""), 409, merr.CannotOverwriteMedia)
	expect(t, "twice, by somebody else", r.put(mxc, "bob", ""), 403, merr.Forbidden)
	if rec := r.authed(mxc); rec.Code != 200 || rec.Body.String() != "bytes" {
		t.Errorf("download: %d %q", rec.Code, rec.Body)
	}
	plain := r.upload("x", "text/plain", "")
	expect(t, "media that was not created first", r.put(plain, "alice", "x"), 409, merr.CannotOverwriteMedia)
}

func TestPendingUploadsAreLimitedAndExpire(t *testing.T) {
	r := newRig(t, func(m *config.Media) { m.MaxPending, m.PendingLifetime = 2, time.Hour })
	first := r.create()
	rec := r.do("POST", "/_matrix/media/v1/create", "alice", nil)
	var created struct {
		Expires int64 `json:"unused_expires_at"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &created); err != nil || created.Expires != start.Add(time.Hour).UnixMilli() {
		t.Errorf("unused_expires_at is %d, error %v", created.Expires, err)
	}
	expect(t, "a third", r.do("POST", "/_matrix/media/v1/create", "alice", nil), 429, merr.LimitExceeded)
	expect(t, "of another user", r.do("POST", "/_matrix/media/v1/create", "bob", nil), 200, "")
	expect(t, "completed", r.put(first, "alice", "x"), 200, "")
	second := r.create()
	expect(t, "a third again", r.do("POST", "/_matrix/media/v1/create", "alice", nil), 429, merr.LimitExceeded)

	r.clock.Advance(time.Hour)
	expect(t, "upload to an expired id", r.put(second, "alice", "x"), 404, merr.NotFound)
	expect(t, "download of an expired id", r.authed(second), 404, merr.NotFound)
	third := r.create() // the expired ones do not count
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "after the tidying", r.put(second, "alice", "x"), 404, merr.NotFound)
	expect(t, "the completed one stays", r.authed(first), 200, "")
	expect(t, "the pending one stays", r.put(third, "alice", "x"), 200, "")
}

func TestDownloadsWaitForPendingUploads(t *testing.T) {
	r := newRig(t, freeze(true, ever))
	path := func(mxc id.MXC, query string) string {
		return "/_matrix/client/v1/media/download/" + mxcPath(mxc) + query
	}
	ask := func(path string) <-chan *httptest.ResponseRecorder {
		c := make(chan *httptest.ResponseRecorder, 1)
		go func() { c <- r.get(path, "alice") }()
		r.clock.BlockUntil(1)
		return c
	}

	mxc := r.create()
	answer := ask(path(mxc, ""))
	r.clock.Advance(20*time.Second - time.Millisecond)
	expect(t, "upload", r.put(mxc, "alice", "bytes"), 200, "")
	if rec := <-answer; rec.Code != 200 || rec.Body.String() != "bytes" {
		t.Errorf("waiting download: %d %q", rec.Code, rec.Body)
	}

	for query, wait := range map[string]time.Duration{"": 20 * time.Second, "?timeout_ms=3000": 3 * time.Second, "?timeout_ms=86400000": time.Minute} {
		answer = ask(path(r.create(), query))
		r.clock.Advance(wait - time.Millisecond)
		select {
		case rec := <-answer:
			t.Errorf("%q: answered early: %d", query, rec.Code)
		default:
			r.clock.Advance(time.Millisecond)
			expect(t, query, <-answer, 504, merr.NotYetUploaded)
		}
	}
	expect(t, "a bad timeout", r.get(path(mxc, "?timeout_ms=soon"), "alice"), 400, merr.InvalidParam)

	// An anonymous request that waits is decided when the bytes are there: by then they are frozen.
	mxc = r.create()
	answer = ask("/_matrix/media/v3/download/" + mxcPath(mxc))
	expect(t, "upload", r.put(mxc, "alice", "bytes"), 200, "")
	expect(t, "waiting legacy download", <-answer, 404, merr.NotFound)
}

func TestUploadsAtTheSameTimeAreLimited(t *testing.T) {
	var u uploading
	var ends []func()
	for range maxUploading {
		end, err := u.begin("@alice:hs")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if _, err := u.begin("@alice:hs"); !merr.HasCode(err, merr.LimitExceeded) {
		t.Errorf("one more is answered %v", err)
	}
	if end, err := u.begin("@bob:hs"); err != nil {
		t.Errorf("somebody else is answered %v", err)
	} else {
		end()
	}
	ends[0]()
	end, err := u.begin("@alice:hs")
	if err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
	for _, e := range append(ends[1:], end) {
		e()
	}
	if len(u.users) != 0 {
		t.Errorf("%v are remembered", u.users)
	}
}

func TestQuotas(t *testing.T) {
	r := newRig(t, func(m *config.Media) { m.UserQuota, m.TotalQuota = 10, 15 })
	send := func(token, data string) *httptest.ResponseRecorder {
		return r.do("POST", "/_matrix/media/v3/upload", token, io.MultiReader(strings.NewReader(data)))
	}
	first := r.uri(send("alice", "123456"))
	expect(t, "over the user's quota", send("alice", "12345"), 403, merr.Forbidden)
	expect(t, "over the user's quota, said before", r.do("POST", "/_matrix/media/v3/upload", "alice", strings.NewReader("12345")), 403, merr.Forbidden)
	pending := r.create()
	expect(t, "over the user's quota, async", r.put(pending, "alice", "12345"), 403, merr.Forbidden)
	expect(t, "the same bytes count again", send("alice", "123456"), 403, merr.Forbidden)
	expect(t, "up to the quota", send("alice", "1234"), 200, "")
	expect(t, "over the total", send("bob", "123456"), 403, merr.Forbidden)
	expect(t, "up to the total", send("bob", "12345"), 200, "")
	expect(t, "nothing is left", r.put(pending, "alice", "1"), 403, merr.Forbidden)
	if err := r.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	expect(t, "what is deleted does not count", r.put(pending, "alice", "123456"), 200, "")
	if n := countBlobs(t, r.blobs); n != 3 {
		t.Errorf("%d files, want 3: refused uploads leave none", n)
	}
	noTemporaryFiles(t, r)
	r.reload(func(m *config.Media) { m.UserQuota, m.TotalQuota = 0, 0 })
	expect(t, "without quotas", send("alice", "1234567890"), 200, "")
}

func TestBlobsAreSharedAndGoWithTheLastRow(t *testing.T) {
	r := newRig(t)
	data := picture(t, 200, 200)
	a, b := r.upload(data, "image/png", ""), r.upload(data, "image/png", "")
	thumb := "/_matrix/client/v1/media/thumbnail/" + mxcPath(a) + "?width=32&height=32&method=crop"
	expect(t, "thumbnail", r.get(thumb, "alice"), 200, "")
	if n := countBlobs(t, r.blobs); n != 2 {
		t.Fatalf("%d files, want the picture and its thumbnail", n)
	}
	if err := r.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expect(t, "deleted", r.authed(a), 404, merr.NotFound)
	expect(t, "thumbnail of the deleted", r.get(thumb, "alice"), 404, merr.NotFound)
	expect(t, "the other", r.authed(b), 200, "")
	if n := countBlobs(t, r.blobs); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	if n, err := r.DeleteOfUser(t.Context(), "@alice:hs1"); n != 1 || err != nil {
		t.Errorf("deleted %d, error %v", n, err)
	}
	if n := countBlobs(t, r.blobs); n != 0 {
		t.Errorf("%d files, want none", n)
	}
	var used storage.MediaUsage
	if err := r.store.View(t.Context(), func(tx *storage.ReadTx) (err error) {
		used, err = tx.MediaUsage("")
		return err
	}); err != nil || used != (storage.MediaUsage{}) {
		t.Errorf("usage %+v, error %v", used, err)
	}
}

func TestUploadsAndDeletionsOfTheSameBytesDoNotLoseThem(t *testing.T) {
	r := newRig(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 25 {
				mxc := r.uri(r.do("POST", "/_matrix/media/v3/upload", "alice", strings.NewReader("the same")))
				if rec := r.authed(mxc); rec.Code != 200 {
					t.Errorf("an acknowledged upload answers %d", rec.Code)
				}
				if err := r.Delete(t.Context(), mxc); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := countBlobs(t, r.blobs); n != 0 {
		t.Errorf("%d files, want none", n)
	}
}

func TestTidyRemovesFilesThatNoRowNeeds(t *testing.T) {
	r := newRig(t)
	r.upload("kept", "text/plain", "")
	staged, err := r.blobs.Stage(t.Context(), strings.NewReader("left by a crash"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countBlobs(t, r.blobs); n != 2 {
		t.Errorf("%d files: one that may be on its way was deleted", n)
	}
	r.age(t, 2*time.Hour)
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countBlobs(t, r.blobs); n != 1 {
		t.Errorf("%d files, want the one with a row", n)
	}
}

// age makes all files look older.
func (r *rig) age(t *testing.T, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := r.blobs.Each(t.Context(), func(h blob.Hash, _ time.Time) error {
		f, err := r.blobs.Open(h)
		if err != nil {
			return err
		}
		defer f.Close()
		return os.Chtimes(f.Content.(*os.File).Name(), then, then)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.clock.BlockUntil(1)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDownloadGivesBackWhatWasUploaded(t *testing.T) {
	r := newRig(t)
	data := string(bytes.Repeat([]byte{0, 255, '\n'}, 1000))
	for given, want := range map[string]string{
		"img/png":                   "img/png",
		"Text/Plain; charset=utf-8": "Text/Plain; charset=utf-8",
		"":                          "application/octet-stream",
		"nonsense":                  "application/octet-stream",
		"text/html\x7f":             "application/octet-stream",
	} {
		rec := r.authed(r.upload(data, given, ""))
		if rec.Code != 200 || rec.Body.String() != data || rec.Header().Get("Content-Type") != want {
			t.Errorf("%q: %d, type %q, %d bytes", given, rec.Code, rec.Header().Get("Content-Type"), rec.Body.Len())
		}
	}
}
