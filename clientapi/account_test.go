package clientapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/storage"
)

func TestProfiles(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = "/_matrix/client/v3/profile/@alice:hs"
	t.Run("a new user is called by the localpart", func(t *testing.T) {
		r.nobody().wantJSON(path, `{"displayname":"alice"}`)
		r.nobody().refused("GET", path+"/avatar_url", "", 404, "M_NOT_FOUND")
	})
	t.Run("fields are set and deleted", func(t *testing.T) {
		alice.must("PUT", path+"/displayname", `{"displayname":"Alice"}`)
		alice.must("PUT", path+"/displayname", `{"displayname":"Alice"}`)
		alice.must("PUT", path+"/avatar_url", `{"avatar_url":"mxc://a/b"}`)
		alice.must("PUT", path+"/m.tz", `{"m.tz":"Europe/London"}`)
		alice.must("PUT", path+"/org.example.field", `{"org.example.field":{"a":[1]}}`)
		alice.must("PUT", path+"/org.example.null", `{"org.example.null":null}`)
		r.nobody().wantJSON(path+"/displayname", `{"displayname":"Alice"}`)
		r.nobody().wantJSON(path, `{"displayname":"Alice","avatar_url":"mxc://a/b","m.tz":"Europe/London",
			"org.example.field":{"a":[1]},"org.example.null":null}`)
		alice.must("DELETE", path+"/avatar_url", "")
		alice.must("DELETE", path+"/avatar_url", "")
		r.nobody().refused("GET", path+"/avatar_url", "", 404, "M_NOT_FOUND")
		if got := len(r.rooms.profiles); got != 3 {
			t.Errorf("rooms were told %d times, not of name, avatar and its deletion", got)
		}
	})
	t.Run("bad requests", func(t *testing.T) {
		for _, test := range []struct {
			who                 *user
			method, field, body string
			code                int
			errcode             string
		}{
			{bob, "PUT", "displayname", `{"displayname":"Mallory"}`, 403, "M_FORBIDDEN"},
			{bob, "DELETE", "displayname", ``, 403, "M_FORBIDDEN"},
			{r.nobody(), "PUT", "displayname", `{}`, 401, "M_MISSING_TOKEN"},
			{alice, "PUT", "displayname", `{}`, 400, "M_MISSING_PARAM"},
			{alice, "PUT", "displayname", `[]`, 400, "M_BAD_JSON"},
			{alice, "PUT", "displayname", `{"displayname":null}`, 400, "M_INVALID_PARAM"},
			{alice, "PUT", "avatar_url", `{"avatar_url":1}`, 400, "M_INVALID_PARAM"},
			{alice, "PUT", "displayname", `{"displayname":"` + strings.Repeat("x", 1001) + `"}`, 400, "M_INVALID_PARAM"},
			{alice, "PUT", "Bad", `{"Bad":1}`, 400, "M_INVALID_PARAM"},
			{alice, "PUT", strings.Repeat("a", 256), `{}`, 400, "M_KEY_TOO_LARGE"},
			{alice, "PUT", "a.b", `{"a.b":"` + strings.Repeat("x", 65536) + `"}`, 400, "M_PROFILE_TOO_LARGE"},
		} {
			test.who.refused(test.method, path+"/"+test.field, test.body, test.code, test.errcode)
		}
	})
	t.Run("all fields together have a limit", func(t *testing.T) {
		alice.must("PUT", path+"/a.one", `{"a.one":"`+strings.Repeat("x", 40000)+`"}`)
		alice.refused("PUT", path+"/a.two", `{"a.two":"`+strings.Repeat("x", 40000)+`"}`, 400, "M_PROFILE_TOO_LARGE")
	})
	r.nobody().refused("GET", "/_matrix/client/v3/profile/@nobody:hs", "", 404, "M_NOT_FOUND")
	r.nobody().refused("GET", "/_matrix/client/v3/profile/nobody", "", 400, "M_INVALID_PARAM")
}

