package tests

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// signer is a signing key with its public name.
type signer struct {
	name, public string
	private      ed25519.PrivateKey
}

// newSigner makes a key that is called by a device, or by itself for an empty name. The same seed gives the same key.
func newSigner(seed byte, device string) signer {
	private := ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
	public := base64.RawStdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
	if device == "" {
		device = public
	}
	return signer{"ed25519:" + device, public, private}
}

// signs adds a signature of an object to it.
func (s signer) signs(t *testing.T, user *hearthtest.User, object fields) fields {
	t.Helper()
	bare, out := fields{}, fields{}
	for k, v := range object {
		if out[k] = v; k != "signatures" && k != "unsigned" {
			bare[k] = v
		}
	}
	raw, err := json.Marshal(bare)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = canonjson.Canonical(raw); err != nil {
		t.Fatal(err)
	}
	own := fields{}
	if sigs, ok := object["signatures"].(fields); ok {
		for k, v := range sigs[string(user.ID)].(fields) {
			own[k] = v
		}
	}
	own[s.name] = base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.private, raw))
	out["signatures"] = fields{string(user.ID): own}
	return out
}

// deviceKeys is what a user's device publishes.
func deviceKeys(t *testing.T, user *hearthtest.User, seed byte) (fields, signer) {
	t.Helper()
	s := newSigner(seed, string(user.Device))
	return s.signs(t, user, fields{
		"user_id": user.ID, "device_id": user.Device, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": fields{s.name: s.public, "curve25519:" + string(user.Device): s.public},
	}), s
}

func publish(t *testing.T, user *hearthtest.User, seed byte) signer {
	t.Helper()
	keys, s := deviceKeys(t, user, seed)
	user.Must("POST", "keys/upload", fields{"device_keys": keys})
	return s
}

// crossSigning is a key for a usage, not signed yet.
func crossSigning(user *hearthtest.User, usage string, s signer) fields {
	return fields{"user_id": user.ID, "usage": []string{usage}, "keys": fields{s.name: s.public}}
}

// query is what a user gets to know of another one's keys.
func query(user *hearthtest.User, other *hearthtest.User) hearthtest.Response {
	return user.Must("POST", "keys/query", fields{"device_keys": fields{string(other.ID): []string{}}})
}

func TestDeviceKeys(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	good, _ := deviceKeys(t, alice, 1)
	with := func(name string, value any) fields {
		out := fields{}
		for k, v := range good {
			out[k] = v
		}
		if out[name] = value; value == nil {
			delete(out, name)
		}
		return fields{"device_keys": out}
	}
	key := fields{"key": "abc", "signatures": fields{}}
	many := fields{}
	for i := range 1001 {
		many[fmt.Sprint("signed_curve25519:", i)] = key
	}
	for _, test := range []struct {
		name   string
		body   fields
		status int
		code   string
	}{
		{"no algorithms", with("algorithms", nil), 400, "M_BAD_JSON"},
		{"no keys", with("keys", nil), 400, "M_BAD_JSON"},
		{"no signatures", with("signatures", nil), 400, "M_BAD_JSON"},
		{"keys of a wrong type", with("keys", []int{1}), 400, "M_BAD_JSON"},
		{"signatures of a wrong type", with("signatures", "mine"), 400, "M_BAD_JSON"},
		{"another user", with("user_id", bob.ID), 400, "M_INVALID_PARAM"},
		{"another device", with("device_id", "OTHER"), 400, "M_INVALID_PARAM"},
		{"no object", fields{"device_keys": "keys"}, 400, "M_BAD_JSON"},
		{"a key without an id", fields{"one_time_keys": fields{"signed_curve25519": key}}, 400, "M_INVALID_PARAM"},
		{"a key with an empty id", fields{"one_time_keys": fields{"signed_curve25519:": key}}, 400, "M_INVALID_PARAM"},
		{"a key that is none", fields{"one_time_keys": fields{"signed_curve25519:a": 1}}, 400, "M_BAD_JSON"},
		{"null for a key", fields{"one_time_keys": fields{"signed_curve25519:a": nil}}, 400, "M_BAD_JSON"},
		{"two fallback keys of an algorithm", fields{"fallback_keys": fields{"x:a": key, "x:b": key}}, 400, "M_INVALID_PARAM"},
		{"too many keys", fields{"one_time_keys": many}, 400, "M_INVALID_PARAM"},
	} {
		t.Run(test.name, func(t *testing.T) { alice.With(t).Refused("POST", "keys/upload", test.body, test.status, test.code) })
	}
	equal(t, "nothing was published", query(bob, alice).At("device_keys", alice.ID).Raw, `{}`)
	equal(t, "counts of nothing", alice.Must("POST", "keys/upload", fields{}).Raw, `{"one_time_key_counts":{"signed_curve25519":0}}`)

	alice.Must("PUT", path("devices", alice.Device), fields{"display_name": "Phone"})
	alice.Must("POST", "keys/upload", fields{"device_keys": good})
	got := query(bob, alice).At("device_keys", alice.ID, alice.Device)
	equal(t, "members", keys(got), []string{"algorithms", "device_id", "keys", "signatures", "unsigned", "user_id"})
	equal(t, "unsigned", got.Get("unsigned").Raw, `{"device_display_name":"Phone"}`)
	some := bob.Must("POST", "keys/query", fields{"device_keys": fields{
		string(alice.ID): []string{"OTHER"}, "@nobody:" + string(a.Name): []string{}, "@x:elsewhere": []string{}, "rubbish": []string{},
	}})
	equal(t, "users", keys(some.Get("device_keys")), []string{string(alice.ID)})
	equal(t, "devices", keys(some.At("device_keys", alice.ID)), nil)
	equal(t, "failures", keys(some.Get("failures")), []string{"elsewhere"})
	bob.Refused("POST", "keys/query", fields{}, 400, "M_MISSING_PARAM")
	bob.Refused("POST", "keys/claim", fields{}, 400, "M_MISSING_PARAM")
}

func TestOneTimeKeysAreCountedInSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	counts := func(what, oneTime, fallback string) {
		t.Helper()
		first := alice.Sync()
		for _, r := range []hearthtest.Response{first, alice.Sync("since", first.Next())} {
			equal(t, what, r.Get("device_one_time_keys_count").Raw, oneTime)
			equal(t, what, r.Get("device_unused_fallback_key_types").Raw, fallback)
		}
	}
	claim := func() string {
		r := bob.Must("POST", "keys/claim", fields{"one_time_keys": fields{
			string(alice.ID): fields{string(alice.Device): "signed_curve25519"}, string(bob.ID): fields{"NONE": "signed_curve25519"},
		}})
		return r.Get("one_time_keys").Raw
	}
	signed := func(key string) fields { return fields{"key": key, "signatures": fields{}} }
	answer := func(key, content string) string {
		return fmt.Sprintf(`{"%s":{"%s":{"signed_curve25519:%s":%s}}}`, alice.ID, alice.Device, key, content)
	}
	counts("nothing", `{"signed_curve25519":0}`, `[]`)
	equal(t, "no keys", claim(), `{}`)
	up := fields{
		"one_time_keys": fields{"signed_curve25519:a": signed("1"), "signed_curve25519:b": signed("2"), "other:a": "text"},
		"fallback_keys": fields{"signed_curve25519:f": fields{"key": "3", "fallback": true, "signatures": fields{}}},
	}
	equal(t, "upload", alice.Must("POST", "keys/upload", up).Raw, `{"one_time_key_counts":{"other":1,"signed_curve25519":2}}`)
	equal(t, "upload again", alice.Must("POST", "keys/upload", up).Raw, `{"one_time_key_counts":{"other":1,"signed_curve25519":2}}`)
	counts("all", `{"signed_curve25519":2,"other":1}`, `["signed_curve25519"]`)
	r := alice.Refused("POST", "keys/upload", fields{"one_time_keys": fields{"signed_curve25519:c": fields{}, "signed_curve25519:a": signed("9")}},
		400, "M_INVALID_PARAM")
	equal(t, "the text that clients read", r.Get("error").Str,
		`One time key signed_curve25519:a already exists. Old key: {"key":"1","signatures":{}}; new key: {"key":"9","signatures":{}}`)
	equal(t, "first", claim(), answer("a", `{"key":"1","signatures":{}}`))
	counts("one less", `{"signed_curve25519":1,"other":1}`, `["signed_curve25519"]`)
	equal(t, "second", claim(), answer("b", `{"key":"2","signatures":{}}`))
	equal(t, "fallback", claim(), answer("f", `{"fallback":true,"key":"3","signatures":{}}`))
	counts("the fallback key was used", `{"signed_curve25519":0,"other":1}`, `[]`)
	equal(t, "fallback again", claim(), answer("f", `{"fallback":true,"key":"3","signatures":{}}`))
}

func TestDeviceListsInSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	publish(t, bob, 1)
	room := alice.CreateRoom()
	since := alice.CatchUp().Next()
	changes := func(what string, changed, left []string) {
		t.Helper()
		r := alice.Sync("since", since)
		equal(t, what+": changed", texts(r.At("device_lists", "changed")), changed)
		equal(t, what+": left", texts(r.At("device_lists", "left")), left)
		listed := alice.Get("keys/changes?from=" + since + "&to=" + r.Next())
		equal(t, what+": listed", texts(listed.Get("changed")), changed)
		equal(t, what+": listed as left", texts(listed.Get("left")), left)
		since = r.Next()
	}
	only := func(u *hearthtest.User) []string { return []string{string(u.ID)} }
	changes("nothing", nil, nil)
	bob.Join(room)
	changes("bob joins", only(bob), nil)
	alice.Say(room, "hi")
	changes("a message", nil, nil)
	phone := bob.Login()
	changes("a device without keys", nil, nil)
	publish(t, phone, 2)
	changes("a new device", only(bob), nil)
	publish(t, phone, 2)
	changes("the same keys again", nil, nil)
	publish(t, carol, 3)
	changes("keys of a stranger", nil, nil)
	phone.Must("PUT", path("devices", phone.Device), fields{"display_name": "Phone"})
	changes("another name", only(bob), nil)
	phone.Must("POST", "logout", fields{})
	changes("a logout", only(bob), nil)
	equal(t, "devices left", keys(query(alice, bob).At("device_keys", bob.ID)), []string{string(bob.Device)})
	publish(t, alice, 4)
	changes("one's own keys", only(alice), nil)
	bob.Leave(room)
	changes("bob leaves", nil, only(bob))
	publish(t, bob, 5)
	changes("bob's keys from afar", nil, nil)
	alice.Refused("GET", "keys/changes?from=x&to=y", nil, 400, "M_INVALID_PARAM")
	alice.Refused("GET", "keys/changes?to="+since, nil, 400, "M_MISSING_PARAM")

	carol.Join(room)
	alice.CatchUp()
	publish(t, carol, 6)
	alice.WaitUntil("carol's keys", func(r hearthtest.Response) bool {
		return slices.Contains(texts(r.At("device_lists", "changed")), string(carol.ID))
	})
}

