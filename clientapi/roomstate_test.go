package clientapi

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoomState(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"preset":"public_chat","name":"first"}`)
	bobs := room.joined(bob)
	room.set("org.example.state", "", `{"value":1}`)
	room.set("org.example.state", "key", `{"value":2}`)

	t.Run("the content of one key", func(t *testing.T) {
		alice.wantJSON(room.path("/state/m.room.name"), `{"name":"first"}`)
		alice.wantJSON(room.path("/state/m.room.name/"), `{"name":"first"}`)
		alice.wantJSON(room.path("/state/org.example.state/key?format=content"), `{"value":2}`)
		alice.wantJSON(clientV3[:len(clientV3)-3]+"r0/rooms/"+room.room+"/state/m.room.name", `{"name":"first"}`)
	})
	t.Run("the whole event of one key", func(t *testing.T) {
		got := alice.must("GET", room.path("/state/m.room.name?format=event"), "")
		if got.Get("type").Str != "m.room.name" || got.Get("content.name").Str != "first" || got.Get("sender").Str != "@alice:hs" ||
			got.Get("room_id").Str != room.room || !got.Get("event_id").Exists() || !got.Get("origin_server_ts").Exists() ||
			!got.Get("state_key").Exists() {
			t.Error(got.Raw)
		}
	})
	t.Run("all of it", func(t *testing.T) {
		got := alice.must("GET", room.path("/state"), "")
		all := names(got.Result)
		for _, want := range []string{"create", "alice join", "bob join", "power_levels", "join_rules", "history_visibility", "name",
			"org.example.state"} {
			if !slices.Contains(all, want) {
				t.Errorf("no %s in %v", want, all)
			}
		}
	})
	t.Run("bad requests", func(t *testing.T) {
		alice.refused("GET", room.path("/state/m.room.topic"), "", 404, "M_NOT_FOUND")
		alice.refused("GET", room.path("/state/m.room.name?format=x"), "", 400, "M_INVALID_PARAM")
		carol := r.register("carol")
		carol.refused("GET", room.path("/state"), "", 403, "M_FORBIDDEN")
		carol.refused("GET", room.path("/state/m.room.name"), "", 403, "M_FORBIDDEN")
		carol.refused("GET", room.path("/members"), "", 403, "M_FORBIDDEN")
		carol.refused("GET", clientV3+"rooms/!no:hs/state", "", 403, "M_FORBIDDEN")
	})
	t.Run("former members see the state as it was when they left", func(t *testing.T) {
		bob.must("POST", room.path("/leave"), "")
		room.set("m.room.name", "", `{"name":"second"}`)
		room.set("m.room.topic", "", `{"topic":"new"}`)
		room.joined(r.register("dave"))
		bob.wantJSON(room.path("/state/m.room.name"), `{"name":"first"}`)
		alice.wantJSON(room.path("/state/m.room.name"), `{"name":"second"}`)
		bob.refused("GET", room.path("/state/m.room.topic"), "", 404, "M_NOT_FOUND")
		got := bob.must("GET", room.path("/state"), "")
		if strings.Contains(got.Raw, "second") || strings.Contains(got.Raw, "dave") || !strings.Contains(got.Raw, "first") {
			t.Error(got.Raw)
		}
		wantNames(t, "members", bob.must("GET", room.path("/members"), "").Get("chunk"), "alice join", "bob leave")
		bobs.refused("GET", room.path("/joined_members"), "", 403, "M_FORBIDDEN")
	})
	t.Run("somebody who rejected an invite was never there", func(t *testing.T) {
		erin := r.register("erin")
		alice.must("POST", room.path("/invite"), `{"user_id":"@erin:hs"}`)
		erin.refused("GET", room.path("/state"), "", 403, "M_FORBIDDEN")
		erin.must("POST", room.path("/leave"), "")
		erin.refused("GET", room.path("/state"), "", 403, "M_FORBIDDEN")
	})
}

func TestRoomMembers(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, carol, dave := r.register("alice"), r.register("bob"), r.register("carol"), r.register("dave")
	room := alice.create(public)
	room.say("hello")
	early := alice.must("GET", room.path("/messages?dir=b"), "").Get("start").Str
	beginning := alice.must("GET", room.path("/messages?dir=f"), "").Get("start").Str
	room.joined(bob)
	room.joined(carol)
	carol.must("POST", room.path("/leave"), "")
	alice.must("POST", room.path("/invite"), `{"user_id":"`+dave.id+`"}`)
	for _, test := range []struct {
		name, query string
		want        []string
	}{
		{"all", "", []string{"alice join", "bob join", "carol leave", "dave invite"}},
		{"one membership", "?membership=join", []string{"alice join", "bob join"}},
		{"not one membership", "?not_membership=leave", []string{"alice join", "bob join", "dave invite"}},
		{"one or not another", "?membership=leave&not_membership=invite", []string{"alice join", "bob join", "carol leave"}},
		{"at a point", "?at=" + early, []string{"alice join"}},
		{"at the point before all events", "?at=" + beginning, []string{"alice join"}},
		{"at a point with a filter", "?membership=leave&at=" + early, nil},
	} {
		wantNames(t, test.name, alice.must("GET", room.path("/members"+test.query), "").Get("chunk"), test.want...)
	}
	alice.refused("GET", room.path("/members?membership=x"), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", room.path("/members?at=x"), "", 400, "M_INVALID_PARAM")

	bob.must("PUT", clientV3+"profile/@bob:hs/avatar_url", `{"avatar_url":"mxc://hs/bob"}`)
	alice.wantJSON(room.path("/joined_members"), `{"joined":{"@alice:hs":{"display_name":"alice","avatar_url":null},
		"@bob:hs":{"display_name":"bob","avatar_url":null}}}`)
	carol.wantJSON(clientV3+"joined_rooms", `{"joined_rooms":[]}`)
	alice.wantJSON(clientV3+"joined_rooms", `{"joined_rooms":["`+room.room+`"]}`)
}

func TestPublicRooms(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	const path = clientV3 + "publicRooms"
	big := alice.create(`{"visibility":"public","name":"Big","topic":"Wombles","room_alias_name":"big"}`)
	big.joined(bob)
	alice.create(`{"visibility":"public","name":"Space","creation_content":{"type":"m.space"},
		"initial_state":[{"type":"m.room.guest_access","content":{"guest_access":"can_join"}},
		{"type":"m.room.history_visibility","content":{"history_visibility":"world_readable"}}]}`)
	alice.create(`{"visibility":"public","name":"Ünïcode"}`)
	alice.create(`{"name":"Private"}`)
	empty := alice.create(`{"visibility":"public","name":"Empty"}`)
	alice.must("POST", empty.path("/leave"), "")

	rooms := func(got answer) []string {
		out := []string{}
		for _, room := range got.Get("chunk").Array() {
			out = append(out, room.Get("name").Str)
		}
		return out
	}
	t.Run("everybody can read the list", func(t *testing.T) {
		got := r.nobody().must("GET", path, "")
		if diff := cmp.Diff([]string{"Big", "Space", "Ünïcode"}, rooms(got)); diff != "" {
			t.Error(diff)
		}
		if got.Get("total_room_count_estimate").Int() != 3 || got.Get("next_batch").Exists() || got.Get("prev_batch").Exists() {
			t.Error(got.Raw)
		}
		first := got.Get("chunk.0")
		if first.Get("num_joined_members").Int() != 2 || first.Get("canonical_alias").Str != "#big:hs" || first.Get("topic").Str != "Wombles" ||
			first.Get("world_readable").Bool() || first.Get("guest_can_join").Bool() || first.Get("join_rule").Str != "public" ||
			first.Get("room_id").Str != big.room {
			t.Error(first.Raw)
		}
		space := got.Get("chunk.1")
		if space.Get("room_type").Str != "m.space" || !space.Get("world_readable").Bool() || !space.Get("guest_can_join").Bool() {
			t.Error(space.Raw)
		}
	})
	t.Run("by pages, there and back", func(t *testing.T) {
		one := r.nobody().must("GET", path+"?limit=2", "")
		two := r.nobody().must("GET", path+"?limit=2&since="+one.Get("next_batch").Str, "")
		if diff := cmp.Diff([]string{"Ünïcode"}, rooms(two)); diff != "" || two.Get("next_batch").Exists() {
			t.Error(two.Raw)
		}
		back := r.nobody().must("GET", path+"?limit=2&since="+two.Get("prev_batch").Str, "")
		if diff := cmp.Diff([]string{"Big", "Space"}, rooms(back)); diff != "" || back.Get("prev_batch").Exists() {
			t.Error(back.Raw)
		}
	})
	t.Run("search", func(t *testing.T) {
		for _, test := range []struct {
			name, body string
			want       []string
		}{
			{"an empty body is everything", ``, []string{"Big", "Space", "Ünïcode"}},
			{"topic in any case", `{"filter":{"generic_search_term":"wOMB"}}`, []string{"Big"}},
			{"alias", `{"filter":{"generic_search_term":"#big"}}`, []string{"Big"}},
			{"id", `{"filter":{"generic_search_term":"` + big.room + `"}}`, []string{"Big"}},
			{"letters with accents", `{"filter":{"generic_search_term":"ÜNÏ"}}`, []string{"Ünïcode"}},
			{"rooms of a type", `{"filter":{"room_types":["m.space"]}}`, []string{"Space"}},
			{"rooms without a type", `{"filter":{"room_types":[null]}}`, []string{"Big", "Ünïcode"}},
			{"either", `{"filter":{"room_types":[null,"m.space"]},"limit":2}`, []string{"Big", "Space"}},
			{"other networks", `{"third_party_instance_id":"irc"}`, nil},
		} {
			want := test.want
			if want == nil {
				want = []string{}
			}
			if diff := cmp.Diff(want, rooms(alice.must("POST", path, test.body))); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		}
	})
	alice.must("GET", path+"?server=hs", "")
	alice.refused("GET", path+"?server=elsewhere", "", 502, "M_UNKNOWN")
	alice.refused("GET", path+"?since=x", "", 400, "M_INVALID_PARAM")
	alice.refused("GET", path+"?limit=-1", "", 400, "M_INVALID_PARAM")
	r.nobody().refused("POST", path, `{}`, 401, "M_MISSING_TOKEN")
}
