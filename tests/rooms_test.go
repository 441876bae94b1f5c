package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestCreateRoom(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{
		"preset": "private_chat", "name": "Kitchen", "topic": "Recipes", "room_alias_name": "kitchen", "invite": []id.UserID{bob.ID},
		"creation_content":             fields{"type": "example.kitchen"},
		"initial_state":                []fields{{"type": "example.oven", "state_key": "top", "content": fields{"degrees": 200}}},
		"power_level_content_override": fields{"events": fields{"example.oven": 100}},
	})
	for _, test := range []struct{ eventType, key, field, want string }{
		{"m.room.create", "", "room_version", "11"},
		{"m.room.create", "", "type", "example.kitchen"},
		{"m.room.name", "", "name", "Kitchen"},
		{"m.room.topic", "", "topic", "Recipes"},
		{"m.room.canonical_alias", "", "alias", "#kitchen:" + string(a.Name)},
		{"m.room.join_rules", "", "join_rule", "invite"},
		{"m.room.history_visibility", "", "history_visibility", "shared"},
		{"m.room.guest_access", "", "guest_access", "can_join"},
		{"m.room.power_levels", "", `events.example\.oven`, "100"},
		{"example.oven", "top", "degrees", "200"},
		{"m.room.member", string(alice.ID), "membership", "join"},
		{"m.room.member", string(bob.ID), "membership", "invite"},
	} {
		equal(t, test.eventType+" "+test.field, alice.State(room, test.eventType, test.key).Get(test.field).String(), test.want)
	}
	alice.Refused("GET", path("rooms", room, "state", "m.room.avatar", ""), nil, 404, "M_NOT_FOUND")
	bob.Join(room)
	bob.Refused("PUT", path("rooms", room, "state", "example.oven", "top"), fields{"degrees": 0}, 403, "M_FORBIDDEN")
}

func TestEveryRoomVersion(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	for _, version := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		room := alice.CreateRoom(fields{"room_version": version})
		bob.Join(room)
		event := alice.Say(room, "hello")
		bob.WaitForID(room, event)
		alice.Redact(room, event)
		alice.Kick(room, bob)
		equal(t, "membership in version "+version, alice.Membership(room, bob), "leave")
	}
	alice.Refused("POST", "createRoom", fields{"room_version": "none"}, 400, "M_UNSUPPORTED_ROOM_VERSION")
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom(fields{"preset": "private_chat", "name": "Kitchen"})
	bob.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
	bob.CatchUp()
	alice.Invite(room, bob)
	shown := map[string]hearthtest.Event{}
	for _, e := range bob.WaitForInvite(room) {
		shown[e.Type()+"|"+e.Get("state_key").Str] = e
	}
	equal(t, "name in the invitation", shown["m.room.name|"].At("content", "name").Str, "Kitchen")
	equal(t, "inviter", shown["m.room.member|"+string(bob.ID)].Sender(), string(alice.ID))
	if !shown["m.room.create|"].Exists() {
		t.Error("the invitation does not show who made the room")
	}
	bob.Join(room)
	alice.WaitForEvent(room, "bob", func(e hearthtest.Event) bool {
		return e.Sender() == string(bob.ID) && e.At("content", "membership").Str == "join"
	})

	carol.CatchUp()
	alice.Invite(room, carol)
	carol.WaitForInvite(room)
	carol.Leave(room)
	carol.WaitUntil("the end of the invitation", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
	carol.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
}

