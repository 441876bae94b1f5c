package mediaapi

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/merr"
)

// The names S5 and S6 are those of MEDIA.md.

const (
	serverDownload  = "/_matrix/federation/v1/media/download/"
	serverThumbnail = "/_matrix/federation/v1/media/thumbnail/"
)

type part struct{ ContentType, Disposition, Length, Body string }

// parts takes an answer to another server apart.
func parts(t *testing.T, rec *httptest.ResponseRecorder) (out []part) {
	t.Helper()
	expect(t, "multipart", rec, 200, "")
	kind, params, err := mime.ParseMediaType(rec.Header().Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("Content-Type %q", rec.Header().Get("Content-Type"))
	}
	if n := rec.Header().Get("Content-Length"); n != strconv.Itoa(rec.Body.Len()) {
		t.Errorf("Content-Length %s of %d bytes", n, rec.Body.Len())
	}
	r := multipart.NewReader(rec.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, part{p.Header.Get("Content-Type"), p.Header.Get("Content-Disposition"), p.Header.Get("Content-Length"), string(body)})
	}
}

func TestS6ServersGetMediaInTwoParts(t *testing.T) {
	r := newRig(t) // frozen since ever, which is of no interest to servers
	mxc := r.upload("hello", "text/plain", "a b \U0001F414.txt")
	want := []part{{ContentType: "application/json", Body: "{}"}, {"text/plain", disposition("text/plain", "a b \U0001F414.txt"), "5", "hello"}}
	first := r.signed(serverDownload + mxc.MediaID)
	if diff := cmp.Diff(want, parts(t, first)); diff != "" {
		t.Error(diff)
	}
	empty := r.upload("", "text/html", "")
	want[1] = part{"text/html", "attachment", "0", ""}
	if diff := cmp.Diff(want, parts(t, r.signed(serverDownload+empty.MediaID))); diff != "" {
		t.Error(diff)
	}
	// A range would be one of the envelope.
	ranged := r.get(serverDownload+mxc.MediaID, "", "Authorization", "X-Matrix x", "Range", "bytes=0-1")
	if got := parts(t, ranged); len(got) != 2 {
		t.Errorf("with a range: %v", got)
	}
	head := r.do("HEAD", serverDownload+mxc.MediaID, "", nil, "Authorization", "X-Matrix x")
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != first.Header().Get("Content-Length") {
		t.Errorf("HEAD: %d, %d bytes, Content-Length %s", head.Code, head.Body.Len(), head.Header().Get("Content-Length"))
	}
}

func TestS6ThumbnailsAreThoseOfClients(t *testing.T) {
	r := newRig(t)
	mxc := r.upload(picture(t, 200, 100), "image/png", "")
	for _, query := range []string{
		"?width=32&height=32&method=scale", "?width=32&height=32&method=crop", "?width=64&height=64&timeout_ms=0", "?width=32&height=32&animated=true",
	} {
		client := r.get("/_matrix/client/v1/media/thumbnail/"+mxcPath(mxc)+query, "alice")
		expect(t, query, client, 200, "")
		want := part{client.Header().Get("Content-Type"), client.Header().Get("Content-Disposition"), strconv.Itoa(client.Body.Len()), client.Body.String()}
		got := parts(t, r.signed(serverThumbnail+mxc.MediaID+query))
		if len(got) != 2 || got[1] != want {
			t.Errorf("%s: the thumbnails are not the same", query)
		}
	}
	text := r.upload("hello", "text/plain", "")
	expect(t, "no size", r.signed(serverThumbnail+mxc.MediaID), 400, merr.Unknown)
	expect(t, "a negative size", r.signed(serverThumbnail+mxc.MediaID+"?width=-1&height=1"), 400, merr.Unknown)
	expect(t, "no picture", r.signed(serverThumbnail+text.MediaID+"?width=1&height=1"), 400, merr.Unknown)
}

func TestS5ServersGetNothingElse(t *testing.T) {
	r := newRig(t)
	mxc := r.upload("x", "text/plain", "")
	r.remote.has(theirs, "y", "text/plain")
	expect(t, "a copy", r.authed(theirs), 200, "")
	r.remote.requests()

	expect(t, "not signed", r.get(serverDownload+mxc.MediaID, ""), 401, merr.Unauthorized)
	expect(t, "a user", r.get(serverDownload+mxc.MediaID, "alice"), 401, merr.Unauthorized)
	for _, base := range []string{serverDownload, serverThumbnail} {
		query := "?width=1&height=1"
		expect(t, "unknown media", r.signed(base+"unknown"+query), 404, merr.NotFound)
		expect(t, "the copy of another's", r.signed(base+theirs.MediaID+query), 404, merr.NotFound)
		expect(t, "what cannot be media", r.signed(base+"a.b"+query), 400, merr.InvalidParam)
		expect(t, "the name of a server", r.signed(base+"hs1/"+mxc.MediaID+query), 404, merr.Unrecognized)
	}
	if asked := r.remote.requests(); len(asked) != 0 {
		t.Errorf("another server was asked: %v", asked)
	}
	if err := r.Quarantine(t.Context(), mxc, "@admin:hs1"); err != nil {
		t.Fatal(err)
	}
	expect(t, "quarantined", r.signed(serverDownload+mxc.MediaID), 404, merr.NotFound)
}

func TestS5ServersWaitForUploads(t *testing.T) {
	r := newRig(t)
	mxc := r.create()
	expect(t, "no patience", r.signed(serverDownload+mxc.MediaID+"?timeout_ms=0"), 504, merr.NotYetUploaded)
	expect(t, "no number", r.signed(serverDownload+mxc.MediaID+"?timeout_ms=x"), 400, merr.InvalidParam)

	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- r.signed(serverDownload + mxc.MediaID + "?timeout_ms=30000") }()
	r.clock.BlockUntil(1)
	expect(t, "upload", r.put(mxc, "alice", "hello"), 200, "")
	if got := parts(t, <-done); len(got) != 2 || got[1].Body != "hello" {
		t.Errorf("after the upload: %v", got)
	}

	late := r.create()
	go func() { done <- r.signed(serverDownload + late.MediaID + "?timeout_ms=" + strings.Repeat("9", 12)) }()
	r.clock.BlockUntil(1)
	r.clock.Advance(time.Minute) // the longest that anybody waits
	expect(t, "too late", <-done, 504, merr.NotYetUploaded)
}
