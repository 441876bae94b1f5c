package tests

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// threeInARoom starts three servers with somebody on each, all in a room of which alice is the creator and bob a moderator.
func threeInARoom(t *testing.T, version string) (net *hearthtest.Network, room id.RoomID, alice, bob, carol *hearthtest.User) {
	t.Helper()
	net, alice, bob = pair(t)
	carol = net.Start().User("carol")
	room = alice.CreateRoom(fields{"room_version": version})
	describe(t, room, alice, bob, carol)
	bob.Join(room, home(alice))
	carol.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	alice.SetState(room, "m.room.power_levels", "", levels(alice, version, bob.ID, 90))
	bob.WaitForState(room, "m.room.power_levels", "", func(r hearthtest.Response) bool { return r.At("users", bob.ID).Int() == 90 })
	hearthtest.Agree(t, room, alice, bob, carol)
	return net, room, alice, bob, carol
}

// describe makes a test that fails tell what the servers of some people have of a room.
func describe(t *testing.T, room id.RoomID, people ...*hearthtest.User) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, u := range people {
				t.Log(u.Server().Describe(room))
			}
		}
	})
}

func TestBothSidesOfAPartitionGoOn(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "12"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			net, room, alice, bob, carol := threeInARoom(t, version)
			net.CutAll(home(alice))
			for i := range 5 {
				alice.Say(room, fmt.Sprint("alone ", i))
				bob.Say(room, fmt.Sprint("together ", i))
			}
			alice.SetState(room, "m.room.topic", "", fields{"topic": "of alice"})
			bob.SetState(room, "m.room.topic", "", fields{"topic": "of bob"})
			bob.SetState(room, "m.room.name", "", fields{"name": "of bob"})
			carol.WaitForState(room, "m.room.name", "", func(r hearthtest.Response) bool { return r.Get("name").Str == "of bob" })
			net.HealAll(home(alice))
			alice.Say(room, "I am back")
			for _, u := range []*hearthtest.User{alice, bob, carol} {
				u.WaitFor(room, "I am back")
				u.WaitFor(room, "alone 4")
				u.WaitFor(room, "together 4")
			}
			hearthtest.Agree(t, room, alice, bob, carol)
			equal(t, "name", alice.State(room, "m.room.name", "").Get("name").Str, "of bob")
		})
	}
}

func TestPowerLevelsAndBansOnBothSidesOfAPartition(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2", "11"} {
		t.Run("room version "+version, func(t *testing.T) {
			t.Parallel()
			net, room, alice, bob, carol := threeInARoom(t, version)
			net.Split([]id.ServerName{home(alice)}, []id.ServerName{home(bob), home(carol)})

			alice.SetState(room, "m.room.power_levels", "", levels(alice, version, bob.ID, 0)) // bob is no moderator any more
			alice.Ban(room, carol)
			bob.SetState(room, "m.room.topic", "", fields{"topic": "of bob"})
			bob.SetState(room, "m.room.power_levels", "", merged(levels(alice, version, bob.ID, 90), fields{"events_default": 50}))
			carol.WaitForState(room, "m.room.power_levels", "", func(r hearthtest.Response) bool { return r.Get("events_default").Int() == 50 })
			carol.Refused("PUT", path("rooms", room, "send", "m.room.message", "no"), fields{"body": "x"}, 403, "M_FORBIDDEN")
			bob.Say(room, "of bob")

			carol.CatchUp()
			net.Mend()
			alice.Say(room, "over")
			bob.WaitFor(room, "over")
			hearthtest.Agree(t, room, alice, bob)
			if got := bob.State(room, "m.room.power_levels", "").At("users", bob.ID).Int(); got != 0 {
				t.Errorf("bob has the level %d", got)
			}
			equal(t, "carol", bob.Membership(room, carol), "ban")
			bob.Refused("PUT", path("rooms", room, "state", "m.room.topic", ""), fields{"topic": "again"}, 403, "M_FORBIDDEN")
			carol.WaitUntil("being banned", func(r hearthtest.Response) bool { return r.At("rooms", "leave", room).Exists() })
		})
	}
}

func merged(into, more fields) fields {
	for k, v := range more {
		into[k] = v
	}
	return into
}

