package tests

import (
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

// toldOf makes sure that the next devices that a user hears of are those of some users.
func toldOf(t *testing.T, u *hearthtest.User, want ...*hearthtest.User) {
	t.Helper()
	names := []string{}
	for _, w := range want {
		names = append(names, string(w.ID))
	}
	slices.Sort(names)
	r := u.WaitUntil("changed devices", func(r hearthtest.Response) bool { return len(r.Get("device_lists.changed").Array()) > 0 })
	equal(t, "changed devices", texts(r.Get("device_lists.changed")), names)
}

// publicKey is the key that a user sees of somebody's device.
func publicKey(by, of *hearthtest.User) string {
	return query(by, of).At("device_keys", of.ID, of.Device, "keys", "ed25519:"+string(of.Device)).Str
}

func TestJoiningTellsEachOtherOfDevicesOnce(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	room := alice.CreateRoom(fields{"preset": "private_chat", "invite": []string{string(bob.ID)}})
	bob.WaitForInvite(room)
	alice.CatchUp()
	bob.CatchUp()
	bob.Join(room)
	toldOf(t, alice, bob)
	toldOf(t, bob, alice, bob) // of himself too: his devices are announced
	net.Cut(home(alice), home(bob))
	phone := alice.Login()
	publish(t, phone, 1)
	net.Heal(home(alice), home(bob))
	toldOf(t, alice, alice)
	toldOf(t, bob, alice)
}

func TestDevicesAreNotKnownFromBeforeAnAbsence(t *testing.T) {
	for name, apart := range map[string]func(alice, bob *hearthtest.User) *hearthtest.User{
		"the other one leaves": func(_, bob *hearthtest.User) *hearthtest.User { return bob },
		"one leaves oneself":   func(alice, _ *hearthtest.User) *hearthtest.User { return alice },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			publish(t, bob, 1)
			room := bob.CreateRoom()
			alice.CatchUp()
			alice.Join(room, home(bob))
			alice.WaitUntil("bob's devices", func(r hearthtest.Response) bool { return changed(r, bob) })
			first := publicKey(alice, bob)

			leaver := apart(alice, bob)
			leaver.Leave(room)
			alice.WaitUntil("bob to go", func(r hearthtest.Response) bool {
				return slices.Contains(texts(r.Get("device_lists.left")), string(bob.ID))
			})
			if leaver == alice {
				bob.WaitForMembership(room, alice.ID, "leave")
			}
			publish(t, bob, 2)
			second := publicKey(alice, bob)
			if first == second {
				t.Error("the old key is still there while they share no room")
			}
			if changed(alice.CatchUp(), bob) {
				t.Error("alice hears of somebody whom she shares no room with")
			}
			publish(t, bob, 3)
			leaver.Join(room, home(bob), home(alice))
			alice.WaitUntil("bob's devices again", func(r hearthtest.Response) bool { return changed(r, bob) })
			if third := publicKey(alice, bob); third == second || third == first {
				t.Error("an old key is back")
			}
		})
	}
}

func TestNamesOfDevicesAcrossServers(t *testing.T) {
	for _, shown := range []bool{false, true} {
		name := map[bool]string{false: "kept", true: "told"}[shown]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := hearthtest.NewNetwork(t)
			alice := net.Start(hearthtest.WithConfig(func(c *config.Config) { c.Federation.DeviceNames = shown })).User("alice")
			bob := net.Start().User("bob")
			publish(t, alice, 1)
			room := alice.CreateRoom()
			bob.Join(room, home(alice))
			see := func() gjson.Result {
				return query(bob, alice).At("device_keys", alice.ID, alice.Device, "unsigned", "device_display_name")
			}
			see()
			bob.CatchUp()
			alice.Must("PUT", path("devices", alice.Device), fields{"display_name": "kitchen table"})
			if shown {
				bob.WaitUntil("the name", func(r hearthtest.Response) bool { return changed(r, alice) })
				equal(t, "name", see().Str, "kitchen table")
			} else if got := see(); got.Exists() {
				t.Errorf("bob sees %s", got)
			}
		})
	}
}

func TestCrossSigningAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	query(alice, bob)
	alice.CatchUp()
	for seed := range byte(2) {
		s := newSigner(100+seed, "")
		upload := fields{"master_key": crossSigning(bob, "master", s)}
		if seed > 0 {
			upload["auth"] = bob.Confirmation() // the second replaces the first
		}
		bob.Must("POST", "keys/device_signing/upload", upload)
		alice.WaitUntil("bob's keys", func(r hearthtest.Response) bool { return changed(r, bob) })
		equal(t, "master key", query(alice, bob).At("master_keys", bob.ID, "keys", s.name).Str, s.public)
	}

	// What alice has verified she finds again, and nobody else.
	own, others, his := newSigner(110, ""), newSigner(111, ""), newSigner(101, "")
	alice.Must("POST", "keys/device_signing/upload", fields{
		"master_key":       crossSigning(alice, "master", own),
		"user_signing_key": own.signs(t, alice, crossSigning(alice, "user_signing", others)),
	})
	signed := others.signs(t, alice, crossSigning(bob, "master", his))
	r := alice.Must("POST", "keys/signatures/upload", fields{string(bob.ID): fields{his.public: signed}})
	equal(t, "failures", r.Get("failures").Raw, `{}`)
	for viewer, want := range map[*hearthtest.User]bool{alice: true, bob: false} {
		got := query(viewer, bob).At("master_keys", bob.ID, "signatures", alice.ID, others.name)
		equal(t, "signature for "+string(viewer.ID), got.Exists(), want)
	}
}