func TestCrossSigning(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	const upload = "keys/device_signing/upload"
	device := publish(t, alice, 1)
	publish(t, bob, 2)
	master, self, others := newSigner(10, ""), newSigner(11, ""), newSigner(12, "")
	masterKey := device.signs(t, alice, crossSigning(alice, "master", master))
	selfKey := master.signs(t, alice, crossSigning(alice, "self_signing", self))
	othersKey := master.signs(t, alice, crossSigning(alice, "user_signing", others))

	taken := a.Nobody().Must("POST", "login", hearthtest.LoginRequest(alice.ID, fields{"device_id": newSigner(20, "").public}))
	equal(t, "device", taken.Get("device_id").Str, newSigner(20, "").public)
	for _, test := range []struct {
		name   string
		body   fields
		status int
		code   string
	}{
		{"nothing", fields{}, 400, "M_MISSING_PARAM"},
		{"no master key", fields{"self_signing_key": selfKey}, 400, "M_MISSING_PARAM"},
		{"another user", fields{"master_key": crossSigning(bob, "master", master)}, 400, "M_INVALID_PARAM"},
		{"another usage", fields{"master_key": crossSigning(alice, "self_signing", master)}, 400, "M_INVALID_PARAM"},
		{"two public keys", fields{"master_key": fields{"user_id": alice.ID, "usage": []string{"master"},
			"keys": fields{master.name: master.public, self.name: self.public}}}, 400, "M_INVALID_PARAM"},
		{"another name", fields{"master_key": fields{"user_id": alice.ID, "usage": []string{"master"}, "keys": fields{self.name: master.public}}},
			400, "M_INVALID_PARAM"},
		{"not a key", fields{"master_key": crossSigning(alice, "master", signer{name: "ed25519:abc", public: "abc"})}, 400, "M_INVALID_PARAM"},
		{"unsigned", fields{"master_key": masterKey, "self_signing_key": crossSigning(alice, "self_signing", self)}, 400, "M_INVALID_SIGNATURE"},
		{"signed by another", fields{"master_key": masterKey, "self_signing_key": others.signs(t, alice, crossSigning(alice, "self_signing", self))},
			400, "M_INVALID_SIGNATURE"},
		{"the name of a device", fields{"master_key": crossSigning(alice, "master", newSigner(20, ""))}, 403, "M_FORBIDDEN"},
	} {
		t.Run(test.name, func(t *testing.T) { alice.With(t).Refused("POST", upload, test.body, test.status, test.code) })
	}
	all := fields{"master_key": masterKey, "self_signing_key": selfKey, "user_signing_key": othersKey}
	alice.Must("POST", upload, all)
	alice.Must("POST", upload, all) // the same once more needs no confirmation
	a.Nobody().Refused("POST", "login", hearthtest.LoginRequest(alice.ID, fields{"device_id": self.public}), 403, "M_FORBIDDEN")
	mine, theirs := query(alice, alice), query(bob, alice)
	equal(t, "master key", mine.At("master_keys", alice.ID, "keys", master.name).Str, master.public)
	equal(t, "master key for bob", theirs.At("master_keys", alice.ID).Raw, mine.At("master_keys", alice.ID).Raw)
	equal(t, "self-signing key for bob", theirs.At("self_signing_keys", alice.ID, "keys", self.name).Str, self.public)
	equal(t, "own user-signing key", mine.At("user_signing_keys", alice.ID, "keys", others.name).Str, others.public)
	equal(t, "user-signing key for bob", theirs.Get("user_signing_keys").Raw, `{}`)

	// Other keys have to be confirmed, in one request or in two.
	replacement := newSigner(13, "")
	newKeys := fields{"master_key": crossSigning(alice, "master", replacement)}
	challenge := alice.Do("POST", upload, newKeys)
	equal(t, "challenge", challenge.Status, 401)
	equal(t, "not replaced", query(bob, alice).At("master_keys", alice.ID, "keys", master.name).Exists(), true)
	auth := alice.Confirmation()
	auth["session"] = challenge.Get("session").Str
	alice.Must("POST", upload, fields{"auth": auth})
	replaced := query(alice, alice)
	equal(t, "replaced", replaced.At("master_keys", alice.ID, "keys", replacement.name).Str, replacement.public)
	equal(t, "keys of the old master key", replaced.Get("self_signing_keys").Raw+replaced.Get("user_signing_keys").Raw, `{}{}`)
	all["auth"] = alice.Confirmation()
	alice.Must("POST", upload, all)
	equal(t, "and back", keys(query(bob, alice).Get("self_signing_keys")), []string{string(alice.ID)})
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	carol.Join(room)
	deviceObject, device := deviceKeys(t, alice, 1)
	alice.Must("POST", "keys/upload", fields{"device_keys": deviceObject})
	master, self, others, bobs := newSigner(10, ""), newSigner(11, ""), newSigner(12, ""), newSigner(13, "")
	masterObject, bobsObject := crossSigning(alice, "master", master), crossSigning(bob, "master", bobs)
	alice.Must("POST", "keys/device_signing/upload", fields{
		"master_key": masterObject, "self_signing_key": master.signs(t, alice, crossSigning(alice, "self_signing", self)),
		"user_signing_key": master.signs(t, alice, crossSigning(alice, "user_signing", others)),
	})
	bob.Must("POST", "keys/device_signing/upload", fields{"master_key": bobsObject})
	since := map[*hearthtest.User]string{alice: alice.Sync().Next(), bob: bob.Sync().Next(), carol: carol.Sync().Next()}
	hears := func(what string, u *hearthtest.User, want ...string) {
		t.Helper()
		r := u.Sync("since", since[u])
		equal(t, what, texts(r.At("device_lists", "changed")), want)
		since[u] = r.Next()
	}
	tampered := fields{}
	for k, v := range self.signs(t, alice, deviceObject) {
		tampered[k] = v
	}
	tampered["algorithms"] = []string{"none"}
	for _, test := range []struct {
		name   string
		user   id.UserID
		key    string
		object any
		code   string // empty: accepted
	}{
		{"no object", alice.ID, string(alice.Device), "signature", "M_BAD_JSON"},
		{"a device that is not there", alice.ID, "OTHER", self.signs(t, alice, deviceObject), "M_NOT_FOUND"},
		{"a user who is not there", "@nobody:" + id.UserID(a.Name), "KEY", self.signs(t, alice, deviceObject), "M_NOT_FOUND"},
		{"another server", "@bob:elsewhere", "KEY", self.signs(t, alice, deviceObject), "M_UNKNOWN"},
		{"other keys than those that were uploaded", alice.ID, string(alice.Device), tampered, "M_INVALID_PARAM"},
		{"a device signed by the master key", alice.ID, string(alice.Device), master.signs(t, alice, deviceObject), "M_INVALID_SIGNATURE"},
		{"a wrong signature", alice.ID, string(alice.Device), signer{self.name, self.public, others.private}.signs(t, alice, deviceObject),
			"M_INVALID_SIGNATURE"},
		{"another's master key signed by the self-signing key", bob.ID, bobs.public, self.signs(t, alice, bobsObject), "M_INVALID_SIGNATURE"},
		{"one's own master key signed by the user-signing key", alice.ID, master.public, others.signs(t, alice, masterObject), "M_INVALID_SIGNATURE"},
		{"a device signed by the self-signing key", alice.ID, string(alice.Device), self.signs(t, alice, deviceObject), ""},
		{"the same again", alice.ID, string(alice.Device), self.signs(t, alice, deviceObject), ""},
		{"the master key signed by a device", alice.ID, master.public, device.signs(t, alice, masterObject), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := alice.With(t).Must("POST", "keys/signatures/upload", fields{string(test.user): fields{test.key: test.object}})
			equal(t, "errcode", r.At("failures", test.user, test.key, "errcode").Str, test.code)
		})
	}
	for _, u := range []*hearthtest.User{alice, bob, carol} {
		hears("signatures of one's own keys", u, string(alice.ID))
		r := query(u, alice)
		equal(t, "signatures of the device", keys(r.At("device_keys", alice.ID, alice.Device, "signatures", alice.ID)), sortedTexts(device.name, self.name))
		equal(t, "signatures of the master key", keys(r.At("master_keys", alice.ID, "signatures", alice.ID)), []string{device.name})
	}

	// Whom alice trusts is her own business.
	alice.Must("POST", "keys/signatures/upload", fields{string(bob.ID): fields{bobs.public: others.signs(t, alice, bobsObject)}})
	hears("alice of her own signature", alice, string(bob.ID))
	hears("bob of alice's signature", bob)
	hears("carol of alice's signature", carol)
	signature := func(u *hearthtest.User) gjson.Result {
		return query(u, bob).At("master_keys", bob.ID, "signatures", alice.ID, others.name)
	}
	equal(t, "alice sees it", signature(alice).Exists(), true)
	equal(t, "bob sees it", signature(bob).Exists(), false)
	equal(t, "carol sees it", signature(carol).Exists(), false)

	// Signatures go with the keys that they are for.
	publish(t, alice, 9)
	equal(t, "signatures of other keys of the device", keys(query(bob, alice).At("device_keys", alice.ID, alice.Device, "signatures", alice.ID)),
		[]string{device.name})
}

