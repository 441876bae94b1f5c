package tests

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/spec"
)

// ownGateway lets a server reach gateways on this machine.
var ownGateway = hearthtest.WithConfig(func(c *config.Config) {
	c.Outbound.AllowNetworks = config.Default().Server.TrustedProxies
})

// gateway is a push gateway.
type gateway struct {
	t    *testing.T
	url  string
	told chan gjson.Result
	down atomic.Bool
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, told: make(chan gjson.Result, 100)}
	server := httptest.NewServer(spec.Requests(t).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/_matrix/push/v1/notify" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if g.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		g.told <- gjson.GetBytes(body, "notification")
		io.WriteString(w, `{"rejected":[]}`)
	})))
	t.Cleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

// next is what the gateway is told next.
func (g *gateway) next() gjson.Result {
	g.t.Helper()
	select {
	case n := <-g.told:
		return n
	case <-time.After(hearthtest.Patience):
		g.t.Fatal("the gateway is told nothing")
		return gjson.Result{}
	}
}

// expect checks what the gateway is told next: the event, empty for none, and the number of unread messages.
func (g *gateway) expect(what string, event id.EventID, unread int) gjson.Result {
	g.t.Helper()
	n := g.next()
	equal(g.t, what, fmt.Sprint(n.Get("event_id").Str, " ", n.Get("counts.unread").Raw), fmt.Sprint(event, " ", unread))
	return n
}

// phone gives a user a pusher of the session.
func (g *gateway) phone(u *hearthtest.User, app string) {
	g.t.Helper()
	u.Must("POST", "pushers/set", fields{"kind": "http", "app_id": app, "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone",
		"lang": "en", "data": fields{"url": g.url, "own": 1}})
}

func apps(u *hearthtest.User) []string { return texts(u.Get("pushers").Get("pushers.#.app_id")) }

func TestAPhoneHearsOfWhatConcernsItsUser(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	a := hearthtest.Start(t, ownGateway)
	alice, bob := a.User("alice"), a.User("bob")
	g.phone(alice, "org.example.app")
	equal(t, "pushers", alice.Get("pushers").Raw, `{"pushers":[{"app_id":"org.example.app","pushkey":"key","kind":"http","app_display_name":"App",`+
		`"device_display_name":"Phone","lang":"en","data":{"own":1,"url":"`+g.url+`"}}]}`)

	room := bob.CreateRoom(fields{"name": "Kitchen", "preset": "private_chat", "invite": []any{alice.ID}})
	invite := g.next()
	equal(t, "type of the invite", invite.Get("type").Str, "m.room.member")
	equal(t, "target", invite.Get("user_is_target").Bool(), true)
	equal(t, "room", invite.Get("room_name").Str, "Kitchen")
	equal(t, "sound", invite.Get("devices.0.tweaks.sound").Str, "default")
	alice.Join(room)

	hi := bob.Say(room, "hi")
	n := g.expect("a message", hi, 1)
	equal(t, "text", n.Get("content.body").Str, "hi")
	equal(t, "data", n.Get("devices.0.data").Raw, `{"own":1}`)
	alice.Say(room, "hi yourself")
	g.expect("who answers has read", "", 0)
	mention := bob.Send(room, "m.room.message", fields{"msgtype": "m.text", "body": "you", "m.mentions": fields{"user_ids": []any{alice.ID}}})
	n = g.expect("a mention", mention, 1)
	equal(t, "highlight", n.Get("devices.0.tweaks.highlight").Bool(), true)
	equal(t, "prio", n.Get("prio").Str, "high")
	alice.Read(room, mention)
	g.expect("what was read", "", 0)
	alice.Read(room, mention)

	alice.Must("PUT", "pushrules/global/room/"+string(room), fields{"actions": []any{}})
	bob.Say(room, "nobody hears this")
	alice.Must("DELETE", "pushrules/global/room/"+string(room), nil)
	last := bob.Say(room, "but this")
	g.expect("another message", last, 1)
	alice.Leave(room)
	g.expect("a room that was left", "", 0)
	bob.Say(room, "alone")
	bob.Invite(room, alice)
	equal(t, "the invite comes next", g.next().Get("user_is_target").Bool(), true)
}

