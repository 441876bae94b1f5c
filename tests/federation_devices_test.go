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
