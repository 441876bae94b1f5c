package tests

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/mail/mailtest"
)

// byMail is the body of an invite by an e-mail address.
func byMail(is *hearthtest.IdentityServer, address string) fields {
	return fields{"id_server": is.Name, "id_access_token": hearthtest.IdentityToken, "medium": "email", "address": address}
}

func TestInvitesByAddress(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b := net.Start(), net.Start()
	is := net.IdentityServer()
	alice, bob, carol := a.User("alice"), b.User("bob"), b.User("carol")
	room := alice.CreateRoom(fields{"name": "Bridge players"})
	invite := path("rooms", room, "invite")

	// An address that is somebody's is an invite like any other.
	is.Knows("bob@example.org", bob.ID)
	alice.Must("POST", invite, byMail(is, "Bob@example.org"))
	bob.Join(room, a.Name)
	equal(t, "letters", len(is.Letters()), 0)

	// An address that is nobody's becomes an invite when its owner shows up.
	alice.Must("POST", invite, byMail(is, "carol@example.org"))
	letter := is.Letters()[0]
	equal(t, "name of the room in the letter", letter["room_name"], any("Bridge players"))
	equal(t, "who is written to", letter["address"], any("carol@example.org"))
	waiting := alice.Get(path("rooms", room, "state", "m.room.third_party_invite", "tokenx"))
	equal(t, "name of the invited", waiting.Get("display_name").Str, "c...@e...")
	equal(t, "keys", len(waiting.Get("public_keys").Array()), 1)
	bound := fields{"medium": "email", "address": "carol@example.org", "mxid": carol.ID, "invites": []fields{{
		"medium": "email", "address": "carol@example.org", "mxid": carol.ID, "room_id": room, "sender": alice.ID, "signed": is.Sign(alice.ID, carol.ID, "tokenx"),
	}}}
	b.Nobody().Must("PUT", "/_matrix/federation/v1/3pid/onbind", bound)
	equal(t, "membership", alice.Membership(room, carol), "invite")
	carol.Join(room, a.Name)

	// Who may not invite causes nothing.
	dave := a.User("dave")
	dave.Refused("POST", invite, byMail(is, "eve@example.org"), 403, "M_FORBIDDEN")
	equal(t, "letters", len(is.Letters()), 1)

	// A key that was revoked is good for nobody.
	alice.Must("POST", invite, byMail(is, "erin@example.org"))
	erin := a.User("erin")
	is.Revoke()
	a.Nobody().Must("PUT", "/_matrix/federation/v1/3pid/onbind", fields{"medium": "email", "address": "erin@example.org", "mxid": erin.ID, "invites": []fields{{
		"medium": "email", "address": "erin@example.org", "mxid": erin.ID, "room_id": room, "sender": alice.ID, "signed": is.Sign(alice.ID, erin.ID, "tokenxx"),
	}}})
	alice.Refused("GET", path("rooms", room, "state", "m.room.member", erin.ID), nil, 404, "M_NOT_FOUND")

	made := alice.CreateRoom(fields{"invite_3pid": []fields{byMail(is, "frank@example.org"), byMail(is, "bob@example.org")}})
	equal(t, "letters", len(is.Letters()), 3)
	equal(t, "membership in a new room", alice.Membership(made, bob), "invite")
}

