package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestDeletingDevices(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet, laptop := alice.Login(), alice.Login()
	challenge := alice.Do("DELETE", path("devices", tablet.Device), fields{})
	equal(t, "status without auth", challenge.Status, 401)
	tablet.Get("account/whoami")
	auth := alice.Confirmation()
	auth["session"] = challenge.Get("session").Str
	alice.Must("DELETE", path("devices", tablet.Device), fields{"auth": auth})
	tablet.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	alice.Must("POST", "delete_devices", fields{"devices": []any{laptop.Device}, "auth": alice.Confirmation()})
	laptop.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	wrong := alice.Confirmation()
	wrong["password"] = "wrong"
	equal(t, "with a wrong password", alice.Do("DELETE", path("devices", alice.Device), fields{"auth": wrong}).Status, 401)
	alice.Get("account/whoami")
}

func TestLoggingAnotherDeviceIn(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	token := alice.Must("POST", "/_matrix/client/v1/login/get_token", fields{"auth": alice.Confirmation()}).Get("login_token").Str
	login := fields{"type": "m.login.token", "token": token}
	equal(t, "user", a.Nobody().Must("POST", "login", login).Get("user_id").Str, string(alice.ID))
	a.Nobody().Refused("POST", "login", login, 403, "M_FORBIDDEN")
}

func TestTransactionsOutliveTokens(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	session := a.Nobody().Must("POST", "login", hearthtest.LoginRequest(alice.ID, fields{"refresh_token": true, "device_id": "PHONE"}))
	phone := a.Nobody()
	phone.Token = session.Get("access_token").Str
	say := path("rooms", room, "send", "m.room.message", "1")
	event := phone.Must("PUT", say, fields{"body": "hi"}).Get("event_id").Str
	fresh := a.Nobody().Must("POST", "refresh", fields{"refresh_token": session.Get("refresh_token").Str})
	phone.Token = fresh.Get("access_token").Str
	equal(t, "event of a retry with another token", phone.Must("PUT", say, fields{"body": "hi"}).Get("event_id").Str, event)
}

func TestRegistrationTokens(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithConfig(func(c *config.Config) { c.Registration.Mode = config.RegistrationToken }))
	nobody := a.Nobody()
	challenge := nobody.Do("POST", "register", fields{"username": "alice", "password": hearthtest.Password})
	equal(t, "stages", challenge.Get("flows.0.stages").Raw, `["m.login.registration_token"]`)
	auth := func(token string) fields {
		return fields{"username": "alice", "password": hearthtest.Password, "auth": fields{
			"type": "m.login.registration_token", "token": token, "session": challenge.Get("session").Str,
		}}
	}
	valid := "/_matrix/client/v1/register/m.login.registration_token/validity?token="
	equal(t, "a wrong token is valid", nobody.Get(valid+"wrong").Get("valid").Bool(), false)
	equal(t, "with a wrong token", nobody.Do("POST", "register", auth("wrong")).Status, 401)
	equal(t, "the token for the first is valid", nobody.Get(valid+a.SetupToken()).Get("valid").Bool(), true)
	nobody.Must("POST", "register", auth(a.SetupToken()))
	equal(t, "a used token is valid", nobody.Get(valid+a.SetupToken()).Get("valid").Bool(), false)
}

func TestGuests(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithConfig(func(c *config.Config) { c.Registration.Guests = true }))
	alice, guest := a.User("alice"), a.Guest()
	equal(t, "a guest", guest.Get("account/whoami").Get("is_guest").Bool(), true)
	open, closed := alice.CreateRoom(fields{"initial_state": []fields{
		{"type": "m.room.guest_access", "state_key": "", "content": fields{"guest_access": "can_join"}},
	}}), alice.CreateRoom()
	guest.Join(open)
	guest.Say(open, "hello")
	alice.WaitFor(open, "hello")
	equal(t, "where guests are not allowed", guest.Do("POST", path("join", closed), fields{}).Status, 403)
	guest.Refused("POST", "createRoom", fields{}, 403, "M_GUEST_ACCESS_FORBIDDEN")
	equal(t, "a picture", string(guest.Download(alice.Upload([]byte("soup"), "text/plain")).Body), "soup")
	// Spec: client-server-api#mroomguest_access. Guests have to go when they are no longer allowed.
	alice.SetState(open, "m.room.guest_access", "", fields{"guest_access": "forbidden"})
	equal(t, "membership of the guest", alice.Membership(open, guest), "leave")
}

func TestLockedAndSuspendedUsers(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	admin, alice := a.Admin("admin"), a.User("alice")
	room := alice.CreateRoom()
	mine := alice.Say(room, "mine")
	lock, suspend := "/_matrix/client/v1/"+path("admin", "lock", alice.ID), "/_matrix/client/v1/"+path("admin", "suspend", alice.ID)
	alice.Refused("PUT", lock, fields{"locked": true}, 403, "M_FORBIDDEN")
	admin.Must("PUT", lock, fields{"locked": true})
	locked := alice.Refused("GET", "account/whoami", nil, 401, "M_USER_LOCKED")
	equal(t, "soft_logout", locked.Get("soft_logout").Bool(), true)
	admin.Must("PUT", lock, fields{"locked": false})
	alice.Get("account/whoami")

	admin.Must("PUT", suspend, fields{"suspended": true})
	alice.Refused("PUT", path("rooms", room, "send", "m.room.message", "1"), fields{"body": "hi"}, 403, "M_USER_SUSPENDED")
	alice.Refused("POST", "createRoom", fields{}, 403, "M_USER_SUSPENDED")
	alice.Sync()
	alice.Redact(room, mine)
	admin.Must("PUT", suspend, fields{"suspended": false})
	alice.Say(room, "I am back")
}
