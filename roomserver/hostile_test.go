package roomserver

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
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

func TestAnEventThatCannotBeStoredDoesNotKeepOutOthers(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	var together []json.RawMessage
	for _, body := range []string{"first", "stumbling block", "last"} {
		together = append(together, c.a.event(c.a.say(c.room, c.alice, body)).JSON)
	}
	c.lose(c.a)
	c.b.accounts.trips = "stumbling"
	failed := 0
	for _, err := range c.b.Receive(context.Background(), "one", c.room, together) {
		if err != nil {
			failed++
		}
	}
	if got := c.b.bodies(c.room); failed != 1 || !slices.Equal(got, []string{"first"}) {
		t.Errorf("%d failed, the timeline is %v", failed, got)
	}
	c.b.accounts.trips = ""
	c.a.say(c.room, c.alice, "more")
	c.deliver()
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"first", "stumbling block", "last", "more"}) {
		t.Errorf("afterwards the timeline is %v", got)
	}
}

func TestARejectedEventDoesNotEndHistory(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	carol := c.a.user("carol") // who is not in the room
	first := c.a.say(c.room, c.alice, "first")
	c.lose(c.a)
	after := func(prev id.EventID, sender id.UserID, body string) (id.EventID, json.RawMessage) {
		t.Helper()
		said := c.a.event(first)
		p := place{version: c.a.versions["11"], room: c.room, prev: []id.EventID{prev}, auth: said.AuthEventIDs(), depth: said.Depth + 1, ts: 1}
		event, raw, err := c.a.build(draft{typ: "m.room.message", sender: sender, content: must(map[string]string{"body": body})}, p)
		if err != nil {
			t.Fatal(err)
		}
		return event, raw
	}
	bad, badRaw := after(first, carol, "bad")
	last, lastRaw := after(bad, c.alice, "last")
	if err := c.b.update(context.Background(), c.room, func(h *head) error {
		_, err := h.tx.AddGap(h.room().NID, []id.EventID{last})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.history = []json.RawMessage{lastRaw, badRaw, c.a.event(first).JSON}
	if _, err := c.b.Backfill(context.Background(), c.room, 1<<62, 10); err != nil {
		t.Fatal(err)
	}
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("the timeline is %v", got)
	}
}

func TestParentsThatDoNotExistDoNotHideTheOthers(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	said := c.a.say(c.room, c.alice, "said")
	c.lose(c.a)
	missing := []id.EventID{}
	for i := range backfillNames + 5 {
		missing = append(missing, id.EventID(fmt.Sprint("$no", i)))
	}
	if err := c.b.update(context.Background(), c.room, func(h *head) error {
		_, err := h.tx.AddGap(h.room().NID, append(missing, said))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.b.Backfill(context.Background(), c.room, 1<<62, 10); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"said"}) {
		t.Errorf("the timeline is %v", got)
	}
}

func TestEventsComeAfterTheirAuthEventsWhateverTheirDepthSays(t *testing.T) {
	version := Versions()["1"]
	event := func(n int, depth int, auth ...int) *pdu.Event {
		names := [][]any{}
		for _, a := range auth {
			names = append(names, []any{fmt.Sprintf("$%d:x", a), map[string]string{}})
		}
		e, err := pdu.Parse(version, must(map[string]any{
			"type": "m.x", "sender": "@a:x", "room_id": "!r:x", "event_id": fmt.Sprintf("$%d:x", n), "content": map[string]any{}, "depth": depth,
			"origin_server_ts": 1, "prev_events": []any{}, "auth_events": names, "hashes": map[string]any{}, "signatures": map[string]any{},
		}))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	// A line that is as deep as it is long, told the wrong way round, and a circle with somebody who looks at it.
	const length = 5000
	var events []*pdu.Event
	for n := range length {
		if n == 0 {
			events = append(events, event(n, length))
		} else {
			events = append(events, event(n, length-n, n-1))
		}
	}
	events = append(events, event(-1, 1, -2), event(-2, 1, -1), event(-3, 1, -2))
	got := inAuthOrder(events)
	if len(got) != length {
		t.Fatalf("%d events", len(got))
	}
	for n, e := range got {
		if e.ID != id.EventID(fmt.Sprintf("$%d:x", n)) {
			t.Fatalf("%s is in place %d", e.ID, n)
		}
	}
}

func TestComingAndGoing(t *testing.T) {
	for _, version := range []string{"1", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			ctx := context.Background()
			c := newTown(t, CreateRequest{Version: roomVersion(version)})
			bella := c.b.user("bella")
			do := func(f *fixture, do func(context.Context, MemberRequest) error, sender, target id.UserID) {
				t.Helper()
				if err := do(ctx, MemberRequest{Room: c.room, Sender: sender, Target: target, Via: []id.ServerName{"one"}}); err != nil {
					t.Fatal(err)
				}
				c.deliver()
			}
			topic := func(text string) {
				t.Helper()
				c.a.mustSet(c.room, c.alice, spec.MRoomTopic, "", `{"topic":"`+text+`"}`)
				c.deliver()
			}
			c.deliver()
			do(c.b, c.b.Leave, c.bob, "")
			topic("while nobody of two was there")
			late := c.a.say(c.room, c.alice, "missed")
			c.deliver()
			if err := c.again(late); err == nil {
				t.Error("an event of a room that nobody here is in is taken")
			}
			// Two at once.
			var both sync.WaitGroup
			for _, user := range []id.UserID{c.bob, bella} {
				both.Go(func() {
					if err := c.b.Join(ctx, MemberRequest{Room: c.room, Sender: user, Via: []id.ServerName{"one"}}); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			c.deliver()
			c.sameState(c.room, c.a, c.b)
			c.wantMember(c.room, c.bob, spec.Join, c.a, c.b)
			c.wantMember(c.room, bella, spec.Join, c.a, c.b)
			do(c.a, c.a.Ban, c.alice, c.bob)
			do(c.a, c.a.Kick, c.alice, bella)
			topic("without bob and bella")
			if err := c.b.Join(ctx, MemberRequest{Room: c.room, Sender: c.bob, Via: []id.ServerName{"one"}}); err == nil {
				t.Error("a banned user has joined")
			}
			do(c.a, c.a.Unban, c.alice, c.bob)
			do(c.a, c.a.Invite, c.alice, c.bob)
			do(c.b, c.b.Join, c.bob, "")
			c.sameState(c.room, c.a, c.b)
			topic("with bob")
			if err := c.a.redact(c.room, c.alice, c.a.stateID(c.room, spec.MRoomMember, string(c.bob))); err != nil {
				t.Fatal(err)
			}
			c.deliver()
			do(c.b, c.b.Join, bella, "")
			c.b.say(c.room, bella, "hi")
			c.deliver()
			c.sameState(c.room, c.a, c.b)
			for range 10 {
				if _, err := c.b.Backfill(ctx, c.room, 1<<62, 100); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.b.bodies(c.room); !slices.Equal(got, []string{"missed", "hi"}) {
				t.Errorf("the timeline of two has %v", got)
			}
			do(c.b, c.b.Leave, bella, "")
			do(c.b, c.b.Leave, c.bob, "")
			c.wantMember(c.room, c.bob, spec.Leave, c.a, c.b)
			c.wantMember(c.room, bella, spec.Leave, c.a, c.b)
		})
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