func TestAccountData(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const global, room = "/_matrix/client/v3/user/@alice:hs/account_data/", "/_matrix/client/v3/user/@alice:hs/rooms/!r:hs/account_data/"
	for _, path := range []string{global, room} {
		alice.refused("GET", path+"test.key", "", 404, "M_NOT_FOUND")
		alice.must("PUT", path+"test.key", `{"value": "first"}`)
		alice.wantJSON(path+"test.key", `{"value":"first"}`)
		alice.must("PUT", path+"test.key", `{"value":"second"}`)
		alice.wantJSON(path+"test.key", `{"value":"second"}`)
		alice.refused("PUT", path+"m.push_rules", `{}`, 405, "M_BAD_JSON")
		alice.refused("PUT", path+"m.fully_read", `{}`, 405, "M_BAD_JSON")
		alice.refused("PUT", path+"x", `[]`, 400, "M_BAD_JSON")
		alice.refused("PUT", path+"x", `{`, 400, "M_NOT_JSON")
		alice.refused("PUT", path+strings.Repeat("x", 256), `{}`, 400, "M_INVALID_PARAM")
		bob.refused("GET", path+"test.key", "", 403, "M_FORBIDDEN")
		bob.refused("PUT", path+"test.key", `{}`, 403, "M_FORBIDDEN")
	}
	alice.refused("PUT", "/_matrix/client/v3/user/@alice:hs/rooms/room/account_data/x", `{}`, 400, "M_INVALID_PARAM")
	if got := alice.must("GET", global+"m.push_rules", ""); !got.Get("global.override.0.rule_id").Exists() {
		t.Errorf("m.push_rules as account data: %s", got.Raw)
	}
}

