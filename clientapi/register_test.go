package clientapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
)

const registerPath = "/_matrix/client/v3/register"

func TestRegistration(t *testing.T) {
	t.Run("without auth it asks for the flows", func(t *testing.T) {
		r := newRig(t)
		got := r.nobody().refused("POST", registerPath, `{}`, 401, "")
		if got.Get("flows.0.stages.0").Str != "m.login.dummy" {
			t.Error(got.Raw)
		}
	})
	t.Run("in two steps with a session", func(t *testing.T) {
		r := newRig(t)
		body := `{"username":"alice","password":"` + password + `"`
		session := r.nobody().challenged("POST", registerPath, body+"}")
		got := r.nobody().must("POST", registerPath, body+`,"auth":{"type":"m.login.dummy","session":"`+session+`"}}`)
		r.as(got).must("GET", "/_matrix/client/v3/account/whoami", "")
		r.nobody().refused("POST", registerPath, `{"auth":{"type":"m.login.dummy","session":"`+session+`"}}`, 400, "M_UNKNOWN")
	})
	t.Run("the second request may have nothing but auth", func(t *testing.T) {
		r := newRig(t)
		session := r.nobody().challenged("POST", registerPath, `{"username":"alice","password":"`+password+`"}`)
		got := r.nobody().must("POST", registerPath, `{"auth":{"type":"m.login.dummy","session":"`+session+`"}}`)
		if got.Get("user_id").Str != "@alice:hs" {
			t.Error(got.Raw)
		}
	})
	t.Run("the first request may be empty", func(t *testing.T) {
		r := newRig(t)
		session := r.nobody().challenged("POST", registerPath, `{}`)
		r.nobody().must("POST", registerPath, `{"username":"alice","password":"`+password+`","auth":{"type":"m.login.dummy","session":"`+session+`"}}`)
	})
	t.Run("capitals are lowered, the device is as asked", func(t *testing.T) {
		r := newRig(t)
		got := r.nobody().must("POST", registerPath, `{"username":"user-UPPER","password":"übers3kr1t","device_id":"xyzzy",
			"initial_device_display_name":"phone","auth":{"type":"m.login.dummy"}}`)
		if got.Get("user_id").Str != "@user-upper:hs" || got.Get("device_id").Str != "xyzzy" {
			t.Error(got.Raw)
		}
		u := r.as(got)
		if name := u.must("GET", "/_matrix/client/v3/devices/xyzzy", "").Get("display_name").Str; name != "phone" {
			t.Errorf("display name of the device: %q", name)
		}
	})
	t.Run("inhibit_login gives no session", func(t *testing.T) {
		r := newRig(t)
		got := r.nobody().must("POST", registerPath, `{"password":"`+password+`","inhibit_login":true,"auth":{"type":"m.login.dummy"}}`)
		if got.Get("access_token").Exists() || got.Get("device_id").Exists() || !strings.HasPrefix(got.Get("user_id").Str, "@") {
			t.Error(got.Raw)
		}
	})
	t.Run("a session that expired is gone", func(t *testing.T) {
		r := newRig(t)
		session := r.nobody().challenged("POST", registerPath, `{}`)
		r.clock.Advance(time.Hour)
		r.nobody().refused("POST", registerPath, `{"auth":{"type":"m.login.dummy","session":"`+session+`"}}`, 400, "M_UNKNOWN")
	})
	t.Run("disabled", func(t *testing.T) {
		r := newRig(t, func(c *config.Config) { c.Registration.Mode = config.RegistrationDisabled })
		r.nobody().refused("POST", registerPath, `{}`, 403, "M_FORBIDDEN")
		r.nobody().refused("GET", registerPath+"/available?username=a", "", 403, "M_FORBIDDEN")
	})
}

