package tests

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// startSSO starts a provider and a server on which people log in there.
func startSSO(t *testing.T, edits ...func(*config.Config)) (*hearthtest.Server, *hearthtest.Provider) {
	t.Helper()
	provider := hearthtest.NewProvider(t)
	a := hearthtest.Start(t, hearthtest.WithPublicURL(), hearthtest.WithConfig(func(c *config.Config) {
		c.SSO.Providers = []config.SSOProvider{provider.Config("work")}
		c.SSO.TrustedClients = []string{"https://app.example.org/"}
		for _, edit := range edits {
			edit(c)
		}
	}))
	return a, provider
}

func ssoRedirect(client string) string {
	return "/_matrix/client/v3/login/sso/redirect/work?redirectUrl=" + url.QueryEscape(client)
}

const trustedClient = "https://app.example.org/callback"

// ssoLogin logs somebody in with a client that is trusted.
func ssoLogin(t *testing.T, a *hearthtest.Server, provider *hearthtest.Provider, claims fields) *hearthtest.User {
	t.Helper()
	provider.Become(hearthtest.Fields(claims))
	page := a.Browser().Open(ssoRedirect(trustedClient))
	return redeem(t, a, page.URL.Query().Get("loginToken"))
}

// redeem logs in with a login token.
func redeem(t *testing.T, a *hearthtest.Server, token string) *hearthtest.User {
	t.Helper()
	session := a.Nobody().Must("POST", "login", fields{"type": "m.login.token", "token": token})
	u := a.Nobody()
	u.ID, u.Token, u.Device = id.UserID(session.Get("user_id").Str), session.Get("access_token").Str, id.DeviceID(session.Get("device_id").Str)
	return u
}

func TestLoginAtAProvider(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t, func(c *config.Config) {
		c.SSO.Providers[0].Brand, c.SSO.Providers[0].Icon = "keycloak", "mxc://hs/icon"
	})
	flows := a.Nobody().Get("login")
	equal(t, "the flow", flows.Get(`flows.#(type=="m.login.sso").identity_providers`).Raw,
		`[{"id":"work","name":"Provider work","icon":"mxc://hs/icon","brand":"keycloak"}]`)

	provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "Alice", "name": "Alice A."})
	browser := a.Browser()
	ask := browser.Open(ssoRedirect("https://elsewhere.example.org/?a=b&loginToken=old&c=%20d#/login"))
	equal(t, "the page that asks", ask.Status, 200)
	for what, text := range map[string]string{"user": "@alice:" + string(a.Name), "client": "https://elsewhere.example.org", "new": "will be made for you"} {
		if !strings.Contains(ask.Body, text) {
			t.Errorf("the page does not name the %s: %s", what, ask.Body)
		}
	}
	// Nobody gets a token, and there is no account, until the person has agreed.
	if strings.Contains(ask.Body, "hrl_") {
		t.Errorf("the page has a login token: %s", ask.Body)
	}
	a.Nobody().Refused("GET", path("profile", "@alice:"+string(a.Name)), nil, 404, "M_NOT_FOUND")

	done := browser.Submit(ask, nil)
	equal(t, "status", done.Status, 303)
	token := done.URL.Query().Get("loginToken")
	equal(t, "the client", done.URL.String(), "https://elsewhere.example.org/?a=b&c=%20d&loginToken="+token+"#/login")
	alice := redeem(t, a, token)
	equal(t, "user", string(alice.ID), "@alice:"+string(a.Name))
	equal(t, "display name", alice.Get(path("profile", alice.ID)).Get("displayname").Str, "Alice A.")
	a.Nobody().Refused("POST", "login", fields{"type": "m.login.token", "token": token}, 403, "M_FORBIDDEN")
	equal(t, "the form a second time", browser.Submit(ask, nil).Status, 403)

	// The subject counts, whatever the name has become. A client that is trusted is sent on at once.
	again := ssoLogin(t, a, provider, fields{"sub": "1", "preferred_username": "carol"})
	equal(t, "the same person", again.ID, alice.ID)
	a.Nobody().Refused("POST", "login", hearthtest.LoginRequest(alice.ID), 403, "M_FORBIDDEN")
}

