package tests

import (
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func TestRegistrationAndLogin(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	nobody := a.Nobody()
	equal(t, "alice is available", nobody.Get("register/available?username=alice").Get("available").Bool(), true)

	challenge := nobody.Do("POST", "register", fields{"username": "alice", "password": hearthtest.Password})
	equal(t, "status without auth", challenge.Status, 401)
	session := challenge.Get("session").Str
	if session == "" || challenge.Get("flows.0.stages.0").Str != "m.login.dummy" {
		t.Fatalf("not a challenge: %s", challenge.Body)
	}
	made := nobody.Must("POST", "register", fields{
		"username": "alice", "password": hearthtest.Password, "device_id": "PHONE", "initial_device_display_name": "Alice's phone",
		"auth": fields{"type": "m.login.dummy", "session": session},
	})
	equal(t, "device", made.Get("device_id").Str, "PHONE")
	nobody.Refused("GET", "register/available?username=alice", nil, 400, "M_USER_IN_USE")
	nobody.Refused("POST", "register", fields{"username": "Alice Ω", "password": hearthtest.Password}, 400, "M_INVALID_USERNAME")

	alice := a.Nobody()
	alice.Token = made.Get("access_token").Str
	me := alice.Get("account/whoami")
	equal(t, "user id", me.Get("user_id").Str, "@alice:"+string(a.Name))
	equal(t, "whoami device", me.Get("device_id").Str, "PHONE")
	equal(t, "name of the device", alice.Get("devices/PHONE").Get("display_name").Str, "Alice's phone")

	nobody.Refused("GET", "account/whoami", nil, 401, "M_MISSING_TOKEN")
	for _, wrong := range []fields{{"password": "wrong"}, {"identifier": fields{"type": "m.id.user", "user": "nobody"}}} {
		nobody.Refused("POST", "login", hearthtest.LoginRequest("alice", wrong), 403, "M_FORBIDDEN")
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet, laptop := alice.Login(), alice.Login()
	equal(t, "devices", len(alice.Get("devices").Get("devices").Array()), 3)

	tablet.Must("POST", "logout", nil)
	gone := tablet.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	equal(t, "soft_logout", gone.Get("soft_logout").Bool(), false)
	equal(t, "devices after one logged out", len(alice.Get("devices").Get("devices").Array()), 2)

	laptop.Must("POST", "logout/all", nil)
	for _, u := range []*hearthtest.User{alice, laptop} {
		u.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	}
	equal(t, "devices after a new login", len(alice.Login().Get("devices").Get("devices").Array()), 1)
}

func TestSoftLogoutAndRefresh(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	a := hearthtest.Start(t, hearthtest.WithClock(now), hearthtest.WithConfig(func(c *config.Config) {
		c.Sessions.AccessTokenLifetime = 5 * time.Minute
	}))
	plain := a.User("alice")
	session := a.Nobody().Must("POST", "login", hearthtest.LoginRequest(plain.ID, fields{"refresh_token": true, "device_id": "PHONE"}))
	equal(t, "life of the token", session.Get("expires_in_ms").Int(), (5 * time.Minute).Milliseconds())
	phone := a.Nobody()
	phone.Token = session.Get("access_token").Str
	phone.Get("account/whoami")

	now.Advance(6 * time.Minute)
	expired := phone.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	equal(t, "soft_logout", expired.Get("soft_logout").Bool(), true)
	plain.Get("account/whoami")

	first := session.Get("refresh_token").Str
	fresh := a.Nobody().Must("POST", "refresh", fields{"refresh_token": first})
	phone.Token = fresh.Get("access_token").Str
	equal(t, "device", phone.Get("account/whoami").Get("device_id").Str, "PHONE")
	// The new tokens have been used, so the old one has served its purpose.
	a.Nobody().Refused("POST", "refresh", fields{"refresh_token": first}, 401, "M_UNKNOWN_TOKEN")
	a.Nobody().Must("POST", "refresh", fields{"refresh_token": fresh.Get("refresh_token").Str})
}

func TestPasswordChangeAndDeactivation(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	tablet := alice.Login()
	room := bob.CreateRoom()
	alice.Join(room)

	equal(t, "challenge", alice.Do("POST", "account/password", fields{"new_password": "another one"}).Status, 401)
	alice.Must("POST", "account/password", fields{"new_password": "another one", "auth": alice.Confirmation()})
	tablet.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	alice.Get("account/whoami")
	a.Nobody().Refused("POST", "login", hearthtest.LoginRequest(alice.ID), 403, "M_FORBIDDEN")
	alice.Login(fields{"password": "another one"})

	auth := alice.Confirmation()
	auth["password"] = "another one"
	alice.Must("POST", "account/deactivate", fields{"auth": auth})
	alice.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	a.Nobody().Refused("POST", "login", hearthtest.LoginRequest(alice.ID, fields{"password": "another one"}), 403, "M_FORBIDDEN")
	equal(t, "membership of who is gone", bob.Membership(room, alice), "leave")
	a.Nobody().Refused("GET", "register/available?username=alice", nil, 400, "M_USER_IN_USE")
}

func TestProfile(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	bob.CatchUp()
	alice.Must("PUT", path("profile", alice.ID, "displayname"), fields{"displayname": "Alice A."})
	alice.Must("PUT", path("profile", alice.ID, "m.tz"), fields{"m.tz": "Europe/Paris"})
	profile := bob.Get(path("profile", alice.ID))
	equal(t, "display name", profile.Get("displayname").Str, "Alice A.")
	equal(t, "time zone", profile.At("m.tz").Str, "Europe/Paris")
	bob.Refused("PUT", path("profile", alice.ID, "displayname"), fields{"displayname": "Mallory"}, 403, "M_FORBIDDEN")
	bob.WaitForEvent(room, "the new name", func(e hearthtest.Event) bool {
		return e.Type() == "m.room.member" && e.At("content", "displayname").Str == "Alice A." &&
			e.At("unsigned", "prev_content", "membership").Str == "join"
	})
	a.Nobody().Refused("GET", path("profile", "@nobody:"+string(a.Name)), nil, 404, "M_NOT_FOUND")
}