func TestKickAndBan(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	bob.Refused("POST", path("rooms", room, "kick"), fields{"user_id": alice.ID}, 403, "M_FORBIDDEN")

	bob.CatchUp()
	alice.Must("POST", path("rooms", room, "kick"), fields{"user_id": bob.ID, "reason": "Too loud"})
	gone := bob.WaitUntil("the kick", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
	last := hearthtest.Events(gone.At("rooms", "leave", room, "timeline", "events"))
	equal(t, "reason", last[len(last)-1].At("content", "reason").Str, "Too loud")
	bob.Refused("PUT", path("rooms", room, "send", "m.room.message", "1"), fields{"body": "hi"}, 403, "M_FORBIDDEN")
	bob.Join(room)

	alice.Ban(room, bob)
	equal(t, "membership after the ban", alice.Membership(room, bob), "ban")
	bob.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
	alice.Refused("POST", path("rooms", room, "invite"), fields{"user_id": bob.ID}, 403, "M_FORBIDDEN")
	alice.Unban(room, bob)
	bob.Join(room)
	equal(t, "members", keys(alice.Get(path("rooms", room, "joined_members")).Get("joined")), []string{string(alice.ID), string(bob.ID)})
}

func TestLeaveAndForget(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	alice.Say(room, "before")
	bob.Refused("POST", path("rooms", room, "forget"), fields{}, 400, "M_UNKNOWN")
	bob.Leave(room)
	alice.Say(room, "after")
	alice.SetState(room, "m.room.topic", "", fields{"topic": "after"})

	history := hearthtest.Bodies(hearthtest.Events(messages(bob, room, "dir=b&limit=100").Get("chunk")))
	equal(t, "what bob may still read", history, "before")
	bob.Refused("GET", path("rooms", room, "state", "m.room.topic", ""), nil, 404, "M_NOT_FOUND")
	equal(t, "rooms of bob", bob.Get("joined_rooms").Get("joined_rooms.#").Int(), 0)

	bob.Forget(room)
	bob.Refused("GET", path("rooms", room, "messages")+"?dir=b", nil, 403, "M_FORBIDDEN")
	bob.Join(room)
	equal(t, "rooms of bob", bob.Get("joined_rooms").Get("joined_rooms.0").Str, string(room))
}

func TestKnocking(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{
		"preset": "private_chat", "name": "Kitchen",
		"initial_state": []fields{{"type": "m.room.join_rules", "state_key": "", "content": fields{"join_rule": "knock"}}},
	})
	bob.CatchUp()
	bob.Must("POST", path("knock", room), fields{"reason": "I am hungry"})
	knocked := bob.WaitUntil("the knock", func(r hearthtest.Response) bool { return r.At("rooms", "knock", room).Exists() })
	equal(t, "name of the room", stateOf(knocked.At("rooms", "knock", room, "knock_state", "events"))["m.room.name|"].At("content", "name").Str, "Kitchen")
	alice.WaitForEvent(room, "the knock", func(e hearthtest.Event) bool {
		return e.Sender() == string(bob.ID) && e.At("content", "membership").Str == "knock" && e.At("content", "reason").Str == "I am hungry"
	})
	alice.Invite(room, bob)
	bob.WaitForInvite(room)
	bob.Join(room)
}

func TestRestrictedJoin(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	club := alice.CreateRoom()
	room := alice.CreateRoom(fields{
		"preset": "private_chat",
		"initial_state": []fields{{"type": "m.room.join_rules", "state_key": "", "content": fields{
			"join_rule": "restricted", "allow": []fields{{"type": "m.room_membership", "room_id": club}},
		}}},
	})
	bob.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
	bob.Join(club)
	bob.Join(room)
	authoriser := alice.State(room, "m.room.member", string(bob.ID)).Get("join_authorised_via_users_server").Str
	equal(t, "who let bob in", authoriser, string(alice.ID))
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	old := alice.CreateRoom(fields{"room_version": "10", "name": "Kitchen", "room_alias_name": "kitchen", "visibility": "public"})
	bob.Join(old)
	alice.Ban(old, carol)
	alice.Must("PUT", path("user", alice.ID, "rooms", old, "tags", "m.favourite"), fields{"order": 0.5})
	bob.Refused("POST", path("rooms", old, "upgrade"), fields{"new_version": "11"}, 403, "M_FORBIDDEN")

	upgraded := alice.Must("POST", path("rooms", old, "upgrade"), fields{"new_version": "12"})
	room := id.RoomID(upgraded.Get("replacement_room").Str)
	bob.WaitForEvent(old, "the tombstone", func(e hearthtest.Event) bool {
		return e.Type() == "m.room.tombstone" && e.At("content", "replacement_room").Str == string(room)
	})
	bob.Join(room)
	create := bob.State(room, "m.room.create", "")
	equal(t, "version", create.Get("room_version").Str, "12")
	equal(t, "predecessor", create.Get("predecessor.room_id").Str, string(old))
	equal(t, "name", bob.State(room, "m.room.name", "").Get("name").Str, "Kitchen")
	equal(t, "ban", alice.Membership(room, carol), "ban")
	carol.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
	equal(t, "target of the alias", bob.Get(path("directory", "room", "#kitchen:"+string(a.Name))).Get("room_id").Str, string(room))
	equal(t, "old room in the directory", bob.Get(path("directory", "list", "room", old)).Get("visibility").Str, "private")
	equal(t, "new room in the directory", bob.Get(path("directory", "list", "room", room)).Get("visibility").Str, "public")
	equal(t, "tags", keys(alice.Get(path("user", alice.ID, "rooms", room, "tags")).Get("tags")), []string{"m.favourite"})
	bob.Refused("PUT", path("rooms", old, "send", "m.room.message", "1"), fields{"body": "hi"}, 403, "M_FORBIDDEN")
}
