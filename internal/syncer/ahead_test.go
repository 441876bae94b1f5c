package syncer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/filter"
)

// Rooms are read many at a time, and each is shown as if it were the only one.
func TestAnInitialSyncShowsEachRoomAsIfItWereTheOnlyOne(t *testing.T) {
	r := newRig(t)
	const rooms = maxAhead + 10
	for i := range rooms {
		room := r.room(fmt.Sprint("r", i))
		if i%3 == 0 {
			room.State(alice, "m.room.name", "", fmt.Sprintf(`{"name":"room %d"}`, i))
		}
		if i%4 == 0 {
			room.State(alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
		}
		room.Message(alice, "before")
		room.Member(bob, bob, "join")
		room.Message(alice, "after")
		switch i % 5 {
		case 1:
			room.Member(alice, eve, "invite")
		case 2:
			room.Member(eve, eve, "join")
		case 3:
			room.Member(alice, alice, "leave")
		}
	}
	sync := func(definition string) gjson.Result {
		f, err := filter.Parse([]byte(definition))
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.syncer.Sync(t.Context(), Request{User: bob, Device: "D", Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return gjson.GetBytes(out, "rooms.join")
	}
	for _, lazy := range []bool{false, true} {
		all := sync(fmt.Sprintf(`{"room":{"state":{"lazy_load_members":%v}}}`, lazy)).Map()
		check(t, "rooms", rooms, len(all))
		for room, shown := range all {
			alone := sync(fmt.Sprintf(`{"room":{"rooms":[%q],"state":{"lazy_load_members":%v}}}`, room, lazy)).Map()[room]
			if d := cmp.Diff(inOrder(alone), inOrder(shown)); d != "" {
				t.Fatalf("%s, lazy: %v: %s", room, lazy, d)
			}
		}
	}
}

// inOrder is a room with its state by type and key: as a list it has no order.
func inOrder(room gjson.Result) map[string]string {
	out := map[string]string{}
	room.ForEach(func(name, value gjson.Result) bool {
		if name.Str != "state" {
			out[name.Str] = value.Raw
			return true
		}
		for _, ev := range value.Get("events").Array() {
			out[ev.Get("type").Str+" "+ev.Get("state_key").Str] = ev.Raw
		}
		return true
	})
	return out
}
