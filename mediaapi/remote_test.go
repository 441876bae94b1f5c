package mediaapi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The names S8 and S9 are those of MEDIA.md.

func numbered(i int) id.MXC { return id.MXC{Server: "elsewhere", MediaID: fmt.Sprintf("m%d", i)} }

func TestS8WhatFailedIsNotTriedAgainAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   merr.Code
		again  int // requests after three tries
	}{
		{"no such media", merr.New(merr.NotFound, "no"), 404, merr.NotFound, 1},
		{"too large", merr.New(merr.TooLarge, "no").WithStatus(502), 502, merr.TooLarge, 1},
		{"a server that is down", errOutage, 502, merr.Unknown, 3},
		{"not uploaded yet", merr.New(merr.NotYetUploaded, "no"), 504, merr.NotYetUploaded, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, freeze(false, ever))
			r.remote.err = tt.err
			for range 3 {
				expect(t, tt.name, r.authed(theirs), tt.status, tt.code)
			}
			if asked := r.remote.requests(); len(asked) != tt.again {
				t.Errorf("asked %d times", len(asked))
			}
			// A request without a signature may have another answer, if there is one.
			expect(t, "unsigned", r.legacy(theirs), tt.status, tt.code)
			if asked := r.remote.requests(); len(asked) != 1 && tt.err != errOutage {
				t.Errorf("unsigned: asked %d times", len(asked))
			}
			r.remote.err = nil
			r.remote.has(theirs, "x", "text/plain")
			r.clock.Advance(failureAge)
			expect(t, "later", r.authed(theirs), 200, "")
		})
	}
}

func TestS8ServersThatFailAreLeftAlone(t *testing.T) {
	r := newRig(t)
	r.remote.err = errOutage
	for i := range 6 {
		expect(t, "down", r.authed(numbered(i)), 502, merr.Unknown)
	}
	if asked := r.remote.requests(); len(asked) != patientFor {
		t.Errorf("asked %d times", len(asked))
	}
	other := id.MXC{Server: "third", MediaID: "a"}
	r.remote.err = nil
	r.remote.has(other, "x", "text/plain")
	r.remote.has(numbered(7), "x", "text/plain")
	expect(t, "another server", r.authed(other), 200, "")
	expect(t, "the server is up but left alone", r.authed(numbered(7)), 502, merr.Unknown)
	r.clock.Advance(minBackoff)
	expect(t, "after a while", r.authed(numbered(7)), 200, "")
}

func TestS8MediaThatIsNotThereIsNoFailureOfItsServer(t *testing.T) {
	r := newRig(t)
	for i := range 4 * patientFor {
		expect(t, "unknown", r.authed(numbered(i)), 404, merr.NotFound)
	}
	r.remote.has(theirs, "x", "text/plain")
	expect(t, "known", r.authed(theirs), 200, "")
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	c := clock.NewFake(start)
	h := newHosts(c)
	fails := func(n int) {
		for range n {
			h.failed("elsewhere")
		}
	}
	waits := func(d time.Duration) {
		t.Helper()
		c.Advance(d - 1)
		if h.known("elsewhere", "x") == nil {
			t.Errorf("it is not left alone for %s", d)
		}
		c.Advance(1)
		if h.known("elsewhere", "x") != nil {
			t.Errorf("it is left alone longer than %s", d)
		}
	}
	fails(patientFor)
	for _, d := range []time.Duration{minBackoff, 2 * minBackoff, 4 * minBackoff} {
		waits(d)
		fails(1)
	}
	fails(100)
	waits(maxBackoff)
	h.succeeded("elsewhere")
	fails(patientFor - 1)
	if h.known("elsewhere", "x") != nil {
		t.Error("a success is no new start")
	}
	if h.succeeded("elsewhere"); len(h.hosts) != 0 {
		t.Errorf("%d hosts are remembered", len(h.hosts))
	}
	for i := range 3 * maxFailures {
		h.failed(id.ServerName(fmt.Sprintf("s%d", i)))
		h.absent(fmt.Sprint(i), errOutage)
	}
	if len(h.hosts) > maxHosts || len(h.failures) > maxFailures {
		t.Errorf("%d hosts and %d failures are remembered", len(h.hosts), len(h.failures))
	}
}