func TestOnlyTheBrowserThatLeftComesBack(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t)
	provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "alice"})
	browser := a.Browser()
	ask := browser.Open(ssoRedirect("element://connect"))
	callback := ask.URL.String()
	equal(t, "an answer that was used", browser.Open(callback).Status, 403)
	equal(t, "another browser", a.Browser().Open(callback).Status, 403)
	equal(t, "the form in another browser", a.Browser().Submit(ask, nil).Status, 403)
	equal(t, "the form in the browser", browser.Submit(ask, nil).Status, 303)
	if !strings.Contains(ask.Body, "<code>element:</code>") {
		t.Errorf("the page does not name the app: %s", ask.Body)
	}

	provider.Become(nil)
	refused := a.Browser().Open(ssoRedirect(trustedClient))
	equal(t, "somebody who said no", refused.Status, 403)
	for client, status := range map[string]int{
		"javascript:alert(1)": 400, "data:text/html,x": 400, "nothing": 400, "https:/app.example.org": 400, "https://app.example.org@evil.example/": 400,
		`https://app.example.org\@evil.example/`: 400,
	} {
		equal(t, client, a.Browser().Open(ssoRedirect(client)).Status, status)
	}
	equal(t, "no client", a.Browser().Open("/_matrix/client/v3/login/sso/redirect").Status, 400)
	equal(t, "no such provider", a.Browser().Open("/_matrix/client/v3/login/sso/redirect/other?redirectUrl=x:y").Status, 404)
}

func TestProvidersThatLieAreNotBelieved(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t)
	for name, spoil := range map[string]func(hearthtest.Fields){
		"another nonce":    func(c hearthtest.Fields) { c["nonce"] = "x" },
		"another audience": func(c hearthtest.Fields) { c["aud"] = "somebody" },
		"another issuer":   func(c hearthtest.Fields) { c["iss"] = "https://evil.example" },
		"over":             func(c hearthtest.Fields) { c["exp"] = 1 },
		"no subject":       func(c hearthtest.Fields) { c["sub"] = "" },
		"a long subject":   func(c hearthtest.Fields) { c["sub"] = strings.Repeat("x", 256) },
		"NUL":              func(c hearthtest.Fields) { c["sub"] = "a\x00" },
	} {
		provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "alice"})
		provider.Spoil(spoil)
		page := a.Browser().Open(ssoRedirect(trustedClient))
		if page.Status != 403 || page.URL.Query().Has("loginToken") {
			t.Errorf("%s: %d at %s", name, page.Status, page.URL)
		}
	}
	// The answer of another provider that was passed on to this one, and a code that was made up.
	for _, answer := range []string{"code=x", "code=x&iss=https://evil.example", "code=x&iss=" + url.QueryEscape(provider.URL)} {
		provider.Become(nil)
		browser := a.Browser()
		state := browser.Open(ssoRedirect(trustedClient)).URL.Query().Get("state")
		equal(t, answer, browser.Open("/_matrix/hearth/sso/callback?state="+state+"&"+answer).Status, 403)
	}
	if alice := ssoLogin(t, a, provider, fields{"sub": "1", "preferred_username": "alice"}); alice.ID.Localpart() != "alice" {
		t.Errorf("got %s", alice.ID)
	}
}

