package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/storage"
)

const (
	loginPath  = "/_matrix/client/v3/login"
	whoamiPath = "/_matrix/client/v3/account/whoami"
)

func TestLoginWithPassword(t *testing.T) {
	r := newRig(t)
	r.register("alice")
	for name, body := range map[string]string{
		"by user id":                  loginBody("@alice:hs", password),
		"by localpart":                loginBody("alice", password),
		"by user id in capitals":      loginBody("@ALICE:hs", password),
		"by the deprecated user":      `{"type":"m.login.password","user":"alice","password":"` + password + `"}`,
		"at the path of old releases": loginBody("alice", password),
	} {
		t.Run(name, func(t *testing.T) {
			path := loginPath
			if strings.Contains(name, "old") {
				path = "/_matrix/client/r0/login"
			}
			got := r.nobody().must("POST", path, body)
			if got.Get("user_id").Str != "@alice:hs" {
				t.Error(got.Raw)
			}
			r.as(got).must("GET", whoamiPath, "")
		})
	}
	for name, test := range map[string]struct {
		body    string
		code    int
		errcode string
	}{
		"wrong password":           {loginBody("alice", "wrong"), 403, "M_FORBIDDEN"},
		"no such user":             {loginBody("nobody", password), 403, "M_FORBIDDEN"},
		"user of another server":   {loginBody("@alice:elsewhere", password), 403, "M_FORBIDDEN"},
		"user id that is none":     {loginBody("@", password), 403, "M_FORBIDDEN"},
		"NUL in the user":          {`{"type":"m.login.password","user":"a\u0000","password":"x"}`, 403, "M_FORBIDDEN"},
		"unknown address":          {`{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b"},"password":"x"}`, 403, "M_FORBIDDEN"},
		"unknown phone":            {`{"type":"m.login.password","identifier":{"type":"m.id.phone","country":"GB","phone":"+44 1"},"password":"x"}`, 403, "M_FORBIDDEN"},
		"empty password":           {loginBody("alice", ""), 403, "M_FORBIDDEN"},
		"huge password":            {loginBody("alice", strings.Repeat("x", 5000)), 403, "M_FORBIDDEN"},
		"no password":              {`{"type":"m.login.password","user":"alice"}`, 400, "M_MISSING_PARAM"},
		"no identifier":            {`{"type":"m.login.password","password":"x"}`, 400, "M_MISSING_PARAM"},
		"unknown identifier":       {`{"type":"m.login.password","identifier":{"type":"x"},"password":"x"}`, 400, "M_UNKNOWN"},
		"identifier of bad type":   {`{"type":"m.login.password","identifier":[],"password":"x"}`, 400, "M_BAD_JSON"},
		"unknown type":             {`{"type":"m.login.magic"}`, 400, "M_UNKNOWN"},
		"no type":                  {`{}`, 400, "M_MISSING_PARAM"},
		"login token that is none": {`{"type":"m.login.token","token":"x"}`, 403, "M_FORBIDDEN"},
	} {
		t.Run(name, func(t *testing.T) { r.nobody().refused("POST", loginPath, test.body, test.code, test.errcode) })
	}
}

