package tests

import (
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// changed says whether an answer to /sync tells of changed devices of somebody.
func changed(r hearthtest.Response, u *hearthtest.User) bool {
	return slices.Contains(texts(r.Get("device_lists.changed")), string(u.ID))
}

func TestDeviceListsAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	publish(t, alice, 1)
	room := alice.CreateRoom()
	bob.CatchUp()
	bob.Join(room, home(alice))
	bob.WaitUntil("alice's devices", func(r hearthtest.Response) bool { return changed(r, alice) })
	keysOf := func(by, of *hearthtest.User) gjson.Result {
		return by.Must("POST", "keys/query", fields{"device_keys": fields{string(of.ID): []string{}}}).At("device_keys", of.ID)
	}
	equal(t, "devices", keys(keysOf(bob, alice)), []string{string(alice.Device)})

	phone := alice.Login()
	publish(t, phone, 2)
	bob.WaitUntil("alice's new device", func(r hearthtest.Response) bool { return changed(r, alice) })
	want := []string{string(alice.Device), string(phone.Device)}
	slices.Sort(want)
	equal(t, "devices with the new one", keys(keysOf(bob, alice)), want)

	phone.Must("POST", "logout", fields{})
	bob.WaitUntil("the device to go", func(r hearthtest.Response) bool { return changed(r, alice) })
	equal(t, "devices without it", keys(keysOf(bob, alice)), []string{string(alice.Device)})
}

func TestDeviceListsChangeDuringAPartition(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	bob.CatchUp()
	publish(t, alice, 1)
	bob.WaitUntil("alice's devices", func(r hearthtest.Response) bool { return changed(r, alice) })
	net.Cut(home(alice), home(bob))
	phone := alice.Login()
	publish(t, phone, 2)
	net.Heal(home(alice), home(bob))
	bob.WaitUntil("alice's new device", func(r hearthtest.Response) bool { return changed(r, alice) })
	r := bob.Must("POST", "keys/query", fields{"device_keys": fields{string(alice.ID): []string{}}})
	equal(t, "devices", len(r.At("device_keys", alice.ID).Map()), 2)
}

func TestToDeviceMessagesAcrossServers(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	bob.CatchUp()
	send := func(txn, text string) {
		alice.Must("PUT", path("sendToDevice", "example.note", txn), fields{
			"messages": fields{string(bob.ID): fields{string(bob.Device): fields{"text": text}}},
		})
	}
	var got []string
	wait := func(n int) {
		bob.WaitUntil("messages", func(r hearthtest.Response) bool {
			for _, e := range hearthtest.Events(r.Get("to_device.events")) {
				equal(t, "sender", e.Sender(), string(alice.ID))
				got = append(got, e.At("content", "text").Str)
			}
			return len(got) >= n
		})
	}
	send("1", "one")
	wait(1)
	net.Cut(home(alice), home(bob))
	send("2", "two")
	send("3", "three")
	alice.Server().Restart()
	send("4", "four")
	net.Heal(home(alice), home(bob))
	wait(4)
	equal(t, "messages", got, []string{"one", "two", "three", "four"})
}

func TestOneTimeKeysAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	publish(t, alice, 1)
	alice.Must("POST", "keys/upload", fields{"one_time_keys": fields{"signed_curve25519:A": fields{"key": "a", "signatures": fields{}}}})
	claim := func() []string {
		r := bob.Must("POST", "keys/claim", fields{"one_time_keys": fields{string(alice.ID): fields{string(alice.Device): "signed_curve25519"}}})
		return keys(r.At("one_time_keys", alice.ID, alice.Device))
	}
	equal(t, "the first claim", claim(), []string{"signed_curve25519:A"})
	equal(t, "the second claim", claim(), nil)
}