func TestNamesOfPeopleFromAProvider(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit   func(*config.SSOProvider)
		claims fields
		status int
		want   string
	}{
		"a free name":                     {nil, fields{"preferred_username": "bob"}, 303, "bob"},
		"other alphabets":                 {nil, fields{"preferred_username": "Jürg Ö=1"}, 303, "j=c3=bcrg=20=c3=96=3d1"},
		"no name":                         {nil, fields{}, 403, ""},
		"a name of this server's":         {nil, fields{"preferred_username": "_bridge"}, 400, ""},
		"a taken name is refused":         {nil, fields{"preferred_username": "alice"}, 400, ""},
		"a taken name with a number":      {func(p *config.SSOProvider) { p.Taken = config.SSOTakenNumber }, fields{"preferred_username": "alice"}, 303, "alice3"},
		"an account that is linked":       {func(p *config.SSOProvider) { p.Taken = config.SSOTakenLink }, fields{"preferred_username": "alice"}, 303, "alice"},
		"an account of somebody else's":   {func(p *config.SSOProvider) { p.Taken = config.SSOTakenLink }, fields{"preferred_username": "linked"}, 400, ""},
		"nobody new":                      {func(p *config.SSOProvider) { p.ExistingOnly = true }, fields{"preferred_username": "bob"}, 403, ""},
		"nobody new, a taken name":        {func(p *config.SSOProvider) { p.ExistingOnly = true }, fields{"preferred_username": "alice"}, 403, ""},
		"a template":                      {func(p *config.SSOProvider) { p.Localpart = `x-{{localpart .email}}` }, fields{"email": "Bob@example.org"}, 303, "x-bob"},
		"one claim or the other":          {func(p *config.SSOProvider) { p.Localpart = `{{or .nick .id}}` }, fields{"id": 123456789}, 303, "123456789"},
		"a claim of the userinfo":         {func(p *config.SSOProvider) { p.UserInfo, p.Localpart = true, "{{.nick}}" }, fields{}, 303, "from-info"},
		"a userinfo about somebody else":  {func(p *config.SSOProvider) { p.UserInfo, p.Localpart = true, "{{.nick}}" }, fields{"sub": "8"}, 403, ""},
		"a name that is no longer a name": {nil, fields{"preferred_username": strings.Repeat("x", 300)}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, provider := startSSO(t, func(c *config.Config) {
				if test.edit != nil {
					test.edit(&c.SSO.Providers[0])
				}
			})
			provider.SetUserInfo(hearthtest.Fields{"sub": "7", "nick": "from-info"})
			a.User("alice")
			a.User("alice2")
			if test.claims["preferred_username"] == "linked" {
				a.User("linked")
				ssoLogin(t, a, provider, fields{"sub": "9", "preferred_username": "linked"})
			}
			claims := hearthtest.Fields{"sub": "7"}
			for k, v := range test.claims {
				claims[k] = v
			}
			provider.Become(claims)
			page := a.Browser().Open(ssoRedirect(trustedClient))
			if page.Status != test.status {
				t.Fatalf("got %d %s", page.Status, page.Body)
			}
			if page.Status != 303 {
				return
			}
			equal(t, "user", redeem(t, a, page.URL.Query().Get("loginToken")).ID.Localpart(), test.want)
		})
	}
}

func TestAccountsOfMoreThanAPersonAreNotLinked(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t, func(c *config.Config) { c.SSO.Providers[0].Taken = config.SSOTakenLink })
	admin := a.Admin("admin")
	admin.Must("POST", noticePath, fields{"user_id": a.User("alice").ID, "content": fields{"msgtype": "m.text", "body": "there is an account for notices"}})
	a.User("boss")
	a.Reload(func(c *config.Config) { c.Registration.ReservedUsernames = []string{"boss"} })
	for _, name := range []string{"admin", "_server", "boss"} {
		provider.Become(hearthtest.Fields{"sub": name, "preferred_username": name})
		page := a.Browser().Open(ssoRedirect(trustedClient))
		if page.Status != 400 || page.URL.Query().Has("loginToken") {
			t.Errorf("%s: %d at %s", name, page.Status, page.URL)
		}
	}
	equal(t, "an ordinary account", ssoLogin(t, a, provider, fields{"sub": "1", "preferred_username": "alice"}).ID.Localpart(), "alice")
}