func TestAPhoneHearsOfWhatItMissedBetweenRestarts(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	a := hearthtest.Start(t, ownGateway)
	alice, bob := a.User("alice"), a.User("bob")
	room := bob.CreateRoom()
	alice.Join(room)
	g.phone(alice, "app")
	g.down.Store(true)
	first, second := bob.Say(room, "one"), bob.Say(room, "two")
	a.Close()
	g.down.Store(false)
	a.Open()
	g.expect("the first message", first, 2)
	g.expect("the second message", second, 2)
}

func TestAPhoneHearsOfOtherServers(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	net := hearthtest.NewNetwork(t)
	a, b := net.Start(ownGateway), net.Start()
	alice, bob := a.User("alice"), b.User("bob")
	g.phone(alice, "app")
	room := bob.CreateRoom(fields{"name": "Far", "preset": "private_chat"})
	bob.Invite(room, alice)
	n := g.next()
	equal(t, "target", n.Get("user_is_target").Bool(), true)
	equal(t, "room", n.Get("room_name").Str, "Far")
	equal(t, "sender", n.Get("sender_display_name").Str, "bob")
	alice.Join(room, b.Name)
	g.expect("a message", bob.Say(room, "hi"), 1)
}

func TestPushersEndWithTheirSessions(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	a := hearthtest.Start(t, ownGateway)
	alice, bob := a.User("alice"), a.User("bob")
	other := alice.Login()
	g.phone(alice, "app")
	g.phone(other, "other")
	equal(t, "pushers", apps(alice), []string{"app", "other"})
	alice.Must("POST", "account/password", fields{"new_password": "correct horse", "auth": alice.Confirmation()})
	equal(t, "pushers after the password was changed", apps(alice), []string{"app"})
	g.phone(bob, "app")
	equal(t, "pushers after bob has got the phone", apps(alice), nil)
	equal(t, "pushers of bob's", apps(bob), []string{"app"})
	again := bob.Login()
	g.phone(again, "second")
	again.Must("POST", "logout", fields{})
	equal(t, "pushers of bob's after a logout", apps(bob), []string{"app"})
	bob.Must("POST", "pushers/set", fields{"kind": nil, "app_id": "app", "pushkey": "key"})
	equal(t, "pushers of bob's in the end", apps(bob), nil)
}

func TestPushersThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	pusher := func(kind any, url string) fields {
		return fields{"kind": kind, "app_id": "app", "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone", "lang": "en",
			"data": fields{"url": url}}
	}
	const good = "https://push.example.org/_matrix/push/v1/notify"
	alice.Refused("POST", "pushers/set", pusher("email", good), 400, "M_INVALID_PARAM")
	alice.Refused("POST", "pushers/set", pusher("http", "http://push.example.org/_matrix/push/v1/notify"), 400, "M_INVALID_PARAM")
	alice.Refused("POST", "pushers/set", pusher("http", "https://push.example.org/notify"), 400, "M_INVALID_PARAM")
	alice.Refused("POST", "pushers/set", pusher(7, good), 400, "M_BAD_JSON")
	alice.Refused("POST", "pushers/set", fields{}, 400, "M_MISSING_PARAM")
	a.Nobody().Refused("GET", "pushers", nil, 401, "M_MISSING_TOKEN")
	alice.Must("POST", "pushers/set", pusher("http", good))
	equal(t, "pushers", apps(alice), []string{"app"})
}

func TestTheOperatorTriesPushers(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	a := hearthtest.Start(t, ownGateway)
	alice := a.User("alice")
	g.phone(alice, "app")
	trials, err := a.Console().TestPushers(t.Context(), string(alice.ID))
	if err != nil || len(trials) != 1 || trials[0].Problem != "" || trials[0].App != "app" {
		t.Fatalf("%+v, %v", trials, err)
	}
	equal(t, "room", g.next().Get("room_name").Str, "Hearth")
	g.down.Store(true)
	if trials, err = a.Console().TestPushers(t.Context(), "alice"); err != nil || len(trials) != 1 || trials[0].Problem == "" {
		t.Errorf("%+v, %v", trials, err)
	}
	if _, err := a.Console().TestPushers(t.Context(), "nobody"); err == nil {
		t.Error("nobody has pushers")
	}
}