func TestDevicesAreAnnouncedToServersOfOtherMake(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	alice, remote := net.Start().User("alice"), net.Remote()
	room := remote.CreateRoom(remote.User("eve"), "10")
	alice.Join(room.ID, remote.Name)
	// Spec: server-server-api#device-management: when the user joins a room with servers that do not get updates yet, with keys or without.
	first := remote.WaitForEDU("m.device_list_update", nil)
	equal(t, "user", first.Get("user_id").Str, string(alice.ID))
	equal(t, "device", first.Get("device_id").Str, string(alice.Device))
	equal(t, "predecessors", first.Get("prev_id").Raw, "[]")

	update := func(device *hearthtest.User, fits func(gjson.Result) bool) gjson.Result {
		return remote.WaitForEDU("m.device_list_update", func(c gjson.Result) bool {
			return c.Get("device_id").Str == string(device.Device) && fits(c)
		})
	}
	hasKeys := func(c gjson.Result) bool { return c.Get("keys").Exists() }
	publish(t, alice, 1)
	second := update(alice, hasKeys)
	equal(t, "predecessors of the second", second.Get("prev_id").Raw, "["+first.Get("stream_id").Raw+"]")
	phone := alice.Login()
	publish(t, phone, 2)
	third := update(phone, hasKeys)
	equal(t, "predecessors of the third", third.Get("prev_id").Raw, "["+second.Get("stream_id").Raw+"]")
	phone.Must("POST", "logout", fields{})
	fourth := update(phone, func(c gjson.Result) bool { return c.Get("deleted").Bool() })
	equal(t, "members of a deletion", keys(fourth), []string{"deleted", "device_id", "prev_id", "stream_id", "user_id"})

	list := remote.Get(home(alice), path("v1", "user", "devices", alice.ID))
	equal(t, "version of the list", list.Get("stream_id").Raw, fourth.Get("stream_id").Raw)
	equal(t, "members of a device", keys(list.Get("devices.0")), []string{"device_id", "keys"})
	remote.Refused("GET", home(alice), path("v1", "user", "devices", "@nobody:"+string(home(alice))), nil, 404, "M_NOT_FOUND")
}

func TestUpdatesOfServersOfOtherMake(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	alice, remote := net.Start().User("alice"), net.Remote()
	eve := &hearthtest.User{ID: remote.User("eve"), Device: "E"}
	room := remote.CreateRoom(eve.ID, "10")
	alice.CatchUp()
	alice.Join(room.ID, remote.Name)
	alice.WaitUntil("eve's devices", func(r hearthtest.Response) bool { return changed(r, eve) })
	object := func(seed byte) fields {
		object, _ := deviceKeys(t, eve, seed)
		return object
	}
	list := func(stream, seed int) hearthtest.Answer {
		return func(*hearthtest.Request) hearthtest.Reply {
			return hearthtest.OK(fields{"user_id": eve.ID, "stream_id": stream, "devices": []fields{{"device_id": "E", "keys": object(byte(seed))}}})
		}
	}
	send := func(stream, seed int, prev ...int) {
		remote.SendEDU(home(alice), "m.device_list_update", fields{
			"user_id": eve.ID, "device_id": "E", "stream_id": stream, "prev_id": prev, "keys": object(byte(seed)),
		})
	}
	see := func(what string, seed int) {
		t.Helper()
		if want := newSigner(byte(seed), "").public; publicKey(alice, eve) != want {
			t.Errorf("%s: %s and not %s", what, publicKey(alice, eve), want)
		}
	}
	hear := func() {
		t.Helper()
		alice.WaitUntil("eve's devices", func(r hearthtest.Response) bool { return changed(r, eve) })
	}
	remote.On("query_keys", func(*hearthtest.Request) hearthtest.Reply {
		return hearthtest.OK(fields{"device_keys": fields{string(eve.ID): fields{"E": object(1)}}})
	})
	see("the first answer", 1)
	remote.On("devices", list(5, 2))
	send(5, 2, 4) // what was asked for has no number, so that the list is fetched
	hear()
	see("after a gap", 2)
	asked := len(remote.Requests("devices")) + len(remote.Requests("query_keys"))
	send(6, 3, 5)
	hear()
	see("after an update", 3)
	send(6, 4, 5) // it has been applied
	see("after a repetition", 3)
	equal(t, "requests", len(remote.Requests("devices"))+len(remote.Requests("query_keys")), asked)
	remote.On("devices", list(9, 5))
	send(9, 5, 8)
	hear()
	see("after another gap", 5)

	// What is not eve's server's business changes nothing.
	remote.SendEDU(home(alice), "m.device_list_update", fields{"user_id": alice.ID, "device_id": alice.Device, "stream_id": 1, "deleted": true})
	remote.SendEDU(home(alice), "m.direct_to_device", fields{
		"sender": alice.ID, "type": "m.test", "message_id": "1", "messages": fields{string(alice.ID): fields{string(alice.Device): fields{}}},
	})
	for range 2 {
		remote.SendEDU(home(alice), "m.direct_to_device", fields{
			"sender": eve.ID, "type": "m.test", "message_id": "2", "messages": fields{string(alice.ID): fields{"*": fields{"text": "hi"}}},
		})
	}
	remote.SendEDU(home(alice), "m.direct_to_device", fields{
		"sender": eve.ID, "type": "m.last", "message_id": "3", "messages": fields{string(alice.ID): fields{"*": fields{}}},
	})
	got := []string{}
	alice.WaitUntil("messages", func(r hearthtest.Response) bool {
		for _, e := range r.Get("to_device.events").Array() {
			got = append(got, e.Get("sender").Str+" "+e.Get("type").Str)
		}
		return slices.Contains(got, string(eve.ID)+" m.last")
	})
	equal(t, "messages", got, []string{string(eve.ID) + " m.test", string(eve.ID) + " m.last"})
}
