package clientapi

import (
	"testing"
)

func TestChangingMemberships(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, carol := r.register("alice"), r.register("bob"), r.register("carol")
	room := alice.create(`{"room_alias_name":"home"}`)
	who := func(u *user) string { return `{"user_id":"` + u.id + `","reason":"because"}` }

	bob.refused("POST", clientV3+"join/"+room.room, "", 403, "M_FORBIDDEN")
	bob.refused("POST", room.path("/invite"), who(carol), 403, "M_FORBIDDEN")
	alice.must("POST", room.path("/invite"), who(bob))
	bob.must("POST", clientV3+"join/%23home:hs", `{"reason":"hello","org.example":true}`)
	got := bob.must("GET", room.path("/state/m.room.member/"+bob.id), "")
	if got.Get("reason").Str != "hello" || !got.Get("org\\.example").Bool() || got.Get("membership").Str != "join" {
		t.Error(got.Raw)
	}
	bob.refused("POST", room.path("/kick"), who(alice), 403, "M_FORBIDDEN")
	bob.refused("POST", room.path("/ban"), who(carol), 403, "M_FORBIDDEN")
	alice.must("POST", room.path("/kick"), who(bob))
	alice.refused("POST", room.path("/kick"), who(bob), 403, "M_FORBIDDEN")
	alice.must("POST", room.path("/ban"), who(bob))
	bob.refused("POST", room.path("/join"), "", 403, "M_FORBIDDEN")
	alice.refused("POST", room.path("/invite"), who(bob), 403, "M_FORBIDDEN")
	alice.must("POST", room.path("/unban"), who(bob))
	alice.refused("POST", room.path("/unban"), who(bob), 403, "M_FORBIDDEN")
	bob.must("POST", room.path("/forget"), "")
	alice.refused("POST", room.path("/forget"), "", 400, "M_UNKNOWN")
	alice.must("POST", room.path("/leave"), `{"reason":"bye"}`)
	alice.must("POST", room.path("/leave"), "")
	alice.must("POST", room.path("/forget"), "")
}

func TestMembershipRequestsThatAreRefused(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"preset":"public_chat"}`)
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"nobody is named":               {room.path("/invite"), `{}`, 400, "M_MISSING_PARAM"},
		"what is no user is named":      {room.path("/ban"), `{"user_id":"bob"}`, 400, "M_INVALID_PARAM"},
		"a user of another server":      {room.path("/invite"), `{"user_id":"@bob:elsewhere"}`, 403, "M_FORBIDDEN"},
		"a room that is not there":      {clientV3 + "join/!no:hs", "", 404, "M_NOT_FOUND"},
		"an alias that is not there":    {clientV3 + "join/%23no:hs", "", 404, "M_NOT_FOUND"},
		"what is neither":               {clientV3 + "join/room", "", 400, "M_INVALID_PARAM"},
		"a body that is no object":      {clientV3 + "join/" + room.room, "[]", 400, "M_BAD_JSON"},
		"knocking on an open door":      {clientV3 + "knock/" + room.room, "", 403, "M_FORBIDDEN"},
		"a reason that is no text":      {room.path("/leave"), `{"reason":7}`, 400, "M_BAD_JSON"},
		"forgetting what one never saw": {clientV3 + "rooms/!no:hs/forget", "", 400, "M_UNKNOWN"},
	} {
		t.Run(name, func(*testing.T) {
			u := alice
			if name == "knocking on an open door" {
				u = bob
			}
			u.refused("POST", c.path, c.body, c.status, c.code)
		})
	}
}
