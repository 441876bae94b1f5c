package tests

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// dehydration is where clients find dehydrated devices today.
const dehydration = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"

// dehydratedDevice is what a user leaves behind, under the name of a device.
func dehydratedDevice(t *testing.T, user *hearthtest.User, name string, seed byte) fields {
	t.Helper()
	s := newSigner(seed, name)
	return fields{
		"device_id": name, "device_data": fields{"algorithm": "org.matrix.msc3814.v2", "device_pickle": "secret", "nonce": "once"},
		"initial_device_display_name": "Dehydrated device",
		"device_keys": s.signs(t, user, fields{
			"user_id": user.ID, "device_id": name, "dehydrated": true, "algorithms": []string{"m.megolm.v1.aes-sha2"}, "keys": fields{s.name: s.public},
		}),
		"one_time_keys": fields{"signed_curve25519:one": fields{"key": "1", "signatures": fields{}}},
		"fallback_keys": fields{"signed_curve25519:spare": fields{"key": "2", "fallback": true, "signatures": fields{}}},
	}
}

func TestDehydratedDevicesAcrossServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.WaitForMembership(room, bob.ID, "join")
	query(alice, bob)
	alice.CatchUp()
	const name = "a/b+c" // base64 of a public key
	bob.Refused("GET", dehydration, nil, 404, "M_NOT_FOUND")
	bob.Refused("DELETE", dehydration, nil, 404, "M_NOT_FOUND")
	upload := dehydratedDevice(t, bob, name, 1)
	equal(t, "upload", bob.Must("PUT", dehydration, upload).Raw, `{"device_id":"a/b+c"}`)
	equal(t, "what is there", bob.Get(dehydration).Raw,
		`{"device_id":"a/b+c","device_data":{"algorithm":"org.matrix.msc3814.v2","device_pickle":"secret","nonce":"once"}}`)
	equal(t, "a device like others", bob.Get(path("devices", name)).Get("display_name").Str, "Dehydrated device")

	// Others find it, say that it is one, and have keys to begin with.
	alice.WaitUntil("bob's new device", func(r hearthtest.Response) bool { return changed(r, bob) })
	equal(t, "the device is said to be dehydrated", query(alice, bob).At("device_keys", bob.ID, name, "dehydrated").Raw, "true")
	for _, want := range []string{"one", "spare", "spare"} {
		r := alice.Must("POST", "keys/claim", fields{"one_time_keys": fields{string(bob.ID): fields{name: "signed_curve25519"}}})
		equal(t, "claimed", keys(r.At("one_time_keys", bob.ID, name)), []string{"signed_curve25519:" + want})
	}
	const messages = 150
	for i := range messages {
		alice.Must("PUT", path("sendToDevice", "m.test", i), fields{"messages": fields{string(bob.ID): fields{name: fields{"n": i}}}})
	}
	alice.Must("PUT", path("sendToDevice", "m.last", "last"), fields{"messages": fields{string(bob.ID): fields{string(bob.Device): fields{}}}})
	bob.WaitUntil("the last message", func(r hearthtest.Response) bool { return len(r.Get("to_device.events").Array()) > 0 })

	events := dehydration + "/" + url.PathEscape(name) + "/events"
	numbers := func(r hearthtest.Response) (out []int) {
		for _, e := range hearthtest.Events(r.Get("events")) {
			equal(t, "sender and type", e.Sender()+" "+e.Type(), string(alice.ID)+" m.test")
			out = append(out, int(e.At("content", "n").Int()))
		}
		return out
	}
	var want []int
	for i := range messages {
		want = append(want, i)
	}
	// Any device of the user can take them over, and again if it fails.
	for _, device := range []*hearthtest.User{bob, bob.Login()} {
		first := device.Get(events)
		second := device.Get(events + "?from=" + first.Get("next_batch").Str)
		equal(t, "messages", append(numbers(first), numbers(second)...), want)
		equal(t, "a token after the last", second.Get("next_batch").Exists(), false)
		first = device.Must("POST", events, nil)
		second = device.Must("POST", events, fields{"next_batch": first.Get("next_batch").Str})
		third := device.Must("POST", events, fields{"next_batch": second.Get("next_batch").Str})
		equal(t, "messages, as they were asked for earlier", append(numbers(first), numbers(second)...), want)
		equal(t, "the end, as it was earlier", []any{third.Get("events").Raw, third.Get("next_batch").Str != ""}, []any{"[]", true})
	}
	bob.Refused("GET", events+"?from=nonsense", nil, 400, "M_INVALID_PARAM")
	bob.Refused("GET", dehydration+"/"+string(bob.Device)+"/events", nil, 403, "M_FORBIDDEN")
	alice.Refused("GET", events, nil, 403, "M_FORBIDDEN")

	// The same once more is no other device; another one takes its place.
	bob.Must("PUT", dehydration, upload)
	equal(t, "messages after a repetition", len(numbers(bob.Get(events))), 100)
	alice.CatchUp()
	bob.Must("PUT", dehydration, dehydratedDevice(t, bob, "next", 2))
	bob.Refused("GET", events, nil, 403, "M_FORBIDDEN")
	alice.WaitUntil("the old device to go", func(hearthtest.Response) bool {
		all := query(alice, bob).At("device_keys", bob.ID)
		return !all.Get("a/b\\+c").Exists() && all.Get("next").Exists()
	})
	equal(t, "removal", bob.Must("DELETE", dehydration, nil).Raw, `{"device_id":"next"}`)
	bob.Refused("GET", dehydration, nil, 404, "M_NOT_FOUND")
	bob.Refused("GET", path("devices", "next"), nil, 404, "M_NOT_FOUND")
}

