package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/storage"
)

// town is a room of alice on one server that bob of another has joined.
type town struct {
	*world
	a, b       *fixture
	alice, bob id.UserID
	room       id.RoomID
}

func newTown(t testing.TB, r CreateRequest) *town {
	t.Helper()
	w := newWorld(t, "one", "two")
	c := &town{world: w, a: w.servers["one"], b: w.servers["two"]}
	c.alice, c.bob = c.a.user("alice"), c.b.user("bob")
	r.Creator, r.Preset = c.alice, "public_chat"
	c.room = c.a.create(r)
	c.join(c.bob)
	return c
}

func (c *town) join(user id.UserID) {
	c.t.Helper()
	if err := c.b.Join(context.Background(), MemberRequest{Room: c.room, Sender: user, Via: []id.ServerName{"one"}}); err != nil {
		c.t.Fatal(err)
	}
}

// lose empties the outboxes, as if what is in them had been given up.
func (c *town) lose(f *fixture) {
	c.t.Helper()
	err := f.store.Update(context.Background(), func(tx *storage.Tx) error {
		to, err := tx.Outboxes()
		for _, dest := range to {
			if err == nil {
				err = tx.Delivered(dest, 1<<62)
			}
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// event is a stored event; nil, if it is not there.
func (f *fixture) event(event id.EventID) (e *storage.Event) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) (err error) {
		if e, err = tx.Event(event); isNotFound(err) {
			return nil
		}
		return err
	})
	return e
}

func (f *fixture) gaps(room id.RoomID) (list []storage.Gap) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) (err error) {
		list, err = tx.Gaps(f.rowIn(tx, room).NID)
		return err
	})
	return list
}

// timeline is the ids of a room's timeline.
func (f *fixture) timeline(room id.RoomID) (out []id.EventID) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		events, err := tx.Timeline(f.rowIn(tx, room).NID, storage.Span{After: -1 << 62, UpTo: 1 << 62}, 1000, false)
		for _, e := range events {
			out = append(out, e.ID)
		}
		return err
	})
	return out
}

func TestAShortGapIsFilledWithoutAskingForState(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	for _, body := range []string{"1", "2", "3"} {
		c.a.say(c.room, c.alice, body)
	}
	c.lose(c.a)
	c.a.say(c.room, c.alice, "4")
	c.deliver()
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("the timeline is %v", got)
	}
	if c.calls["get_missing_events"] != 1 || c.calls["state_ids"]+c.calls["state"] != 0 {
		t.Errorf("asked for %v", c.calls)
	}
	if gaps := c.b.gaps(c.room); len(gaps) != 1 { // the one before the join
		t.Errorf("gaps %+v", gaps)
	}
}

func TestALongGapIsLeftAndFilledLater(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	c.most = 1
	c.a.say(c.room, c.alice, "1")
	c.a.mustSet(c.room, c.alice, spec.MRoomTopic, "", `{"topic":"x"}`)
	c.a.say(c.room, c.alice, "2")
	c.lose(c.a)
	c.a.say(c.room, c.alice, "3")
	c.deliver()
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"2", "3"}) || c.calls["state_ids"] != 1 {
		t.Errorf("the timeline is %v, asked for %v", got, c.calls)
	}
	c.sameState(c.room, c.a, c.b)
	if gaps := c.b.gaps(c.room); len(gaps) != 2 {
		t.Fatalf("gaps %+v", gaps)
	}
	before := c.b.row(c.room).LastPos
	if more, err := c.b.Backfill(context.Background(), c.room, before, 10); !more || err != nil {
		t.Fatalf("backfill: %v, %v", more, err)
	}
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("afterwards the timeline is %v", got)
	}
	if gaps := c.b.gaps(c.room); len(gaps) != 1 || c.b.row(c.room).LastPos != before {
		t.Errorf("afterwards the gaps are %+v", gaps)
	}
	// On to the beginning of the room.
	for range 3 {
		if _, err := c.b.Backfill(context.Background(), c.room, before, 100); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(c.a.timeline(c.room), c.b.timeline(c.room)); diff != "" {
		t.Errorf("the whole timeline (-one +two):\n%s", diff)
	}
	if gaps := c.b.gaps(c.room); len(gaps) != 0 {
		t.Errorf("at the end the gaps are %+v", gaps)
	}
}

