package appservice

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// ephemeral is the next transaction that has ephemeral events, which are without their times.
func (b *bridge) ephemeral(t *testing.T) (request, []string) {
	t.Helper()
	for {
		r := b.next(t)
		list := r.body.Get("ephemeral").Array()
		if len(list) == 0 {
			continue
		}
		out := make([]string, len(list))
		for i, e := range list {
			var v any
			if err := json.Unmarshal([]byte(e.Raw), &v); err != nil {
				t.Fatal(err)
			}
			strip(v)
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = string(text)
		}
		return r, out
	}
}

func strip(v any) {
	if object, ok := v.(map[string]any); ok {
		delete(object, "ts")
		delete(object, "last_active_ago")
		for _, inner := range object {
			strip(inner)
		}
	}
}

func (r *rig) types(room *storagetest.Room, user id.UserID, on bool) {
	r.t.Helper()
	if err := r.edus.SetTyping(r.t.Context(), room.Row.ID, user, on, 0); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) reads(room *storagetest.Room, user id.UserID, typ, thread string, e *storage.Event) {
	r.t.Helper()
	if err := r.edus.SetReceipts(r.t.Context(), room.Row.ID, user, edu.Receipt{Type: typ, Event: e.ID, Thread: thread}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) is(user id.UserID, state string) {
	r.t.Helper()
	if err := r.edus.SetPresence(r.t.Context(), user, state, nil); err != nil {
		r.t.Fatal(err)
	}
}

func TestWhatIsEphemeralIsToldToWhomItConcerns(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url, "receive_ephemeral": true})).run()
	room, other := r.room("!r:hs", ghost), r.room("!other:hs", "@bob:hs")
	room.Member(alice, alice, "join")
	said, elsewhere := room.Message(ghost, "hi"), other.Message("@bob:hs", "hi")
	expect := func(want ...string) {
		t.Helper()
		if _, got := b.ephemeral(t); !cmp.Equal(want, got) {
			t.Error(cmp.Diff(want, got))
		}
	}
	r.types(other, "@bob:hs", true)
	r.types(room, alice, true)
	expect(`{"content":{"user_ids":["@alice:hs"]},"room_id":"!r:hs","type":"m.typing"}`)
	r.types(room, alice, false)
	expect(`{"content":{"user_ids":[]},"room_id":"!r:hs","type":"m.typing"}`)
	r.is("@bob:hs", edu.Online)
	r.is(alice, edu.Online)
	expect(`{"content":{"currently_active":true,"presence":"online"},"sender":"@alice:hs","type":"m.presence"}`)
	r.reads(other, "@bob:hs", storage.Read, "", elsewhere)
	r.reads(room, alice, storage.ReadPrivate, "", said)
	r.reads(room, alice, storage.Read, "", said)
	expect(`{"content":{"` + string(said.ID) + `":{"m.read":{"@alice:hs":{}}}},"room_id":"!r:hs","type":"m.receipt"}`)
	r.reads(room, ghost, storage.ReadPrivate, "main", said)
	expect(`{"content":{"` + string(said.ID) + `":{"m.read.private":{"@_irc_ghost:hs":{"thread_id":"main"}}}},"room_id":"!r:hs","type":"m.receipt"}`)
}

func TestWhoDidNotAskIsNotToldWhatIsEphemeral(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	room := r.room("!r:hs", ghost)
	r.types(room, ghost, true)
	last := room.Message(ghost, "last")
	for seen := false; !seen; {
		tx := b.next(t)
		if tx.body.Get("ephemeral").Exists() {
			t.Errorf("%s", tx.body)
		}
		for _, e := range tx.ids() {
			seen = seen || e == string(last.ID)
		}
	}
}

func TestEphemeralEventsHaveTheNamesThatWereAskedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		fields map[string]any
		legacy bool
	}{
		"that of the specification": {map[string]any{"receive_ephemeral": true}, false},
		"that of the draft too":     {map[string]any{"de.sorunome.msc2409.push_ephemeral": true}, true},
		"both":                      {map[string]any{"receive_ephemeral": true, "de.sorunome.msc2409.push_ephemeral": true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBridge(t)
			tt.fields["url"] = b.url
			r := newRig(t, storagetest.Open(t), registration(t, tt.fields)).run()
			r.types(r.room("!r:hs", ghost), ghost, true)
			tx, _ := b.ephemeral(t)
			if got := tx.body.Get(`de\.sorunome\.msc2409\.ephemeral.0.type`).Str == "m.typing"; got != tt.legacy {
				t.Errorf("%s", tx.body)
			}
		})
	}
}

func TestEphemeralEventsThatAreRefusedHoldUpNothing(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url, "receive_ephemeral": true})).run()
	room := r.room("!r:hs", ghost)
	b.mu.Lock()
	b.answer = func(r request) (int, string) {
		if r.body.Get("ephemeral").Exists() {
			return 400, `{"errcode":"M_BAD_JSON"}`
		}
		return 200, `{}`
	}
	b.mu.Unlock()
	r.types(room, ghost, true)
	first, _ := b.ephemeral(t)
	said := room.Message(ghost, "hi")
	for seen := false; !seen; {
		tx := b.next(t)
		if tx.path == first.path {
			t.Error("what was refused came again")
		}
		for _, e := range tx.ids() {
			seen = seen || e == string(said.ID)
		}
	}
}

func TestEphemeralEventsAfterAFailureAreAsOfThen(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	as := registration(t, map[string]any{"url": b.url, "receive_ephemeral": true})
	newRig(t, store, as).run().stop()
	r := newRig(t, store, as)
	room := r.room("!r:hs", ghost)
	room.Member(alice, alice, "join")
	r.run()
	b.next(t) // the events
	b.answers(503, ``)
	r.types(room, alice, true)
	first, _ := b.ephemeral(t)
	r.clock.BlockUntil(1)
	r.types(room, ghost, true)
	r.types(room, alice, false)
	b.answers(200, `{}`)
	r.clock.Advance(maxPause * 2)
	again, got := b.ephemeral(t)
	if d := cmp.Diff([]string{`{"content":{"user_ids":["@_irc_ghost:hs"]},"room_id":"!r:hs","type":"m.typing"}`}, got); d != "" {
		t.Error(d)
	}
	if again.path == first.path || !strings.Contains(first.path, "/transactions/e") {
		t.Errorf("%s and %s", first.path, again.path)
	}
}
