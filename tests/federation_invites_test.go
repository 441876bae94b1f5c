package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// endOf is the membership event of a user in the section for left rooms of an initial sync.
func endOf(u *hearthtest.User, room id.RoomID) hearthtest.Event {
	r := u.Sync("filter", `{"room":{"include_leave":true}}`)
	for _, e := range hearthtest.Events(r.At("rooms", "leave", room, "timeline", "events")) {
		if e.Type() == "m.room.member" && e.Get("state_key").Str == string(u.ID) {
			return e
		}
	}
	return hearthtest.Event{}
}

func TestTheEndOfAnInvitationIsSeenByWhoWasInvited(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end    func(alice, bob *hearthtest.User, room id.RoomID)
		sender func(alice, bob *hearthtest.User) id.UserID
	}{
		"rejected": {
			func(_, bob *hearthtest.User, room id.RoomID) { bob.Leave(room) },
			func(_, bob *hearthtest.User) id.UserID { return bob.ID },
		},
		"rejected when nobody is left": {
			func(alice, bob *hearthtest.User, room id.RoomID) {
				alice.Leave(room)
				bob.Leave(room)
			},
			func(_, bob *hearthtest.User) id.UserID { return bob.ID },
		},
		"taken back": {
			func(alice, bob *hearthtest.User, room id.RoomID) { alice.Kick(room, bob) },
			func(alice, _ *hearthtest.User) id.UserID { return alice.ID },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{"preset": "private_chat", "invite": []id.UserID{bob.ID}})
			bob.WaitForInvite(room)
			c.end(alice, bob, room)
			// An incremental sync has it, and an initial one that asks for it.
			bob.WaitUntil("the end of the invitation", func(r hearthtest.Response) bool {
				events := hearthtest.Events(r.At("rooms", "leave", room, "timeline", "events"))
				return len(events) == 1 && events[0].At("content", "membership").Str == "leave"
			})
			end := endOf(bob, room)
			equal(t, "sender", end.Sender(), string(c.sender(alice, bob)))
			equal(t, "membership before", end.At("unsigned", "prev_content", "membership").Str, "invite")
			bob.Refused("GET", path("rooms", room, "state"), nil, 403, "M_FORBIDDEN")
			bob.Refused("GET", path("rooms", room, "messages")+"?dir=b", nil, 403, "M_FORBIDDEN")
			bob.Forget(room)
			equal(t, "events of the forgotten room", endOf(bob, room).Exists(), false)
		})
	}
}

func TestARejectionIsSeenByAllServersInTheRoom(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	carol := net.Start().User("carol")
	room := alice.CreateRoom()
	carol.Join(room, home(alice))
	for range 2 {
		alice.Invite(room, bob)
		carol.WaitForMembership(room, bob.ID, "invite")
		bob.WaitForInvite(room)
		bob.Leave(room)
		carol.WaitForMembership(room, bob.ID, "leave")
	}
}

func TestOnlyTheInviterTakesAnInvitationBack(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	other := alice.Server().User("other")
	shared := alice.CreateRoom()
	bob.Join(shared, home(alice))
	room := alice.CreateRoom(fields{"preset": "private_chat"})
	alice.Invite(room, other)
	other.Join(room)
	other.Invite(room, bob)
	bob.WaitForInvite(room)
	alice.Kick(room, bob)
	alice.Say(shared, "it is done")
	bob.WaitFor(shared, "it is done")
	equal(t, "the invitation", bob.Sync().At("rooms", "invite", room).Exists(), true)
}

func TestADirectChatIsOneForWhoWasInvited(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"preset": "private_chat", "invite": []id.UserID{bob.ID}, "is_direct": true})
	bob.WaitForInvite(room)
	bob.Join(room)
	join := bob.WaitForEvent(room, "the own join", func(e hearthtest.Event) bool {
		return e.Type() == "m.room.member" && e.At("content", "membership").Str == "join" && e.Get("state_key").Str == string(bob.ID)
	})
	equal(t, "membership before", join.At("unsigned", "prev_content", "membership").Str, "invite")
	equal(t, "is_direct before", join.At("unsigned", "prev_content", "is_direct").Bool(), true)
	equal(t, "inviter", join.At("unsigned", "prev_sender").Str, string(alice.ID))
	equal(t, "is_direct now", join.At("content", "is_direct").Exists(), false)
}

// Spec: client-server-api#stripped-state
func TestInvitationsHaveTheCreateEvent(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	local := alice.Server().User("local")
	room := alice.CreateRoom(fields{"room_version": "12"})
	for _, u := range []*hearthtest.User{local, bob} {
		alice.Invite(room, u)
		create := stateOfEvents(u.WaitForInvite(room))["m.room.create|"]
		equal(t, "room version", create.At("content", "room_version").Str, "12")
		equal(t, "creator", create.Sender(), string(alice.ID))
		equal(t, "date of creation", create.Get("origin_server_ts").Exists(), true)
	}
}

func TestAnInvitationAfterABan(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	bob.CatchUp()
	alice.Ban(room, bob)
	bob.WaitUntil("being banned", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
	alice.Unban(room, bob)
	alice.Invite(room, bob)
	bob.WaitForInvite(room)
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	hearthtest.Agree(t, room, alice, bob)
}