func TestAVeryLongGapIsCrossedWithTheWholeState(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	c.most = 1
	for i := range maxOneByOne + 10 {
		if err := c.a.Join(context.Background(), MemberRequest{Room: c.room, Sender: c.a.user(fmt.Sprint("member", i))}); err != nil {
			t.Fatal(err)
		}
	}
	c.lose(c.a)
	c.a.say(c.room, c.alice, "after")
	c.deliver()
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"after"}) || c.calls["state"] == 0 {
		t.Errorf("the timeline is %v, asked for %v", got, c.calls)
	}
	c.sameState(c.room, c.a, c.b)
}

func TestForksComeTogether(t *testing.T) {
	for _, version := range []string{"1", "2", "6", "9", "10", "11", "12"} {
		t.Run("version "+version, func(t *testing.T) {
			c := newTown(t, CreateRequest{Version: roomVersion(version)})
			levels := gjson.GetBytes(c.a.content(c.room, spec.MRoomPowerLevels), "@this").Raw
			levels, _ = sjson.Set(levels, "users."+escapePath(string(c.bob)), 50)
			c.a.mustSet(c.room, c.alice, spec.MRoomPowerLevels, "", levels)
			c.deliver()
			// Neither hears of the other for a while.
			c.a.mustSet(c.room, c.alice, spec.MRoomTopic, "", `{"topic":"by alice"}`)
			c.b.mustSet(c.room, c.bob, spec.MRoomTopic, "", `{"topic":"by bob"}`)
			c.b.mustSet(c.room, c.bob, spec.MRoomName, "", `{"name":"by bob"}`)
			c.a.say(c.room, c.alice, "a")
			c.b.say(c.room, c.bob, "b")
			c.deliver()
			c.sameState(c.room, c.a, c.b)
			if n := len(c.a.row(c.room).Extremities); n != 2 {
				t.Errorf("%d extremities while forked", n)
			}
			c.a.say(c.room, c.alice, "together")
			c.deliver()
			c.sameState(c.room, c.a, c.b)
			for _, f := range []*fixture{c.a, c.b} {
				got := f.bodies(c.room)
				slices.Sort(got)
				if n := len(f.row(c.room).Extremities); n != 1 || !slices.Equal(got, []string{"a", "b", "together"}) {
					t.Errorf("on %s %d extremities, messages %v", f.cfg.Name, n, got)
				}
			}
		})
	}
}

func TestWhatABannedUserSaidMeanwhileSoftFails(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	if err := c.a.Ban(context.Background(), MemberRequest{Room: c.room, Sender: c.alice, Target: c.bob}); err != nil {
		t.Fatal(err)
	}
	said := c.b.say(c.room, c.bob, "still here")
	topic := c.b.send1(c.room, c.bob, "org.example.state", "")
	c.deliver()
	if e := c.a.event(said); e == nil || e.Status != storage.SoftFailed || e.Pos != 0 {
		t.Errorf("the message is stored as %+v", e)
	}
	if e := c.a.event(topic); e == nil || e.Status == storage.Accepted {
		t.Errorf("the state event is stored as %+v", e)
	}
	if got := c.a.bodies(c.room); len(got) != 0 {
		t.Errorf("on one the timeline has %v", got)
	}
	c.sameState(c.room, c.a, c.b)
	// A soft-failed event must not be an end of the graph, nor leave the graph without one.
	if ends := c.a.row(c.room).Extremities; len(ends) != 1 || ends[0].ID == said {
		t.Errorf("extremities %+v", ends)
	}
	c.a.say(c.room, c.alice, "gone")
	if got := c.a.bodies(c.room); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("afterwards on one the timeline has %v", got)
	}
}