func TestDehydratedDevices(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	bob := a.User("bob")
	publish(t, bob, 9)
	for name, test := range map[string]struct {
		change fields
		status int
		code   string
	}{
		"no device_id":                   {fields{"device_id": nil}, 400, "M_INVALID_PARAM"},
		"a long device_id":               {fields{"device_id": string(make([]byte, 600))}, 400, "M_INVALID_PARAM"},
		"no device_data":                 {fields{"device_data": nil}, 400, "M_MISSING_PARAM"},
		"device_data that is a text":     {fields{"device_data": "text"}, 400, "M_BAD_JSON"},
		"device_data without algorithm":  {fields{"device_data": fields{}}, 400, "M_BAD_JSON"},
		"device_data that is too long":   {fields{"device_data": fields{"algorithm": "a", "x": fmt.Sprintf("%070000d", 1)}}, 413, "M_TOO_LARGE"},
		"no device_keys":                 {fields{"device_keys": nil}, 400, "M_MISSING_PARAM"},
		"keys of another device":         {fields{"device_id": "OTHER"}, 400, "M_INVALID_PARAM"},
		"a device that is logged in":     {dehydratedDevice(t, bob, string(bob.Device), 3), 403, "M_FORBIDDEN"},
		"one-time keys that are none":    {fields{"one_time_keys": fields{"x": 1}}, 400, "M_INVALID_PARAM"},
		"fallback keys of one algorithm": {fields{"fallback_keys": fields{"x:a": "1", "x:b": "2"}}, 400, "M_INVALID_PARAM"},
	} {
		t.Run(name, func(t *testing.T) {
			body := dehydratedDevice(t, bob, "dry", 1)
			for k, v := range test.change {
				body[k] = v
			}
			bob.With(t).Refused("PUT", dehydration, body, test.status, test.code)
			bob.With(t).Refused("GET", dehydration, nil, 404, "M_NOT_FOUND")
		})
	}
	equal(t, "clients are told", bob.Get("/.well-known/matrix/client").At("org.matrix.msc3814").Bool(), true)

	for name, remove := range map[string]func(u *hearthtest.User){
		"with the device": func(u *hearthtest.User) {
			u.Must("DELETE", path("devices", "dry"), fields{"auth": u.Confirmation()})
		},
		"with a list of devices": func(u *hearthtest.User) {
			u.Must("POST", "delete_devices", fields{"devices": []string{"dry"}, "auth": u.Confirmation()})
		},
		"with all": func(u *hearthtest.User) { u.Must("POST", "logout/all", fields{}) },
	} {
		t.Run("it goes "+name, func(t *testing.T) {
			u := bob.With(t).Login()
			u.Must("PUT", dehydration, dehydratedDevice(t, u, "dry", 1))
			a.Nobody().With(t).Refused("POST", "login", hearthtest.LoginRequest(u.ID, fields{"device_id": "dry"}), 403, "M_FORBIDDEN")
			remove(u)
			u.Login().Refused("GET", dehydration, nil, 404, "M_NOT_FOUND")
		})
	}

	// One's other devices stay when nobody is logged in any more; the dehydrated one collects.
	last := bob.Login()
	last.Must("PUT", dehydration, dehydratedDevice(t, last, "dry", 1))
	last.Must("POST", "logout", fields{})
	alice := a.User("alice")
	alice.Must("PUT", path("sendToDevice", "m.test", 1), fields{"messages": fields{string(bob.ID): fields{"*": fields{"n": 1}}}})
	next := bob.Login()
	got := next.Get(dehydration + "/dry/events")
	equal(t, "messages to all devices", got.Get("events.#.content").Raw, `[{"n":1}]`)
	equal(t, "not to one that came later", len(next.Sync().Get("to_device.events").Array()), 0)
}
