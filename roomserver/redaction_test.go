package roomserver

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// set sends a piece of state and returns its event.
func (f *fixture) set(room id.RoomID, user id.UserID, typ, key, content string) (id.EventID, error) {
	f.t.Helper()
	return f.Send(context.Background(), SendRequest{Room: room, Sender: user, Type: typ, StateKey: &key, Content: json.RawMessage(content)})
}

func (f *fixture) mustSet(room id.RoomID, user id.UserID, typ, key, content string) id.EventID {
	f.t.Helper()
	e, err := f.set(room, user, typ, key, content)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) redact(room id.RoomID, user id.UserID, target id.EventID) error {
	f.t.Helper()
	_, err := f.Redact(context.Background(), SendRequest{Room: room, Sender: user, Content: json.RawMessage(`{}`)}, target)
	return err
}

func (f *fixture) row(room id.RoomID) (row *storage.Room) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) (err error) {
		row, err = tx.Room(room)
		return err
	})
	return row
}

// stateID is the event that a piece of state is set to.
func (f *fixture) stateID(room id.RoomID, typ, key string) (event id.EventID) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		e, err := tx.CurrentStateKey(nid, storage.StateKey{Type: typ, Key: key})
		if err == nil {
			event = e.ID
		}
		return err
	})
	return event
}

func (f *fixture) membership(room id.RoomID, user id.UserID) (m storage.Membership) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		m, err = tx.Membership(nid, user)
		return err
	})
	return m
}

func TestARedactedTopicIsNowhereAnyMore(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{Preset: "public_chat", Version: "10"})
		topic := f.mustSet(room, alice, spec.MRoomTopic, "", `{"topic":"secret"}`)
		f.state(room, spec.MRoomTopic, "") // so that the store remembers the event
		if err := f.redact(room, alice, topic); err != nil {
			t.Fatal(err)
		}
		if got := f.row(room).Summary.Topic; got != "" {
			t.Errorf("the directory shows %q", got)
		}
		if err := f.Invite(context.Background(), MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		if got := f.membership(room, bob).Stripped; strings.Contains(got, "secret") {
			t.Errorf("the invite shows %s", got)
		}
		if again := f.mustSet(room, alice, spec.MRoomTopic, "", `{"topic":"secret"}`); again == topic {
			t.Error("setting the topic again gave the redacted event")
		}
	})
}

// Updates that are committed together must not see each other's events in the form from before a redaction.
func TestRedactionsHoldWithinOneCommit(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		ctx := context.Background()
		room := f.create(CreateRequest{Preset: "public_chat"})
		topic := f.mustSet(room, alice, spec.MRoomTopic, "", `{"topic":"secret"}`)
		f.state(room, spec.MRoomTopic, "")
		running, release := make(chan struct{}), make(chan struct{})
		results := make(chan error, 3)
		go func() {
			results <- store.Update(ctx, func(*storage.Tx) error { close(running); <-release; return nil })
		}()
		<-running
		go func() { results <- f.redact(room, alice, topic) }()
		for store.Stats().QueuedUpdates < 1 {
			runtime.Gosched()
		}
		go func() { results <- f.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: bob}) }()
		for store.Stats().QueuedUpdates < 2 {
			runtime.Gosched()
		}
		close(release)
		for range 3 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: carol}); err != nil {
			t.Fatal(err)
		}
		for _, user := range []id.UserID{bob, carol} {
			if got := f.membership(room, user).Stripped; strings.Contains(got, "secret") {
				t.Errorf("%s's invite shows %s", user, got)
			}
		}
	})
}

func TestWhoMayRedact(t *testing.T) {
	ctx := context.Background()
	for _, version := range []string{"1", "10", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			f := start(t, storagetest.Open(t))
			room := f.create(CreateRequest{Preset: "public_chat", Version: roomVersion(version)})
			for _, u := range []id.UserID{bob, carol} {
				if err := f.Join(ctx, MemberRequest{Room: room, Sender: u}); err != nil {
					t.Fatal(err)
				}
			}
			said := f.say(room, bob, "hello")
			wantCode(t, f.redact(room, carol, said), merr.Forbidden)
			if err := f.redact(room, bob, said); err != nil {
				t.Errorf("one's own event: %v", err)
			}
			if err := f.redact(room, alice, f.say(room, bob, "hello")); err != nil {
				t.Errorf("with the level for it: %v", err)
			}
			// Without its content, a room of an old version would not know what it is.
			wantCode(t, f.redact(room, alice, f.stateID(room, spec.MRoomCreate, "")), merr.Forbidden)
			if err := f.redact(room, alice, f.say(room, alice, "still possible")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARedactionSaysOnceWhatItRedacts(t *testing.T) {
	f := start(t, storagetest.Open(t))
	ctx := context.Background()
	room := f.create(CreateRequest{Preset: "public_chat", Version: "11"})
	if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	foreign, own := f.say(room, alice, "hello"), f.say(room, bob, "hello")
	_, err := f.Send(ctx, SendRequest{Room: room, Sender: bob, Type: spec.MRoomRedaction,
		Content: json.RawMessage(`{"redacts":"` + string(own) + `","redacts":"` + string(foreign) + `"}`)})
	wantCode(t, err, merr.Forbidden)
}

func TestRedactingAMemberLeavesTheRoomForgotten(t *testing.T) {
	f := start(t, storagetest.Open(t))
	ctx := context.Background()
	room := f.create(CreateRequest{Preset: "public_chat"})
	if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	if err := f.Leave(ctx, MemberRequest{Room: room, Sender: bob, Reason: "rude words"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Forget(ctx, room, bob); err != nil {
		t.Fatal(err)
	}
	if err := f.redact(room, alice, f.stateID(room, spec.MRoomMember, string(bob))); err != nil {
		t.Fatal(err)
	}
	if m := f.membership(room, bob); !m.Forgotten || m.Membership != spec.Leave {
		t.Errorf("the membership is %+v", m)
	}
}

// A third-party invite is still one after its redaction. Spec: rooms/v11#redactions
func TestRedactionKeepsWhatTheVersionSays(t *testing.T) {
	const event = `{"type":"m.room.member","state_key":"@b:x","content":{"membership":"invite","displayname":"b",
		"third_party_invite":{"display_name":"b","signed":{"mxid":"@b:x","token":"t","signatures":{}}}}}`
	for version, want := range map[string]string{
		"10": `{"membership":"invite"}`,
		"11": `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@b:x","signatures":{},"token":"t"}}}`,
		"12": `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@b:x","signatures":{},"token":"t"}}}`,
	} {
		impl := Versions()[roomVersion(version)]
		redacted, err := pdu.Redact(impl, []byte(event))
		if err != nil {
			t.Fatal(err)
		}
		got, err := canonicalContent(json.RawMessage(gjson.GetBytes(redacted, "content").Raw), impl)
		if err != nil || string(got) != want {
			t.Errorf("version %s keeps %s, %v; want %s", version, got, err, want)
		}
	}
}
