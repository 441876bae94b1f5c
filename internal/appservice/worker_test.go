package appservice

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestEventsAreDeliveredInOrderToWhomTheyConcern(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		serial := 0
		for name, fields := range map[string]map[string]any{
			"the namespace of users":        {},
			"the sender":                    {"sender_localpart": "_irc_ghost", "namespaces": map[string]any{}},
			"the namespace of room ids":     {"namespaces": map[string]any{"rooms": []any{map[string]any{"regex": "!mine"}}}},
			"the namespace of aliases":      {"namespaces": map[string]any{"aliases": []any{map[string]any{"regex": "#_irc_.*"}}}},
			"a user who has always been in": {"namespaces": map[string]any{"users": []any{map[string]any{"regex": "@alice:hs$"}}}},
		} {
			t.Run(name, func(t *testing.T) {
				b := newBridge(t)
				fields["url"], fields["id"] = b.url, name
				r := newRig(t, store, registration(t, fields))
				serial++
				mine := r.room(id.RoomID(fmt.Sprintf("!mine%d:hs", serial)), alice)
				mine.Member(ghost, ghost, "join")
				if err := store.Update(t.Context(), func(tx *storage.Tx) error {
					_, err := tx.AddAlias(storage.Alias{Alias: id.RoomAlias(fmt.Sprintf("#_irc_%d:hs", serial)), Room: mine.Row.NID, Creator: alice})
					return err
				}); err != nil {
					t.Fatal(err)
				}
				other := r.room(id.RoomID(fmt.Sprintf("!other%d:hs", serial)), "@bob:hs")
				r.run()
				var want []string
				for i := range 3 {
					other.Message("@bob:hs", "not for you")
					want = append(want, idsOf(mine.Message(alice, fmt.Sprint(i)))...)
				}
				var got []string
				for len(got) < len(want) {
					tx := b.next(t)
					if tx.header.Get("Authorization") != "Bearer hs-secret" || tx.method != "PUT" {
						t.Errorf("%s with %v", tx.method, tx.header)
					}
					got = append(got, tx.ids()...)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
				r.stop()
			})
		}
	})
}

func TestMembershipsOfItsUsersConcernIt(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	room := r.room("!r:hs", alice)
	room.Message(alice, "before it came")
	invite := room.Member(alice, ghost, "invite")
	if d := cmp.Diff(idsOf(invite), b.next(t).ids()); d != "" {
		t.Fatal(d)
	}
	room.Message(alice, "nobody has come yet")
	join := room.Member(ghost, ghost, "join")
	if d := cmp.Diff(idsOf(join), b.next(t).ids()); d != "" {
		t.Fatal(d)
	}
	said := room.Message(alice, "hi")
	if d := cmp.Diff(idsOf(said), b.next(t).ids()); d != "" {
		t.Fatal(d)
	}
	kick := room.Member(alice, ghost, "leave")
	if d := cmp.Diff(idsOf(kick), b.next(t).ids()); d != "" {
		t.Fatal(d)
	}
	room.Message(alice, "alone again")
	back := room.Member(alice, ghost, "invite")
	if d := cmp.Diff(idsOf(back), b.next(t).ids()); d != "" {
		t.Fatal(d)
	}
}

func TestAnApplicationServiceThatWasAwayGetsWhatWasForItThen(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	as := registration(t, map[string]any{"url": b.url})
	r := newRig(t, store, as).run()
	r.stop()
	// While nobody looks, a user comes, hears something, and goes.
	room := r.room("!r:hs", alice)
	room.Message(alice, "before")
	want := idsOf(room.Member(ghost, ghost, "join"), room.Message(alice, "while it was there"), room.Member(ghost, ghost, "leave"))
	room.Message(alice, "after")
	newRig(t, store, as).run()
	if d := cmp.Diff(want, b.next(t).ids()); d != "" {
		t.Error(d)
	}
}

func TestARetryIsTheSameTransaction(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	b.answers(500, `{}`)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	room := r.room("!r:hs", ghost)
	first := b.next(t)
	for range 3 {
		room.Message(ghost, "later")
		r.clock.BlockUntil(1)
		if n := len(b.requests); n > 0 {
			t.Fatal("it did not wait")
		}
		r.clock.Advance(maxPause * 2)
		again := b.next(t)
		if again.path != first.path || !cmp.Equal(again.ids(), first.ids()) {
			t.Fatalf("%s %v is not %s %v", again.path, again.ids(), first.path, first.ids())
		}
	}
	r.clock.BlockUntil(1)
	b.answers(200, `{}`)
	r.clock.Advance(maxPause * 2)
	if again := b.next(t); again.path != first.path {
		t.Errorf("%s is not %s", again.path, first.path)
	}
	// What has come since is another one.
	var rest int
	for rest < 3 {
		next := b.next(t)
		if next.path == first.path {
			t.Fatal("delivered twice")
		}
		for _, e := range next.ids() {
			for _, f := range first.ids() {
				if e == f {
					t.Errorf("%s was delivered twice", e)
				}
			}
		}
		rest += len(next.ids())
	}
}

