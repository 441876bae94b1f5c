package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/spec"
)

// bridge is an application service with the namespaces @_irc_ and #_irc_. Its events come in order; what it answers to questions is up to the
// test.
type bridge struct {
	events chan hearthtest.Event
	ask    func(path string) bool
	keys   func(path string, body gjson.Result) string // what it answers about keys; nothing: it does not know the question
	url    string
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	b := &bridge{events: make(chan hearthtest.Event, 1000), ask: func(string) bool { return false },
		keys: func(string, gjson.Result) string { return "" }}
	s := httptest.NewServer(spec.Requests(t).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || r.Header.Get("Authorization") != "Bearer hs-secret":
			w.WriteHeader(http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/transactions/"):
			for _, e := range hearthtest.Events(gjson.GetBytes(body, "events")) {
				b.events <- e
			}
		case r.URL.Path == "/_matrix/app/v1/ping":
		case strings.HasPrefix(r.URL.Path, "/_matrix/app/unstable/org.matrix.msc398"):
			answer := b.keys(r.URL.Path, gjson.ParseBytes(body))
			if answer == "" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, answer)
			return
		case !b.ask(r.URL.Path):
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "{}")
	})))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// with registers the application service with a server.
func (b *bridge) with(t *testing.T) hearthtest.Option {
	t.Helper()
	registration, err := json.Marshal(fields{
		"id": "irc", "url": b.url, "as_token": "as-secret", "hs_token": "hs-secret", "sender_localpart": "_irc_bot", "rate_limited": false,
		"namespaces": fields{
			"users":   []fields{{"exclusive": true, "regex": "@_irc_"}},
			"aliases": []fields{{"exclusive": true, "regex": "#_irc_"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "irc.yaml")
	if err := os.WriteFile(file, registration, 0o600); err != nil {
		t.Fatal(err)
	}
	return hearthtest.WithConfig(func(c *config.Config) { c.Appservices = []string{file} })
}

// as is the application service as a client.
func (b *bridge) as(s *hearthtest.Server) *hearthtest.User {
	u := s.Nobody()
	u.Token = "as-secret"
	return u
}

// waitFor is the next event that fits.
func (b *bridge) waitFor(t *testing.T, what string, fits func(hearthtest.Event) bool) hearthtest.Event {
	t.Helper()
	patience := time.After(hearthtest.Patience)
	for {
		select {
		case e := <-b.events:
			if fits(e) {
				return e
			}
		case <-patience:
			t.Fatalf("the application service waited in vain for %s", what)
		}
	}
}

func says(body string) func(hearthtest.Event) bool {
	return func(e hearthtest.Event) bool { return e.Body() == body }
}

func TestABridge(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	a := hearthtest.Start(t, b.with(t))
	alice, as := a.User("alice"), b.as(a)
	ghost := id.UserID("@_irc_ghost:" + string(a.Name))
	asGhost := func(p string) string {
		separator := "?"
		if strings.Contains(p, "?") {
			separator = "&"
		}
		return p + separator + "user_id=" + string(ghost)
	}

	equal(t, "who it is", as.Get("account/whoami").Get("user_id").Str, "@_irc_bot:"+string(a.Name))
	as.Refused("GET", asGhost("account/whoami"), nil, 403, "M_FORBIDDEN")
	as.Refused("POST", "register", fields{"type": "m.login.application_service", "username": "carol"}, 400, "M_EXCLUSIVE")
	made := as.Must("POST", asGhost("register"), fields{"type": "m.login.application_service", "username": "_irc_ghost", "inhibit_login": true})
	equal(t, "made", made.Get("user_id").Str, string(ghost))
	equal(t, "without a session", made.Get("access_token").Exists(), false)
	as.Refused("POST", "register", fields{"type": "m.login.application_service", "username": "_irc_ghost"}, 400, "M_USER_IN_USE")
	equal(t, "who it is now", as.Get(asGhost("account/whoami")).Get("user_id").Str, string(ghost))
	as.Refused("GET", "account/whoami?user_id="+string(alice.ID), nil, 403, "M_FORBIDDEN")

	room := alice.CreateRoom()
	alice.Say(room, "not for bridges")
	alice.InviteID(room, ghost)
	b.waitFor(t, "the invite", func(e hearthtest.Event) bool {
		equal(t, "nothing comes before", e.Body(), "")
		return e.Type() == "m.room.member" && e.Get("state_key").Str == string(ghost)
	})
	as.Must("POST", asGhost(path("rooms", room, "join")), fields{})
	event := as.Must("PUT", asGhost(path("rooms", room, "send", "m.room.message", "1")+"?ts=1234567890"), fields{"msgtype": "m.text", "body": "from IRC"})
	got := alice.WaitFor(room, "from IRC")
	equal(t, "the sender", got.Sender(), string(ghost))
	equal(t, "the time", got.Get("origin_server_ts").Int(), 1234567890)
	as.Refused("PUT", asGhost(path("rooms", room, "send", "m.room.message", "2")+"?ts=soon"), fields{}, 400, "M_INVALID_PARAM")
	again := as.Must("PUT", asGhost(path("rooms", room, "send", "m.room.message", "1")+"?ts=1234567890"), fields{"msgtype": "m.text", "body": "from IRC"})
	equal(t, "the same event", again.Get("event_id").Str, event.Get("event_id").Str)
	equal(t, "in a sync without a device", as.Get(asGhost("sync?timeout=0")).At("rooms", "join", room).Exists(), true)
	alice.Must("PUT", path("rooms", room, "send", "m.room.message", "ts")+"?ts=1234567890", fields{"msgtype": "m.text", "body": "to IRC"})
	heard := b.waitFor(t, "a message", says("to IRC"))
	equal(t, "the room", heard.Get("room_id").Str, string(room))
	if heard.Get("origin_server_ts").Int() == 1234567890 {
		t.Error("others set the time too")
	}

	t.Run("what it has missed comes after a restart", func(t *testing.T) {
		a.Restart()
		alice.Say(room, "welcome back")
		b.waitFor(t, "a message", says("welcome back"))
	})
	t.Run("its namespaces are its own", func(t *testing.T) {
		nobody := a.Nobody().With(t)
		alice, as := alice.With(t), as.With(t)
		nobody.Refused("POST", "register", fields{"username": "_irc_thief", "password": "correct horse"}, 400, "M_EXCLUSIVE")
		nobody.Refused("GET", "register/available?username=_irc_thief", nil, 400, "M_EXCLUSIVE")
		nobody.Refused("POST", "register", fields{"type": "m.login.application_service", "username": "_irc_x"}, 401, "M_MISSING_TOKEN")
		alice.Refused("POST", "register", fields{"type": "m.login.application_service", "username": "_irc_x"}, 401, "M_UNKNOWN_TOKEN")
		alias := "#_irc_kitchen:" + string(a.Name)
		alice.Refused("PUT", path("directory", "room", alias), fields{"room_id": room}, 400, "M_EXCLUSIVE")
		alice.Refused("POST", "createRoom", fields{"room_alias_name": "_irc_kitchen"}, 400, "M_EXCLUSIVE")
		as.Refused("PUT", asGhost(path("directory", "room", "#kitchen:"+string(a.Name))), fields{"room_id": room}, 400, "M_EXCLUSIVE")
		as.Must("PUT", asGhost(path("directory", "room", alias)), fields{"room_id": room})
		alice.Refused("DELETE", path("directory", "room", alias), nil, 400, "M_EXCLUSIVE")
		as.Must("DELETE", path("directory", "room", alias), nil)
	})
	t.Run("it logs its users in", func(t *testing.T) {
		as := as.With(t)
		login := func(user any) fields {
			return fields{"type": "m.login.application_service", "identifier": fields{"type": "m.id.user", "user": user}}
		}
		session := as.Must("POST", "login", login(ghost))
		u := a.Nobody().With(t)
		u.Token = session.Get("access_token").Str
		equal(t, "who it is", u.Get("account/whoami").Get("user_id").Str, string(ghost))
		as.Refused("POST", "login", login(alice.ID), 400, "M_EXCLUSIVE")
		as.Refused("POST", "login", login("_irc_nobody"), 403, "M_FORBIDDEN")
		a.Nobody().With(t).Refused("POST", "login", login(ghost), 401, "M_MISSING_TOKEN")
	})
	t.Run("it manages their devices without asking anybody", func(t *testing.T) {
		as := as.With(t)
		equal(t, "new", as.Do("PUT", asGhost("devices/BRIDGE"), fields{"display_name": "Bridge"}).Status, 201)
		equal(t, "not new", as.Do("PUT", asGhost("devices/BRIDGE"), fields{"display_name": "The Bridge"}).Status, 200)
		equal(t, "acting as it", as.Get(asGhost("account/whoami?device_id=BRIDGE")).Get("device_id").Str, "BRIDGE")
		equal(t, "its name", as.Get(asGhost("devices/BRIDGE")).Get("display_name").Str, "The Bridge")
		as.Refused("GET", asGhost("account/whoami?device_id=NONE"), nil, 400, "M_UNKNOWN_DEVICE")
		as.Refused("POST", asGhost("keys/upload"), fields{}, 400, "M_INVALID_PARAM")
		as.Must("POST", asGhost("keys/upload?device_id=BRIDGE"), fields{})
		as.Must("DELETE", asGhost("devices/BRIDGE"), fields{})
		equal(t, "another", as.Do("PUT", asGhost("devices/TWO"), fields{}).Status, 201)
		as.Must("POST", asGhost("delete_devices"), fields{"devices": []string{"TWO"}})
		as.Refused("GET", asGhost("devices/TWO"), nil, 404, "M_NOT_FOUND")
		equal(t, "others make none", alice.With(t).Do("PUT", "devices/NEW", fields{}).Status, 404)
	})
	t.Run("it can be pinged", func(t *testing.T) {
		const ping = "/_matrix/client/v1/appservice/irc/ping"
		equal(t, "duration", as.With(t).Must("POST", ping, fields{"transaction_id": "x"}).Get("duration_ms").Exists(), true)
		as.With(t).Refused("POST", "/_matrix/client/v1/appservice/other/ping", fields{}, 403, "M_FORBIDDEN")
		alice.With(t).Refused("POST", ping, fields{}, 403, "M_FORBIDDEN")
	})
}

func TestABridgeMakesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	a := hearthtest.Start(t, b.with(t))
	alice, as := a.User("alice"), b.as(a)
	user, alias := "@_irc_lazy:"+string(a.Name), "#_irc_lazy:"+string(a.Name)
	b.ask = func(p string) bool {
		switch p {
		case "/_matrix/app/v1/users/" + user:
			r, err := as.Try("POST", "register", fields{"type": "m.login.application_service", "username": "_irc_lazy", "inhibit_login": true})
			return err == nil && r.Status == 200
		case "/_matrix/app/v1/rooms/" + alias:
			r, err := as.Try("POST", "createRoom", fields{"preset": "public_chat", "room_alias_name": "_irc_lazy"})
			return err == nil && r.Status == 200
		}
		return false
	}
	equal(t, "the name of a user that was not there", alice.Get(path("profile", user)).Get("displayname").Str, "_irc_lazy")
	room := id.RoomID(alice.Must("POST", path("join", alias), fields{}).Get("room_id").Str)
	alice.Say(room, "hello room that was not there")
	b.waitFor(t, "a message", says("hello room that was not there"))
	alice.Refused("GET", path("profile", "@_irc_none:"+string(a.Name)), nil, 404, "M_NOT_FOUND")
	alice.Refused("POST", path("join", "#_irc_none:"+string(a.Name)), fields{}, 404, "M_NOT_FOUND")
	alice.Refused("GET", "thirdparty/protocol/irc", nil, 404, "M_NOT_FOUND")
	equal(t, "networks", alice.Get("thirdparty/protocols").Raw, "{}")
}

func TestABridgeHearsOfInvitesFromElsewhere(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	net := hearthtest.NewNetwork(t)
	a, other := net.Start(b.with(t)), net.Start()
	bob, as := other.User("bob"), b.as(a)
	bot := id.UserID(as.Get("account/whoami").Get("user_id").Str)
	room := bob.CreateRoom(fields{"name": "Elsewhere"})
	bob.InviteID(room, bot)
	invite := b.waitFor(t, "the invite", func(e hearthtest.Event) bool { return e.Get("state_key").Str == string(bot) })
	equal(t, "membership", invite.At("content", "membership").Str, "invite")
	equal(t, "the name of the room", stateOf(invite.At("unsigned", "invite_room_state"))["m.room.name|"].At("content", "name").Str, "Elsewhere")
	as.Must("POST", hearthtest.Through(path("rooms", room, "join"), other.Name), fields{})
	bob.Say(room, "welcome")
	b.waitFor(t, "a message", says("welcome"))
}

func TestABridgeHasDirectoriesOfItsNetworks(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	net := hearthtest.NewNetwork(t)
	a, other := net.Start(b.with(t)), net.Start()
	alice, bob, as := a.User("alice"), other.User("bob"), b.as(a)
	room := id.RoomID(as.Must("POST", "createRoom", fields{"name": "IRC"}).Get("room_id").Str)
	public := alice.CreateRoom(fields{"visibility": "public", "name": "Kitchen"})
	list := path("directory", "list", "appservice", "libera", room)
	alice.Refused("PUT", list, fields{"visibility": "public"}, 403, "M_FORBIDDEN")
	as.Refused("PUT", list, fields{}, 400, "M_INVALID_PARAM")
	as.Refused("PUT", path("directory", "list", "appservice", "libera", "!no:"+string(a.Name)), fields{"visibility": "public"}, 404, "M_NOT_FOUND")
	as.Must("PUT", list, fields{"visibility": "public"})
	as.Must("PUT", list, fields{"visibility": "public"})

	names := func(u *hearthtest.User, query string, body fields) []string {
		t.Helper()
		return texts(u.Must("POST", "publicRooms"+query, body).Get("chunk.#.name"))
	}
	instance, all := fields{"third_party_instance_id": "irc|libera"}, fields{"include_all_networks": true}
	for who, ask := range map[string]func(body fields) []string{
		"here":  func(body fields) []string { return names(alice, "", body) },
		"there": func(body fields) []string { return names(bob, "?server="+string(a.Name), body) },
	} {
		equal(t, "of no network, "+who, ask(fields{}), []string{"Kitchen"})
		equal(t, "of the network, "+who, ask(instance), []string{"IRC"})
		equal(t, "of another network, "+who, ask(fields{"third_party_instance_id": "irc|oftc"}), nil)
		equal(t, "of another application service, "+who, ask(fields{"third_party_instance_id": "other|libera"}), nil)
		equal(t, "of all, "+who, len(ask(all)), 2)
	}
	alice.Refused("POST", "publicRooms", fields{"third_party_instance_id": "irc|libera", "include_all_networks": true}, 400, "M_INVALID_PARAM")
	as.Must("PUT", list, fields{"visibility": "private"})
	as.Must("PUT", path("directory", "list", "appservice", "libera", public), fields{"visibility": "public"})
	equal(t, "afterwards", names(alice, "", instance), []string{"Kitchen"})
	equal(t, "once", names(alice, "", all), []string{"Kitchen"})
}

func TestOthersElsewhereFindWhatABridgeMakes(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	net := hearthtest.NewNetwork(t)
	a, other := net.Start(b.with(t)), net.Start()
	bob, as := other.User("bob"), b.as(a)
	alias, user := "#_irc_lazy:"+string(a.Name), "@_irc_lazy:"+string(a.Name)
	b.ask = func(p string) bool {
		switch p {
		case "/_matrix/app/v1/users/" + user:
			r, err := as.Try("POST", "register", fields{"type": "m.login.application_service", "username": "_irc_lazy", "inhibit_login": true})
			return err == nil && r.Status == 200
		case "/_matrix/app/v1/rooms/" + alias:
			r, err := as.Try("POST", "createRoom", fields{"preset": "public_chat", "room_alias_name": "_irc_lazy"})
			return err == nil && r.Status == 200
		}
		return false
	}
	equal(t, "the name of a user that was not there", bob.Get(path("profile", user)).Get("displayname").Str, "_irc_lazy")
	room := id.RoomID(bob.Must("POST", path("join", alias), fields{}).Get("room_id").Str)
	bob.Say(room, "hello from elsewhere")
	b.waitFor(t, "a message", says("hello from elsewhere"))
}

func TestABridgeKeepsKeysToItself(t *testing.T) {
	t.Parallel()
	b := newBridge(t)
	net := hearthtest.NewNetwork(t)
	a, other := net.Start(b.with(t)), net.Start()
	alice, bob, as := a.User("alice"), other.User("bob"), b.as(a)
	ghost, liar := "@_irc_ghost:"+string(a.Name), "@_irc_liar:"+string(a.Name)
	for _, name := range []string{"_irc_ghost", "_irc_liar"} {
		as.Must("POST", "register", fields{"type": "m.login.application_service", "username": name, "inhibit_login": true})
	}
	equal(t, "a new device", as.Do("PUT", "devices/STORED?user_id="+ghost, fields{}).Status, 201)
	as.Must("POST", "keys/upload?user_id="+ghost+"&device_id=STORED", fields{
		"one_time_keys": fields{"signed_curve25519:A": "stored"}, "fallback_keys": fields{"signed_curve25519:F": "fallback"},
	})
	deviceKeys := func(user, device string) string {
		return `{"user_id":"` + user + `","device_id":"` + device + `","algorithms":[],"keys":{"ed25519:` + device + `":"k"},"signatures":{}}`
	}
	var asked atomic.Int64
	b.keys = func(path string, body gjson.Result) string {
		asked.Add(1)
		if strings.HasSuffix(path, "/keys/query") {
			return `{"device_keys":{"` + ghost + `":{"OWN":` + deviceKeys(ghost, "OWN") + `,"FALSE":` + deviceKeys(liar, "FALSE") + `},
				"` + string(alice.ID) + `":{"EVIL":` + deviceKeys(string(alice.ID), "EVIL") + `}}}`
		}
		if body.Get(gjson.Escape(ghost)).Get("STORED").Exists() {
			return `{"` + ghost + `":{"OWN":{"signed_curve25519:B":"kept"}}}`
		}
		return `{"` + ghost + `":{"OWN":{"signed_curve25519:B":"kept"},"MORE":{"signed_curve25519:B":"x"}}}`
	}
	claim := func(u *hearthtest.User, device string) string {
		t.Helper()
		r := u.Must("POST", "keys/claim", fields{"one_time_keys": fields{ghost: fields{device: "signed_curve25519"}}})
		return r.At("one_time_keys", ghost).Raw
	}
	equal(t, "a stored one-time key first", claim(alice, "STORED"), `{"STORED":{"signed_curve25519:A":"stored"}}`)
	equal(t, "without asking", asked.Load(), 0)
	equal(t, "then what it keeps", claim(alice, "OWN"), `{"OWN":{"signed_curve25519:B":"kept"}}`)
	equal(t, "over federation too", claim(bob, "OWN"), `{"OWN":{"signed_curve25519:B":"kept"}}`)
	equal(t, "then the fallback key", claim(alice, "STORED"), `{"STORED":{"signed_curve25519:F":"fallback"}}`)
	for _, u := range []*hearthtest.User{alice, bob} {
		found := u.Must("POST", "keys/query", fields{"device_keys": fields{ghost: []string{}, string(alice.ID): []string{}}})
		equal(t, "its device", found.At("device_keys", ghost, "OWN", "device_id").Str, "OWN")
		equal(t, "a device of another user", found.At("device_keys", ghost, "FALSE").Exists(), false)
		equal(t, "a device of somebody else", found.At("device_keys", string(alice.ID), "EVIL").Exists(), false)
	}
	before := asked.Load()
	b.keys = func(string, gjson.Result) string { asked.Add(1); return "" }
	for range 3 {
		claim(alice, "OWN")
	}
	equal(t, "asked once when it does not know", asked.Load(), before+1)
}
