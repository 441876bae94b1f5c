package fedclient

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestFailuresAreLeftAloneForLongerEachTime(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	now := fakeClock(c)
	base := backoffFirst
	for i := range 20 {
		if _, err := c.Event(t.Context(), peerName, "$e"); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBackoff) {
			t.Fatalf("failure %d: %v", i, err)
		}
		w.dialled()
		wait := c.Backoff(peerName).Sub(now.Now())
		if wait < base*3/4 || wait > base*5/4 {
			t.Errorf("failure %d: %s, want about %s", i, wait, base)
		}
		if base *= 2; base > backoffMax {
			base = backoffMax
		}
		if _, err := c.Event(t.Context(), peerName, "$e"); !errors.Is(err, ErrBackoff) || !errors.Is(err, ErrUnreachable) || len(w.dialled()) != 0 {
			t.Errorf("failure %d: asked again: %v", i, err)
		}
		now.Advance(wait)
	}
}

func TestWhoIsHeardIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	fail := func() {
		t.Helper()
		if _, err := c.Event(t.Context(), peerName, "$e"); err == nil || c.Backoff(peerName).IsZero() {
			t.Fatal("it answers")
		}
	}
	fail()
	if !c.Heard(peerName) || c.Heard(peerName) || !c.Backoff(peerName).IsZero() {
		t.Error("being heard does not count")
	}
	fail()
	w.peer(peerName, "10.0.0.1")
	fakeClock(c).Advance(time.Hour)
	if !c.Backoff(peerName).IsZero() {
		t.Error("it is left alone for more than an hour after one failure")
	}
	var said *Error
	if _, err := c.Event(t.Context(), peerName, "$e"); !errors.As(err, &said) || said.Code != "M_UNRECOGNIZED" {
		t.Error(err)
	}
	if c.backoff.get(t.Context(), peerName).Failures != 0 {
		t.Error("a refusal is an answer")
	}
}

func TestWhatAPersonWaitsForIsTried(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	_, _ = c.Event(t.Context(), peerName, "$e")
	w.peer(peerName, "10.0.0.1")
	if _, err := c.Directory(t.Context(), peerName, "#a:b.example"); errors.Is(err, ErrBackoff) {
		t.Error(err)
	}
}

func TestTroubleWithOneRequestIsNotThatOfTheServer(t *testing.T) {
	_, p, c := conversation(t)
	p.say("GET", "/_matrix/federation/v1/event/$e", 500, `{"errcode":"M_UNKNOWN","error":"oops"}`)
	p.say("PUT", "/_matrix/federation/v1/send/1", 500, `{"errcode":"M_UNKNOWN","error":"oops"}`)
	if _, err := c.Event(t.Context(), peerName, "$e"); err == nil || !c.Backoff(peerName).IsZero() {
		t.Errorf("%v", err)
	}
	if _, err := c.SendTransaction(t.Context(), peerName, "1", []byte(`{}`)); err == nil || c.Backoff(peerName).IsZero() {
		t.Errorf("%v", err)
	}
}

func TestFailuresAtTheSameTimeCountOnce(t *testing.T) {
	c := newWorld(t).client()
	began := c.clock.Now()
	fakeClock(c).Advance(time.Second)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { c.backoff.failed(t.Context(), peerName, began, true) })
	}
	all.Wait()
	if n := c.backoff.get(t.Context(), peerName).Failures; n != 1 {
		t.Errorf("%d failures", n)
	}
}

func TestFailuresOutliveARestart(t *testing.T) {
	store := storagetest.Open(t)
	w := newWorld(t)
	with := func(o *Options) { o.Store = store }
	c := w.client(with)
	_, _ = c.Event(t.Context(), peerName, "$e")
	until := c.Backoff(peerName)
	if until.IsZero() {
		t.Fatal("it answers")
	}
	again := w.client(with)
	if got := again.Backoff(peerName); !got.Equal(until) {
		t.Errorf("%s, want %s", got, until)
	}
	again.Heard(peerName)
	if got := w.client(with).Backoff(peerName); !got.IsZero() {
		t.Errorf("it was heard, and is left alone until %s", got)
	}
	err := store.View(t.Context(), func(tx *storage.ReadTx) error {
		_, err := tx.Destination(peerName)
		return err
	})
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("it is still written down: %v", err)
	}
}

func TestServersThatAStrangerMadeUpLeaveNoTrace(t *testing.T) {
	store := storagetest.Open(t)
	w := newWorld(t)
	c := w.client(func(o *Options) { o.Store = store })
	p := &peer{name: "made.up", key: testKey("x"), keyID: "ed25519:1"}
	r := p.signedBy(t, "GET", "/_matrix/federation/v1/event/$e", "", "us.example")
	if _, err := NewKeyRing(c, store, nil).AuthenticateServer(t.Context(), r, nil); !merr.HasCode(err, merr.Unauthorized) {
		t.Fatal(err)
	}
	if c.Backoff("made.up").IsZero() {
		t.Error("the failure is not even in memory")
	}
	err := store.View(t.Context(), func(tx *storage.ReadTx) error {
		_, err := tx.Destination("made.up")
		return err
	})
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("it is written down: %v", err)
	}
}