func TestIdentityServersThatMisbehave(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Start()
	is := net.IdentityServer()
	alice := a.User("alice")
	room := alice.CreateRoom()
	invite := path("rooms", room, "invite")
	const v2 = "/_matrix/identity/v2/"
	for name, test := range map[string]struct {
		path    string
		answer  int
		body    any
		status  int
		errcode string
	}{
		"an error is passed on":           {"lookup", 403, fields{"errcode": "M_TERMS_NOT_SIGNED", "error": "Sign"}, 403, "M_TERMS_NOT_SIGNED"},
		"a token that is wrong":           {"hash_details", 401, fields{"errcode": "M_UNKNOWN_TOKEN", "error": "x"}, 403, "M_UNAUTHORIZED"},
		"no hash":                         {"hash_details", 200, fields{"algorithms": []string{"none"}}, 502, "M_UNKNOWN"},
		"no Matrix":                       {"hash_details", 404, "x", 502, "M_UNKNOWN"},
		"nobody's name":                   {"lookup", 200, fields{"mappings": fields{"lxtbW_ZcKeQUOdsS4XEIcqn9UX0FZ1jdIRmNvF8nXcU": 1}}, 502, "M_UNKNOWN"},
		"an answer that is too long":      {"hash_details", 200, make([]int, 100_000), 502, "M_UNKNOWN"},
		"a redirect":                      {"hash_details", 302, fields{}, 502, "M_UNKNOWN"},
		"no token":                        {"store-invite", 200, fields{"token": "a b", "public_keys": []fields{{}}}, 502, "M_UNKNOWN"},
		"no keys":                         {"store-invite", 200, fields{"token": "a", "display_name": "x"}, 502, "M_UNKNOWN"},
		"a key that is none":              {"store-invite", 200, fields{"token": "a", "public_keys": []fields{{"public_key": "AAAA", "key_validity_url": "https://x"}}}, 502, "M_UNKNOWN"},
		"an address for everybody to see": {"store-invite", 200, fields{"token": "a", "display_name": "for eve@example.org", "public_keys": []fields{{}}}, 502, "M_UNKNOWN"},
	} {
		is.Answer(func(path string) (int, any) {
			if path == v2+test.path {
				return test.answer, test.body
			}
			return 0, nil
		})
		t.Log(name)
		alice.Refused("POST", invite, byMail(is, "eve@example.org"), test.status, test.errcode)
	}
	is.Answer(nil)
	wrong := byMail(is, "eve@example.org")
	for name, change := range map[string]fields{
		"no server":   {"id_server": ""},
		"a path":      {"id_server": "example.org/x"},
		"no token":    {"id_access_token": ""},
		"two lines":   {"id_access_token": "a\nb"},
		"no address":  {"address": "eve"},
		"a name":      {"address": "Eve <eve@example.org>"},
		"a telephone": {"medium": "msisdn"},
	} {
		t.Log(name)
		body := fields{}
		for k, v := range wrong {
			body[k] = v
		}
		for k, v := range change {
			body[k] = v
		}
		if r := alice.Do("POST", invite, body); r.Status != 400 {
			t.Errorf("got %d %s", r.Status, r.Body)
		}
	}
	alice.Must("POST", invite, wrong)
}

