package federationapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// TestServices looks at the endpoints that only hand on what they are asked: what they hand on, and what they answer.
func TestServices(t *testing.T) {
	r := newRig(t)
	const event = `{"type":"m.room.member"}`
	for name, test := range map[string]struct {
		method, path, body string
		told, want         string
	}{
		"make_join": {"GET", v1 + "/make_join/!r:hs/@carol:two?ver=10&ver=11", "",
			"make join two !r:hs @carol:two [10 11]", `{"room_version":"11","event":{"type":"m.room.member"}}`},
		"make_join without versions": {"GET", v1 + "/make_join/!r:hs/@carol:two", "",
			"make join two !r:hs @carol:two [1]", `{"room_version":"11","event":{"type":"m.room.member"}}`},
		"make_leave": {"GET", v1 + "/make_leave/!r:hs/@carol:two", "", "make leave two !r:hs @carol:two", `{"event":{}}`},
		"make_knock": {"GET", v1 + "/make_knock/!r:hs/@carol:two?ver=11", "", "make knock two !r:hs @carol:two [11]", `{"room_version":"11","event":{}}`},
		"send_join": {"PUT", v2 + "/send_join/!r:hs/$e", event, "send join two !r:hs $e " + event + " false",
			`{"origin":"hs","event":{"type":"m.room.member"},"state":[{}],"auth_chain":[],"members_omitted":false,"servers_in_room":["hs"]}`},
		"send_join without members": {"PUT", v2 + "/send_join/!r:hs/$e?omit_members=true", event, "send join two !r:hs $e " + event + " true",
			`{"origin":"hs","event":{"type":"m.room.member"},"state":[{}],"auth_chain":[],"members_omitted":false,"servers_in_room":["hs"]}`},
		"send_leave": {"PUT", v2 + "/send_leave/!r:hs/$e", event, "send leave two !r:hs $e " + event, `{}`},
		"send_knock": {"PUT", v1 + "/send_knock/!r:hs/$e", event, "send knock two !r:hs $e " + event, `{"knock_room_state":[]}`},
		"invite": {"PUT", v2 + "/invite/!r:hs/$e", `{"room_version":"11","event":` + event + `,"invite_room_state":[{"a":1}]}`,
			"invite two !r:hs $e 11 " + event + ` [{"a":1}]`, `{"event":{"signed":true}}`},
		"invite of old": {"PUT", v1 + "/invite/!r:hs/$e", `{"unsigned":{"invite_room_state":[{"a":1}]}}`,
			`invite two !r:hs $e 1 {"unsigned":{"invite_room_state":[{"a":1}]}} [{"a":1}]`, `[200,{"event":{"signed":true}}]`},
		"exchange_third_party_invite": {"PUT", v1 + "/exchange_third_party_invite/!r:hs", event, "exchange two !r:hs " + event, `{}`},
		"onbind": {"PUT", v1 + "/3pid/onbind",
			`{"medium":"email","address":"a@b","mxid":"@alice:hs","invites":[{"room_id":"!r:three","sender":"@dave:three","signed":{"token":"t"}}]}`,
			`redeem @alice:hs !r:three @dave:three {"token":"t"}`, `{}`},
		"user/devices":          {"GET", v1 + "/user/devices/@alice:hs", "", "", `{"for":"two","user_id":"@alice:hs"}`},
		"user/keys/query":       {"POST", v1 + "/user/keys/query", `{"device_keys":{"@alice:hs":["D"],"@carol:two":[],"x":[]}}`, "", `{"asked":{"@alice:hs":["D"]}}`},
		"user/keys/claim":       {"POST", v1 + "/user/keys/claim", `{"one_time_keys":{"@alice:hs":{"D":"a"},"@carol:two":{}}}`, "", `{"asked":{"@alice:hs":{"D":"a"}}}`},
		"query/profile":         {"GET", v1 + "/query/profile?user_id=@alice:hs", "", "", `{"displayname":"Alice","m.tz":"UTC"}`},
		"one field":             {"GET", v1 + "/query/profile?user_id=@alice:hs&field=m.tz", "", "", `{"m.tz":"UTC"}`},
		"an empty field":        {"GET", v1 + "/query/profile?user_id=@alice:hs&field=avatar_url", "", "", `{}`},
		"openid/userinfo":       {"GET", v1 + "/openid/userinfo?access_token=good", "", "", `{"sub":"@alice:hs"}`},
		"version":               {"GET", v1 + "/version", "", "", `{"server":{"name":"Hearth","version":"test"}}`},
		"own keys":              {"GET", "/_matrix/key/v2/server", "", "", `{"server_name":"hs"}`},
		"own keys, of old":      {"GET", "/_matrix/key/v2/server/ed25519:1", "", "", `{"server_name":"hs"}`},
		"keys of another":       {"GET", "/_matrix/key/v2/query/two?minimum_valid_until_ts=7", "", "", `{"server_keys":[{"server_name":"two","wanted":{}}]}`},
		"a key of another":      {"GET", "/_matrix/key/v2/query/two/ed25519:1?minimum_valid_until_ts=7", "", "", `{"server_keys":[{"server_name":"two","wanted":{"ed25519:1":7}}]}`},
		"keys of nobody":        {"POST", "/_matrix/key/v2/query", `{"server_keys":{}}`, "", `{"server_keys":[]}`},
		"keys of no server":     {"POST", "/_matrix/key/v2/query", `{"server_keys":{"no server":{}}}`, "", `{"server_keys":[]}`},
		"several keys":          {"POST", "/_matrix/key/v2/query", `{"server_keys":{"two":{"ed25519:1":{"minimum_valid_until_ts":5},"ed25519:2":{}}}}`, "", `{"server_keys":[{"server_name":"two","wanted":{"ed25519:1":5,"ed25519:2":1800000000000}}]}`},
		"the rooms of networks": {"GET", v1 + "/publicRooms?third_party_instance_id=irc", "", "", `{"chunk":[],"total_room_count_estimate":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.in(t)
			if got := r.must(test.method, test.path, test.body); got.Raw != test.want {
				t.Errorf("answer:\n got %s\nwant %s", got.Raw, test.want)
			}
			want := []string(nil)
			if test.told != "" {
				want = []string{test.told}
			}
			if d := cmp.Diff(want, r.told.take()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		method, path, body string
		code               int
		err                string
	}{
		"make_join for a user of another server":  {"GET", v1 + "/make_join/!r:hs/@dave:three?ver=11", "", 403, "M_FORBIDDEN"},
		"make_join for a user of ours":            {"GET", v1 + "/make_join/!r:hs/@alice:hs?ver=11", "", 403, "M_FORBIDDEN"},
		"make_leave for a user of another server": {"GET", v1 + "/make_leave/!r:hs/@dave:three", "", 403, "M_FORBIDDEN"},
		"make_knock for a user of another server": {"GET", v1 + "/make_knock/!r:hs/@dave:three", "", 403, "M_FORBIDDEN"},
		"a room that is none":                     {"GET", v1 + "/make_join/r/@carol:two", "", 400, "M_INVALID_PARAM"},
		"an event that is none":                   {"PUT", v2 + "/send_join/!r:hs/e", "{}", 400, "M_INVALID_PARAM"},
		"a join that is no object":                {"PUT", v2 + "/send_join/!r:hs/$e", "[]", 400, "M_BAD_JSON"},
		"an invite without version":               {"PUT", v2 + "/invite/!r:hs/$e", `{"event":{}}`, 400, "M_MISSING_PARAM"},
		"an invite without event":                 {"PUT", v2 + "/invite/!r:hs/$e", `{"room_version":"11"}`, 400, "M_MISSING_PARAM"},
		"onbind of a stranger":                    {"PUT", v1 + "/3pid/onbind", `{"mxid":"@carol:two"}`, 400, "M_INVALID_PARAM"},
		"onbind of nobody":                        {"PUT", v1 + "/3pid/onbind", `{"mxid":"@nobody:hs"}`, 404, "M_NOT_FOUND"},
		"a profile of nobody":                     {"GET", v1 + "/query/profile?user_id=@nobody:hs", "", 404, "M_NOT_FOUND"},
		"a profile of another server":             {"GET", v1 + "/query/profile?user_id=@carol:two", "", 400, "M_INVALID_PARAM"},
		"a port that is no number":                {"GET", v1 + "/query/profile?user_id=@user1:localhost:http&field=displayname", "", 400, "M_INVALID_PARAM"},
		"a field that nobody has":                 {"GET", v1 + "/query/profile?user_id=@alice:hs&field=x", "", 404, "M_NOT_FOUND"},
		"a query of another type":                 {"GET", v1 + "/query/weather", "", 404, "M_UNRECOGNIZED"},
		"an alias that is not there":              {"GET", v1 + "/query/directory?room_alias=%23x:hs", "", 404, "M_NOT_FOUND"},
		"an alias of another server":              {"GET", v1 + "/query/directory?room_alias=%23x:two", "", 404, "M_NOT_FOUND"},
		"devices of another server's user":        {"GET", v1 + "/user/devices/@carol:two", "", 400, "M_INVALID_PARAM"},
		"a bad OpenID token":                      {"GET", v1 + "/openid/userinfo?access_token=bad", "", 401, "M_UNKNOWN_TOKEN"},
		"no OpenID token":                         {"GET", v1 + "/openid/userinfo", "", 401, "M_MISSING_TOKEN"},
		"the hierarchy of an unknown room":        {"GET", v1 + "/hierarchy/!r:hs", "", 404, "M_NOT_FOUND"},
		"keys of a server that is none":           {"GET", "/_matrix/key/v2/query/no%20server", "", 400, "M_INVALID_PARAM"},
		"a key path that is none":                 {"GET", "/_matrix/key/v2/unknown", "", 404, "M_UNRECOGNIZED"},
		"another method":                          {"PUT", "/_matrix/key/v2/query", "", 405, "M_UNRECOGNIZED"},
	} {
		t.Run(name, func(t *testing.T) {
			r.in(t).refused("two", test.method, test.path, test.body, test.code, test.err)
		})
	}
	r.wantTold()
	r.told.err = merr.New(merr.UnableToGrantJoin, "Ask somebody else")
	r.refused("two", "GET", v1+"/make_join/!r:hs/@carol:two", "", 400, "M_UNABLE_TO_GRANT_JOIN")
	r.refused("two", "PUT", v1+"/invite/!r:hs/$e", "{}", 400, "M_UNABLE_TO_GRANT_JOIN")
}

func TestQueryDirectory(t *testing.T) {
	r := newRig(t)
	room := storagetest.NewRoom(t, r.store, "!room:hs", alice)
	room.Member("@dave:three", "@dave:three", "join")
	err := r.store.Update(t.Context(), func(tx *storage.Tx) error {
		_, err := tx.AddAlias(storage.Alias{Alias: "#老虎£я:hs", Room: room.Row.NID, Creator: alice})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := r.must("GET", v1+"/query/directory?room_alias=%23%E8%80%81%E8%99%8E%C2%A3%D1%8F:hs", "")
	if want := `{"room_id":"!room:hs","servers":["hs","three"]}`; got.Raw != want {
		t.Errorf("got %s, want %s", got.Raw, want)
	}
}

func TestPublicRooms(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		room := storagetest.NewRoom(t, r.store, id.RoomID(fmt.Sprintf("!%d:hs", i)), alice)
		room.State(alice, "m.room.name", "", fmt.Sprintf(`{"name":"Room %d"}`, i))
		if err := r.store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetPublished(room.Row.NID, i > 0) }); err != nil {
			t.Fatal(err)
		}
	}
	page := r.must("GET", v1+"/publicRooms?limit=1", "")
	if page.Get("chunk.0.name").Str != "Room 1" || page.Get("total_room_count_estimate").Int() != 2 || page.Get("next_batch").Str == "" {
		t.Errorf("first page: %s", page.Raw)
	}
	page = r.must("GET", v1+"/publicRooms?limit=1&since="+page.Get("next_batch").Str, "")
	if page.Get("chunk.0.name").Str != "Room 2" || page.Get("next_batch").Exists() {
		t.Errorf("second page: %s", page.Raw)
	}
	page = r.must("POST", v1+"/publicRooms", `{"filter":{"generic_search_term":"ROOM 2"}}`)
	if page.Get("chunk.#").Int() != 1 || page.Get("chunk.0.name").Str != "Room 2" {
		t.Errorf("search: %s", page.Raw)
	}
	r.refused("two", "GET", v1+"/publicRooms?since=x", "", 400, "M_INVALID_PARAM")
	r.refused("two", "GET", v1+"/publicRooms?include_all_networks=true&third_party_instance_id=x", "", 400, "M_INVALID_PARAM")
}

func TestHierarchy(t *testing.T) {
	r := newRig(t)
	add := func(name id.RoomID, rules string) *storagetest.Room {
		room := storagetest.NewRoom(t, r.store, name, alice)
		room.Row.Summary.JoinRule = gjson.Get(rules, "join_rule").Str // written with the next event
		room.State(alice, "m.room.join_rules", "", rules)
		return room
	}
	space := add("!space:hs", `{"join_rule":"public"}`)
	space.Row.Summary.Type = "m.space"
	add("!public:hs", `{"join_rule":"public"}`)
	add("!secret:hs", `{"join_rule":"invite"}`)
	shared := add("!shared:hs", `{"join_rule":"invite"}`)
	shared.Member(carol, carol, "join")
	invited := add("!invited:hs", `{"join_rule":"invite"}`)
	invited.Member(alice, carol, "invite")
	add("!restricted:hs", `{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!shared:hs"}]}`)
	add("!elsewhere:hs", `{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!secret:hs"}]}`)
	left := add("!left:hs", `{"join_rule":"public"}`)
	left.Member(alice, alice, "leave")
	for _, child := range []string{"!public:hs", "!secret:hs", "!shared:hs", "!invited:hs", "!restricted:hs", "!elsewhere:hs", "!left:hs", "!unknown:three"} {
		space.State(alice, "m.space.child", child, fmt.Sprintf(`{"via":["hs"],"suggested":%t}`, child == "!public:hs"))
	}

	got := r.must("GET", v1+"/hierarchy/!space:hs", "")
	ids := func(path string) []string { return slices.Sorted(slices.Values(texts(got.Get(path)))) }
	if d := cmp.Diff([]string{"!invited:hs", "!public:hs", "!restricted:hs", "!shared:hs"}, ids("children.#.room_id")); d != "" {
		t.Errorf("children: %s", d)
	}
	if d := cmp.Diff([]string{"!elsewhere:hs", "!secret:hs"}, ids("inaccessible_children")); d != "" {
		t.Errorf("inaccessible children: %s", d)
	}
	if got.Get("room.room_id").Str != "!space:hs" || got.Get("room.children_state.#").Int() != 8 || !got.Get("room.children_state.0.origin_server_ts").Exists() {
		t.Errorf("room: %s", got.Get("room").Raw)
	}
	got = r.must("GET", v1+"/hierarchy/!space:hs?suggested_only=true", "")
	if d := cmp.Diff([]string{"!public:hs"}, ids("children.#.room_id")); d != "" {
		t.Errorf("suggested children: %s", d)
	}
	r.must("GET", v1+"/hierarchy/!restricted:hs", "")
	r.refused("two", "GET", v1+"/hierarchy/!secret:hs", "", 404, "M_NOT_FOUND")
	r.refused("three", "GET", v1+"/hierarchy/!restricted:hs", "", 404, "M_NOT_FOUND")
	r.refused("two", "GET", v1+"/hierarchy/!left:hs", "", 404, "M_NOT_FOUND")
}

func TestHeavyRequestsWaitForOneAnother(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	a := New(Deps{Config: config.NewLive(config.Default()), Clock: fake})
	inside, release := make(chan struct{}), make(chan struct{})
	handler, err := web.New(web.Options{Servers: plainNames{}, Clock: fake}, []web.Route{
		get("/heavy", a.heavily(func(context.Context, *web.Request) (any, error) {
			inside <- struct{}{}
			<-release
			return nil, nil
		}))})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, handler: handler}
	var all sync.WaitGroup
	for i := range maxHeavy {
		all.Go(func() {
			if got := r.as(fmt.Sprint(i), "GET", "/heavy", ""); got.Code != http.StatusOK {
				t.Errorf("server %d: %d", i, got.Code)
			}
		})
		<-inside
	}
	refused := make(chan int)
	for _, origin := range []string{"0", "another"} {
		go func() { refused <- r.as(origin, "GET", "/heavy", "").Code }()
		fake.BlockUntil(1)
		fake.Advance(heavyPatience)
		if code := <-refused; code != http.StatusTooManyRequests {
			t.Errorf("one more of %s: %d", origin, code)
		}
	}
	close(release)
	all.Wait()
	if n := a.heavy.Parties() + a.heavyFor.Parties(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// slowReader is another server that takes its time over an answer.
type slowReader struct {
	*httptest.ResponseRecorder
	reading, read chan struct{}
}

func (w slowReader) Write(p []byte) (int, error) {
	close(w.reading)
	<-w.read
	return w.ResponseRecorder.Write(p)
}

func TestWhoDoesNotReadAHeavyAnswerGetsNoOther(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	a := New(Deps{Config: config.NewLive(config.Default()), Clock: fake})
	heavy := func(context.Context, *web.Request) (any, error) { return nil, nil }
	handler, err := web.New(web.Options{Servers: plainNames{}, Clock: fake}, []web.Route{get("/heavy", a.heavily(heavy))})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, handler: handler}
	w := slowReader{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		req := httptest.NewRequest("GET", "/heavy", nil)
		req.Header.Set("Authorization", "X-Matrix slow")
		handler.ServeHTTP(w, req)
	}()
	<-w.reading
	if got := r.as("quick", "GET", "/heavy", ""); got.Code != http.StatusOK {
		t.Errorf("another server: %d", got.Code)
	}
	refused := make(chan int)
	go func() { refused <- r.as("slow", "GET", "/heavy", "").Code }()
	fake.BlockUntil(1)
	fake.Advance(heavyPatience)
	if code := <-refused; code != http.StatusTooManyRequests {
		t.Errorf("the same server: %d", code)
	}
	close(w.read)
	<-done
	if got := r.as("slow", "GET", "/heavy", ""); got.Code != http.StatusOK {
		t.Errorf("the same server once it has read: %d", got.Code)
	}
}