func sortedTexts(list ...string) []string {
	slices.Sort(list)
	return list
}

func TestToDevice(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	phone := bob.Login()
	send := func(txn string, messages fields) {
		alice.Must("PUT", path("sendToDevice", "m.test", txn), fields{"messages": messages})
	}
	numbers := func(r hearthtest.Response) []int {
		var out []int
		for _, e := range hearthtest.Events(r.At("to_device", "events")) {
			equal(t, "sender", e.Sender(), string(alice.ID))
			equal(t, "type", e.Type(), "m.test")
			out = append(out, int(e.At("content", "n").Int()))
		}
		return out
	}
	for _, test := range []struct {
		name   string
		body   fields
		status int
		code   string
	}{
		{"no messages", fields{}, 400, "M_MISSING_PARAM"},
		{"a list", fields{"messages": []int{}}, 400, "M_BAD_JSON"},
		{"a content that is no object", fields{"messages": fields{string(bob.ID): fields{"*": "text"}}}, 400, "M_BAD_JSON"},
		{"a content that is too long", fields{"messages": fields{string(bob.ID): fields{"*": fields{"a": string(make([]byte, 70_000))}}}}, 413, "M_TOO_LARGE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			alice.With(t).Refused("PUT", path("sendToDevice", "m.test", "bad "+test.name), test.body, test.status, test.code)
		})
	}
	since := bob.Sync().Next()
	send("one", fields{string(bob.ID): fields{string(bob.Device): fields{"n": 1}, "OTHER": fields{}}, "@x:elsewhere": fields{"*": fields{}}})
	send("one", fields{string(bob.ID): fields{string(bob.Device): fields{"n": 2}}})
	send("all", fields{string(bob.ID): fields{"*": fields{"n": 3}}})
	got := bob.Sync("since", since)
	equal(t, "first device", numbers(got), []int{1, 3})
	equal(t, "second device, which never synced", numbers(phone.Sync()), []int{3})
	equal(t, "a lost answer", numbers(bob.Sync("since", since)), []int{1, 3})
	a.Restart()
	equal(t, "after a restart", numbers(bob.Sync("since", since)), []int{1, 3})
	since = got.Next()
	equal(t, "after the acknowledgement", numbers(bob.Sync("since", since)), nil)

	var want []int
	for i := range 250 {
		send(fmt.Sprint("many", i), fields{string(bob.ID): fields{string(bob.Device): fields{"n": i}}})
		want = append(want, i)
	}
	var all []int
	for _, size := range []int{100, 100, 50, 0} {
		r := bob.Sync("since", since)
		part := numbers(r)
		equal(t, "size of a part", len(part), size)
		equal(t, "the part once more", numbers(bob.Sync("since", since)), part)
		all = append(all, part...)
		since = r.Next()
	}
	equal(t, "all parts", all, want)

	// Who waits is woken, but only the device that it is for.
	phone.CatchUp()
	send("wake", fields{string(bob.ID): fields{string(phone.Device): fields{"n": 7}}})
	phone.WaitUntil("a message", func(r hearthtest.Response) bool { return slices.Equal(numbers(r), []int{7}) })
	equal(t, "not for this device", numbers(bob.Sync("since", since)), nil)
}

