package pusher

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// same compares JSON, whatever the order of members.
func sameJSON(t *testing.T, what, want, got string) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	check(t, what, w, g)
}

// seen is what the gateway of a pusher of alice's with some data is told of an event.
func (r *rig) seen(data string, e *storage.Event, actions string) string {
	r.t.Helper()
	p := storage.Pusher{User: alice, AppID: "app", Pushkey: "key", SetTS: 1_700_000_100_999, Data: json.RawMessage(`{"url":"` + gateway + `"` + data + `}`)}
	var body []byte
	err := r.store.View(context.Background(), func(tx *storage.ReadTx) error {
		n := forPusher(p, 3)
		err := n.about(tx, p, e, json.RawMessage(actions))
		if err == nil {
			body, err = n.body()
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return gjson.GetBytes(body, "notification").Raw
}

func TestWhatGatewaysAreTold(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.State(bob, "m.room.name", "", `{"name":"A <room>"}`)
	r.State(bob, "m.room.canonical_alias", "", `{"alias":"#a:one"}`)
	message := r.Message(bob, "hi")
	const loud = `["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"},{"set_tweak":"light","value":{"colour":"red"}}]`
	sameJSON(t, "a message", `{"event_id":"`+string(message.ID)+`","room_id":"!r:one","type":"m.room.message","sender":"@bob:one",
		"sender_display_name":"bob","room_name":"A <room>","room_alias":"#a:one","prio":"high","content":{"body":"hi","msgtype":"m.text"},
		"counts":{"unread":3},"devices":[{"app_id":"app","pushkey":"key","pushkey_ts":1700000100,"data":{"own":1.50,"format":"other"},
		"tweaks":{"sound":"default","highlight":true,"light":{"colour":"red"}}}]}`, r.seen(`,"own":1.50,"format":"other"`, message, loud))
	sameJSON(t, "a message, by its id", `{"event_id":"`+string(message.ID)+`","room_id":"!r:one","prio":"high","counts":{"unread":3},
		"devices":[{"app_id":"app","pushkey":"key","pushkey_ts":1700000100,"data":{"format":"event_id_only","x":null}}]}`,
		r.seen(`,"format":"event_id_only","x":null`, message, loud))
	for _, tt := range []struct {
		name, actions, want string
		e                   *storage.Event
	}{
		{"a message without a sound", `["notify",{"set_tweak":"highlight","value":false}]`, low, message},
		{"a highlight", `["notify",{"set_tweak":"highlight","value":true}]`, high, message},
		{"what nobody can read", `["notify"]`, high, r.Event(bob, "m.room.encrypted", `{}`)},
	} {
		check(t, tt.name, tt.want, gjson.Get(r.seen("", tt.e, tt.actions), "prio").Str)
	}
	invite := r.Member(bob, alice, "invite")
	check(t, "an invite is about the user", true, gjson.Get(r.seen("", invite, `["notify"]`), "user_is_target").Bool())
	other := r.Member(bob, "@carol:one", "invite")
	check(t, "another is not", false, gjson.Get(r.seen("", other, `["notify"]`), "user_is_target").Bool())
}

// Of a room that this server is not in, there is what the invite says.
func TestAnInviteFromElsewhereSpeaksOfItsRoom(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	room := &storage.Room{ID: "!far:two", Version: "11", Extremities: []storage.Extremity{}}
	key := string(alice)
	e := &storage.Event{ID: "$i", RoomID: room.ID, Type: "m.room.member", StateKey: &key, Sender: "@carol:two", Status: storage.Outlier,
		JSON: []byte(`{"content":{"membership":"invite"}}`)}
	r.update(func(tx *storage.Tx) (err error) {
		if err := tx.AddRoom(room); err != nil {
			return err
		}
		e.Room = room.NID
		if e.NID, err = tx.NextBackfillPos(); err != nil {
			return err
		}
		if err := tx.AddEvent(e); err != nil {
			return err
		}
		return tx.SetMembership(storage.Membership{User: alice, Room: room.NID, RoomID: room.ID, Membership: "invite", Event: e.NID, Sender: e.Sender,
			Stripped: `[{"type":"m.room.name","state_key":"","content":{"name":"Far"}},{"type":"m.room.canonical_alias","content":{"alias":"#far:two"}},
				{"type":"m.room.member","state_key":"@carol:two","content":{"displayname":"Carol"}},
				{"type":"m.room.member","state_key":"@dave:two","content":{"displayname":"Dave"}}]`}, true)
	})
	got := r.seen("", e, `["notify"]`)
	check(t, "room, alias and sender", []string{"Far", "#far:two", "Carol"},
		[]string{gjson.Get(got, "room_name").Str, gjson.Get(got, "room_alias").Str, gjson.Get(got, "sender_display_name").Str})
	r.update(func(tx *storage.Tx) error {
		for _, u := range []id.UserID{alice, "@stranger:one"} {
			if read, err := moot(&tx.ReadTx, u, e); read || err != nil {
				t.Errorf("the invite is taken for read: %v, %v", read, err)
			}
		}
		return nil
	})
}
