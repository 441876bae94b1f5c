package tests

import "testing"

func TestZZ(t *testing.T) {
	_, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"initial_state": []fields{
		{"type": "m.room.history_visibility", "content": fields{"history_visibility": "invited"}},
	}})
	alice.Say(room, "before")
	alice.Invite(room, bob)
	bob.WaitForInvite(room)
	alice.Say(room, "invited")
	bob.Join(room, home(alice))
	alice.Say(room, "after")
	bob.WaitFor(room, "after")
	t.Log(string(messages(bob, room, "dir=b&limit=100").Body))
	t.Log(string(messages(alice, room, "dir=b&limit=100").Body))
}
