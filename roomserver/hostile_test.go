package roomserver

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// again gives b an event that one has, once more.
func (c *town) again(event id.EventID) error {
	c.t.Helper()
	return c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{c.a.event(event).JSON})[event]
}

func TestTheStateThatCameWithAJoinOutlivesWhoeverSendsItAgain(t *testing.T) {
	for _, version := range []string{"1", "6", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			c := newTown(t, CreateRequest{Version: roomVersion(version)})
			c.deliver()
			// Whoever sends it says that nothing was there before.
			create := c.a.stateID(c.room, spec.MRoomCreate, "")
			c.lie = func(method string, _ id.EventID) []id.EventID {
				if method == "state_ids" {
					return []id.EventID{create}
				}
				return nil
			}
			for _, key := range []storage.StateKey{
				{Type: spec.MRoomCreate}, {Type: spec.MRoomJoinRules}, {Type: spec.MRoomMember, Key: string(c.alice)}, {Type: spec.MRoomPowerLevels},
			} {
				_ = c.again(c.a.stateID(c.room, key.Type, key.Key))
			}
			c.lie = nil
			c.sameState(c.room, c.a, c.b)
			c.a.mustSet(c.room, c.alice, spec.MRoomName, "", `{"name":"x"}`)
			c.a.say(c.room, c.alice, "still here")
			c.deliver()
			if got := c.b.bodies(c.room); !slices.Equal(got, []string{"still here"}) {
				t.Errorf("the timeline is %v", got)
			}
			c.sameState(c.room, c.a, c.b)
		})
	}
}

func TestAJoinThroughAnotherServerKeepsWhatTheRoomHasHereAlready(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, club := home(t, CreateRequest{})
	bert, bella := b.user("bert"), b.user("bella")
	room := a.create(CreateRequest{Creator: anna, PowerLevels: map[string]json.RawMessage{"invite": must(50), "state_default": must(0)},
		InitialState: []InitialState{{spec.MRoomJoinRules, "", restricted(club)}}})
	join := func(room id.RoomID, user id.UserID) {
		t.Helper()
		if err := b.Join(ctx, MemberRequest{Room: room, Sender: user, Via: []id.ServerName{"a.test"}}); err != nil {
			t.Fatal(err)
		}
	}
	join(club, bert)
	join(club, bella)
	join(room, bert)
	w.deliver()
	// While b asks a to let in bella, the room goes on at both.
	w.between = func() {
		w.between = nil
		a.mustSet(room, anna, spec.MRoomTopic, "", `{"topic":"by anna"}`)
		b.send1(room, bert, "org.example.state", "")
		w.deliver()
	}
	join(room, bella)
	w.deliver()
	w.wantMember(room, bella, spec.Join, a, b)
	if got := b.state(room, spec.MRoomTopic, "").Get("topic").Str; got != "by anna" {
		t.Errorf("the topic is %q", got)
	}
	w.sameState(room, a, b)
	a.say(room, anna, "together")
	w.deliver()
	if n := len(b.row(room).Extremities); n != 1 {
		t.Errorf("%d ends", n)
	}
	w.sameState(room, a, b)
}

func TestATombstoneIsTakenByWhoWasInvitedToTheNewRoomOnly(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	fresh := c.a.upgrade(c.room, c.alice, "11")
	if err := c.a.Invite(context.Background(), MemberRequest{Room: fresh, Sender: c.alice, Target: c.bob}); err != nil {
		t.Fatal(err)
	}
	c.deliver()
	if got := c.b.row(c.room).Summary.Successor; got != string(fresh) {
		t.Errorf("the successor is %q", got)
	}
	c.sameState(c.room, c.a, c.b)
}

func TestAMissingParentThatComesLateIsNoEndOfTheRoom(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	c.most = 1
	c.a.say(c.room, c.alice, "1")
	topic := c.a.mustSet(c.room, c.alice, spec.MRoomTopic, "", `{"topic":"old"}`)
	c.a.say(c.room, c.alice, "2")
	c.lose(c.a)
	c.a.mustSet(c.room, c.alice, spec.MRoomTopic, "", `{"topic":"new"}`)
	c.deliver()
	ends := c.b.row(c.room).Extremities
	c.most = 0
	if err := c.again(topic); err != nil {
		t.Fatal(err)
	}
	for _, x := range c.b.row(c.room).Extremities {
		if x.ID == topic {
			t.Errorf("it is one, beside %+v", ends)
		}
	}
	c.sameState(c.room, c.a, c.b)
}

// An event id of room versions 1 and 2 is what its server says it is.
func TestAnEventIDIsThatOfOneRoom(t *testing.T) {
	c := newTown(t, CreateRequest{Version: "1"})
	c.deliver()
	second := c.a.create(CreateRequest{Creator: c.alice, Preset: "public_chat", Version: "1"})
	if err := c.b.Join(context.Background(), MemberRequest{Room: second, Sender: c.bob, Via: []id.ServerName{"one"}}); err != nil {
		t.Fatal(err)
	}
	c.deliver()
	// An event of the first room that two knows without its place, and one that it knows nothing of.
	create := c.b.event(c.a.stateID(c.room, spec.MRoomCreate, ""))
	_, raw := c.a.follow(second, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"x"}`)})
	raw = c.a.renamed(raw, create.ID)
	if err := c.b.Receive(context.Background(), "one", second, []json.RawMessage{raw})[create.ID]; err == nil {
		t.Error("an event with the id of another one is taken")
	}
	if got := c.b.event(create.ID); got.Room != create.Room || got.Status != create.Status || got.NID != create.NID {
		t.Errorf("the event of the first room is stored as %+v", got)
	}
	// The same, when it comes as history.
	parent := c.a.say(second, c.alice, "y")
	missing := c.a.renamed(c.a.event(parent).JSON, create.ID)
	if err := c.b.update(context.Background(), second, func(h *head) error {
		_, err := h.tx.AddGap(h.room().NID, []id.EventID{create.ID})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.history = []json.RawMessage{missing}
	if _, err := c.b.Backfill(context.Background(), second, 1<<62, 10); err != nil {
		t.Fatal(err)
	}
	if got := c.b.event(create.ID); got.Room != create.Room || got.Status != create.Status || got.NID != create.NID {
		t.Errorf("afterwards the event of the first room is stored as %+v", got)
	}
}

// renamed is an event of a room of version 1 under another id, with a hash and a signature that hold.
func (f *fixture) renamed(raw json.RawMessage, event id.EventID) json.RawMessage {
	f.t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		f.t.Fatal(err)
	}
	canonical := func() []byte {
		f.t.Helper()
		out, err := canonjson.Canonical(must(fields))
		if err != nil {
			f.t.Fatal(err)
		}
		return out
	}
	fields["event_id"] = must(event)
	delete(fields, "hashes")
	delete(fields, "signatures")
	delete(fields, "unsigned")
	hash := sha256.Sum256(canonical())
	fields["hashes"] = must(map[string]string{"sha256": base64.RawStdEncoding.EncodeToString(hash[:])})
	redacted, err := pdu.Redact(f.versions["1"], canonical())
	if err != nil {
		f.t.Fatal(err)
	}
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(f.cfg.Key, redacted))
	fields["signatures"] = must(map[string]any{string(f.cfg.Name): map[string]string{string(f.cfg.KeyID): signature}})
	return canonical()
}