// send1 sends some state that everybody may send.
func (f *fixture) send1(room id.RoomID, user id.UserID, typ, key string) id.EventID {
	f.t.Helper()
	event, err := f.send(room, user, typ, `{"x":1}`)
	if err != nil {
		f.t.Fatal(err)
	}
	return event
}

// content is the content of a piece of state.
func (f *fixture) content(room id.RoomID, typ string) []byte {
	f.t.Helper()
	return f.event(f.stateID(room, typ, "")).Content()
}

// follow makes an event at the end of a room, without asking the rules and without adding it.
func (f *fixture) follow(room id.RoomID, d draft) (event id.EventID, raw json.RawMessage) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		row := f.rowIn(tx, room)
		state := &authState{tx: tx, room: row, version: f.versions[row.Version], snap: newSnapshot()}
		p, err := state.place(d)
		if err != nil {
			return err
		}
		p.ts = 1_700_000_000_000
		event, raw, err = f.build(d, p)
		return err
	})
	return event, raw
}

// forged gives b an event that the server one has made without looking at the rules, and says what became of it.
func (c *town) forged(d draft) (id.EventID, error) {
	c.t.Helper()
	event, raw := c.a.follow(c.room, d)
	return event, c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{raw})[event]
}

func TestWhatTheRulesForbidIsRejectedAndWhatFollowsItIsNot(t *testing.T) {
	c := newTown(t, CreateRequest{})
	carol := c.a.user("carol")
	c.deliver()
	// carol is not in the room.
	bad, err := c.forged(draft{typ: "m.room.message", sender: carol, content: json.RawMessage(`{"body":"x"}`)})
	if e := c.b.event(bad); err == nil || e == nil || e.Status != storage.Rejected {
		t.Fatalf("%v, stored as %+v", err, e)
	}
	if ends := c.b.row(c.room).Extremities; slices.ContainsFunc(ends, func(x storage.Extremity) bool { return x.ID == bad }) {
		t.Errorf("extremities %+v", ends)
	}
	c.a.say(c.room, c.alice, "fine")
	c.deliver()
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"fine"}) {
		t.Errorf("the timeline is %v", got)
	}
}

func TestEventsThatAreNotWhatTheySay(t *testing.T) {
	c := newTown(t, CreateRequest{})
	other := c.a.create(CreateRequest{Creator: c.alice, Preset: "public_chat"})
	c.deliver()
	event, raw := c.a.follow(c.room, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"x"}`)})
	elsewhere, elsewhereRaw := c.a.follow(other, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"x"}`)})
	set := func(path string, value any) json.RawMessage {
		out, err := sjson.SetBytes(raw, path, value)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, raw := range map[string]json.RawMessage{
		"no JSON":               []byte("{"),
		"null":                  []byte("null"),
		"a number":              []byte("1e999"),
		"deep":                  []byte(strings.Repeat(`{"a":`, 100_000)),
		"another sender":        set("sender", "@mallory:one"),
		"without a signature":   set("signatures", map[string]any{}),
		"another server's":      set("signatures", map[string]any{"two": map[string]string{"ed25519:1": "AAAA"}}),
		"of an unknown server":  set("sender", "@mallory:three"),
		"too large":             set("content.body", strings.Repeat("x", 70_000)),
		"a depth of minus one":  set("depth", -1),
		"from another room":     elsewhereRaw,
		"prev_events of itself": set("prev_events", []string{string(event)}),
	} {
		for id, err := range c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{raw}) {
			if err == nil && c.b.event(id) != nil {
				t.Errorf("%s: accepted as %s", name, id)
			}
		}
	}
	if e := c.b.event(elsewhere); e != nil {
		t.Error("the event of another room is stored")
	}
	// One that was changed on the way is taken without its content.
	changed := set("content.body", "y")
	if err := c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{changed})[event]; err != nil {
		t.Fatal(err)
	}
	if e := c.b.event(event); e == nil || string(e.Content()) != "{}" {
		t.Errorf("the changed event is stored as %+v", e)
	}
}