func TestBadRegistrationsAreRefusedBeforeAuthentication(t *testing.T) {
	r := newRig(t, func(c *config.Config) {
		c.Registration.ReservedUsernames = []string{"root"}
		c.Registration.UsernamePattern = "[a-z].*"
	})
	r.register("taken")
	for name, test := range map[string]struct {
		body, errcode string
	}{
		"taken name":             {`{"username":"taken"}`, "M_USER_IN_USE"},
		"taken name in capitals": {`{"username":"TAKEN"}`, "M_USER_IN_USE"},
		"reserved name":          {`{"username":"root"}`, "M_INVALID_USERNAME"},
		"name against pattern":   {`{"username":"1a"}`, "M_INVALID_USERNAME"},
		"appservice name":        {`{"username":"_bot"}`, "M_INVALID_USERNAME"},
		"guest name":             {`{"username":"guest-1"}`, "M_INVALID_USERNAME"},
		"empty name":             {`{"username":""}`, "M_INVALID_USERNAME"},
		"colon":                  {`{"username":"a:b"}`, "M_INVALID_USERNAME"},
		"not ASCII":              {`{"username":"é"}`, "M_INVALID_USERNAME"},
		"Kelvin sign":            {"{\"username\":\"\u212a\"}", "M_INVALID_USERNAME"},
		"too long":               {`{"username":"` + strings.Repeat("a", 255) + `"}`, "M_INVALID_USERNAME"},
		"weak password":          {`{"username":"a","password":"short"}`, "M_WEAK_PASSWORD"},
		"wrong type":             {`{"username":1}`, "M_BAD_JSON"},
		"auth of wrong type":     {`{"auth":[]}`, "M_BAD_JSON"},
		"NUL in device":          {`{"device_id":"a\u0000"}`, "M_INVALID_PARAM"},
		"no JSON":                {"{ \"test\":\"a\x81\" }", "M_NOT_JSON"},
		"unknown session":        {`{"auth":{"session":"x"}}`, "M_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) { r.nobody().refused("POST", registerPath, test.body, 400, test.errcode) })
	}
	r.nobody().refused("POST", registerPath+"?kind=robot", `{}`, 400, "M_INVALID_PARAM")
}

func TestAvailable(t *testing.T) {
	r := newRig(t)
	r.register("taken")
	r.nobody().wantJSON(registerPath+"/available?username=free", `{"available":true}`)
	r.nobody().refused("GET", registerPath+"/available?username=taken", "", 400, "M_USER_IN_USE")
	r.nobody().refused("GET", registerPath+"/available?username=a,b", "", 400, "M_INVALID_USERNAME")
	r.nobody().refused("GET", registerPath+"/available", "", 400, "M_MISSING_PARAM")
}

func TestRegistrationTokens(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, func(c *config.Config) {
		c.Registration.Mode = config.RegistrationToken
		c.Registration.Terms = []config.Terms{{ID: "tos", Version: "1", Name: "Terms", URL: "https://hs/tos", Language: "en"}}
	})
	const validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
	if _, err := r.accounts.NewRegistrationToken(ctx, "twice", 2, time.Hour); err != nil {
		t.Fatal(err)
	}
	register := func(name, token string) answer {
		session := r.nobody().challenged("POST", registerPath, `{"username":"`+name+`","password":"`+password+`"}`)
		got := r.nobody().do("POST", registerPath, `{"auth":{"type":"m.login.registration_token","token":"`+token+`","session":"`+session+`"}}`)
		if got.Get("errcode").Exists() {
			return got
		}
		if got.Get("completed.0").Str != "m.login.registration_token" || got.Get(`params.m\.login\.terms.policies.tos.en.url`).Str != "https://hs/tos" {
			t.Errorf("after the token: %s", got.Raw)
		}
		return r.nobody().do("POST", registerPath, `{"auth":{"type":"m.login.terms","session":"`+session+`"}}`)
	}
	t.Run("stages out of order fail", func(t *testing.T) {
		r.nobody().refused("POST", registerPath, `{"auth":{"type":"m.login.terms"}}`, 401, "M_FORBIDDEN")
		r.nobody().refused("POST", registerPath, `{"auth":{"type":"m.login.dummy"}}`, 401, "M_FORBIDDEN")
	})
	t.Run("an unknown token fails", func(t *testing.T) {
		if got := register("mallory", "wrong"); got.Code != 401 || got.Get("errcode").Str != "M_FORBIDDEN" {
			t.Error(got.Raw)
		}
		r.nobody().wantJSON(validity+"wrong", `{"valid":false}`)
		r.nobody().wantJSON(validity+"%00", `{"valid":false}`)
	})
	t.Run("a token counts its uses", func(t *testing.T) {
		r.nobody().wantJSON(validity+"twice", `{"valid":true}`)
		for _, name := range []string{"a", "b"} {
			if got := register(name, "twice"); got.Code != http.StatusOK {
				t.Error(got.Raw)
			}
		}
		r.nobody().wantJSON(validity+"twice", `{"valid":false}`)
		if got := register("c", "twice"); got.Get("errcode").Str != "M_FORBIDDEN" {
			t.Error(got.Raw)
		}
	})
	t.Run("a token expires", func(t *testing.T) {
		if _, err := r.accounts.NewRegistrationToken(ctx, "brief", 0, time.Minute); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(time.Minute)
		r.nobody().wantJSON(validity+"brief", `{"valid":false}`)
	})
	t.Run("the bootstrap token makes one administrator", func(t *testing.T) {
		token, err := r.accounts.BootstrapToken(ctx)
		if again, _ := r.accounts.BootstrapToken(ctx); err != nil || token == "" || again != token {
			t.Fatalf("tokens %q and %q, error %v", token, again, err)
		}
		admin := r.as(register("first", token))
		admin.must("GET", "/_matrix/client/v3/admin/whois/@a:hs", "")
		if token, err = r.accounts.BootstrapToken(ctx); token != "" || err != nil {
			t.Errorf("still a token %q, error %v", token, err)
		}
	})
}

