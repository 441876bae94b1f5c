package tests

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// pair starts two servers that federate, with somebody on each.
func pair(t *testing.T) (net *hearthtest.Network, alice, bob *hearthtest.User) {
	t.Helper()
	net = hearthtest.NewNetwork(t)
	return net, net.Start().User("alice"), net.Start().User("bob")
}

// home is the server of somebody.
func home(u *hearthtest.User) id.ServerName { return u.ID.Server() }

func TestTwoHearthsTalk(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "3", "10", "12"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{"room_version": version, "name": "Kitchen"})
			first := alice.Say(room, "before")
			bob.Join(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "join")
			equal(t, "name", bob.State(room, "m.room.name", "").Get("name").Str, "Kitchen")
			alice.Say(room, "hi")
			bob.WaitFor(room, "hi")
			bob.Say(room, "hello")
			alice.WaitFor(room, "hello")
			alice.Redact(room, first)
			bob.Refused("PUT", path("rooms", room, "state", "m.room.topic", ""), fields{"topic": "bread"}, 403, "M_FORBIDDEN")
			alice.SetState(room, "m.room.power_levels", "", levels(alice, version, bob.ID, 50))
			bob.WaitForState(room, "m.room.power_levels", "", func(r hearthtest.Response) bool { return r.At("users", bob.ID).Int() == 50 })
			bob.SetState(room, "m.room.topic", "", fields{"topic": "bread"})
			hearthtest.Agree(t, room, alice, bob)
			equal(t, "topic", alice.State(room, "m.room.topic", "").Get("topic").Str, "bread")
			bob.Leave(room)
			alice.WaitForMembership(room, bob.ID, "leave")
			bob.Join(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "join")
			alice.Say(room, "welcome back")
			bob.WaitFor(room, "welcome back")
		})
	}
}

// The request for the join must not be there before the transaction with the leave.
func TestWhoComesBackAtOnceHasBeenAway(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"preset": "public_chat"})
	bob.Join(room, home(alice))
	for range 5 {
		bob.Leave(room)
		bob.Join(room, home(alice))
		now := alice.Get(path("rooms", room, "state", "m.room.member", bob.ID) + "?format=event")
		before := now.At("unsigned", "prev_content", "membership").Str
		equal(t, "the membership before the join", before, "leave")
	}
	hearthtest.Agree(t, room, alice, bob)
}

// levels are power levels of a room in which its creator may do everything and somebody else has a level.
func levels(creator *hearthtest.User, version string, other id.UserID, level int) fields {
	users := fields{string(other): level}
	if version != "12" {
		users[string(creator.ID)] = 100
	}
	return fields{"users": users}
}

func TestInvitingAcrossServers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "12"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{"preset": "private_chat", "name": "Pantry", "room_version": version})
			bob.Refused("POST", hearthtest.Through(path("join", room), home(alice)), fields{}, 403, "M_FORBIDDEN")

			alice.Invite(room, bob)
			state := stateOfEvents(bob.WaitForInvite(room))
			equal(t, "name in the invitation", state["m.room.name|"].At("content", "name").Str, "Pantry")
			equal(t, "membership in it", state["m.room.member|"+string(bob.ID)].At("content", "membership").Str, "invite")
			bob.Leave(room)
			alice.WaitForMembership(room, bob.ID, "leave")
			bob.Refused("POST", hearthtest.Through(path("join", room), home(alice)), fields{}, 403, "M_FORBIDDEN")

			alice.Invite(room, bob)
			bob.WaitForInvite(room)
			bob.Join(room)
			alice.WaitForMembership(room, bob.ID, "join")
			hearthtest.Agree(t, room, alice, bob)

			bob.Leave(room)
			alice.WaitForMembership(room, bob.ID, "leave")
			alice.Invite(room, bob)
			bob.WaitForInvite(room)
			alice.Kick(room, bob) // takes the invitation back
			bob.WaitUntil("the end of the invitation", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
		})
	}
}