func TestAddressesAreBoundAndUnbound(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Start()
	is, other := net.IdentityServer(), net.IdentityServer()
	alice := a.User("alice")
	const bind, unbind = "account/3pid/bind", "/_matrix/client/v3/account/3pid/unbind"
	session := func(is *hearthtest.IdentityServer, sid string) fields {
		return fields{"id_server": is.Name, "id_access_token": hearthtest.IdentityToken, "sid": sid, "client_secret": "secret"}
	}
	address := func(name string) fields { return fields{"medium": "email", "address": name + "@example.org"} }
	result := func(user *hearthtest.User, body fields) string {
		t.Helper()
		return user.Must("POST", unbind, body).Get("id_server_unbind_result").Str
	}
	for i, name := range []string{"Alice", "ally", "al"} {
		is.Prove(fmt.Sprint(i), name+"@example.org")
		alice.Must("POST", bind, session(is, fmt.Sprint(i)))
	}
	other.Prove("x", "ally@example.org")
	alice.Must("POST", bind, session(other, "x"))
	equal(t, "owner", is.Owner("ally@example.org"), alice.ID)
	equal(t, "owner at the other", other.Owner("ally@example.org"), alice.ID)

	// What is asked for must make sense, and errors are the identity server's.
	alice.Refused("POST", bind, session(is, "none"), 404, "M_NO_VALID_SESSION")
	alice.Refused("POST", bind, fields{"id_server": is.Name, "id_access_token": "x", "sid": "0"}, 400, "M_MISSING_PARAM")
	alice.Refused("POST", bind, fields{"id_server": "a/b", "id_access_token": "x", "sid": "0", "client_secret": "s"}, 400, "M_INVALID_PARAM")
	alice.Refused("POST", unbind, fields{"medium": "email", "address": "al@example.org", "id_server": "a/b"}, 400, "M_INVALID_PARAM")
	alice.Refused("POST", unbind, fields{"medium": "pigeon", "address": "al"}, 400, "M_INVALID_PARAM")
	a.Nobody().Refused("POST", bind, session(is, "0"), 401, "M_MISSING_TOKEN")

	// The server knows where an address was bound. Who has not bound it has nothing to unbind.
	equal(t, "of a stranger", result(a.User("bob"), address("Alice")), "no-support")
	equal(t, "of a bound address", result(alice, address("alice")), "success")
	equal(t, "again", result(alice, address("alice")), "no-support")
	got := is.Unbinds()
	equal(t, "requests", len(got), 2)
	equal(t, "body", got[0].Body, fields{"mxid": string(alice.ID), "threepid": map[string]any{"medium": "email", "address": "alice@example.org"}})
	for i, name := range []string{"destination", "destination_is"} {
		if !signedBy(t, a, got[i], fields{
			"method": "POST", "uri": "/_matrix/identity/v2/3pid/unbind", "origin": a.Name, name: is.Name, "content": got[i].Body,
		}) {
			t.Errorf("request %d is not signed with %s: %v", i, name, got[i].Authorization)
		}
	}

	// An identity server can be named, and its errors are passed on.
	named := address("ally")
	named["id_server"] = other.Name
	other.Answer(func(string) (int, any) { return 404, "x" })
	equal(t, "of a server that does not do that", result(alice, named), "no-support")
	other.Answer(func(string) (int, any) { return 404, fields{"errcode": "M_NOT_FOUND", "error": "x"} })
	alice.Refused("POST", unbind, address("ally"), 404, "M_NOT_FOUND")
	equal(t, "owner after that", is.Owner("ally@example.org"), "")
	other.Answer(nil)

	// With the account goes what is known of it.
	out := alice.Must("POST", "account/deactivate", fields{"auth": alice.Confirmation()})
	equal(t, "result", out.Get("id_server_unbind_result").Str, "success")
	equal(t, "owner of what was left", is.Owner("al@example.org"), "")
	equal(t, "owner at the other", other.Owner("ally@example.org"), "")
}

func TestAnAccountIsClosedWhateverIdentityServersSay(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Start()
	is := net.IdentityServer()
	alice := a.User("alice")
	is.Prove("1", "alice@example.org")
	alice.Must("POST", "account/3pid/bind", fields{
		"id_server": is.Name, "id_access_token": hearthtest.IdentityToken, "sid": "1", "client_secret": "secret",
	})
	is.Answer(func(string) (int, any) { return 500, "x" })
	out := alice.Must("POST", "account/deactivate", fields{"auth": alice.Confirmation()})
	equal(t, "result", out.Get("id_server_unbind_result").Str, "no-support")
	alice.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
}

func TestAddressesOfTheAccountAreUnbound(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	relay := mailtest.Start(t, config.EmailSTARTTLS)
	a := net.Start(withMail(relay))
	is, other := net.IdentityServer(), net.IdentityServer()
	alice := a.User("alice")
	own := func(name string, at ...*hearthtest.IdentityServer) fields {
		address := name + "@example.org"
		proof := prove(t, alice, relay, "account/3pid", address)
		proof["auth"] = alice.Confirmation()
		alice.Must("POST", "account/3pid/add", proof)
		for _, is := range at {
			is.Prove(name, address)
			alice.Must("POST", "account/3pid/bind", fields{
				"id_server": is.Name, "id_access_token": hearthtest.IdentityToken, "sid": name, "client_secret": "secret",
			})
		}
		return fields{"medium": "email", "address": address}
	}
	removed := func(body fields) string {
		t.Helper()
		return alice.Must("POST", "account/3pid/delete", body).Get("id_server_unbind_result").Str
	}
	equal(t, "of an address nobody knows", removed(own("one")), "no-support")
	equal(t, "of a bound address", removed(own("two", is)), "success")
	equal(t, "its owner", is.Owner("two@example.org"), "")

	// Identity servers keep nobody from deleting an address.
	three := own("three", is)
	is.Answer(func(string) (int, any) { return 500, "x" })
	equal(t, "of a server that is out of order", removed(three), "no-support")
	equal(t, "addresses", alice.Get("account/3pid").Get("threepids").Raw, "[]")
	is.Answer(nil)

	// Closing the account unbinds from the identity server that is named as well.
	own("four", is)
	other.Knows("four@example.org", alice.ID)
	out := alice.Must("POST", "account/deactivate", fields{"id_server": other.Name, "auth": alice.Confirmation()})
	equal(t, "result", out.Get("id_server_unbind_result").Str, "success")
	for _, is := range []*hearthtest.IdentityServer{is, other} {
		equal(t, "owner of the last", is.Owner("four@example.org"), "")
	}
	equal(t, "owner of what could not be unbound before", is.Owner("three@example.org"), "")
}

