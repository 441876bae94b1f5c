package tests

import (
	"net/url"
	"slices"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol, dave := a.User("alice"), a.User("bob"), a.User("carol"), a.User("dave")
	room := alice.CreateRoom()
	bob.Join(room)
	then := bob.Sync().At("rooms", "join", room, "timeline", "prev_batch").Str
	now := bob.Sync().Next()
	carol.Join(room)
	bob.Leave(room)
	alice.Invite(room, dave)
	list := func(query string) []string {
		return members(alice.Get(path("rooms", room, "members") + query).Get("chunk"))
	}
	names := func(users ...*hearthtest.User) []string {
		var out []string
		for _, u := range users {
			out = append(out, string(u.ID))
		}
		slices.Sort(out)
		return out
	}
	equal(t, "everybody", list(""), names(alice, bob, carol, dave))
	equal(t, "joined", list("?membership=join"), names(alice, carol))
	equal(t, "not joined", list("?not_membership=join"), names(bob, dave))
	equal(t, "invited or not left", list("?membership=invite&not_membership=leave"), names(alice, carol, dave))
	equal(t, "at a token of sync", list("?at="+url.QueryEscape(now)), names(alice, bob))
	if then == "" {
		t.Error("the timeline has no prev_batch")
	}
	joined := alice.Get(path("rooms", room, "joined_members")).Get("joined")
	equal(t, "joined_members", keys(joined), names(alice, carol))
	bob.Refused("GET", path("rooms", room, "joined_members"), nil, 403, "M_FORBIDDEN")
	equal(t, "who has left sees whom they left", members(bob.Get(path("rooms", room, "members")).Get("chunk")), names(alice, bob, carol))
}

func TestVisibilityThatChanges(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	visible := func(v string) {
		alice.SetState(room, "m.room.history_visibility", "", fields{"history_visibility": v})
	}
	alice.Say(room, "shared")
	visible("joined")
	alice.Say(room, "hidden")
	visible("shared")
	alice.Say(room, "shared-again")
	visible("invited")
	alice.Say(room, "hidden-again")
	bob.Join(room)
	alice.Say(room, "joined")
	bob.Leave(room)
	alice.Say(room, "gone")
	bob.Join(room)
	alice.Say(room, "back")
	seen := func(r hearthtest.Response) string { return hearthtest.Bodies(hearthtest.Events(r.Get("chunk"))) }
	const want = "shared shared-again joined back"
	equal(t, "forwards", seen(messages(bob, room, "dir=f&limit=100")), want)
	equal(t, "in the timeline", hearthtest.Bodies(bob.Sync("filter", `{"room":{"timeline":{"limit":100}}}`).Timeline(room)), want)
}

func TestComingAndGoingBetweenTwoSyncs(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	join := func(r id.RoomID) { bob.Join(r) }
	tests := []struct {
		name, preset string
		before       func(id.RoomID) // what happened when bob syncs for the first time
		between      func(id.RoomID)
		want         string // the section the room is in
	}{
		{"joined and left", "public_chat", func(id.RoomID) {}, func(r id.RoomID) { bob.Join(r); bob.Leave(r) }, "leave"},
		{"left and joined again", "public_chat", join, func(r id.RoomID) { bob.Leave(r); bob.Join(r) }, "join"},
		{"invited and joined", "private_chat", func(id.RoomID) {}, func(r id.RoomID) { alice.Invite(r, bob); bob.Join(r) }, "join"},
		{"invited and told to stay away", "private_chat", func(id.RoomID) {}, func(r id.RoomID) { alice.Invite(r, bob); alice.Kick(r, bob) }, ""},
		{"an invitation withdrawn", "private_chat", func(r id.RoomID) { alice.Invite(r, bob) }, func(r id.RoomID) { alice.Kick(r, bob) }, "leave"},
		{"kicked and invited again", "public_chat", join, func(r id.RoomID) { alice.Kick(r, bob); alice.Invite(r, bob) }, "invite"},
		{"banned", "public_chat", join, func(r id.RoomID) { alice.Ban(r, bob) }, "leave"},
		{"banned and unbanned", "public_chat", join, func(r id.RoomID) { alice.Ban(r, bob); alice.Unban(r, bob) }, "leave"},
	}
	for _, test := range tests {
		room := alice.CreateRoom(fields{"preset": test.preset, "name": "Kitchen"})
		test.before(room)
		since := bob.Sync().Next()
		test.between(room)
		r := bob.Sync("since", since)
		var got []string
		for _, section := range []string{"join", "invite", "knock", "leave"} {
			if r.At("rooms", section, room).Exists() {
				got = append(got, section)
			}
		}
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		if test.name == "invited and told to stay away" && len(got) == 1 {
			want = []string{"leave"} // both are right: the client never knew of the room
		}
		equal(t, test.name, got, want)
		if test.name == "invited and joined" {
			equal(t, test.name+": the state is whole", nameShown(r, room), true)
		}
	}
}