func TestAccountDataGoesThroughTheStream(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	before := r.store.CommittedPos()
	w := r.hub.Watch(hub.User("@alice:hs"))
	defer w.Close()
	alice.must("PUT", "/_matrix/client/v3/user/@alice:hs/account_data/x", `{ "a": 1 }`)
	select {
	case <-w.C():
	default:
		t.Error("nobody rang")
	}
	if !r.hub.ChangedSince(hub.User("@alice:hs"), before) {
		t.Error("the hub has not heard of the position")
	}
	alice.must("PUT", "/_matrix/client/v3/pushrules/global/room/!r:hs", `{"actions":["notify"]}`)
	alice.must("PUT", "/_matrix/client/v3/user/@alice:hs/rooms/!r:hs/tags/u.work", `{}`)
	var got []string
	if err := r.store.View(t.Context(), func(tx *storage.ReadTx) error {
		rows, err := tx.AccountDataSince("@alice:hs", before, before+3)
		for _, d := range rows {
			got = append(got, fmt.Sprintf("%d %s %s %s", d.Pos-before, d.RoomID, d.Type, d.Content))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != `1  x {"a":1}` || !strings.HasPrefix(got[1], "2  m.push_rules ") || got[2] != `3 !r:hs m.tag {"tags":{"u.work":{}}}` {
		t.Errorf("%q", got)
	}
}

func TestTags(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = "/_matrix/client/v3/user/@alice:hs/rooms/!r:hs/tags"
	alice.wantJSON(path, `{"tags":{}}`)
	alice.must("PUT", path+"/m.favourite", `{"order":0.25}`)
	alice.must("PUT", path+"/u.Work", `{}`)
	alice.wantJSON(path, `{"tags":{"m.favourite":{"order":0.25},"u.Work":{}}}`)
	alice.must("DELETE", path+"/u.Work", "")
	alice.must("DELETE", path+"/u.Work", "")
	alice.wantJSON(path, `{"tags":{"m.favourite":{"order":0.25}}}`)
	alice.wantJSON("/_matrix/client/v3/user/@alice:hs/rooms/!r:hs/account_data/m.tag", `{"tags":{"m.favourite":{"order":0.25}}}`)
	alice.refused("PUT", path+"/x", `{"order":"high"}`, 400, "M_BAD_JSON")
	alice.refused("PUT", path+"/x", `{"order":2}`, 400, "M_INVALID_PARAM")
	alice.refused("PUT", path+"/"+strings.Repeat("x", 256), `{}`, 400, "M_INVALID_PARAM")
	bob.refused("GET", path, "", 403, "M_FORBIDDEN")
	// Clients can write whatever they like into m.tag.
	alice.must("PUT", "/_matrix/client/v3/user/@alice:hs/rooms/!r:hs/account_data/m.tag", `{"tags":[]}`)
	alice.wantJSON(path, `{"tags":{}}`)
}

func TestFilters(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = "/_matrix/client/v3/user/@alice:hs/filter"
	one := alice.must("POST", path, `{"room": {"timeline":{"limit":10}}}`).Get("filter_id").Str
	two := alice.must("POST", path, `{"room":{"timeline":{"limit":5}}}`).Get("filter_id").Str
	again := alice.must("POST", path, `{"room":{"timeline":{"limit":10}}}`).Get("filter_id").Str
	if one == "" || one == two || one != again {
		t.Errorf("filters %q, %q, and the first again %q", one, two, again)
	}
	alice.wantJSON(path+"/"+one, `{"room":{"timeline":{"limit":10}}}`)
	alice.refused("GET", path+"/99", "", 404, "M_NOT_FOUND")
	alice.refused("GET", path+"/x", "", 404, "M_NOT_FOUND")
	alice.refused("POST", path, `{"room":[]}`, 400, "M_BAD_JSON")
	bob.refused("GET", path+"/"+one, "", 403, "M_FORBIDDEN")
	bob.refused("POST", path, `{}`, 403, "M_FORBIDDEN")
}

func TestPushRules(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	const path = "/_matrix/client/v3/pushrules/"
	if got := alice.must("GET", path, ""); got.Get("global.override.0.rule_id").Str != ".m.rule.master" {
		t.Error(got.Raw)
	}
	alice.must("PUT", path+"global/sender/@bob:hs", `{"actions":["dont_notify"]}`)
	for range 2 {
		if got := alice.must("GET", path+"global/", ""); got.Get("sender.0.actions.0").Str != "dont_notify" {
			t.Error(got.Raw)
		}
	}
	alice.must("PUT", path+"global/sender/@bob:hs/enabled", `{"enabled":false}`)
	alice.wantJSON(path+"global/sender/@bob:hs/enabled", `{"enabled":false}`)
	alice.must("PUT", path+"global/sender/@bob:hs/actions", `{"actions":["notify"]}`)
	alice.wantJSON(path+"global/sender/@bob:hs/actions", `{"actions":["notify"]}`)
	alice.wantJSON(path+"global/sender/@bob:hs", `{"rule_id":"@bob:hs","default":false,"enabled":false,"actions":["notify"]}`)
	alice.must("PUT", path+"global/sender/@eve:hs?after=@bob:hs", `{"actions":[]}`)
	if got := alice.must("GET", path+"global/sender", ""); got.Get("1.rule_id").Str != "@eve:hs" {
		t.Error(got.Raw)
	}
	alice.must("DELETE", path+"global/sender/@bob:hs", "")
	alice.refused("GET", path+"global/sender/@bob:hs", "", 404, "M_NOT_FOUND")
	alice.refused("DELETE", path+"global/sender/@bob:hs", "", 404, "M_NOT_FOUND")
	alice.refused("PUT", path+"global/sender/.bob", `{"actions":[]}`, 400, "M_INVALID_PARAM")
	alice.refused("PUT", path+"device/sender/@bob:hs", `{"actions":[]}`, 404, "M_UNRECOGNIZED")
}

func TestLockingAndSuspending(t *testing.T) {
	r := newRig(t)
	root, alice := r.admin("root"), r.register("alice")
	r.admin("other")
	const lock, suspend = "/_matrix/client/v1/admin/lock/", "/_matrix/client/v1/admin/suspend/"
	t.Run("a locked user can only log out", func(t *testing.T) {
		root.wantJSON(lock+alice.id, `{"locked":false}`)
		root.must("PUT", lock+alice.id, `{"locked":true}`)
		root.wantJSON(lock+alice.id, `{"locked":true}`)
		got := alice.refused("GET", whoamiPath, "", 401, "M_USER_LOCKED")
		if !got.Get("soft_logout").Bool() {
			t.Error(got.Raw)
		}
		r.nobody().refused("POST", loginPath, loginBody("alice", password), 401, "M_USER_LOCKED")
		r.nobody().refused("POST", "/_matrix/client/v3/account/password", `{"new_password":"another one",`+alice.auth(password)+`}`, 401, "M_USER_LOCKED")
		root.must("PUT", lock+alice.id, `{"locked":false}`)
		alice.must("GET", whoamiPath, "")
		root.must("PUT", lock+alice.id, `{"locked":true}`)
		alice.must("POST", "/_matrix/client/v3/logout", "")
		root.must("PUT", lock+alice.id, `{"locked":false}`)
		alice = r.login("alice")
	})
	t.Run("a suspended user can read, and not change the profile", func(t *testing.T) {
		root.must("PUT", suspend+alice.id, `{"suspended":true}`)
		root.wantJSON(suspend+alice.id, `{"suspended":true}`)
		alice.must("GET", whoamiPath, "")
		alice.refused("PUT", "/_matrix/client/v3/profile/@alice:hs/displayname", `{"displayname":"x"}`, 403, "M_USER_SUSPENDED")
		alice.must("PUT", "/_matrix/client/v3/user/@alice:hs/account_data/x", `{}`)
		r.login("alice")
	})
	t.Run("who may do it to whom", func(t *testing.T) {
		for _, path := range []string{lock, suspend} {
			member := strings.TrimSuffix(strings.TrimPrefix(path, "/_matrix/client/v1/admin/"), "/")
			body := map[string]string{"lock": `{"locked":true}`, "suspend": `{"suspended":true}`}[member]
			alice.refused("GET", path+"@nobody:hs", "", 403, "M_FORBIDDEN")
			root.refused("GET", path+"@nobody:hs", "", 404, "M_NOT_FOUND")
			root.refused("GET", path+"@other:hs", "", 403, "M_FORBIDDEN")
			root.refused("GET", path+"@a:elsewhere", "", 400, "M_INVALID_PARAM")
			root.refused("PUT", path+"@other:hs", body, 403, "M_FORBIDDEN")
			root.refused("PUT", path+"@root:hs", body, 403, "M_FORBIDDEN")
			root.refused("PUT", path+"@a:elsewhere", body, 400, "M_INVALID_PARAM")
			root.refused("PUT", path+alice.id, `{}`, 400, "M_BAD_JSON")
		}
	})
}

func TestALockStopsRefreshing(t *testing.T) {
	r := newRig(t)
	root, alice := r.admin("root"), r.register("alice")
	token := r.nobody().must("POST", loginPath, loginBody("alice", password, `"refresh_token":true`)).Get("refresh_token").Str
	root.must("PUT", "/_matrix/client/v1/admin/lock/"+alice.id, `{"locked":true}`)
	r.nobody().refused("POST", "/_matrix/client/v3/refresh", `{"refresh_token":"`+token+`"}`, 401, "M_USER_LOCKED")
}

func TestCapabilitiesAndVersions(t *testing.T) {
	r := newRig(t)
	root, alice := r.admin("root"), r.register("alice")
	const path = "/_matrix/client/v3/capabilities"
	r.nobody().refused("GET", path, "", 401, "M_MISSING_TOKEN")
	got := alice.must("GET", path, "").Get("capabilities")
	if got.Get(`m\.room_versions.default`).Str != "11" || got.Get(`m\.room_versions.available.12`).Str != "stable" ||
		len(got.Get(`m\.room_versions.available`).Map()) != 12 || !got.Get(`m\.change_password.enabled`).Bool() {
		t.Error(got.Raw)
	}
	if got.Get(`m\.account_moderation`).Exists() || !root.must("GET", path, "").Get(`capabilities.m\.account_moderation.lock`).Bool() {
		t.Error("m.account_moderation is for administrators")
	}
	versions := r.nobody().must("GET", "/_matrix/client/versions", "")
	if versions.Get("versions.0").Str != "r0.0.1" || !versions.Get(`unstable_features.org\.matrix\.msc3916\.stable`).Bool() {
		t.Error(versions.Raw)
	}
}

func TestOpenIDTokens(t *testing.T) {
	r := newRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = "/_matrix/client/v3/user/@alice:hs/openid/request_token"
	got := alice.must("POST", path, "{}")
	token := got.Get("access_token").Str
	if got.Get("token_type").Str != "Bearer" || got.Get("matrix_server_name").Str != "hs" || got.Get("expires_in").Int() != 3600 {
		t.Error(got.Raw)
	}
	if who, err := r.accounts.OpenIDUser(t.Context(), token); who != "@alice:hs" || err != nil {
		t.Errorf("user %q, error %v", who, err)
	}
	(&user{rig: r, token: token}).refused("GET", whoamiPath, "", 401, "M_UNKNOWN_TOKEN")
	bob.refused("POST", path, "{}", 403, "M_FORBIDDEN")
	r.clock.Advance(time.Hour)
	if who, err := r.accounts.OpenIDUser(t.Context(), token); err == nil {
		t.Errorf("expired, and still %q", who)
	}
}

func TestTURN(t *testing.T) {
	const path = "/_matrix/client/v3/voip/turnServer"
	newRig(t).register("alice").wantJSON(path, `{}`)
	turn := config.TURN{URIs: []string{"turn:a"}, Username: "u", Password: "p", TTL: time.Hour}
	newRig(t, func(c *config.Config) { c.TURN = turn }).register("alice").
		wantJSON(path, `{"uris":["turn:a"],"username":"u","password":"p","ttl":3600}`)
	turn.SharedSecret = "north"
	newRig(t, func(c *config.Config) { c.TURN = turn }).register("alice").
		wantJSON(path, `{"uris":["turn:a"],"username":"1800003600:@alice:hs","password":"QHMFxHDZyWUpQwZJieV1Iq1qHlc=","ttl":3600}`)
}

func TestWhois(t *testing.T) {
	r := newRig(t)
	root, alice, bob := r.admin("root"), r.register("alice"), r.register("bob")
	const path = "/_matrix/client/v3/admin/whois/@alice:hs"
	for _, u := range []*user{root, alice} {
		if got := u.must("GET", path, ""); !got.Get("devices." + alice.device).Exists() {
			t.Error(got.Raw)
		}
	}
	bob.refused("GET", path, "", http.StatusForbidden, "M_FORBIDDEN")
	root.refused("GET", "/_matrix/client/v3/admin/whois/@nobody:hs", "", http.StatusNotFound, "M_NOT_FOUND")
}