func TestKeyBackup(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	alice.Refused("GET", "room_keys/version", nil, 404, "M_NOT_FOUND")
	create := fields{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": fields{"public_key": "abc"}}
	first := alice.Must("POST", "room_keys/version", create).Get("version").Str
	version := alice.Must("POST", "room_keys/version", create).Get("version").Str
	of := func(v string, segments ...any) string {
		return path(append([]any{"room_keys", "keys"}, segments...)...) + "?version=" + v
	}
	key := func(data string) fields {
		return fields{"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": fields{"d": data}}
	}
	noIndex, badData := key(""), key("")
	delete(noIndex, "first_message_index")
	badData["session_data"] = "text"
	for _, test := range []struct {
		name, method, path string
		body               any
		status             int
		code               string
	}{
		{"no algorithm", "POST", "room_keys/version", fields{"auth_data": fields{}}, 400, "M_MISSING_PARAM"},
		{"no auth_data", "POST", "room_keys/version", fields{"algorithm": "a"}, 400, "M_MISSING_PARAM"},
		{"bad auth_data", "POST", "room_keys/version", fields{"algorithm": "a", "auth_data": 1}, 400, "M_BAD_JSON"},
		{"unknown version", "GET", "room_keys/version/99", nil, 404, "M_NOT_FOUND"},
		{"no version at all", "GET", "room_keys/version/newest", nil, 404, "M_NOT_FOUND"},
		{"change of an unknown version", "PUT", "room_keys/version/99", create, 404, "M_NOT_FOUND"},
		{"change of the algorithm", "PUT", "room_keys/version/" + version, fields{"algorithm": "a", "auth_data": fields{}}, 400, "M_INVALID_PARAM"},
		{"another version in the body", "PUT", "room_keys/version/" + version, fields{"algorithm": create["algorithm"], "auth_data": fields{},
			"version": first}, 400, "M_INVALID_PARAM"},
		{"deletion of an unknown version", "DELETE", "room_keys/version/99", nil, 404, "M_NOT_FOUND"},
		{"keys without a version", "GET", "room_keys/keys", nil, 400, "M_MISSING_PARAM"},
		{"keys of an unknown version", "GET", of("99"), nil, 404, "M_NOT_FOUND"},
		{"keys for an unknown version", "PUT", of("99", "!r:x", "s"), key(""), 404, "M_NOT_FOUND"},
		{"keys for an old version", "PUT", of(first, "!r:x", "s"), key(""), 403, "M_WRONG_ROOM_KEYS_VERSION"},
		{"an unknown key", "GET", of(version, "!r:x", "s"), nil, 404, "M_NOT_FOUND"},
		{"no first_message_index", "PUT", of(version, "!r:x", "s"), noIndex, 400, "M_MISSING_PARAM"},
		{"session_data of a wrong type", "PUT", of(version, "!r:x", "s"), badData, 400, "M_BAD_JSON"},
		{"no sessions", "PUT", of(version, "!r:x"), fields{}, 400, "M_MISSING_PARAM"},
		{"no rooms", "PUT", of(version), fields{}, 400, "M_MISSING_PARAM"},
	} {
		t.Run(test.name, func(t *testing.T) { alice.With(t).Refused(test.method, test.path, test.body, test.status, test.code) })
	}
	equal(t, "current version", alice.Do("PUT", of(first, "!r:x", "s"), key("")).Get("current_version").Str, version)
	bob.Refused("GET", of(version), nil, 404, "M_NOT_FOUND")
	equal(t, "an empty backup", alice.Get(of(version)).Raw, `{"rooms":{}}`)
	equal(t, "an empty room", alice.Get(of(version, "!r:x")).Raw, `{"sessions":{}}`)

	one := alice.Must("PUT", of(version, "!r:x", "s/1"), key("one"))
	equal(t, "count", one.Get("count").Int(), 1)
	two := alice.Must("PUT", of(version, "!r:x"), fields{"sessions": fields{"s/1": key("other"), "s2": key("two")}})
	equal(t, "count", two.Get("count").Int(), 2)
	three := alice.Must("PUT", of(version), fields{"rooms": fields{"!q:x": fields{"sessions": fields{"s3": key("three")}}}})
	equal(t, "count", three.Get("count").Int(), 3)
	equal(t, "etags differ", one.Get("etag").Str != two.Get("etag").Str && two.Get("etag").Str != three.Get("etag").Str, true)
	equal(t, "one key", alice.Get(of(version, "!r:x", "s/1")).Raw,
		`{"first_message_index":1,"forwarded_count":0,"is_verified":true,"session_data":{"d":"one"}}`)
	equal(t, "a room", keys(alice.Get(of(version, "!r:x")).Get("sessions")), []string{"s/1", "s2"})
	equal(t, "all", keys(alice.Get(of(version)).Get("rooms")), []string{"!q:x", "!r:x"})

	alice.Must("PUT", "room_keys/version/"+version, fields{"algorithm": create["algorithm"], "auth_data": fields{"public_key": "def"}})
	info := alice.Get("room_keys/version")
	equal(t, "members", keys(info.Result), []string{"algorithm", "auth_data", "count", "etag", "version"})
	equal(t, "auth_data", info.Get("auth_data").Raw, `{"public_key":"def"}`)
	equal(t, "etag", info.Get("etag").Str, three.Get("etag").Str)

	equal(t, "removal of one", alice.Must("DELETE", of(version, "!r:x", "s2"), nil).Get("count").Int(), 2)
	equal(t, "removal of a room", alice.Must("DELETE", of(version, "!r:x"), nil).Get("count").Int(), 1)
	equal(t, "removal of all", alice.Must("DELETE", of(version), nil).Get("count").Int(), 0)
	for range 2 { // a deleted version can be deleted
		alice.Must("DELETE", "room_keys/version/"+version, nil)
	}
	alice.Refused("GET", "room_keys/version/"+version, nil, 404, "M_NOT_FOUND")
	equal(t, "the one before is current again", alice.Get("room_keys/version").Get("version").Str, first)
}