func TestOneServerHoldsFewFetches(t *testing.T) {
	h := newHosts(clock.NewFake(start))
	var leave []func()
	for range maxFetchesPerHost {
		l, err := h.enter(t.Context(), "slow")
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	came := make(chan func())
	go func() {
		l, err := h.enter(t.Context(), "slow")
		if err != nil {
			t.Error(err)
		}
		came <- l
	}()
	other, err := h.enter(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()
	select {
	case <-came:
		t.Fatal("one too many")
	default:
	}
	leave[0]()
	(<-came)()
	for _, l := range leave[1:] {
		l()
	}
	if len(h.hosts) != 0 {
		t.Errorf("%d hosts are remembered", len(h.hosts))
	}
}

func TestMediaThatBreaksOffIsNotKept(t *testing.T) {
	r := newRig(t)
	broken := io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(errors.New("connection reset")))
	r.remote.serves(theirs, RemoteMedia{Body: io.NopCloser(broken), Size: -1, ContentType: "text/plain"})
	expect(t, "broken", r.authed(theirs), 502, merr.Unknown)
	r.remote.serves(numbered(1), RemoteMedia{Body: io.NopCloser(strings.NewReader("hel")), Size: 5, ContentType: "text/plain"})
	expect(t, "short", r.authed(numbered(1)), 502, merr.Unknown)
	if n := countBlobs(t, r.blobs); n != 0 {
		t.Errorf("%d files", n)
	}
	noTemporaryFiles(t, r)
}

func TestS9PreventedServersAreNotShown(t *testing.T) {
	r := newRig(t, freeze(false, ever))
	r.remote.has(theirs, picture(t, 20, 20), "image/png")
	far := id.MXC{Server: "far:8448", MediaID: "a"}
	r.remote.has(far, "x", "text/plain")
	mxc := r.upload("x", "text/plain", "")
	expect(t, "before", r.authed(theirs), 200, "")
	r.reload(func(m *config.Media) { m.PreventDownloadsFrom = []string{"Elsewhere", "far", "hs1"} })
	r.remote.requests()
	for _, path := range []string{"download/" + mxcPath(theirs), "thumbnail/" + mxcPath(theirs) + "?width=1&height=1", "download/" + mxcPath(far)} {
		expect(t, path, r.get("/_matrix/client/v1/media/"+path, "alice"), 404, merr.NotFound)
		expect(t, path, r.get("/_matrix/media/v3/"+path, ""), 404, merr.NotFound)
	}
	if asked := r.remote.requests(); len(asked) != 0 {
		t.Errorf("asked for %v", asked)
	}
	expect(t, "our own media", r.authed(mxc), 200, "")
	r.reload(func(m *config.Media) { m.PreventDownloadsFrom = nil })
	expect(t, "after", r.authed(theirs), 200, "")
}

func TestCopiesAreKeptForAWhile(t *testing.T) {
	r := newRig(t, freeze(true, start.Add(time.Hour)), func(m *config.Media) { m.RemoteLifetime = 48 * time.Hour })
	for i := range 4 {
		r.remote.has(numbered(i), "hello", "text/plain")
		expect(t, "fetched", r.authed(numbered(i)), 200, "")
	}
	own := r.upload("hello", "text/plain", "")
	if err := r.Quarantine(t.Context(), numbered(1), "@admin:hs1"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetAccess(t.Context(), numbered(2), storage.MediaPublic); err != nil {
		t.Fatal(err)
	}
	expect(t, "from before the freeze", r.legacy(numbered(0)), 200, "")
	r.clock.Advance(49 * time.Hour)
	r.remote.has(numbered(9), "new", "text/plain")
	expect(t, "fetched", r.authed(numbered(9)), 200, "")
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for mxc, kept := range map[id.MXC]bool{numbered(0): false, numbered(1): true, numbered(2): true, numbered(3): false, numbered(9): true, own: true} {
		if _, err := r.Info(t.Context(), mxc); errors.Is(err, storage.ErrNotFound) == kept {
			t.Errorf("%s: %v", mxc, err)
		}
	}
	// F3: what is fetched again is new to the freeze.
	expect(t, "fetched again", r.authed(numbered(0)), 200, "")
	expect(t, "frozen now", r.legacy(numbered(0)), 404, merr.NotFound)
	expect(t, "still public", r.legacy(numbered(2)), 200, "")
}

func TestCopiesTakeLimitedSpace(t *testing.T) {
	r := newRig(t, func(m *config.Media) { m.RemoteQuota = 25 })
	for i := range 5 {
		r.remote.has(numbered(i), fmt.Sprintf("ten bytes%d", i), "text/plain")
		expect(t, "fetched", r.authed(numbered(i)), 200, "")
		r.clock.Advance(time.Second)
	}
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := r.Info(t.Context(), numbered(i)); errors.Is(err, storage.ErrNotFound) != (i < 3) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if n := countBlobs(t, r.blobs); n != 2 {
		t.Errorf("%d files", n)
	}
}