// nameShown reports whether the state of a joined room in an answer, or its timeline, has the name.
func nameShown(r hearthtest.Response, room id.RoomID) bool {
	in := r.At("rooms", "join", room)
	_, before := stateOf(in.Get("state.events"))["m.room.name|"]
	_, during := stateOf(in.Get("timeline.events"))["m.room.name|"]
	return before || during
}

func TestSettingStateTwice(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	first := alice.SetState(room, "m.room.topic", "", fields{"topic": "Soup"})
	equal(t, "the same again", alice.SetState(room, "m.room.topic", "", `{ "topic" : "Soup" }`), first)
	bob.Refused("PUT", path("rooms", room, "state", "m.room.topic", ""), fields{"topic": "Soup"}, 403, "M_FORBIDDEN")
	alice.SetState(room, "m.room.topic", "", fields{"topic": "Cake"})
	if again := alice.SetState(room, "m.room.topic", "", fields{"topic": "Soup"}); again == first {
		t.Error("state that was changed back is taken for the first")
	}
	whole := alice.Get(path("rooms", room, "state", "m.room.topic", "") + "?format=event")
	equal(t, "the event", []string{whole.Get("type").Str, whole.Get("content.topic").Str, whole.Get("sender").Str},
		[]string{"m.room.topic", "Soup", string(alice.ID)})
}

func TestPowerLevels(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	for _, version := range []string{"11", "12"} {
		room := alice.CreateRoom(fields{"room_version": version})
		bob.Join(room)
		carol.Join(room)
		levels := func(users fields) fields {
			if version != "12" {
				// Spec: rooms/v12. There the creator has no level, being above all.
				users[string(alice.ID)] = 100
			}
			return fields{"users": users, "ban": 50, "kick": 50, "events": fields{"m.room.power_levels": 50}}
		}
		bob.Refused("PUT", path("rooms", room, "state", "m.room.topic", ""), fields{"topic": "Soup"}, 403, "M_FORBIDDEN")
		alice.SetState(room, "m.room.power_levels", "", levels(fields{string(bob.ID): 50}))
		bob.SetState(room, "m.room.topic", "", fields{"topic": "Soup"})
		bob.SetState(room, "m.room.power_levels", "", levels(fields{string(bob.ID): 50, string(carol.ID): 50}))
		bob.Refused("PUT", path("rooms", room, "state", "m.room.power_levels", ""), levels(fields{string(bob.ID): 60}), 403, "M_FORBIDDEN")
		bob.Refused("POST", path("rooms", room, "kick"), fields{"user_id": carol.ID}, 403, "M_FORBIDDEN")
		bob.Refused("POST", path("rooms", room, "ban"), fields{"user_id": alice.ID}, 403, "M_FORBIDDEN")
		alice.Ban(room, carol)
	}
}