// signedBy checks the one signature of a request to an identity server.
func signedBy(t *testing.T, by *hearthtest.Server, u hearthtest.Unbind, request fields) bool {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil || len(u.Authorization) != 1 {
		t.Fatal(u.Authorization, err)
	}
	params := regexp.MustCompile(`key="([^"]*)",sig="([^"]*)"`).FindStringSubmatch(u.Authorization[0])
	if params == nil {
		t.Fatal(u.Authorization)
	}
	var keys struct {
		Verify map[string]struct{ Key string } `json:"verify_keys"`
	}
	if err := json.Unmarshal([]byte(by.Nobody().Get("/_matrix/key/v2/server").Raw), &keys); err != nil {
		t.Fatal(err)
	}
	key, err := base64.RawStdEncoding.DecodeString(keys.Verify[params[1]].Key)
	signature, err2 := base64.RawStdEncoding.DecodeString(params[2])
	if err != nil || err2 != nil || len(key) != ed25519.PublicKeySize {
		t.Fatal(err, err2, keys)
	}
	return ed25519.Verify(key, text, signature)
}

func TestJoinsWithAThirdPartySignature(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, b := net.Start(), net.Start()
	is := net.IdentityServer()
	alice, bob, carol, dave := a.User("alice"), b.User("bob"), b.User("carol"), a.User("dave")
	room := alice.CreateRoom(fields{"preset": "private_chat"})
	for _, who := range []string{"bob", "carol", "dave", "erin"} {
		alice.Must("POST", path("rooms", room, "invite"), byMail(is, who+"@example.org"))
	}
	join := path("join", room)
	signed := func(user *hearthtest.User, token string) fields {
		return fields{"third_party_signed": is.Sign(alice.ID, user.ID, token), "reason": "I was asked"}
	}

	// What is not good for an invite is not good for a join.
	dave.Refused("POST", join, signed(bob, "tokenx"), 403, "M_FORBIDDEN")
	dave.Refused("POST", join, signed(dave, "tokeny"), 403, "M_FORBIDDEN")
	dave.Refused("POST", join, fields{"third_party_signed": "x"}, 400, "M_BAD_JSON")
	dave.Refused("POST", join, fields{"third_party_signed": fields{"mxid": dave.ID}}, 400, "M_INVALID_PARAM")
	forged := net.IdentityServer().Sign(alice.ID, dave.ID, "tokenxxx")
	dave.Refused("POST", join, fields{"third_party_signed": forged}, 403, "M_FORBIDDEN")
	carol.Refused("POST", join, signed(carol, "tokeny"), 403, "M_FORBIDDEN")
	dave.Refused("POST", join, nil, 403, "M_FORBIDDEN")

	// On the server of who has invited, on another one, and on another one that is in the room by then.
	dave.Must("POST", path("rooms", room, "join"), signed(dave, "tokenxxx"))
	bob.Must("POST", join, signed(bob, "tokenx"))
	carol.Must("POST", join, signed(carol, "tokenxx"))
	for _, user := range []*hearthtest.User{bob, carol, dave} {
		alice.WaitForMembership(room, user.ID, "join")
	}
	event := alice.Get(path("rooms", room, "state", "m.room.member", string(dave.ID)))
	equal(t, "reason", event.Get("reason").Str, "I was asked")
	equal(t, "the signature in the event", event.Get("third_party_signed").Exists(), false)

	// Who is there already needs no invite.
	carol.Must("POST", join, signed(carol, "tokeny"))

	// A key that was revoked is good for nobody.
	is.Revoke()
	erin := a.User("erin")
	erin.Refused("POST", join, signed(erin, "tokenxxxx"), 403, "M_FORBIDDEN")
}