func TestTheBootstrapTokenWorksWhereRegistrationIsOpen(t *testing.T) {
	r := newRig(t)
	token, err := r.accounts.BootstrapToken(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r.register("ordinary").refused("GET", "/_matrix/client/v3/admin/whois/@x:hs", "", 403, "M_FORBIDDEN")
	got := r.nobody().must("POST", registerPath, `{"username":"root","password":"`+password+`",
		"auth":{"type":"m.login.registration_token","token":"`+token+`"}}`)
	r.as(got).must("GET", "/_matrix/client/v3/admin/whois/@ordinary:hs", "")
}

func TestFallbackPages(t *testing.T) {
	r := newRig(t, func(c *config.Config) {
		c.Registration.Mode = config.RegistrationToken
		c.Registration.Terms = []config.Terms{{ID: "tos", Version: "1", Name: "<Terms>", URL: "https://hs/tos", Language: "en"}}
	})
	if _, err := r.accounts.NewRegistrationToken(context.Background(), "token", 0, 0); err != nil {
		t.Fatal(err)
	}
	session := r.nobody().challenged("POST", registerPath, `{"username":"alice","password":"`+password+`"}`)
	page := func(method, stage, form string) answer {
		t.Helper()
		return r.nobody().do(method, "/_matrix/client/v3/auth/"+stage+"/fallback/web?session="+session, form)
	}
	if got := page("GET", "m.login.registration_token", ""); got.Code != 200 || !strings.Contains(got.Body, `name="token"`) {
		t.Errorf("token page: %d %s", got.Code, got.Body)
	}
	if got := page("POST", "m.login.registration_token", "token=wrong"); got.Code != 200 || !strings.Contains(got.Body, "not valid") {
		t.Errorf("wrong token: %d %s", got.Code, got.Body)
	}
	if got := page("POST", "m.login.registration_token", "token=token"); !strings.Contains(got.Body, "onAuthDone") {
		t.Errorf("right token: %d %s", got.Code, got.Body)
	}
	if got := page("GET", "m.login.terms", ""); !strings.Contains(got.Body, "&lt;Terms&gt;") {
		t.Errorf("terms page: %d %s", got.Code, got.Body)
	}
	page("POST", "m.login.terms", "session="+session)
	got := r.nobody().must("POST", registerPath, `{"auth":{"session":"`+session+`"}}`)
	if got.Get("user_id").Str != "@alice:hs" {
		t.Error(got.Body)
	}
	r.nobody().refused("GET", "/_matrix/client/v3/auth/m.login.msisdn/fallback/web?session=x", "", 404, "M_UNRECOGNIZED")
	r.nobody().refused("GET", "/_matrix/client/v3/auth/m.login.terms/fallback/web?session=x", "", 400, "M_UNKNOWN")
}

func TestGuests(t *testing.T) {
	r := newRig(t, func(c *config.Config) { c.Registration.Guests = true })
	got := r.nobody().must("POST", registerPath+"?kind=guest", `{"username":"ignored","device_id":"ignored"}`)
	guest := r.as(got)
	if strings.Contains(got.Raw, "ignored") {
		t.Errorf("a guest's wishes count for nothing: %s", got.Raw)
	}
	who := guest.must("GET", "/_matrix/client/v3/account/whoami", "")
	if !who.Get("is_guest").Bool() {
		t.Error(who.Raw)
	}
	guest.refused("GET", "/_matrix/client/v3/capabilities", "", 403, "M_GUEST_ACCESS_FORBIDDEN")
	guest.must("PUT", "/_matrix/client/v3/profile/"+guest.id+"/displayname", `{"displayname":"Visitor"}`)
	guest.refused("PUT", "/_matrix/client/v3/profile/"+guest.id+"/avatar_url", `{"avatar_url":"mxc://a/b"}`, 403, "M_GUEST_ACCESS_FORBIDDEN")

	name := strings.TrimSuffix(strings.TrimPrefix(guest.id, "@"), ":hs")
	upgrade := fmt.Sprintf(`{"username":%q,"password":%q,"guest_access_token":%q,"auth":{"type":"m.login.dummy"}}`, name, password, guest.token)
	r.nobody().refused("POST", registerPath, strings.Replace(upgrade, name, "other", 1), 403, "M_FORBIDDEN")
	r.as(r.nobody().must("POST", registerPath, upgrade)).must("GET", "/_matrix/client/v3/capabilities", "")
	r.login(name)

	newRig(t).nobody().refused("POST", registerPath+"?kind=guest", `{}`, 403, "M_FORBIDDEN")
}

func TestSharedSecretRegistration(t *testing.T) {
	const path = "/_synapse/admin/v1/register"
	r := newRig(t, func(c *config.Config) { c.Registration.Mode = config.RegistrationDisabled })
	nonce := func() string { return r.nobody().must("GET", path, "").Get("nonce").Str }
	body := func(nonce, name, secret string, admin bool) string {
		role := "notadmin"
		if admin {
			role = "admin"
		}
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(nonce + "\x00" + name + "\x00" + password + "\x00" + role))
		return fmt.Sprintf(`{"nonce":%q,"username":%q,"password":%q,"admin":%v,"mac":%q}`, nonce, name, password, admin, hex.EncodeToString(mac.Sum(nil)))
	}
	admin := r.as(r.nobody().must("POST", path, body(nonce(), "root", "shared secret", true)))
	plain := r.as(r.nobody().must("POST", path, body(nonce(), "user-UPPER", "shared secret", false)))
	if plain.id != "@user-upper:hs" {
		t.Error(plain.id)
	}
	admin.must("GET", "/_matrix/client/v3/admin/whois/"+plain.id, "")
	plain.refused("GET", "/_matrix/client/v3/admin/whois/"+admin.id, "", 403, "M_FORBIDDEN")

	r.nobody().refused("POST", path, body(nonce(), "us,er", "shared secret", false), 400, "M_INVALID_USERNAME")
	r.nobody().refused("POST", path, body(nonce(), "root", "shared secret", false), 400, "M_USER_IN_USE")
	r.nobody().refused("POST", path, body(nonce(), "mallory", "guess", false), 403, "M_FORBIDDEN")
	r.nobody().refused("POST", path, body("made-up", "mallory", "shared secret", false), 400, "M_UNKNOWN")
	used := nonce()
	r.nobody().must("POST", path, body(used, "one", "shared secret", false))
	r.nobody().refused("POST", path, body(used, "two", "shared secret", false), 400, "M_UNKNOWN")
	old := nonce()
	r.clock.Advance(2 * time.Minute)
	r.nobody().refused("POST", path, body(old, "three", "shared secret", false), 400, "M_UNKNOWN")

	off := newRig(t, func(c *config.Config) { c.Registration.SharedSecret = "" })
	off.nobody().refused("GET", path, "", 404, "M_UNRECOGNIZED")
	off.nobody().refused("POST", path, body("n", "a", "", false), 404, "M_UNRECOGNIZED")
}