// stateOfEvents returns events as "type|key" with the events.
func stateOfEvents(events []hearthtest.Event) map[string]hearthtest.Event {
	out := map[string]hearthtest.Event{}
	for _, e := range events {
		out[e.Type()+"|"+e.Get("state_key").Str] = e
	}
	return out
}

func TestInvitingSomebodyWhoseServerIsInTheRoomAlready(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	carol := bob.Server().User("carol")
	room := alice.CreateRoom(fields{"preset": "private_chat"})
	alice.Invite(room, bob)
	bob.WaitForInvite(room)
	bob.Join(room)
	alice.Invite(room, carol)
	carol.WaitForInvite(room)
	carol.Join(room)
	alice.WaitForMembership(room, carol.ID, "join")
	hearthtest.Agree(t, room, alice, bob, carol)
}

func TestKickingAndBanningAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	bob.CatchUp()
	alice.Kick(room, bob)
	bob.WaitUntil("being kicked", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
	bob.Refused("PUT", path("rooms", room, "send", "m.room.message", "x"), fields{"body": "still here"}, 403, "M_FORBIDDEN")
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	alice.Ban(room, bob)
	bob.WaitUntil("being banned", func(r hearthtest.Response) bool {
		for _, e := range hearthtest.Events(r.At("rooms", "leave", room, "timeline", "events")) {
			if e.At("content", "membership").Str == "ban" {
				return true
			}
		}
		return false
	})
	bob.Refused("POST", hearthtest.Through(path("join", room), home(alice)), fields{}, 403, "M_FORBIDDEN")
	alice.Unban(room, bob)
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	hearthtest.Agree(t, room, alice, bob)
}

func TestKnockingAcrossServers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"7", "12"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{
				"room_version": version, "name": "Cellar",
				"initial_state": []fields{{"type": "m.room.join_rules", "content": fields{"join_rule": "knock"}}},
			})
			bob.Refused("POST", hearthtest.Through(path("join", room), home(alice)), fields{}, 403, "M_FORBIDDEN")
			bob.Knock(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "knock")
			r := bob.WaitUntil("the knock", func(r hearthtest.Response) bool { return r.At("rooms", "knock", room).Exists() })
			state := stateOf(r.At("rooms", "knock", room, "knock_state", "events"))
			equal(t, "name for who knocks", state["m.room.name|"].At("content", "name").Str, "Cellar")
			alice.Invite(room, bob)
			bob.WaitForInvite(room)
			bob.Join(room)
			alice.WaitForMembership(room, bob.ID, "join")

			bob.Leave(room)
			alice.WaitForMembership(room, bob.ID, "leave")
			bob.Knock(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "knock")
			bob.Leave(room)
			alice.WaitForMembership(room, bob.ID, "leave")
			bob.Knock(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "knock")
			bob.CatchUp()
			alice.Kick(room, bob)
			bob.WaitUntil("being refused", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
		})
	}
}

func TestRestrictedRoomsAcrossServers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8", "12"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			space := alice.CreateRoom(fields{"creation_content": fields{"type": "m.space"}})
			room := alice.CreateRoom(fields{
				"room_version": version, "preset": "private_chat",
				"initial_state": []fields{{"type": "m.room.join_rules", "content": fields{
					"join_rule": "restricted", "allow": []fields{{"type": "m.room_membership", "room_id": space}},
				}}},
			})
			bob.Refused("POST", hearthtest.Through(path("join", room), home(alice)), fields{}, 403, "M_FORBIDDEN")
			bob.Join(space, home(alice))
			bob.Join(room, home(alice))
			alice.WaitForMembership(room, bob.ID, "join")
			member := bob.State(room, "m.room.member", string(bob.ID))
			equal(t, "who has let bob in", member.Get("join_authorised_via_users_server").Str, string(alice.ID))
			hearthtest.Agree(t, room, alice, bob)

			// Somebody else of a server that is in the room needs nobody's help to be let in where their server can do it.
			carol := bob.Server().User("carol")
			carol.Refused("POST", path("join", room), fields{}, 403, "M_FORBIDDEN")
			carol.Join(space)
			carol.Join(room, home(alice))
			alice.WaitForMembership(room, carol.ID, "join")
			hearthtest.Agree(t, room, alice, bob, carol)
		})
	}
}