func TestAServerThatTheRoomDeniesIsNotHeard(t *testing.T) {
	c := newTown(t, CreateRequest{})
	event, raw := c.a.follow(c.room, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"x"}`)})
	c.a.mustSet(c.room, c.alice, serveracl.EventType, "", `{"allow":["*"],"deny":["two"]}`)
	c.deliver()
	if err := c.b.Receive(context.Background(), "two", c.room, []json.RawMessage{raw})[event]; err != errNotLetIn || c.b.event(event) != nil {
		t.Errorf("a denied server is told %v", err)
	}
	if err := c.b.Receive(context.Background(), "three", c.room, []json.RawMessage{raw})[event]; err != nil || c.b.event(event) == nil {
		t.Errorf("another server is told %v", err)
	}
}

func TestARedactionCanComeBeforeItsTarget(t *testing.T) {
	for _, version := range []string{"2", "10", "11"} {
		t.Run("version "+version, func(t *testing.T) {
			c := newTown(t, CreateRequest{Version: roomVersion(version)})
			c.deliver()
			said := c.a.say(c.room, c.alice, "secret")
			c.lose(c.a)
			if err := c.a.redact(c.room, c.alice, said); err != nil {
				t.Fatal(err)
			}
			// Of what it comes after only the next event can be had.
			c.lose(c.a)
			c.a.say(c.room, c.alice, "by the way")
			c.most = 1
			c.deliver()
			if e := c.b.event(said); e != nil && e.Status == storage.Accepted {
				t.Fatal("the target is here already")
			}
			if _, err := c.b.Backfill(context.Background(), c.room, c.b.row(c.room).LastPos, 1); err != nil {
				t.Fatal(err)
			}
			e := c.b.event(said)
			if e == nil || e.Status != storage.Accepted || e.RedactedBy == 0 || gjson.GetBytes(e.JSON, "content.body").Exists() {
				t.Errorf("the target is stored as %+v", e)
			}
		})
	}
}

func TestReceivingTwiceChangesNothing(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	said := c.a.say(c.room, c.alice, "once")
	raw := c.a.event(said).JSON
	for range 3 {
		got := c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{raw, raw})
		if err, there := got[said]; err != nil || !there || len(got) != 1 {
			t.Errorf("answer %v", got)
		}
	}
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"once"}) {
		t.Errorf("the timeline is %v", got)
	}
}

func TestManyForksStayBounded(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	for i := range 3 * maxExtremities {
		// The room on one does not go on, so all of these have the same parents.
		_, raw := c.a.follow(c.room, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(fmt.Sprintf(`{"body":"%d"}`, i))})
		c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{raw})
	}
	if n := len(c.b.row(c.room).Extremities); n > maxExtremities {
		t.Errorf("%d extremities", n)
	}
	c.b.say(c.room, c.bob, "joined up")
	if n := len(c.b.row(c.room).Extremities); n != 1 {
		t.Errorf("%d extremities after an event of ours", n)
	}
}

func TestEventsWhoseParentsNobodyHasAreNotTaken(t *testing.T) {
	c := newTown(t, CreateRequest{})
	c.deliver()
	event, raw := c.a.follow(c.room, draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"x"}`)})
	_ = event
	c.down["one"] = true
	p := place{version: c.a.versions["11"], room: c.room, prev: []id.EventID{"$nobodyhasthisone"}, depth: 50, ts: 1}
	p.auth = c.a.event(c.a.say(c.room, c.alice, "before")).AuthEventIDs()
	orphan, orphanRaw, err := c.a.build(draft{typ: "m.room.message", sender: c.alice, content: json.RawMessage(`{"body":"orphan"}`)}, p)
	if err != nil {
		t.Fatal(err)
	}
	got := c.b.Receive(context.Background(), "one", c.room, []json.RawMessage{orphanRaw, raw})
	if e := c.b.event(orphan); e != nil {
		t.Errorf("stored as %+v", e)
	}
	if len(got) != 2 {
		t.Errorf("answer %v", got)
	}
	// The one beside it does not suffer.
	if got := c.b.bodies(c.room); !slices.Equal(got, []string{"x"}) {
		t.Errorf("the timeline is %v", got)
	}
}
