package clientapi

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

func TestNotifications(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	rooms := []*member{alice.create(public), alice.create(public), alice.create(public)}
	for _, room := range rooms {
		room.joined(bob).say("own messages do not notify")
	}
	var want []string
	for i := range 120 {
		text := fmt.Sprint(i)
		rooms[i*i%3].say(text) // mostly one room, and one that stays silent
		want = append(want, text)
	}
	rooms[2].send("m.room.message", `{"msgtype":"m.text","body":"hello bob","m.mentions":{"user_ids":["@bob:hs"]}}`)
	rooms[2].send("org.example.silent", `{}`)
	want = append(want, "hello bob")
	slices.Reverse(want)
	elsewhere := alice.create(public)
	elsewhere.say("bob is not here")

	get := func(query string) answer { return bob.must("GET", clientV3+"notifications"+query, "") }
	var all []string
	next, pages := "", 0
	for {
		got := get("?limit=50" + next)
		for _, n := range got.Get("notifications").Array() {
			all = append(all, name(n.Get("event")))
		}
		pages++
		if !got.Get("next_token").Exists() {
			break
		}
		next = "&from=" + got.Get("next_token").Str
	}
	if diff := cmp.Diff(want, all); diff != "" || pages > 4 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
	got := get("?limit=1").Get("notifications.0")
	if got.Get("room_id").Str != rooms[2].room || got.Get("event.room_id").Exists() || !got.Get("ts").Exists() || got.Get("read").Bool() ||
		got.Get("actions.0").Str != "notify" {
		t.Error(got.Raw)
	}
	if err := r.store.Update(t.Context(), func(tx *storage.Tx) error {
		ev, err := tx.Event(id.EventID(got.Get("event.event_id").Str))
		if err != nil {
			return err
		}
		_, err = tx.SetReceipt(storage.Receipt{Room: ev.Room, User: id.UserID(bob.id), Type: storage.ReadPrivate, Thread: storage.MainThread,
			Event: ev.ID, At: ev.Pos})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	rooms[2].reply("in a thread", "m.thread", got.Get("event.event_id").Str)
	var read []string
	for _, n := range get("?limit=3").Get("notifications").Array() {
		read = append(read, fmt.Sprint(name(n.Get("event")), " ", n.Get("read").Bool()))
	}
	if diff := cmp.Diff([]string{"in a thread false", "hello bob true", "119 false"}, read); diff != "" {
		t.Error(diff)
	}
	high := get("?only=highlight")
	if list := high.Get("notifications").Array(); len(list) != 1 || name(list[0].Get("event")) != "hello bob" {
		t.Error(high.Raw)
	}
	bob.refused("GET", clientV3+"notifications?only=x", "", 400, "M_INVALID_PARAM")
	bob.refused("GET", clientV3+"notifications?limit=0", "", 400, "M_INVALID_PARAM")
	bob.refused("GET", clientV3+"notifications?from=x", "", 400, "M_INVALID_PARAM")
	if got := r.register("carol").must("GET", clientV3+"notifications", ""); got.Raw != `{"notifications":[]}` {
		t.Error(got.Raw)
	}
}