func TestARoomOfFiveServers(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	var people []*hearthtest.User
	for i := range 5 {
		people = append(people, net.Start().User(fmt.Sprint("person", i)))
	}
	room := people[0].CreateRoom()
	for i, u := range people[1:] {
		u.Join(room, home(people[i])) // each through the one before
		u.Say(room, fmt.Sprint("hello from ", i))
	}
	for i, u := range people {
		u.Say(room, fmt.Sprint("everybody, says ", i))
	}
	for _, u := range people {
		for i := range people {
			u.WaitFor(room, fmt.Sprint("everybody, says ", i))
		}
	}
	hearthtest.Agree(t, room, people...)
}

func TestJoiningThroughServersOfWhichSomeFail(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b, c := net.Start(), net.Start(), net.Start()
	alice, bob, carol := a.User("alice"), b.User("bob"), c.User("carol")
	room := alice.CreateRoom()
	bob.Join(room, a.Name)
	carol.Join(alice.CreateRoom(), a.Name) // so that her server knows what that of alice signs with
	net.Cut(a.Name, c.Name)
	carol.Join(room, "nowhere.test", a.Name, b.Name)
	bob.WaitForMembership(room, carol.ID, "join")
	carol.Say(room, "I am here")
	bob.WaitFor(room, "I am here")
	net.Heal(a.Name, c.Name)
	alice.WaitFor(room, "I am here")
	hearthtest.Agree(t, room, alice, bob, carol)

	dave := c.User("dave")
	dave.Refused("POST", hearthtest.Through(path("join", "!no:"+string(a.Name)), a.Name), fields{}, 404, "M_NOT_FOUND")
}

func TestJoiningARoomManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	joins := atOnce(t, 4, func(int) (hearthtest.Response, error) {
		return bob.Try("POST", hearthtest.Through(path("join", room), home(alice)), fields{})
	})
	equal(t, "joins that succeed", successes(joins), 4)
	alice.WaitForMembership(room, bob.ID, "join")
	joined := 0
	for _, e := range hearthtest.Events(messages(alice, room, "dir=b&limit=100").Get("chunk")) {
		if e.Type() == "m.room.member" && e.Sender() == string(bob.ID) {
			joined++
		}
	}
	equal(t, "joins in the history", joined, 1)
	hearthtest.Agree(t, room, alice, bob)
}

func TestRedactionsAndEditsAcrossServers(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2", "11"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{"room_version": version})
			bob.Join(room, home(alice))
			secret := alice.Say(room, "secret")
			bob.WaitFor(room, "secret")
			bob.React(room, secret, "👀")
			alice.WaitForEvent(room, "the reaction", func(e hearthtest.Event) bool { return e.Type() == "m.reaction" })
			redaction := alice.Redact(room, secret)
			bob.WaitForID(room, redaction)
			equal(t, "what is left", bob.Event(room, secret).Get("content").Raw, "{}")
			equal(t, "why", bob.Event(room, secret).At("unsigned", "redacted_because", "event_id").Str, string(redaction))

			mine := bob.Say(room, "mine")
			alice.WaitFor(room, "mine")
			r := alice.Redact(room, mine) // an administrator may
			bob.WaitForID(room, r)
			equal(t, "bob's own", bob.Event(room, mine).Get("content").Raw, "{}")
		})
	}
}

func TestUpgradingARoomAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"room_version": "10"})
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	next := id.RoomID(alice.Must("POST", path("rooms", room, "upgrade"), fields{"new_version": "12"}).Get("replacement_room").Str)
	tombstone := bob.WaitForState(room, "m.room.tombstone", "", func(r hearthtest.Response) bool { return r.Status == 200 })
	equal(t, "replacement", tombstone.Get("replacement_room").Str, string(next))
	bob.Join(next, home(alice))
	alice.WaitForMembership(next, bob.ID, "join")
	hearthtest.Agree(t, next, alice, bob)
}