func TestATransactionSurvivesACrash(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		b := newBridge(t)
		b.answers(502, ``)
		as := registration(t, map[string]any{"url": b.url})
		r := newRig(t, store, as).run()
		room := r.room("!r:hs", ghost)
		before := b.next(t)
		r.clock.BlockUntil(1)
		pending := r.cursor("irc")
		if pending.UpTo == 0 || len(pending.Events) != len(before.ids()) {
			t.Fatalf("what was sent is not stored: %+v", pending)
		}
		r.stop()
		later := room.Message(ghost, "after the crash")
		b.answers(200, `{}`)
		r = newRig(t, store, as).run()
		r.hears(room)
		after := b.next(t)
		if after.path != before.path || !cmp.Equal(after.ids(), before.ids()) {
			t.Fatalf("%s %v is not %s %v", after.path, after.ids(), before.path, before.ids())
		}
		seen := map[string]bool{}
		for !seen[string(later.ID)] {
			for _, e := range b.next(t).ids() {
				if seen[e] {
					t.Errorf("%s came twice", e)
				}
				seen[e] = true
			}
		}
		// The next transaction begins after the one before is stored as delivered.
		room.Message(ghost, "one more")
		b.next(t)
		r.stop()
		if c := r.cursor("irc"); c.Pos < later.Pos {
			t.Errorf("the cursor is at %+v, the last event at %d", c, later.Pos)
		}
	})
}

func TestATransactionHasAtMostAHundredEvents(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	as := registration(t, map[string]any{"url": b.url})
	newRig(t, store, as).run().stop()
	r := newRig(t, store, as)
	room := r.room("!r:hs", ghost)
	var want []string
	for i := range 250 {
		want = append(want, idsOf(room.Message(ghost, fmt.Sprint(i)))...)
	}
	r.run()
	var got []string
	for len(got) < 253 {
		ids := b.next(t).ids()
		if len(ids) > maxEvents {
			t.Errorf("%d events", len(ids))
		}
		got = append(got, ids...)
	}
	if d := cmp.Diff(want, got[3:]); d != "" {
		t.Error(d)
	}
}

func TestWhatWasRedactedSinceIsSentRedacted(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	b.answers(500, ``)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	room := r.room("!r:hs", ghost)
	_ = b.next(t)
	said := room.Message(ghost, "secret")
	b.answers(200, ``)
	r.clock.BlockUntil(1)
	room.Redact(ghost, said)
	r.clock.Advance(maxPause * 2)
	for {
		tx := b.next(t)
		for _, e := range tx.body.Get("events").Array() {
			if e.Get("event_id").Str != string(said.ID) {
				continue
			}
			if e.Get("content.body").Exists() {
				t.Errorf("%s", e)
			}
			return
		}
	}
}

func TestOneThatFailsDoesNotHoldUpAnother(t *testing.T) {
	bad, good, store := newBridge(t), newBridge(t), storagetest.Open(t)
	bad.answers(500, ``)
	r := newRig(t, store,
		registration(t, map[string]any{"url": bad.url, "id": "bad", "as_token": "a", "sender_localpart": "_irc_bad"}),
		registration(t, map[string]any{"url": good.url, "id": "good", "as_token": "b", "sender_localpart": "_irc_good"})).run()
	r.room("!r:hs", ghost)
	bad.next(t)
	if len(good.next(t).ids()) == 0 {
		t.Error("nothing was sent")
	}
}

func TestAPingWakesTheWorker(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	b.answers(500, ``)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	r.room("!r:hs", ghost)
	first := b.next(t)
	r.clock.BlockUntil(1)
	b.answers(200, `{}`)
	if _, err := r.service.Ping(t.Context(), "irc", "hello"); err != nil {
		t.Fatal(err)
	}
	ping := b.next(t)
	if ping.path != "/_matrix/app/v1/ping" || ping.body.Get("transaction_id").Str != "hello" {
		t.Errorf("%s %s", ping.path, ping.body)
	}
	if again := b.next(t); again.path != first.path {
		t.Errorf("%s", again.path)
	}
}

func TestPausesGrowAndDiffer(t *testing.T) {
	for failures, middle := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		if p := pauseAfter(failures); p < middle*3/4 || p > middle*5/4 {
			t.Errorf("after %d failures: %s", failures, p)
		}
	}
	for _, failures := range []int{10, 100, 1 << 40} {
		if p := pauseAfter(failures); p < maxPause*3/4 || p > maxPause*5/4 {
			t.Errorf("after %d failures: %s", failures, p)
		}
	}
}