func TestLoginByThirdPartyID(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	if err := r.store.Update(t.Context(), func(tx *storage.Tx) error {
		for _, p := range []storage.Threepid{{"email", "alice@example.org", 1, 2}, {"msisdn", "441234567", 3, 4}} {
			if _, err := tx.InsertThreepid("@alice:hs", p); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, identifier := range []string{
		`"identifier":{"type":"m.id.thirdparty","medium":"email","address":"Alice@example.org"}`,
		`"identifier":{"medium":"email","address":"alice@example.org"}`,
		`"identifier":{"type":"m.id.phone","country":"GB","phone":"+44 1234 567"}`,
		`"medium":"email","address":"alice@example.org"`,
	} {
		r.nobody().must("POST", loginPath, `{"type":"m.login.password","password":"`+password+`",`+identifier+`}`)
	}
	alice.wantJSON("/_matrix/client/v3/account/3pid", `{"threepids":[
		{"medium":"email","address":"alice@example.org","validated_at":1,"added_at":2},
		{"medium":"msisdn","address":"441234567","validated_at":3,"added_at":4}]}`)
}

func TestLoginFlows(t *testing.T) {
	r := newRig(t)
	r.nobody().wantJSON(loginPath, `{"flows":[{"type":"m.login.password"},{"type":"m.login.token","get_login_token":true}]}`)
	off := newRig(t, func(c *config.Config) { c.Passwords.Enabled = false })
	off.nobody().wantJSON(loginPath, `{"flows":[{"type":"m.login.token","get_login_token":true}]}`)
	off.nobody().refused("POST", loginPath, loginBody("a", "b"), 403, "M_FORBIDDEN")
}

func TestPasswordsOfOtherServersAreTakenOver(t *testing.T) {
	r := newRig(t)
	r.register("alice")
	hash, err := bcrypt.GenerateFromPassword([]byte("old world"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetPasswordHash("@alice:hs", string(hash)) }); err != nil {
		t.Fatal(err)
	}
	r.nobody().refused("POST", loginPath, loginBody("alice", "new world"), 403, "M_FORBIDDEN")
	for range 2 {
		r.nobody().must("POST", loginPath, loginBody("alice", "old world"))
		u, err := r.accounts.User(t.Context(), "@alice:hs")
		if err != nil || !strings.HasPrefix(u.PasswordHash, "$argon2id$") {
			t.Errorf("hash %q, error %v", u.PasswordHash, err)
		}
	}
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	t.Run("no token", func(t *testing.T) { r.nobody().refused("GET", whoamiPath, "", 401, "M_MISSING_TOKEN") })
	t.Run("token that is none", func(t *testing.T) {
		for _, token := range []string{"x", "hrt_x_y", "hrt__", alice.token + "x", strings.ToLower(alice.token)} {
			(&user{rig: r, token: token}).refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		}
	})
	t.Run("logging in again with a device revokes its old token", func(t *testing.T) {
		again := r.login("alice", fmt.Sprintf(`"device_id":%q`, alice.device))
		alice.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		again.must("GET", whoamiPath, "")
		if n := len(again.must("GET", "/_matrix/client/v3/devices", "").Get("devices").Array()); n != 1 {
			t.Errorf("%d devices", n)
		}
	})
	t.Run("the display name of a known device stays", func(t *testing.T) {
		r.login("alice", `"device_id":"D","initial_device_display_name":"one"`)
		u := r.login("alice", `"device_id":"D","initial_device_display_name":"two"`)
		if got := u.must("GET", "/_matrix/client/v3/devices/D", ""); got.Get("display_name").Str != "one" {
			t.Error(got.Raw)
		}
	})
	t.Run("logout ends one session", func(t *testing.T) {
		a, b := r.login("alice"), r.login("alice")
		a.must("POST", "/_matrix/client/v3/logout", "")
		a.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		b.must("GET", whoamiPath, "")
		b.refused("GET", "/_matrix/client/v3/devices/"+a.device, "", 404, "M_NOT_FOUND")
	})
	t.Run("logout all ends all sessions", func(t *testing.T) {
		a, b, bob := r.login("alice"), r.login("alice"), r.register("bob")
		b.must("POST", "/_matrix/client/v3/logout/all", "{}")
		a.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		b.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		bob.must("GET", whoamiPath, "")
	})
}

func TestRefreshTokens(t *testing.T) {
	const path = "/_matrix/client/v3/refresh"
	setup := func(t *testing.T) (*rig, *user, string) {
		r := newRig(t, func(c *config.Config) {
			c.Sessions.AccessTokenLifetime = time.Minute
			c.Sessions.RefreshTokenLifetime = time.Hour
		})
		r.register("alice")
		got := r.nobody().must("POST", loginPath, loginBody("alice", password, `"refresh_token":true`))
		if got.Get("expires_in_ms").Int() != 60_000 {
			t.Errorf("expires_in_ms: %s", got.Raw)
		}
		return r, r.as(got), got.Get("refresh_token").Str
	}
	refresh := func(r *rig, token string) (*user, string) {
		r.t.Helper()
		got := r.nobody().must("POST", path, `{"refresh_token":"`+token+`"}`)
		return r.as(got), got.Get("refresh_token").Str
	}
	gone := func(r *rig, token string) {
		r.t.Helper()
		r.nobody().refused("POST", path, `{"refresh_token":"`+token+`"}`, 401, "M_UNKNOWN_TOKEN")
	}
	t.Run("an expired access token is a soft logout", func(t *testing.T) {
		r, alice, token := setup(t)
		alice.must("GET", whoamiPath, "")
		r.clock.Advance(time.Minute)
		if got := alice.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN"); !got.Get("soft_logout").Bool() {
			t.Error(got.Raw)
		}
		fresh, _ := refresh(r, token)
		if got := fresh.must("GET", whoamiPath, ""); got.Get("device_id").Str != alice.device {
			t.Errorf("another device: %s", got.Raw)
		}
	})
	t.Run("the old token is revoked when the new access token is used", func(t *testing.T) {
		r, old, first := setup(t)
		fresh, _ := refresh(r, first)
		old.must("GET", whoamiPath, "")
		fresh.must("GET", whoamiPath, "")
		gone(r, first)
		old.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		fresh.must("GET", whoamiPath, "")
	})
	t.Run("the old token is revoked when the new refresh token is used", func(t *testing.T) {
		r, _, first := setup(t)
		_, second := refresh(r, first)
		third, _ := refresh(r, second)
		gone(r, first)
		third.must("GET", whoamiPath, "")
	})
	t.Run("a refresh whose answer was lost can be repeated", func(t *testing.T) {
		r, _, first := setup(t)
		lostUser, lost := refresh(r, first)
		fresh, second := refresh(r, first)
		gone(r, lost)
		lostUser.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
		fresh.must("GET", whoamiPath, "")
		refresh(r, second)
	})
	t.Run("a refresh token that is not used expires", func(t *testing.T) {
		r, _, first := setup(t)
		r.clock.Advance(time.Hour)
		got := r.nobody().refused("POST", path, `{"refresh_token":"`+first+`"}`, 401, "M_UNKNOWN_TOKEN")
		if !got.Get("soft_logout").Bool() {
			t.Error(got.Raw)
		}
	})
	t.Run("logging out ends it", func(t *testing.T) {
		r, alice, first := setup(t)
		alice.must("POST", "/_matrix/client/v3/logout", "")
		gone(r, first)
	})
	t.Run("bad requests", func(t *testing.T) {
		r, alice, _ := setup(t)
		gone(r, "x")
		gone(r, alice.token)
		r.nobody().refused("POST", path, `{}`, 400, "M_MISSING_PARAM")
		r.nobody().refused("POST", path, ``, 400, "M_NOT_JSON")
	})
	t.Run("other sessions have no limit", func(t *testing.T) {
		r, _, _ := setup(t)
		plain := r.login("alice")
		r.clock.Advance(10 * 365 * 24 * time.Hour)
		plain.must("GET", whoamiPath, "")
	})
}

func TestLoginTokens(t *testing.T) {
	const path = "/_matrix/client/v1/login/get_token"
	r := newRig(t)
	alice := r.register("alice")
	get := func() string {
		t.Helper()
		got := alice.must("POST", path, "{"+alice.auth(password)+"}")
		if got.Get("expires_in_ms").Int() != 120_000 {
			t.Error(got.Raw)
		}
		return got.Get("login_token").Str
	}
	login := func(token string) answer {
		return r.nobody().do("POST", loginPath, `{"type":"m.login.token","token":"`+token+`","device_id":"NEW"}`)
	}
	alice.challenged("POST", path, "")
	token := get()
	got := login(token)
	if got.Get("user_id").Str != alice.id || got.Get("device_id").Str != "NEW" {
		t.Error(got.Raw)
	}
	if got := login(token); got.Code != 403 || got.Get("errcode").Str != "M_FORBIDDEN" {
		t.Errorf("used twice: %s", got.Raw)
	}
	late := get()
	r.clock.Advance(2 * time.Minute)
	if got := login(late); got.Code != 403 {
		t.Errorf("used too late: %s", got.Raw)
	}
	token = get()
	alice.must("POST", "/_matrix/client/v3/logout/all", "")
	if got := login(token); got.Code != 403 {
		t.Errorf("used after logging out everywhere: %s", got.Raw)
	}
}

func TestChangingThePassword(t *testing.T) {
	const path = "/_matrix/client/v3/account/password"
	r := newRig(t)
	alice := r.register("alice")
	alice.refused("POST", path, `{"new_password":"short"}`, 400, "M_WEAK_PASSWORD")
	alice.refused("POST", path, `{`+alice.auth(password)+`}`, 400, "M_MISSING_PARAM")
	alice.refused("POST", path, `{"new_password":"another one",`+alice.auth("wrong")+`}`, 401, "M_FORBIDDEN")
	session := alice.challenged("POST", path, `{"new_password":"another one"}`)

	other := r.login("alice")
	alice.must("POST", path, `{"auth":{"type":"m.login.password","user":"alice","password":"`+password+`","session":"`+session+`"}}`)
	alice.must("GET", whoamiPath, "")
	other.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
	r.nobody().refused("POST", loginPath, loginBody("alice", password), 403, "M_FORBIDDEN")
	other = r.as(r.nobody().must("POST", loginPath, loginBody("alice", "another one")))

	alice.must("POST", path, `{"new_password":"a third one","logout_devices":false,`+alice.auth("another one")+`}`)
	other.must("GET", whoamiPath, "")
	// Who is not logged in can change it too, and then everybody is logged out.
	r.nobody().must("POST", path, `{"new_password":"a fourth one",`+alice.auth("a third one")+`}`)
	alice.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
	r.nobody().must("POST", loginPath, loginBody("alice", "a fourth one"))
}

func TestASessionIsPinnedToItsRequest(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	session := alice.challenged("DELETE", "/_matrix/client/v3/devices/A", "{}")
	auth := `{"auth":{"type":"m.login.password","user":"alice","password":"` + password + `","session":"` + session + `"}}`
	alice.refused("DELETE", "/_matrix/client/v3/devices/B", auth, 403, "M_FORBIDDEN")
	bob.refused("DELETE", "/_matrix/client/v3/devices/A", auth, 403, "M_FORBIDDEN")
	alice.refused("POST", "/_matrix/client/v3/account/deactivate", auth, 403, "M_FORBIDDEN")
	alice.must("DELETE", "/_matrix/client/v3/devices/A", auth)
	alice.refused("DELETE", "/_matrix/client/v3/devices/A", auth, 400, "M_UNKNOWN")
	// Anything but the password stage does not do.
	alice.refused("DELETE", "/_matrix/client/v3/devices/A", `{"auth":{"type":"m.login.dummy"}}`, 401, "M_FORBIDDEN")
	alice.refused("DELETE", "/_matrix/client/v3/devices/A", `{"auth":{"user":"alice","password":"`+password+`"}}`, 401, "")
}

func TestParametersCannotChangeOnceAStageIsDone(t *testing.T) {
	r := newRig(t, func(c *config.Config) {
		c.Registration.Mode = config.RegistrationToken
		c.Registration.Terms = []config.Terms{{ID: "tos", Version: "1", Name: "Terms", URL: "https://hs/tos", Language: "en"}}
	})
	if _, err := r.accounts.NewRegistrationToken(t.Context(), "token", 0, 0); err != nil {
		t.Fatal(err)
	}
	alice := `"username":"alice","password":"` + password + `"`
	got := r.nobody().refused("POST", registerPath, `{`+alice+`,"auth":{"type":"m.login.registration_token","token":"token"}}`, 401, "")
	auth := `"auth":{"type":"m.login.terms","session":"` + got.Get("session").Str + `"}`
	r.nobody().refused("POST", registerPath, `{"username":"mallory","password":"`+password+`",`+auth+`}`, 403, "M_FORBIDDEN")
	r.nobody().must("POST", registerPath, `{`+alice+`,`+auth+`}`)
}

func TestDeactivation(t *testing.T) {
	const path = "/_matrix/client/v3/account/deactivate"
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	alice.must("PUT", "/_matrix/client/v3/user/@alice:hs/account_data/x", `{"a":1}`)
	got := alice.refused("POST", path, "{}", 401, "")
	if got.Get("flows.0.stages.0").Str != "m.login.password" {
		t.Error(got.Raw)
	}
	alice.refused("POST", path, "{"+alice.auth("wrong")+"}", 401, "M_FORBIDDEN")
	alice.refused("POST", path, "{"+bob.auth(password)+"}", 403, "M_FORBIDDEN")
	got = alice.must("POST", path, `{"erase":true,`+alice.auth(password)+"}")
	if got.Get("id_server_unbind_result").Str != "success" {
		t.Error(got.Raw)
	}
	alice.refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
	r.nobody().refused("POST", loginPath, loginBody("alice", password), 403, "M_FORBIDDEN")
	r.nobody().refused("POST", registerPath, `{"username":"alice"}`, 400, "M_USER_IN_USE")
	r.nobody().refused("GET", "/_matrix/client/v3/profile/@alice:hs", "", 404, "M_NOT_FOUND")
	if got := fmt.Sprint(r.rooms.left); got != "[@alice:hs]" {
		t.Errorf("users out of their rooms: %s", got)
	}
	err := r.store.View(t.Context(), func(tx *storage.ReadTx) error {
		u, err := tx.User("@alice:hs")
		if err != nil || !u.Erased || u.PasswordHash != "" {
			t.Errorf("user %+v, error %v", u, err)
		}
		data, err := tx.AccountDataSince("@alice:hs", 0, 1<<60)
		if err != nil || len(data) != 0 {
			t.Errorf("account data %v, error %v", data, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	bob.must("GET", whoamiPath, "")
}
