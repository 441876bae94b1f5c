package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

const noticePath = "/_synapse/admin/v1/send_server_notice"

// Spec: client-server-api#server-notices
func TestServerNotices(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	admin, alice := a.Admin("admin"), a.User("alice")
	notice := func(text string) hearthtest.Fields {
		return hearthtest.Fields{"user_id": alice.ID, "content": hearthtest.Fields{"msgtype": "m.server_notice", "body": text,
			"server_notice_type": "m.server_notice.usage_limit_reached"}}
	}
	alice.Refused("POST", noticePath, notice("x"), 403, "M_FORBIDDEN")
	admin.Must("POST", noticePath, notice("hello"))
	var room id.RoomID
	alice.WaitUntil("the invite", func(r hearthtest.Response) bool {
		for name := range r.At("rooms", "invite").Map() {
			room = id.RoomID(name)
		}
		return room != ""
	})
	equal(t, "tag", alice.Get(hearthtest.Path("user", alice.ID, "rooms", room, "tags")).At("tags", "m.server_notice").Exists(), true)

	alice.Refused("POST", hearthtest.Path("rooms", room, "leave"), hearthtest.Fields{}, 403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
	alice.Join(room)
	e := alice.WaitFor(room, "hello")
	equal(t, "who says it", e.Sender(), "@_server:"+string(a.Name))
	equal(t, "the name of the room", alice.State(room, "m.room.name", "").Get("name").Str, "Server notices")
	equal(t, "the name of who says it", alice.State(room, "m.room.member", e.Sender()).Get("displayname").Str, "Server notices")
	alice.Refused("PUT", hearthtest.Path("rooms", room, "send", "m.room.message", "1"), hearthtest.Fields{"body": "no"}, 403, "M_FORBIDDEN")

	// There is one room, to which who has left is invited again.
	alice.Leave(room)
	first := admin.Must("PUT", noticePath+"/1", notice("again")).Get("event_id").Str
	equal(t, "a repetition", admin.Must("PUT", noticePath+"/1", notice("again")).Get("event_id").Str, first)
	alice.WaitForInvite(room)
	alice.Refused("PUT", hearthtest.Path("rooms", room, "state", "m.room.member", alice.ID), hearthtest.Fields{"membership": "leave"},
		403, "M_FORBIDDEN") // who is only invited sends no state
	alice.Join(room)
	alice.WaitFor(room, "again")
	if _, err := a.Console().SendNotice(t.Context(), "alice", "by command"); err != nil {
		t.Fatal(err)
	}
	alice.WaitFor(room, "by command")

	for _, c := range []struct {
		user    id.UserID
		status  int
		errcode string
	}{
		{"@nobody:" + id.UserID(a.Name), 404, "M_NOT_FOUND"}, {"@alice:elsewhere.test", 400, "M_INVALID_PARAM"}, {"alice", 400, "M_INVALID_PARAM"},
	} {
		admin.Refused("POST", noticePath, hearthtest.Fields{"user_id": c.user, "content": hearthtest.Fields{}}, c.status, c.errcode)
	}
	admin.Refused("POST", noticePath, hearthtest.Fields{"user_id": alice.ID}, 400, "M_MISSING_PARAM")
	// The account closes all the same when there is an invite that it cannot reject.
	bob := a.User("bob")
	admin.Must("POST", noticePath, hearthtest.Fields{"user_id": bob.ID, "content": hearthtest.Fields{"msgtype": "m.text", "body": "bye"}})
	bob.Must("POST", "account/deactivate", hearthtest.Fields{"auth": bob.Confirmation()})
	admin.Refused("POST", noticePath, hearthtest.Fields{"user_id": bob.ID, "content": hearthtest.Fields{}}, 404, "M_NOT_FOUND")
	a.Reload(func(c *config.Config) { c.ServerNotices.Localpart = "admin" })
	admin.Refused("POST", noticePath, notice("x"), 400, "M_USER_IN_USE")
	a.Reload(func(c *config.Config) { c.ServerNotices.Localpart = "herald" })
	a.Nobody().Refused("POST", "register", hearthtest.Fields{
		"username": "herald", "password": hearthtest.Password, "auth": hearthtest.Fields{"type": "m.login.dummy"}}, 400, "M_INVALID_USERNAME")
	a.Reload(func(c *config.Config) { c.ServerNotices.Localpart = "" })
	admin.Refused("POST", noticePath, notice("x"), 400, "M_UNKNOWN")
}
