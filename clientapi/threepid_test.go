package clientapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail/mailtest"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

const (
	registerToken = "/_matrix/client/v3/register/email/requestToken"
	resetToken    = "/_matrix/client/v3/account/password/email/requestToken"
	addToken      = "/_matrix/client/v3/account/3pid/email/requestToken"
	addThreepid   = "/_matrix/client/v3/account/3pid/add"
)

// mailRig is a rig whose server sends mail.
type mailRig struct {
	*rig
	relay *mailtest.Relay
}

func newMailRig(t *testing.T, edit ...func(*config.Config)) *mailRig {
	t.Helper()
	relay := mailtest.Start(t, config.EmailNoTLS)
	useRelay := func(c *config.Config) { c.Email = relay.Config() }
	return &mailRig{newRig(t, append([]func(*config.Config){useRelay}, edit...)...), relay}
}

// tokenBody asks for a letter.
func tokenBody(address, secret string, attempt int) string {
	return fmt.Sprintf(`{"email":%q,"client_secret":%q,"send_attempt":%d}`, address, secret, attempt)
}

// follow presses the button of the page that the letter leads to.
func (r *mailRig) follow(l mailtest.Letter) answer {
	r.t.Helper()
	u, err := url.Parse(l.Link())
	if err != nil || u.Path == "" {
		r.t.Fatalf("%q leads nowhere: %s", l.Subject, l.Text)
	}
	page := r.nobody().must("GET", u.RequestURI(), "")
	// With form-action, browsers of the Chromium kind do not go on to next_link.
	csp := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(page.Body, `<form method="post">`) || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "form-action") {
		r.t.Fatalf("the page: %v %s", page.Header, page.Body)
	}
	return r.nobody().do("POST", u.Path, u.RawQuery)
}

// confirm goes all the way from the request of a letter to the confirmation, and returns the credentials of the client.
func (r *mailRig) confirm(u *user, path, address, secret string) string {
	r.t.Helper()
	sid := u.must("POST", path, tokenBody(address, secret, 1)).Get("sid").Str
	if got := r.follow(r.relay.Next()); got.Code != http.StatusOK || !strings.Contains(got.Body, "the address is confirmed") {
		r.t.Fatalf("confirm: %d %s", got.Code, got.Body)
	}
	return creds(sid, secret)
}

func creds(sid, secret string) string { return fmt.Sprintf(`"sid":%q,"client_secret":%q`, sid, secret) }

// byEmail is an auth member that goes on with a session by an address.
func byEmail(session, creds string) string {
	return fmt.Sprintf(`"auth":{"type":"m.login.email.identity","session":%q,"threepid_creds":{%s}}`, session, creds)
}