func TestModeratorsThatBanEachOther(t *testing.T) {
	t.Parallel()
	net, room, alice, bob, carol := threeInARoom(t, "10")
	alice.SetState(room, "m.room.power_levels", "", fields{"users": fields{
		string(alice.ID): 100, string(bob.ID): 60, string(carol.ID): 50,
	}})
	for _, u := range []*hearthtest.User{bob, carol} {
		u.WaitForState(room, "m.room.power_levels", "", func(r hearthtest.Response) bool { return r.At("users", carol.ID).Int() == 50 })
	}
	dave := carol.Server().User("dave")
	dave.Join(room)
	bob.WaitForMembership(room, dave.ID, "join")
	net.CutAll(home(carol))
	bob.Ban(room, carol)
	carol.Ban(room, dave)
	carol.Leave(room)
	alice.WaitForMembership(room, carol.ID, "ban")
	net.Mend()
	alice.Say(room, "over")
	hearthtest.Agree(t, room, alice, bob)
	equal(t, "carol", alice.Membership(room, carol), "ban")
}

func TestARestartInTheMiddleOfAPartition(t *testing.T) {
	t.Parallel()
	net, room, alice, bob, carol := threeInARoom(t, "11")
	net.CutAll(home(bob))
	for i := range 5 {
		alice.Say(room, fmt.Sprint("alice ", i))
		bob.Say(room, fmt.Sprint("bob ", i))
	}
	bob.Server().Restart()
	bob.Say(room, "bob 5")
	alice.Server().Restart()
	alice.Say(room, "alice 5")
	net.Mend()
	for _, u := range []*hearthtest.User{alice, bob, carol} {
		u.WaitFor(room, "bob 5")
		u.WaitFor(room, "alice 5")
	}
	hearthtest.Agree(t, room, alice, bob, carol)
}

func TestAServerThatWasAwayForLong(t *testing.T) {
	t.Parallel()
	_, room, alice, bob, carol := threeInARoom(t, "11")
	bob.Server().Close()
	for i := range 60 { // more than one transaction
		alice.Say(room, fmt.Sprint("message ", i))
	}
	dave := alice.Server().User("dave")
	dave.Join(room)
	alice.SetState(room, "m.room.topic", "", fields{"topic": "bread"})
	bob.Server().Open()
	bob.WaitForMembership(room, dave.ID, "join")
	bob.Say(room, "what did I miss?")
	alice.WaitFor(room, "what did I miss?")
	hearthtest.Agree(t, room, alice, bob, carol)
}

func TestTheSenderIsKilled(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b := net.Start(hearthtest.InProcess()), net.Start()
	alice, bob := a.User("alice"), b.User("bob")
	room := alice.CreateRoom()
	bob.Join(room, a.Name)
	// Alice talks until her server is gone. What was acknowledged must arrive, once and in order.
	var acknowledged []string
	enough := make(chan struct{})
	warm := sync.OnceFunc(func() { close(enough) })
	var talking sync.WaitGroup
	talking.Go(func() {
		defer warm()
		for n := 0; ; n++ {
			say := path("rooms", room, "send", "m.room.message", fmt.Sprint("kill", n))
			r, err := alice.Try("PUT", say, fields{"msgtype": "m.text", "body": fmt.Sprint("message ", n)})
			if err != nil || r.Status != 200 {
				return
			}
			acknowledged = append(acknowledged, r.Get("event_id").Str)
			if n == 30 {
				net.Cut(a.Name, b.Name) // so that something is sure to be left
			}
			if n == 60 {
				warm()
			}
		}
	})
	<-enough
	a.Kill()
	talking.Wait()
	net.Heal(a.Name, b.Name)
	a.Open()
	last := alice.Say(room, "the last")
	bob.WaitForID(room, last)
	hearthtest.Agree(t, room, alice, bob)
	var got []string
	for _, event := range b.Timeline(room) {
		got = append(got, string(event))
	}
	position := map[string]int{}
	for i, event := range got {
		if _, twice := position[event]; twice {
			t.Errorf("%s is there twice", event)
		}
		position[event] = i
	}
	before := 0
	for i, event := range acknowledged {
		at, ok := position[event]
		if !ok {
			t.Errorf("message %d is lost", i)
		}
		if at < before {
			t.Errorf("message %d came before the one before it", i)
		}
		before = at
	}
}
