package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
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
		"medium": "email", "address": "carol@example.org", "mxid": carol.ID, "room_id": room, "sender": alice.ID, "signed": is.Sign(carol.ID, "tokenx"),
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
		"medium": "email", "address": "erin@example.org", "mxid": erin.ID, "room_id": room, "sender": alice.ID, "signed": is.Sign(erin.ID, "tokenxx"),
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
