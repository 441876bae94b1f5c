package clientapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What clients ask for and other servers know.

func TestProfilesOfOtherServers(t *testing.T) {
	r := newRig(t)
	profile := func(user string) string { return clientV3 + "profile/" + user }
	r.elsewhere.says("profile there @bob:there", `{"displayname":"Bob","avatar_url":"","m.tz":null,"org.example":{"a":[1]}}`)
	r.nobody().wantJSON(profile("@bob:there"), `{"displayname":"Bob","org.example":{"a":[1]}}`)
	r.nobody().wantJSON(profile("@bob:there/displayname"), `{"displayname":"Bob"}`)
	r.nobody().refused("GET", profile("@bob:there/m.tz"), "", 404, "M_NOT_FOUND")
	r.nobody().refused("GET", profile("@bob:there/UPPER"), "", 400, "M_INVALID_PARAM")
	if asked := r.elsewhere.requests(); len(asked) != 1 {
		t.Errorf("asked for %q", asked)
	}
	r.elsewhere.says("profile there @bob:there", `{"displayname":"Robert"}`)
	r.clock.Advance(time.Minute)
	r.nobody().wantJSON(profile("@bob:there/displayname"), `{"displayname":"Robert"}`)

	for name, tt := range map[string]struct {
		answer, code string
		status       int
		again        bool // a second request asks again
	}{
		"@unknown:there":   {"404", "M_NOT_FOUND", 404, false},
		"@hidden:there":    {"403", "M_FORBIDDEN", 403, true},
		"@limited:there":   {"429", "M_UNKNOWN", 502, true},
		"@list:there":      {`[1]`, "M_UNKNOWN", 502, true},
		"@nothing:there":   {`null`, "M_UNKNOWN", 502, true},
		"@large:there":     {`{"x":"` + strings.Repeat("x", 65<<10) + `"}`, "M_UNKNOWN", 502, true},
		"@anybody:nowhere": {"", "M_UNKNOWN", 502, true},
	} {
		if tt.answer != "" {
			r.elsewhere.says("profile there "+name, tt.answer)
		}
		r.elsewhere.requests()
		for range 2 {
			if got := r.nobody().refused("GET", profile(name), "", tt.status, tt.code); strings.Contains(got.Raw, "stranger") {
				t.Errorf("%s: the error is passed on: %s", name, got.Raw)
			}
		}
		if asked := r.elsewhere.requests(); len(asked) == 2 != tt.again {
			t.Errorf("%s: asked for %q", name, asked)
		}
	}
	r.elsewhere.says("profile there @odd:there", `{"displayname":["x"],"avatar_url":7}`)
	r.nobody().wantJSON(profile("@odd:there"), `{}`)
	r.elsewhere.requests()
	r.nobody().refused("GET", profile("@nobody:hs"), "", 404, "M_NOT_FOUND")
	if asked := r.elsewhere.requests(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
}

func TestAliasesOfOtherServers(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	room := alice.create(`{"room_alias_name":"here","preset":"public_chat"}`)
	path := func(alias string) string { return clientV3 + "directory/room/" + strings.ReplaceAll(alias, "#", "%23") }
	r.elsewhere.says("directory there #far:there", `{"Room":"!far:there","Servers":["third","there"]}`)
	r.nobody().wantJSON(path("#far:there"), `{"room_id":"!far:there","servers":["third","there"]}`)
	r.nobody().wantJSON(path("#far:there"), `{"room_id":"!far:there","servers":["third","there"]}`)
	if asked := r.elsewhere.requests(); len(asked) != 1 {
		t.Errorf("asked for %q", asked)
	}
	// This server is in the room too.
	r.elsewhere.says("directory there #near:there", fmt.Sprintf(`{"Room":%q,"Servers":["third"]}`, room.room))
	r.nobody().wantJSON(path("#near:there"), fmt.Sprintf(`{"room_id":%q,"servers":["hs","third","there"]}`, room.room))
	r.nobody().wantJSON(path("#here:hs"), fmt.Sprintf(`{"room_id":%q,"servers":["hs"]}`, room.room))
	r.elsewhere.says("directory there #no:there", "404")
	r.nobody().refused("GET", path("#no:there"), "", 404, "M_NOT_FOUND")
	r.nobody().refused("GET", path("#no:nowhere"), "", 502, "M_UNKNOWN")
	r.nobody().refused("GET", path("#no:hs"), "", 404, "M_NOT_FOUND")

	bob := r.register("bob")
	if got := bob.must("POST", clientV3+"join/%23near:there", ""); got.Get("room_id").Str != room.room {
		t.Error(got.Raw)
	}
	bob.refused("POST", clientV3+"join/"+room.room+"?via=not%20a%20server", "", 400, "M_INVALID_PARAM")
	bob.refused("POST", clientV3+"join/%23no:there", "", 404, "M_NOT_FOUND")
}

func TestCanonicalAliasesOfOtherServers(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	room := alice.create(`{"preset":"public_chat"}`)
	r.elsewhere.says("directory there #right:there", fmt.Sprintf(`{"Room":%q}`, room.room))
	r.elsewhere.says("directory there #wrong:there", `{"Room":"!other:there"}`)
	path := room.path("/state/m.room.canonical_alias")
	for _, content := range []string{`{"alias":"#wrong:there"}`, `{"alt_aliases":["#right:there","#wrong:there"]}`, `{"alias":"#x:nowhere"}`, `{"alias":"#x:hs"}`} {
		alice.refused("PUT", path, content, 400, "M_BAD_ALIAS")
	}
	alice.refused("PUT", path, `{"alias":7}`, 400, "M_INVALID_PARAM")
	alice.must("PUT", path, `{"alias":"#right:there","alt_aliases":["#right:there"]}`)
	// An alias that is there already stays, whatever became of it.
	r.clock.Advance(time.Minute)
	r.elsewhere.says("directory there #right:there", "404")
	alice.must("PUT", path, `{"alias":"#right:there"}`)
}

func TestRoomDirectoriesOfOtherServers(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	r.elsewhere.says(`publicRooms there {"limit":100,"filter":{},"include_all_networks":false}`, `{"chunk":[
		{"room_id":"!a:there","name":"A","num_joined_members":3,"world_readable":true,"guest_can_join":false,"secret":"x"},
		{"room_id":"no room","name":"B"}, {"room_id":"!c:there","name":7}, 5,
		{"room_id":"!d:there","avatar_url":"http://example.org/x","canonical_alias":"d","join_rule":"knock","num_joined_members":-1}
		],"next_batch":"n","total_room_count_estimate":50}`)
	r.nobody().wantJSON(clientV3+"publicRooms?server=there", `{"chunk":[
		{"room_id":"!a:there","name":"A","num_joined_members":3,"world_readable":true,"guest_can_join":false,"join_rule":"public"},
		{"room_id":"!d:there","num_joined_members":0,"world_readable":false,"guest_can_join":false,"join_rule":"knock"}],
		"next_batch":"n","total_room_count_estimate":50}`)
	r.elsewhere.says(`publicRooms there {"limit":2,"since":"n","filter":{"generic_search_term":"x","room_types":[null,"m.space"]},"include_all_networks":false}`,
		`{"chunk":[{"room_id":"!a:there"},{"room_id":"!b:there"},{"room_id":"!c:there"}]}`)
	got := alice.must("POST", clientV3+"publicRooms?server=there",
		`{"limit":2,"since":"n","filter":{"generic_search_term":"x","room_types":[null,"m.space"]}}`)
	if n := len(got.Get("chunk").Array()); n != 2 {
		t.Error(got.Raw)
	}
	r.elsewhere.says(`publicRooms closed {"limit":100,"filter":{},"include_all_networks":false}`, "403")
	r.nobody().refused("GET", clientV3+"publicRooms?server=closed", "", 403, "M_FORBIDDEN")
	r.nobody().refused("GET", clientV3+"publicRooms?server=nowhere", "", 502, "M_UNKNOWN")
	r.nobody().refused("GET", clientV3+"publicRooms?server=no%20server", "", 400, "M_INVALID_PARAM")
	r.elsewhere.requests()
	r.nobody().wantJSON(clientV3+"publicRooms?server=hs", `{"chunk":[],"total_room_count_estimate":0}`)
	if asked := r.elsewhere.requests(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
}

// space describes rooms as another server does.
func remoteRoom(roomID, rest string, children ...string) string {
	var links []string
	for _, c := range children {
		room, via, _ := strings.Cut(c, " ")
		if via == "" {
			via = "there"
		}
		links = append(links, fmt.Sprintf(`{"type":"m.space.child","state_key":%q,"sender":"@x:there","origin_server_ts":%d,"content":{"via":[%q]},"extra":1}`,
			room, len(links), via))
	}
	return fmt.Sprintf(`{"room_id":%q,"num_joined_members":1,"world_readable":false,"guest_can_join":false,"membership":"join","children_state":[%s]%s}`,
		roomID, strings.Join(links, ","), rest)
}

const remoteSpace = `,"join_rule":"public","room_type":"m.space"`

// rooms is the ids of the rooms of a hierarchy.
func rooms(got answer) (out []string) {
	for _, room := range got.Get("rooms").Array() {
		out = append(out, room.Get("room_id").Str)
	}
	return out
}

func TestHierarchyOverSeveralServers(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	root := alice.create(`{"preset":"public_chat","creation_content":{"type":"m.space"}}`)
	local := alice.create(`{"preset":"public_chat"}`)
	child := func(room, via string) {
		r.clock.Advance(time.Millisecond)
		root.set("m.space.child", room, fmt.Sprintf(`{"via":[%q]}`, via))
	}
	child("!open:there", "there")
	child("!space:there", "there")
	child("!restricted:there", "there")
	child("!private:there", "there")
	child("!dead:nowhere", "nowhere")
	child(local.room, "there")
	told := func(room, children string) string {
		return fmt.Sprintf(`{"room":%s,"children":[%s],"inaccessible_children":["!secret:there"]}`, room, children)
	}
	r.elsewhere.says("hierarchy there !open:there", told(remoteRoom("!open:there", `,"join_rule":"public"`, "!ignored:there"), ""))
	r.elsewhere.says("hierarchy there !restricted:there", told(remoteRoom("!restricted:there",
		fmt.Sprintf(`,"join_rule":"restricted","allowed_room_ids":[%q]`, root.room)), ""))
	r.elsewhere.says("hierarchy there !private:there", "404")
	r.elsewhere.says("hierarchy there !space:there", told(
		remoteRoom("!space:there", remoteSpace, "!in:there", "!sub:there", "!secret:there", "!asked:there", root.room, "bad"),
		strings.Join([]string{
			remoteRoom("!in:there", `,"name":"In","join_rule":"public"`), remoteRoom("!sub:there", remoteSpace, "!deep:there"),
			remoteRoom("!stranger:there", ""), remoteRoom(root.room, `,"name":"forged"`),
		}, ",")))
	r.elsewhere.says("hierarchy there !sub:there", "500")
	r.elsewhere.says("hierarchy there !deep:there", told(remoteRoom("!deep:there", `,"join_rule":"knock"`), ""))
	r.elsewhere.says("hierarchy there !asked:there", told(remoteRoom("!another:there", ""), ""))

	hierarchy := func(u *user, query string) answer {
		t.Helper()
		return u.must("GET", root.v1("/hierarchy"+query), "")
	}
	want := func(what string, got answer, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, rooms(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	all := []string{root.room, "!open:there", "!space:there", "!in:there", "!sub:there", "!deep:there", "!restricted:there", local.room}
	got := hierarchy(alice, "")
	want("a member", got, all...)
	asked := r.elsewhere.requests()
	if slices.ContainsFunc(asked, func(call string) bool {
		return strings.Contains(call, "secret") || strings.Contains(call, "!in:") || strings.Contains(call, root.room) || strings.Contains(call, local.room)
	}) {
		t.Errorf("asked for %q", asked)
	}
	if n := len(asked); n != 8 {
		t.Errorf("asked %d times: %q", n, asked)
	}
	space := got.Get(`rooms.#(room_id=="!space:there")`)
	if space.Get("children_state.#").Int() != 5 || space.Get("children_state.0.extra").Exists() || space.Get("membership").Exists() ||
		space.Get("children_state.0.content.via.0").Str != "there" {
		t.Error(space.Raw)
	}
	if open := got.Get(`rooms.#(room_id=="!open:there").children_state`); open.Raw != `[]` {
		t.Errorf("children of a room are %s", open.Raw)
	}
	want("a stranger", hierarchy(bob, ""), slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "!restricted:there" })...)
	// What was learned a moment ago is not asked for again, but for refusals: the other server may know more of us by now.
	asked = r.elsewhere.requests()
	slices.Sort(asked)
	if diff := cmp.Diff([]string{"hierarchy there !private:there", "hierarchy there !sub:there"}, asked); diff != "" {
		t.Error(diff)
	}
	r.elsewhere.says("hierarchy there !private:there", told(remoteRoom("!private:there", `,"join_rule":"public"`), ""))
	want("it does", hierarchy(alice, "?max_depth=1"), root.room, "!open:there", "!space:there", "!restricted:there", "!private:there", local.room)
	r.elsewhere.requests()

	first := hierarchy(alice, "?limit=4")
	want("first page", first, all[:4]...)
	r.clock.Advance(5 * time.Minute)
	r.elsewhere.requests()
	second := hierarchy(alice, "?limit=50&from="+first.Get("next_batch").Str)
	want("second page", second, "!sub:there", "!deep:there", "!restricted:there", "!private:there", local.room)
	if asked := r.elsewhere.requests(); len(asked) != 0 {
		t.Errorf("the second page asks for %q", asked)
	}
	// A space that this server is not in.
	want("another's space", alice.must("GET", clientV1+"rooms/!space:there/hierarchy?max_depth=0", ""), "!space:there")
	want("with via", alice.must("GET", clientV1+"rooms/!deep:there/hierarchy?via=nowhere&via=there", ""), "!deep:there")
	alice.refused("GET", clientV1+"rooms/!no:nowhere/hierarchy", "", 403, "M_FORBIDDEN")
}

func TestHierarchyAsksOnlySoMuch(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	root := alice.create(`{"preset":"public_chat","creation_content":{"type":"m.space"}}`)
	var children, want []string
	for i := range 100 {
		room := fmt.Sprintf("!r%03d:there", i)
		children = append(children, room)
		switch i % 3 {
		case 0:
			r.elsewhere.says("hierarchy there "+room, fmt.Sprintf(`{"room":%s}`, remoteRoom(room, `,"join_rule":"public"`)))
			want = append(want, room)
		case 1:
			r.elsewhere.says("hierarchy there "+room, "404")
		}
	}
	r.elsewhere.says("hierarchy there !space:there", fmt.Sprintf(`{"room":%s}`, remoteRoom("!space:there", remoteSpace, children...)))
	root.set("m.space.child", "!space:there", `{"via":["there"]}`)
	want = append([]string{root.room, "!space:there"}, want...)

	var got []string
	pages := 0
	for from := ""; ; pages++ {
		page := alice.must("GET", root.v1("/hierarchy?limit=100"+from), "")
		got = append(got, rooms(page)...)
		if n := len(r.elsewhere.requests()); n > 40 {
			t.Errorf("one request asks %d times", n)
		}
		next := page.Get("next_batch").Str
		if next == "" || pages > 10 {
			break
		}
		from = "&from=" + next
	}
	if diff := cmp.Diff(want, got); diff != "" || pages == 0 {
		t.Errorf("after %d pages (-want +got):\n%s", pages, diff)
	}
}

func TestSummariesOfOtherServers(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	summary := func(room string) string { return clientV1 + "room_summary/" + strings.ReplaceAll(room, "#", "%23") }
	r.elsewhere.says("hierarchy there !a:there", fmt.Sprintf(`{"room":%s,"children":[],"inaccessible_children":[]}`,
		remoteRoom("!a:there", `,"name":"A","join_rule":"knock","room_version":"11","encryption":"m.megolm.v1.aes-sha2"`)))
	want := `{"room_id":"!a:there","name":"A","join_rule":"knock","room_version":"11","encryption":"m.megolm.v1.aes-sha2","num_joined_members":1,
		"world_readable":false,"guest_can_join":false,"membership":"leave"}`
	alice.wantJSON(summary("!a:there"), want)
	alice.wantJSON(summary("!a:there")+"?via=third&via=there", want)
	r.elsewhere.says("directory there #a:there", `{"Room":"!a:there","Servers":["third","there"]}`)
	r.clock.Advance(time.Minute)
	alice.wantJSON(summary("#a:there"), want)
	// A room whose id does not say where it is.
	const hash = "!abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
	alice.refused("GET", summary(hash), "", 404, "M_NOT_FOUND")
	r.elsewhere.says("hierarchy there "+hash, fmt.Sprintf(`{"room":%s}`, remoteRoom(hash, "")))
	alice.must("GET", summary(hash)+"?via=there", "")

	r.elsewhere.says("hierarchy there !closed:there", fmt.Sprintf(`{"room":%s}`, remoteRoom("!closed:there", `,"join_rule":"invite"`)))
	alice.refused("GET", summary("!closed:there"), "", 404, "M_NOT_FOUND")
	r.elsewhere.says("hierarchy there !no:there", "404")
	alice.refused("GET", summary("!no:there"), "", 404, "M_NOT_FOUND")
	alice.refused("GET", summary("!no:nowhere"), "", 404, "M_NOT_FOUND")
	alice.refused("GET", summary("!a:there")+"?via=bad%20name", "", 400, "M_INVALID_PARAM")
	r.elsewhere.requests()
	r.nobody().refused("GET", summary("!a:there"), "", 404, "M_NOT_FOUND")
	if asked := r.elsewhere.requests(); len(asked) != 0 {
		t.Errorf("nobody makes this server ask %q", asked)
	}
}