func TestNumbersOfNamesAreNoneOfAnAppservice(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bridge.yaml")
	if err := os.WriteFile(file, []byte(`{"id":"bridge","url":null,"as_token":"as-secret","hs_token":"hs-secret","sender_localpart":"_bridge",
		"namespaces":{"users":[{"exclusive":true,"regex":"@alice[2-4]:"}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a, provider := startSSO(t, func(c *config.Config) {
		c.SSO.Providers[0].Taken = config.SSOTakenNumber
		c.Appservices = []string{file}
	})
	a.User("alice")
	equal(t, "the next name", ssoLogin(t, a, provider, fields{"sub": "1", "preferred_username": "alice"}).ID.Localpart(), "alice5")
}

func TestTheOwnLoginPageIsTrustedAlone(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t)
	claims := fields{"sub": "1", "preferred_username": "alice"}
	alice := ssoLogin(t, a, provider, claims)
	const site = "http://" + hearthtest.PublicHost
	const own = site + "/_matrix/static/client/login/"
	equal(t, "the page", a.Browser().Open(ssoRedirect(own)).URL.Query().Has("loginToken"), true)
	for _, query := range []string{"?device_id=" + string(alice.Device), "?device%5fid=X", "?refresh_token=true", "?x"} {
		page := a.Browser().Open(ssoRedirect(own + query))
		if page.Status != 200 || page.URL.Query().Has("loginToken") || !strings.Contains(page.Body, "wants to log in") {
			t.Errorf("the page with %s: %d at %s", query, page.Status, page.URL)
		}
	}
	// Not even if the operator trusts all that is on this site.
	a.Reload(func(c *config.Config) { c.SSO.TrustedClients = []string{site + "/"} })
	equal(t, "on a site that is trusted", a.Browser().Open(ssoRedirect(own+"?device_id=X")).URL.Query().Has("loginToken"), false)
	equal(t, "what else is there", a.Browser().Open(ssoRedirect(site+"/element?x")).URL.Query().Has("loginToken"), true)
}

func TestConfirmationAtAProvider(t *testing.T) {
	t.Parallel()
	a, provider := startSSO(t)
	claims := fields{"sub": "1", "preferred_username": "alice"}
	alice, phone := ssoLogin(t, a, provider, claims), ssoLogin(t, a, provider, claims)
	device := "devices/" + string(phone.Device)
	challenge := alice.Do("DELETE", device, fields{})
	equal(t, "flows", challenge.Get("flows").Raw, `[{"stages":["m.login.sso"]}]`)
	session := challenge.Get("session").Str
	fallback := "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=" + session
	equal(t, "saying that it was done", alice.Do("DELETE", device, fields{"auth": fields{"type": "m.login.sso", "session": session}}).Status, 401)

	provider.Become(hearthtest.Fields{"sub": "2", "preferred_username": "bob"})
	equal(t, "a stranger", a.Browser().Open(fallback).Status, 403)
	ssoLogin(t, a, provider, fields{"sub": "3", "preferred_username": "carol"})
	equal(t, "another user", a.Browser().Open(fallback).Status, 403)

	// Being logged in there is not enough: they have to log in once more.
	for name, spoil := range map[string]func(hearthtest.Fields){
		"a login that is no number":   func(c hearthtest.Fields) { c["auth_time"] = "now" },
		"a login before":              func(c hearthtest.Fields) { c["auth_time"] = time.Now().Add(-time.Minute).Unix() },
		"an answer of who knows when": func(c hearthtest.Fields) { delete(c, "iat") },
	} {
		provider.Become(hearthtest.Fields(claims))
		provider.Spoil(spoil)
		equal(t, name, a.Browser().Open(fallback).Status, 403)
	}

	// A provider that never says when it was is believed.
	provider.Become(hearthtest.Fields(claims))
	provider.Spoil(func(c hearthtest.Fields) { delete(c, "auth_time") })
	browser := a.Browser()
	ask := browser.Open(fallback + "&action=register")
	if !strings.Contains(ask.Body, "log devices out") {
		t.Fatalf("the page does not say what for: %d %s", ask.Status, ask.Body)
	}
	equal(t, "before it was confirmed", alice.Do("DELETE", device, fields{"auth": fields{"session": session}}).Status, 401)
	done := browser.Submit(ask, nil)
	if done.Status != 200 || !strings.Contains(done.Body, "onAuthDone") {
		t.Fatalf("got %d %s", done.Status, done.Body)
	}
	alice.Must("DELETE", device, fields{"auth": fields{"session": session}})
	phone.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	equal(t, "an authentication that is over", a.Browser().Open(fallback).Status, 400)

	// With a password there are two ways.
	other := alice.Do("POST", "account/password", fields{"new_password": hearthtest.Password})
	browser.Submit(browser.Open("/_matrix/client/v3/auth/m.login.sso/fallback/web?session="+other.Get("session").Str), nil)
	alice.Must("POST", "account/password", fields{"new_password": hearthtest.Password, "auth": fields{"session": other.Get("session").Str}})
	both := alice.Do("DELETE", device, fields{})
	equal(t, "flows with a password", both.Get("flows").Raw, `[{"stages":["m.login.password"]},{"stages":["m.login.sso"]}]`)
	alice.Must("DELETE", device, fields{"auth": alice.Confirmation()})
}

func TestSeveralProvidersAndTerms(t *testing.T) {
	t.Parallel()
	second := hearthtest.NewProvider(t)
	a, provider := startSSO(t, func(c *config.Config) {
		c.SSO.Providers = append(c.SSO.Providers, second.Config("home"))
		c.Registration.Terms = []config.Terms{{ID: "x", Version: "1", Name: "Our terms", URL: "https://example.org/terms", Language: "en"}}
	})
	choice := a.Browser().Open("/_matrix/client/v3/login/sso/redirect?redirectUrl=" + url.QueryEscape(trustedClient))
	for _, name := range []string{"Provider work", "Provider home", "/sso/redirect/home?redirectUrl="} {
		if !strings.Contains(choice.Body, name) {
			t.Errorf("the page lacks %q: %s", name, choice.Body)
		}
	}
	provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "alice"})
	browser := a.Browser()
	ask := browser.Open(ssoRedirect(trustedClient))
	if !strings.Contains(ask.Body, "Our terms") {
		t.Fatalf("an account without terms: %d %s", ask.Status, ask.Body)
	}
	equal(t, "somebody who does not agree", browser.Submit(ask, nil).Status, 403)
	ask = browser.Open(ssoRedirect(trustedClient))
	done := browser.Submit(ask, url.Values{"agree": {"yes"}})
	alice := redeem(t, a, done.URL.Query().Get("loginToken"))
	// The same subject at another provider is somebody else.
	second.Become(hearthtest.Fields{"sub": "1", "preferred_username": "bob"})
	ask = browser.Open(strings.Replace(ssoRedirect(trustedClient), "/work", "/home", 1))
	done = browser.Submit(ask, url.Values{"agree": {"yes"}})
	if bob := redeem(t, a, done.URL.Query().Get("loginToken")); bob.ID == alice.ID || bob.ID.Localpart() != "bob" {
		t.Errorf("got %s", bob.ID)
	}
	ssoLogin(t, a, provider, fields{"sub": "1"})

	alice.Must("POST", "account/deactivate", fields{"auth": ssoConfirmed(t, a, provider, alice)})
	provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "alice"})
	equal(t, "somebody whose account is closed", a.Browser().Open(ssoRedirect(trustedClient)).Status, 403)
}

// ssoConfirmed confirms the deactivation of an account.
func ssoConfirmed(t *testing.T, a *hearthtest.Server, provider *hearthtest.Provider, u *hearthtest.User) fields {
	t.Helper()
	provider.Become(hearthtest.Fields{"sub": "1"})
	session := u.Do("POST", "account/deactivate", fields{}).Get("session").Str
	browser := a.Browser()
	browser.Submit(browser.Open("/_matrix/client/v3/auth/m.login.sso/fallback/web?session="+session), nil)
	return fields{"session": session}
}

func TestProvidersInsideNeedAnException(t *testing.T) {
	t.Parallel()
	deny := func(c *config.Config) { c.Outbound.DenyNetworks = config.Default().Outbound.DenyNetworks }
	a, provider := startSSO(t, deny)
	provider.Become(hearthtest.Fields{"sub": "1", "preferred_username": "alice"})
	equal(t, "without", a.Browser().Open(ssoRedirect(trustedClient)).Status, 502)
	b, provider := startSSO(t, deny, func(c *config.Config) {
		loopback, err := config.ParsePrefix("127.0.0.0/8")
		if err != nil {
			t.Fatal(err)
		}
		c.SSO.AllowNetworks = []config.Prefix{loopback}
	})
	ssoLogin(t, b, provider, fields{"sub": "1", "preferred_username": "alice"})
}

func TestLoginPages(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithPublicURL())
	equal(t, "flows without providers", a.Nobody().Get("login").Get(`flows.#(type=="m.login.sso")`).Exists(), false)
	equal(t, "no single sign-on", a.Browser().Open("/_matrix/client/v3/login/sso/redirect?redirectUrl=x:y").Status, 404)
	page := a.Browser().Open("/_matrix/static/client/login/?device_id=X")
	if page.Status != 200 || !strings.Contains(page.Body, "matrixLogin.onLogin") {
		t.Errorf("the login page: %d %s", page.Status, page.Body)
	}
	a.Nobody().Refused("GET", "/_matrix/client/v1/auth_metadata", nil, 404, "M_UNRECOGNIZED")
}
