package tests

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail/mailtest"
)

// withMail lets a server send mail through a relay that wants TLS and a password.
func withMail(relay *mailtest.Relay) hearthtest.Option {
	return hearthtest.WithConfig(func(c *config.Config) { c.Email = relay.Config() })
}

// followLink presses the button of the page that a letter leads to.
func followLink(t *testing.T, s *hearthtest.Server, l mailtest.Letter) {
	t.Helper()
	u, err := url.Parse(l.Link())
	if err != nil || u.Path == "" {
		t.Fatalf("%q leads nowhere: %s", l.Subject, l.Text)
	}
	if page := s.Nobody().Must("GET", u.RequestURI(), nil); !strings.Contains(string(page.Body), `<form method="post">`) {
		t.Fatalf("the page: %s", page.Body)
	}
	s.Nobody().Must("POST", u.Path, []byte(u.RawQuery))
}

// prove asks for a letter, follows its link and returns what a client says of it afterwards.
func prove(t *testing.T, u *hearthtest.User, relay *mailtest.Relay, path, address string) fields {
	t.Helper()
	sid := u.Must("POST", path+"/email/requestToken", fields{"email": address, "client_secret": "secret", "send_attempt": 1}).Get("sid").Str
	followLink(t, u.Server(), relay.Next())
	return fields{"sid": sid, "client_secret": "secret"}
}

func TestAnAccountIsMadeKeptAndReopenedByMail(t *testing.T) {
	t.Parallel()
	relay := mailtest.Start(t, config.EmailSTARTTLS)
	a := hearthtest.Start(t, withMail(relay), hearthtest.WithConfig(func(c *config.Config) { c.Registration.RequireEmail = true }))
	nobody := a.Nobody()
	challenge := nobody.Do("POST", "register", fields{"username": "alice", "password": hearthtest.Password})
	equal(t, "the way to register", challenge.Get("flows.0.stages").Raw, `["m.login.email.identity"]`)
	proof := prove(t, nobody, relay, "register", "alice@example.org")
	made := nobody.Must("POST", "register", fields{"username": "alice", "password": hearthtest.Password,
		"auth": fields{"type": "m.login.email.identity", "session": challenge.Get("session").Str, "threepid_creds": proof}})
	alice := a.Nobody()
	alice.Token, alice.ID = made.Get("access_token").Str, id.UserID("@alice:"+string(a.Name))
	equal(t, "addresses", alice.Get("account/3pid").Get("threepids.#.address").Raw, `["alice@example.org"]`)

	// Another address, with which she logs in.
	proof = prove(t, alice, relay, "account/3pid", "Alice.Too@Example.org")
	proof["auth"] = alice.Confirmation()
	alice.Must("POST", "account/3pid/add", proof)
	login := fields{"type": "m.login.password", "identifier": fields{"type": "m.id.thirdparty", "medium": "email", "address": "alice.too@example.org"},
		"password": hearthtest.Password}
	equal(t, "who logs in", nobody.Must("POST", "login", login).Get("user_id").Str, string(alice.ID))
	alice.Must("POST", "account/3pid/delete", fields{"medium": "email", "address": "alice.too@example.org"})
	nobody.Refused("POST", "login", login, 403, "M_FORBIDDEN")

	// She forgets her password, and everything survives a restart in between.
	proof = prove(t, nobody, relay, "account/password", "alice@example.org")
	session := nobody.Do("POST", "account/password", fields{"new_password": "another password"}).Get("session").Str
	a.Restart()
	nobody = a.Nobody()
	nobody.Must("POST", "account/password", fields{"auth": fields{"type": "m.login.email.identity", "session": session, "threepid_creds": proof}})
	alice.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	again := nobody.Must("POST", "login", hearthtest.LoginRequest("alice", fields{"password": "another password"}))
	equal(t, "who logs in", again.Get("user_id").Str, string(alice.ID))
	relay.Empty()
}

func TestMissedMessagesAreTakenToTheirReaderByMail(t *testing.T) {
	t.Parallel()
	relay := mailtest.Start(t, config.EmailSTARTTLS)
	c := clock.NewFake(noon)
	a := hearthtest.Start(t, withMail(relay), hearthtest.WithClock(c))
	alice, bob := a.User("alice"), a.User("bob")
	proof := prove(t, alice, relay, "account/3pid", "alice@example.org")
	proof["auth"] = alice.Confirmation()
	alice.Must("POST", "account/3pid/add", proof)
	wish := fields{"kind": "email", "app_id": "m.email", "pushkey": "alice@example.org", "app_display_name": "Mail", "device_display_name": "Mail",
		"lang": "en", "data": fields{}}
	bob.Refused("POST", "pushers/set", wish, 400, "M_THREEPID_NOT_FOUND")
	alice.Must("POST", "pushers/set", wish)
	equal(t, "kind", alice.Get("pushers").Get("pushers.0.kind").Str, "email")

	room := bob.CreateRoom(fields{"name": "Kitchen", "preset": "private_chat", "invite": []any{alice.ID}})
	alice.Join(room)
	bob.Say(room, "alice: <dinner> is ready")
	var l mailtest.Letter
	for got := false; !got; { // the fake clock goes on until the letter is due
		c.Advance(time.Minute)
		l, got = relay.Try()
	}
	equal(t, "recipient", l.To, "alice@example.org")
	if !strings.Contains(l.Subject, "Kitchen") || !strings.Contains(l.Text, "<dinner> is ready") || !strings.Contains(l.HTML, "&lt;dinner&gt;") {
		t.Errorf("%s: %s %s", l.Subject, l.Text, l.HTML)
	}
	u, err := url.Parse(strings.Trim(l.Header.Get("List-Unsubscribe"), "<>"))
	if err != nil {
		t.Fatal(err)
	}
	a.Nobody().Must("GET", u.RequestURI(), nil)
	equal(t, "pushers after a look at the page", len(alice.Get("pushers").Get("pushers").Array()), 1)
	a.Nobody().Must("POST", u.RequestURI(), []byte("List-Unsubscribe=One-Click"))
	equal(t, "pushers after one click", len(alice.Get("pushers").Get("pushers").Array()), 0)

	// A pusher goes with its address.
	alice.Must("POST", "pushers/set", wish)
	alice.Must("POST", "account/3pid/delete", fields{"medium": "email", "address": "alice@example.org"})
	equal(t, "pushers without the address", len(alice.Get("pushers").Get("pushers").Array()), 0)
}