// owns gives a user an address.
func (r *mailRig) owns(user, address string) {
	r.t.Helper()
	err := r.store.Update(context.Background(), func(tx *storage.Tx) error {
		_, err := tx.InsertThreepid(id.UserID("@"+user+":hs"), storage.Threepid{Medium: "email", Address: address, ValidatedTS: 1, AddedTS: 2})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestAServerWithoutMailSaysSo(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	for _, path := range []string{registerToken, resetToken, addToken} {
		alice.refused("POST", path, tokenBody("a@b.c", "x", 1), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
		phones := strings.Replace(path, "/email/", "/msisdn/", 1)
		alice.refused("POST", phones, `{"client_secret":"x","country":"GB","phone_number":"07700900001","send_attempt":1}`, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
	}
	alice.refused("POST", addThreepid, `{"sid":"x","client_secret":"y"}`, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
	if flows := r.nobody().do("POST", "/_matrix/client/v3/register", `{}`).Get("flows").Raw; strings.Contains(flows, "email") {
		t.Errorf("flows %s", flows)
	}
	if flows := alice.do("POST", "/_matrix/client/v3/account/password", `{}`).Get("flows").Raw; flows != `[{"stages":["m.login.password"]}]` {
		t.Errorf("flows %s", flows)
	}
	if alice.must("GET", "/_matrix/client/v3/capabilities", "").Get(`capabilities.m\.3pid_changes.enabled`).Bool() {
		t.Error("addresses can be changed")
	}
}

func TestRegistrationWithAnEmailAddress(t *testing.T) {
	r := newMailRig(t)
	nobody := r.nobody()
	first := nobody.do("POST", "/_matrix/client/v3/register", `{"username":"alice","password":"`+password+`"}`)
	if got := first.Get("flows").Raw; got != `[{"stages":["m.login.dummy"]},{"stages":["m.login.email.identity"]}]` {
		t.Errorf("flows %s", got)
	}
	session := first.Get("session").Str
	sid := nobody.must("POST", registerToken, tokenBody("Alice@Example.org", "s3cret", 1)).Get("sid").Str
	letter := r.relay.Next()
	if letter.To != "alice@example.org" || !strings.Contains(letter.Text, "making an account") {
		t.Errorf("to %s: %s", letter.To, letter.Text)
	}
	// The client looks again and again whether the link was followed.
	register := `{"username":"alice","password":"` + password + `",` + byEmail(session, creds(sid, "s3cret")) + `}`
	for range 2 {
		got := nobody.refused("POST", "/_matrix/client/v3/register", register, 401, "M_UNAUTHORIZED")
		if got.Get("session").Str != session || !got.Get("flows").Exists() {
			t.Errorf("got %s", got.Raw)
		}
	}
	// Programs that look at links change nothing.
	u, _ := url.Parse(letter.Link())
	nobody.must("GET", u.RequestURI(), "")
	nobody.refused("POST", "/_matrix/client/v3/register", register, 401, "M_UNAUTHORIZED")
	r.follow(letter)
	alice := r.as(nobody.must("POST", "/_matrix/client/v3/register", register))
	now := r.clock.Now().UnixMilli()
	alice.wantJSON("/_matrix/client/v3/account/3pid",
		fmt.Sprintf(`{"threepids":[{"medium":"email","address":"alice@example.org","validated_at":%d,"added_at":%d}]}`, now, now))
	if got := nobody.must("POST", "/_matrix/client/v3/login", `{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email",
		"address":"ALICE@example.org"},"password":"`+password+`"}`).Get("user_id").Str; got != alice.id {
		t.Errorf("logged in as %q", got)
	}
	// What was confirmed for one account makes no other.
	session = nobody.challenged("POST", "/_matrix/client/v3/register", `{"username":"bob","password":"`+password+`"}`)
	nobody.refused("POST", "/_matrix/client/v3/register", `{`+byEmail(session, creds(sid, "s3cret"))+`}`, 401, "M_UNAUTHORIZED")
}

func TestAnAddressCanBeNeededForRegistration(t *testing.T) {
	r := newMailRig(t, func(c *config.Config) {
		c.Registration.RequireEmail, c.Registration.Mode = true, config.RegistrationToken
		c.Registration.Terms = []config.Terms{{ID: "t", Version: "1", Name: "T", URL: "https://hs/t", Language: "en"}}
		c.Email.AllowedDomains = []string{"Example.org"}
	})
	got := r.nobody().do("POST", "/_matrix/client/v3/register", `{"username":"alice","password":"`+password+`"}`)
	if flows := got.Get("flows").Raw; flows != `[{"stages":["m.login.registration_token","m.login.terms","m.login.email.identity"]}]` {
		t.Errorf("flows %s", flows)
	}
	r.nobody().refused("POST", registerToken, tokenBody("alice@elsewhere.org", "x", 1), 403, "M_THREEPID_DENIED")
	r.nobody().must("POST", registerToken, tokenBody("alice@example.ORG", "x", 1))
	r.relay.Next()
	// Somebody whose address is of the past can still reset the password.
	r.nobody().must("POST", resetToken, tokenBody("alice@elsewhere.org", "x", 1))
	r.relay.Next()
}

func TestAPasswordIsResetByMail(t *testing.T) {
	r := newMailRig(t)
	alice, other := r.register("alice"), r.login("alice")
	r.owns("alice", "alice@example.org")
	nobody := r.nobody()
	proof := r.confirm(nobody, resetToken, "alice@example.org", "s")
	const path = "/_matrix/client/v3/account/password"
	session := nobody.challenged("POST", path, `{"new_password":"another one"}`)
	nobody.refused("POST", path, `{"new_password":"another one",`+byEmail(session, creds("nonsense", "s"))+`}`, 401, "M_UNAUTHORIZED")
	nobody.refused("POST", path, `{"new_password":"another one",`+byEmail(session, strings.Replace(proof, `"s"`, `"guess"`, 1))+`}`, 401, "M_UNAUTHORIZED")
	nobody.must("POST", path, `{"new_password":"another one",`+byEmail(session, proof)+`}`)
	for _, u := range []*user{alice, other} {
		u.refused("GET", "/_matrix/client/v3/account/whoami", "", 401, "M_UNKNOWN_TOKEN")
	}
	nobody.refused("POST", "/_matrix/client/v3/login", loginBody("alice", password), 403, "M_FORBIDDEN")
	alice = r.as(nobody.must("POST", "/_matrix/client/v3/login", loginBody("alice", "another one")))

	// One letter, one password.
	session = nobody.challenged("POST", path, `{"new_password":"and another"}`)
	nobody.refused("POST", path, `{`+byEmail(session, proof)+`}`, 401, "M_UNAUTHORIZED")

	// Other sessions stay where that is asked for.
	proof = r.confirm(nobody, resetToken, "alice@example.org", "s")
	session = nobody.challenged("POST", path, `{"new_password":"the third one","logout_devices":false}`)
	nobody.must("POST", path, `{`+byEmail(session, proof)+`}`)
	alice.must("GET", "/_matrix/client/v3/account/whoami", "")

	// Whoever is logged in can confirm only what is theirs.
	bob := r.register("bob")
	proof = r.confirm(nobody, resetToken, "alice@example.org", "s")
	session = bob.challenged("POST", path, `{"new_password":"the fourth one"}`)
	bob.refused("POST", path, `{`+byEmail(session, proof)+`}`, 403, "M_FORBIDDEN")
	session = alice.challenged("POST", path, `{"new_password":"the fourth one"}`)
	alice.must("POST", path, `{`+byEmail(session, proof)+`}`)
	alice.must("GET", "/_matrix/client/v3/account/whoami", "")
}

func TestOneProofResetsOnePassword(t *testing.T) {
	r := newMailRig(t)
	r.register("alice")
	r.owns("alice", "alice@example.org")
	const path = "/_matrix/client/v3/account/password"
	nobody := r.nobody()
	proof := r.confirm(nobody, resetToken, "alice@example.org", "s")
	// A password that will not do keeps the authentication open, so that two of them have the address confirmed.
	first := nobody.challenged("POST", path, `{}`)
	second := nobody.challenged("POST", path, `{}`)
	nobody.must("POST", path, `{"new_password":"the first one",`+byEmail(first, proof)+`}`)
	nobody.refused("POST", path, `{"new_password":"the second one",`+byEmail(second, proof)+`}`, 401, "M_UNAUTHORIZED")
	// An address that has changed hands since is worth nothing.
	proof = r.confirm(nobody, resetToken, "alice@example.org", "s")
	alice := r.as(nobody.must("POST", "/_matrix/client/v3/login", loginBody("alice", "the first one")))
	alice.must("POST", "/_matrix/client/v3/account/3pid/delete", `{"medium":"email","address":"alice@example.org"}`)
	nobody.refused("POST", path, `{"new_password":"the second one",`+byEmail(second, proof)+`}`, 401, "M_UNAUTHORIZED")
	// The account of somebody who is locked out is not opened by mail.
	r.owns("alice", "alice@example.org")
	r.admin("root").must("PUT", "/_matrix/client/v1/admin/lock/@alice:hs", `{"locked":true}`)
	nobody.refused("POST", path, `{"new_password":"the second one",`+byEmail(second, proof)+`}`, 401, "M_USER_LOCKED")
}

func TestNobodyLearnsWhoHasAnAddress(t *testing.T) {
	r := newMailRig(t)
	alice := r.register("alice")
	bob := r.register("bob")
	r.owns("alice", "alice@example.org")
	for _, test := range []struct {
		path, address, says string
		user                *user
		link                bool
	}{
		{registerToken, "alice@example.org", "There is an account with it already", r.nobody(), false},
		{registerToken, "new@example.org", "making an account", r.nobody(), true},
		{resetToken, "alice@example.org", "wants another password for your account", r.nobody(), true},
		{resetToken, "new@example.org", "There is no account with it", r.nobody(), false},
		{addToken, "alice@example.org", "There is an account with it already", bob, false},
		{addToken, "new@example.org", "adding this e-mail address", bob, true},
	} {
		got := test.user.must("POST", test.path, tokenBody(test.address, "secret", 1))
		if len(got.Map()) != 1 || got.Get("sid").Str == "" {
			t.Errorf("%s for %s: got %s", test.path, test.address, got.Raw)
		}
		l := r.relay.Next()
		if l.To != test.address || !strings.Contains(l.Text, test.says) || (l.Link() != "") != test.link {
			t.Errorf("%s for %s: %s", test.path, test.address, l.Text)
		}
		again := test.user.must("POST", test.path, tokenBody(test.address, "secret", 1))
		if again.Raw != got.Raw {
			t.Errorf("%s for %s: the same request gets %s and %s", test.path, test.address, got.Raw, again.Raw)
		}
		r.relay.Empty()
	}
	alice.refused("POST", addToken, tokenBody("Alice@example.org", "secret", 1), 400, "M_THREEPID_IN_USE")
}

func TestALetterIsSentOncePerAttempt(t *testing.T) {
	r := newMailRig(t)
	nobody := r.nobody()
	sid := nobody.must("POST", registerToken, tokenBody("a@example.org", "s", 5)).Get("sid").Str
	first := r.relay.Next()
	for _, attempt := range []int{5, 4} {
		if got := nobody.must("POST", registerToken, tokenBody("a@example.org", "s", attempt)).Get("sid").Str; got != sid {
			t.Errorf("attempt %d is %s, not %s", attempt, got, sid)
		}
	}
	r.relay.Empty()
	if got := nobody.must("POST", registerToken, tokenBody("a@example.org", "s", 6)).Get("sid").Str; got != sid {
		t.Errorf("attempt 6 is %s, not %s", got, sid)
	}
	second := r.relay.Next()
	if got := nobody.must("POST", registerToken, tokenBody("a@example.org", "t", 1)).Get("sid").Str; got == sid {
		t.Error("another client gets the same session")
	}
	r.relay.Next()
	u, _ := url.Parse(first.Link())
	if got := nobody.do("GET", u.RequestURI(), ""); got.Code != 400 || !strings.Contains(got.Body, "take that of the last one") {
		t.Errorf("the link of the first letter: %d %s", got.Code, got.Body)
	}
	if got := nobody.do("POST", u.Path, u.RawQuery); got.Code != 400 || !strings.Contains(got.Body, "take that of the last one") {
		t.Errorf("the link of the first letter: %d %s", got.Code, got.Body)
	}
	r.follow(second)
	r.follow(second) // twice is as good as once
	nobody.must("POST", registerToken, tokenBody("a@example.org", "s", 7))
	r.relay.Empty() // it is confirmed already
	r.clock.Advance(time.Hour)
	u, _ = url.Parse(second.Link())
	if got := nobody.do("GET", u.RequestURI(), ""); got.Code != 400 || !strings.Contains(got.Body, "has expired") {
		t.Errorf("the link after an hour: %d %s", got.Code, got.Body)
	}
	if got := nobody.must("POST", registerToken, tokenBody("a@example.org", "s", 7)).Get("sid").Str; got == sid {
		t.Error("a session lives on after its time")
	}
	r.relay.Next()
}

func TestALetterThatWasNotSentCanBeAskedForAgain(t *testing.T) {
	r := newMailRig(t)
	r.relay.Refuse(&smtp.SMTPError{Code: 451, Message: "later"})
	r.nobody().refused("POST", registerToken, tokenBody("a@example.org", "s", 1), 400, "M_EMAIL_SEND_ERROR")
	r.relay.Refuse(nil)
	r.nobody().must("POST", registerToken, tokenBody("a@example.org", "s", 1))
	r.relay.Next()
}

func TestALetterThatWasNotSentLeavesTheOneBefore(t *testing.T) {
	r := newMailRig(t)
	body := func(attempt int, next string) string {
		return strings.TrimSuffix(tokenBody("a@example.org", "s", attempt), "}") + `,"next_link":"https://` + next + `.example/"}`
	}
	sid := r.nobody().must("POST", registerToken, body(1, "first")).Get("sid").Str
	first := r.relay.Next()
	r.relay.Refuse(&smtp.SMTPError{Code: 451, Message: "later"})
	r.nobody().refused("POST", registerToken, body(2, "second"), 400, "M_EMAIL_SEND_ERROR")
	r.relay.Refuse(nil)
	if got := r.follow(first); got.Code != 303 || got.Header.Get("Location") != "https://first.example/" {
		t.Errorf("the link of the first letter: %d %v %s", got.Code, got.Header, got.Body)
	}
	if got := r.nobody().must("POST", registerToken, body(2, "second")).Get("sid").Str; got != sid {
		t.Errorf("the validation is %s, not %s", got, sid)
	}
	r.relay.Empty() // it is confirmed already
}

func TestValidationsWithStrangeNamesAreNotThere(t *testing.T) {
	r := newMailRig(t)
	alice := r.register("alice")
	for _, sid := range []string{`\u0000`, `a b`, `ä`, `\ufffd`, strings.Repeat("x", 256)} {
		alice.refused("POST", addThreepid, `{"sid":"`+sid+`","client_secret":"s"}`, 403, "M_THREEPID_AUTH_FAILED")
	}
	for _, sid := range []string{"", "%00", "%FF", "a%20b"} {
		query := "sid=" + sid + "&token=x"
		for _, got := range []answer{r.nobody().do("GET", account.EmailPage+"?"+query, ""), r.nobody().do("POST", account.EmailPage, query)} {
			if got.Code != 400 || !strings.Contains(got.Body, "is unknown or has expired") {
				t.Errorf("%q: got %d %s", sid, got.Code, got.Body)
			}
		}
	}
}

func TestADeletedAddressIsNotBroughtBack(t *testing.T) {
	r := newMailRig(t)
	alice := r.register("alice")
	proof := r.confirm(alice, addToken, "alice@example.org", "s")
	alice.must("POST", addThreepid, `{`+proof+`,`+alice.auth(password)+`}`)
	alice.must("POST", "/_matrix/client/v3/account/3pid/delete", `{"medium":"email","address":"alice@example.org"}`)
	alice.refused("POST", addThreepid, `{`+proof+`,`+alice.auth(password)+`}`, 403, "M_THREEPID_AUTH_FAILED")
}

func TestRequestsForLettersAreJudged(t *testing.T) {
	r := newMailRig(t, func(c *config.Config) { c.Email.NextLinkHosts = []string{"good.example"} })
	const good = `"email":"a@example.org","client_secret":"s","send_attempt":1`
	for body, code := range map[string]string{
		`{"email":"a@example.org","client_secret":"s"}`:                           "M_MISSING_PARAM",
		`{"email":"a@example.org","send_attempt":1}`:                              "M_MISSING_PARAM",
		`{"client_secret":"s","send_attempt":1}`:                                  "M_MISSING_PARAM",
		`{"email":"a@example.org","client_secret":"s","send_attempt":"1"}`:        "M_BAD_JSON",
		`{"email":"a@example.org","client_secret":"s","send_attempt":1.5}`:        "M_BAD_JSON",
		`{"email":7,"client_secret":"s","send_attempt":1}`:                        "M_BAD_JSON",
		`{"email":"a","client_secret":"s","send_attempt":1}`:                      "M_INVALID_PARAM",
		`{"email":"a@b\r\nRCPT TO:<c@d>","client_secret":"s","send_attempt":1}`:   "M_INVALID_PARAM",
		`{"email":"a@example.org","client_secret":"","send_attempt":1}`:           "M_INVALID_PARAM",
		`{"email":"a@example.org","client_secret":"a b","send_attempt":1}`:        "M_INVALID_PARAM",
		tokenBody("a@example.org", strings.Repeat("s", 256), 1):                   "M_INVALID_PARAM",
		`{` + good + `,"next_link":"javascript:alert(1)"}`:                        "M_INVALID_PARAM",
		`{` + good + `,"next_link":"file:///etc/passwd"}`:                         "M_INVALID_PARAM",
		`{` + good + `,"next_link":"https://evil.example/"}`:                      "M_INVALID_PARAM",
		`{` + good + `,"next_link":"https://` + strings.Repeat("a", 2048) + `/"}`: "M_INVALID_PARAM",
		`{` + good + `,"next_link":"https://good.example@evil.example/"}`:         "M_INVALID_PARAM",
	} {
		r.nobody().refused("POST", registerToken, body, 400, code)
	}
	r.relay.Empty()
	r.nobody().must("POST", registerToken, `{`+good+`,"next_link":"https://good.example/done?a=b","id_server":"ignored.example"}`)
	if got := r.follow(r.relay.Next()); got.Code != 303 || got.Header.Get("Location") != "https://good.example/done?a=b" {
		t.Errorf("got %d %v", got.Code, got.Header)
	}
}

func TestAddressesAreAddedAndDeleted(t *testing.T) {
	r := newMailRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	if !alice.must("GET", "/_matrix/client/v3/capabilities", "").Get(`capabilities.m\.3pid_changes.enabled`).Bool() {
		t.Error("addresses cannot be changed")
	}
	sid := alice.must("POST", addToken, tokenBody("alice@example.org", "s", 1)).Get("sid").Str
	alice.refused("POST", addThreepid, `{`+creds(sid, "s")+`}`, 403, "M_THREEPID_AUTH_FAILED")
	alice.refused("POST", addThreepid, `{}`, 400, "M_MISSING_PARAM")
	letter := r.relay.Next()
	r.follow(letter)
	// The confirmation is alice's, and for this purpose alone.
	bob.refused("POST", addThreepid, `{`+creds(sid, "s")+`}`, 403, "M_THREEPID_AUTH_FAILED")
	session := r.nobody().challenged("POST", "/_matrix/client/v3/register", `{"username":"carl","password":"`+password+`"}`)
	r.nobody().refused("POST", "/_matrix/client/v3/register", `{`+byEmail(session, creds(sid, "s"))+`}`, 401, "M_UNAUTHORIZED")

	session = alice.challenged("POST", addThreepid, `{`+creds(sid, "s")+`}`)
	alice.must("POST", addThreepid, `{"auth":{"type":"m.login.password","session":"`+session+`","identifier":{"type":"m.id.user","user":"alice"},"password":"`+password+`"}}`)
	alice.must("POST", "/_matrix/client/v3/account/3pid", `{"three_pid_creds":{`+creds(sid, "s")+`,"id_server":"x"},`+alice.auth(password)+`}`) // no error
	if got := alice.must("GET", "/_matrix/client/v3/account/3pid", "").Get("threepids.#.address").Raw; got != `["alice@example.org"]` {
		t.Errorf("addresses %s", got)
	}

	// Two who have both confirmed an address: the first has it.
	aliceToo := r.confirm(alice, addToken, "shared@example.org", "s")
	bobToo := r.confirm(bob, addToken, "shared@example.org", "s")
	bob.must("POST", addThreepid, `{`+bobToo+`,`+bob.auth(password)+`}`)
	alice.refused("POST", addThreepid, `{`+aliceToo+`,`+alice.auth(password)+`}`, 400, "M_THREEPID_IN_USE")

	const remove = "/_matrix/client/v3/account/3pid/delete"
	bob.refused("POST", remove, `{"medium":"email","address":"alice@example.org"}`, 404, "M_THREEPID_NOT_FOUND")
	bob.refused("POST", remove, `{"medium":"email"}`, 400, "M_MISSING_PARAM")
	alice.refused("POST", remove, `{"medium":"email","address":"nonsense"}`, 404, "M_THREEPID_NOT_FOUND")
	if got := alice.must("POST", remove, `{"medium":"email","address":"Alice@Example.org"}`); got.Get("id_server_unbind_result").Str != "no-support" {
		t.Errorf("got %s", got.Raw)
	}
	alice.wantJSON("/_matrix/client/v3/account/3pid", `{"threepids":[]}`)

	bob.must("POST", "/_matrix/client/v3/account/deactivate", `{`+bob.auth(password)+`}`)
	alice.must("POST", addThreepid, `{`+aliceToo+`,`+alice.auth(password)+`}`)
}

func TestAnAdministratorCanForbidChanges(t *testing.T) {
	r := newMailRig(t, func(c *config.Config) { c.Email.Changes = false })
	alice := r.register("alice")
	r.owns("alice", "alice@example.org")
	alice.refused("POST", addToken, tokenBody("a@example.org", "s", 1), 403, "M_FORBIDDEN")
	alice.refused("POST", addThreepid, `{"sid":"x","client_secret":"y"}`, 403, "M_FORBIDDEN")
	alice.refused("POST", "/_matrix/client/v3/account/3pid/delete", `{"medium":"email","address":"alice@example.org"}`, 403, "M_FORBIDDEN")
	if alice.must("GET", "/_matrix/client/v3/capabilities", "").Get(`capabilities.m\.3pid_changes.enabled`).Bool() {
		t.Error("addresses can be changed")
	}
	r.confirm(r.nobody(), resetToken, "alice@example.org", "s") // that is no change
}

func TestThePageOfALetterEscapes(t *testing.T) {
	r := newMailRig(t)
	r.nobody().must("POST", registerToken, tokenBody(`o'neil&co@example.org`, "s", 1))
	u, _ := url.Parse(r.relay.Next().Link())
	page := r.nobody().must("GET", u.RequestURI(), "")
	if !strings.Contains(page.Body, "o&#39;neil&amp;co@example.org") || page.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("the page: %s", page.Body)
	}
	bad := u.Path + "?sid=%22%3E%3Cscript%3E&token=%3Cscript%3E"
	if got := r.nobody().do("GET", bad, ""); got.Code != 400 || strings.Contains(got.Body, "<script") {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
}

func TestLettersAreLimitedAndLookingForThemIsNot(t *testing.T) {
	r := newMailRig(t)
	const burst = 3
	var err error
	r.handler, err = web.New(web.Options{Auth: r.accounts, Clock: r.clock, Limits: web.Limits{Classes: map[web.Rate]web.Limit{
		web.RateEmailAddress: {PerSecond: 0.001, Burst: burst}, web.RateEmail: {PerSecond: 0.001, Burst: burst - 1},
		web.RateRegister: {PerSecond: 0.001, Burst: burst}, web.RateLogin: {PerSecond: 0.001, Burst: burst}, web.RateWrite: {PerSecond: 10, Burst: 100},
	}}}, New(Deps{Config: r.config, Accounts: r.accounts}).Routes())
	if err != nil {
		t.Fatal(err)
	}
	from := func(address, path, body string) answer {
		req := httptest.NewRequest("POST", path, strings.NewReader(body))
		req.RemoteAddr = address + ":1"
		rec := httptest.NewRecorder()
		r.handler.ServeHTTP(rec, req)
		return answer{gjson.ParseBytes(rec.Body.Bytes()), rec.Code, rec.Body.String(), rec.Header()}
	}
	for i := range burst + 2 {
		got := from(fmt.Sprintf("192.0.2.%d", i), registerToken, tokenBody("victim@example.org", fmt.Sprint(i), 1))
		if want := map[bool]int{true: 200, false: 429}[i < burst]; got.Code != want {
			t.Errorf("letter %d to the same person: got %d %s", i+1, got.Code, got.Raw)
		}
	}
	// What others ask for in vain keeps nobody from a new password.
	if got := from("192.0.2.9", resetToken, tokenBody("victim@example.org", "x", 1)); got.Code != 200 {
		t.Errorf("a letter for another purpose: got %d %s", got.Code, got.Raw)
	}
	for range burst + 1 {
		r.relay.Next()
	}
	for i := range burst {
		got := from("192.0.2.50", registerToken, tokenBody(fmt.Sprintf("victim%d@example.org", i), "s", 1))
		if want := map[bool]int{true: 200, false: 429}[i < burst-1]; got.Code != want {
			t.Errorf("letter %d from the same network: got %d %s", i+1, got.Code, got.Raw)
		}
	}
	for range burst - 1 {
		r.relay.Next()
	}
	r.relay.Empty()
	const register, password = "/_matrix/client/v3/register", "/_matrix/client/v3/account/password"
	for _, path := range []string{register, password} {
		session := from("192.0.2.100", path, `{}`).Get("session").Str
		for i := range 5 * burst {
			if got := from("192.0.2.100", path, `{`+byEmail(session, creds("none", "s"))+`}`); got.Get("errcode").Str != "M_UNAUTHORIZED" {
				t.Fatalf("look %d at %s: got %d %s", i+1, path, got.Code, got.Raw)
			}
		}
		// What looks like that and is a guess is counted as one.
		guess := `{"auth":{"type":"m.login.email.identity","session":"` + session + `"},"auth":{"type":"m.login.registration_token","session":"` + session + `","token":"x"}}`
		for i := range 2 * burst {
			if got := from("192.0.2.100", path, guess); i >= burst && got.Code != 429 {
				t.Errorf("guess %d at %s: got %d %s", i+1, path, got.Code, got.Raw)
			}
		}
	}
}
