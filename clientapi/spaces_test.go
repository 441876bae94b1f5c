package clientapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (r *member) link(child *member, extra string) {
	r.rig.t.Helper()
	r.rig.clock.Advance(time.Millisecond) // children are ordered by the time of their links
	r.set("m.space.child", child.room, `{"via":["hs"]`+extra+`}`)
}

// outline is the rooms of a hierarchy by their names, with the names of their children.
func outline(got answer, byID map[string]string) []string {
	out := []string{}
	for _, room := range got.Get("rooms").Array() {
		line := byID[room.Get("room_id").Str]
		var children []string
		for _, child := range room.Get("children_state").Array() {
			children = append(children, byID[child.Get("state_key").Str])
		}
		if children != nil {
			line += ": " + strings.Join(children, " ")
		}
		out = append(out, line)
	}
	return out
}

func TestHierarchy(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, carol := r.register("alice"), r.register("bob"), r.register("carol")
	byID := map[string]string{}
	create := func(who *user, name, extra string) *member {
		room := who.create(fmt.Sprintf(`{"name":%q%s}`, name, extra))
		byID[room.room] = name
		return room
	}
	const space, open = `,"preset":"public_chat","creation_content":{"type":"m.space"}`, `,"preset":"public_chat"`
	root := create(alice, "root", space)
	r1, r2, r5 := create(alice, "r1", open), create(alice, "r2", open), create(bob, "r5", open)
	s1, s2 := create(alice, "s1", space), create(alice, "s2", space)
	r3, r4 := create(alice, "r3", open), create(bob, "r4", open)
	root.link(r1, `,"suggested":true`)
	root.link(s1, ``)
	root.link(r2, `,"suggested":true`)
	r2.link(r5, ``) // r2 is no space
	s1.link(s2, ``)
	s2.link(r4, ``)
	s2.link(r3, `,"order":"a"`)
	s2.link(root, ``) // a circle
	get := func(who *user, query string) answer {
		return who.must("GET", clientV1+"rooms/"+root.room+"/hierarchy"+query, "")
	}
	want := func(what string, got answer, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, outline(got, byID)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("all", get(alice, ""), "root: r1 s1 r2", "r1", "s1: s2", "s2: r3 r4 root", "r3", "r4", "r2")
	want("max_depth", get(alice, "?max_depth=1"), "root: r1 s1 r2", "r1", "s1: s2", "r2")
	want("max_depth 0", get(alice, "?max_depth=0"), "root: r1 s1 r2")
	want("suggested_only", get(alice, "?suggested_only=true"), "root: r1 r2", "r1", "r2")
	first := get(alice, "?limit=4")
	want("first page", first, "root: r1 s1 r2", "r1", "s1: s2", "s2: r3 r4 root")
	second := get(alice, "?from="+first.Get("next_batch").Str)
	want("second page", second, "r3", "r4", "r2")
	if second.Get("next_batch").Exists() {
		t.Error("there is a page after the last")
	}
	if got := get(alice, "").Get("rooms.0"); got.Get("room_type").Str != "m.space" || got.Get("join_rule").Str != "public" ||
		got.Get("room_version").Str != "11" || got.Get("num_joined_members").Int() != 1 || got.Get("membership").Exists() ||
		!got.Get("children_state.0.origin_server_ts").Exists() || got.Get("children_state.0.sender").Str != "@alice:hs" {
		t.Error(got.Raw)
	}
	if got := get(alice, "").Get("rooms.1.children_state"); got.Raw != `[]` {
		t.Errorf("children of a room are %s", got.Raw)
	}
	alice.refused("GET", root.v1("/hierarchy?max_depth=1&from="+first.Get("next_batch").Str), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", root.v1("/hierarchy?from=x"), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", root.v1("/hierarchy?limit=0"), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", root.v1("/hierarchy?max_depth=-1"), "", 400, "M_INVALID_PARAM")

	root.set("m.space.child", s1.room, `{}`)
	want("a removed link", get(alice, ""), "root: r1 r2", "r1", "r2")

	// What a stranger sees depends on the rules of each room.
	root.set("m.room.join_rules", "", `{"join_rule":"invite"}`)
	carol.refused("GET", root.v1("/hierarchy"), "", 403, "M_FORBIDDEN")
	carol.refused("GET", clientV1+"rooms/!no:hs/hierarchy", "", 403, "M_FORBIDDEN")
	alice.must("POST", root.path("/invite"), `{"user_id":"@carol:hs"}`)
	r1.set("m.room.join_rules", "", `{"join_rule":"invite"}`)
	restricted := fmt.Sprintf(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":%q}]}`, root.room)
	r2.set("m.room.join_rules", "", restricted)
	want("an invited user", get(carol, ""), "root: r1 r2")
	root.joined(carol)
	want("a member may enter restricted rooms", get(carol, ""), "root: r1 r2", "r2")
	r1.history("world_readable")
	want("a room with open history", get(carol, ""), "root: r1 r2", "r1", "r2")
}

func TestRoomSummary(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	space := alice.create(`{"preset":"public_chat","room_alias_name":"space","creation_content":{"type":"m.space"}}`)
	restricted := alice.create(fmt.Sprintf(`{"initial_state":[{"type":"m.room.join_rules","content":{"join_rule":"restricted",
		"allow":[{"type":"m.room_membership","room_id":%q}]}},{"type":"m.room.encryption","content":{"algorithm":"m.megolm.v1.aes-sha2"}}]}`, space.room))
	private := alice.create(`{}`)
	summary := func(room string) string { return clientV1 + "room_summary/" + strings.ReplaceAll(room, "#", "%23") }

	got := alice.must("GET", summary(restricted.room), "")
	if got.Get("allowed_room_ids").Raw != `["`+space.room+`"]` || got.Get("join_rule").Str != "restricted" || got.Get("membership").Str != "join" ||
		got.Get("encryption").Str != "m.megolm.v1.aes-sha2" || got.Get("room_version").Str != "11" || got.Get("room_id").Str != restricted.room {
		t.Error(got.Raw)
	}
	if got := alice.must("GET", summary(private.room), ""); got.Get("allowed_room_ids").Exists() {
		t.Error(got.Raw)
	}
	if got := r.nobody().must("GET", summary("#space:hs"), ""); got.Get("room_type").Str != "m.space" || got.Get("membership").Exists() {
		t.Error(got.Raw)
	}
	if got := bob.must("GET", summary(space.room), ""); got.Get("membership").Str != "leave" {
		t.Error(got.Raw)
	}
	bob.refused("GET", summary(restricted.room), "", 404, "M_NOT_FOUND")
	bob.refused("GET", summary(private.room), "", 404, "M_NOT_FOUND")
	bob.refused("GET", summary("!no:hs"), "", 404, "M_NOT_FOUND")
	bob.refused("GET", summary("#no:hs"), "", 404, "M_NOT_FOUND")
	bob.refused("GET", summary("room"), "", 400, "M_INVALID_PARAM")
	space.joined(bob)
	bob.must("GET", summary(restricted.room), "")
	r.nobody().refused("GET", summary(private.room), "", 404, "M_NOT_FOUND")
}
