package clientapi

import (
	"fmt"
	"testing"
)

func TestRelations(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(public)
	bobs := room.joined(bob)
	root := room.say("root")
	thread := room.reply("thread", "m.thread", root)
	room.send("org.example.dummy", fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.thread","event_id":%q}}`, root))
	bobs.reply("reference", "m.reference", root)
	edit := room.reply("edit", "m.replace", thread)
	room.reply("nested", "m.reference", edit)
	gone := room.reply("gone", "m.reference", root)
	room.must("PUT", room.path("/redact/"+gone+"/1"), `{}`)
	get := func(rest string) answer { return alice.must("GET", room.v1("/relations/"+root+rest), "") }

	t.Run("of an event", func(t *testing.T) {
		for _, test := range []struct {
			name, rest string
			want       []string
		}{
			{"newest first", "", []string{"reference", "org.example.dummy", "thread"}},
			{"oldest first", "?dir=f", []string{"thread", "org.example.dummy", "reference"}},
			{"of one relation type", "/m.thread", []string{"org.example.dummy", "thread"}},
			{"of one event type", "/m.thread/m.room.message", []string{"thread"}},
			{"of an unknown type", "/m.thread/org.example.unknown", nil},
			{"recursively", "?recurse=true", []string{"nested", "edit", "reference", "org.example.dummy", "thread"}},
			{"recursively, of one relation type", "/m.reference?recurse=true&dir=f", []string{"reference", "nested"}},
			{"recursively, of one event type", "/m.thread/org.example.dummy?recurse=true", []string{"org.example.dummy"}},
		} {
			got := get(test.rest)
			wantNames(t, test.name, got.Get("chunk"), test.want...)
			if got.Get("next_batch").Exists() || got.Get("prev_batch").Exists() {
				t.Errorf("%s: %s", test.name, got.Raw)
			}
		}
		if got := get("?recurse=true").Get("recursion_depth"); got.Int() != 3 {
			t.Errorf("recursion_depth %s", got.Raw)
		}
		if get("?recurse=false").Get("recursion_depth").Exists() {
			t.Error("recursion_depth without recursion")
		}
	})
	t.Run("by pages", func(t *testing.T) {
		for _, recurse := range []string{"", "&recurse=true"} {
			got := get("/m.thread?limit=1" + recurse)
			wantNames(t, "first page", got.Get("chunk"), "org.example.dummy")
			got = get("/m.thread?limit=1" + recurse + "&from=" + got.Get("next_batch").Str)
			wantNames(t, "second page", got.Get("chunk"), "thread")
			if got.Get("next_batch").Exists() || !got.Get("prev_batch").Exists() {
				t.Error(got.Raw)
			}
			back := get("/m.thread?limit=1&dir=f" + recurse + "&from=" + got.Get("prev_batch").Str)
			wantNames(t, "back", back.Get("chunk"), "org.example.dummy")
		}
	})
	t.Run("tokens of sync and messages are good", func(t *testing.T) {
		end := alice.must("GET", room.path("/messages?dir=b&limit=3"), "").Get("end").Str
		wantNames(t, "since", get("?dir=f&from="+end).Get("chunk"))
		wantNames(t, "until", get("?to="+end).Get("chunk"))
		wantNames(t, "until", get("?dir=f&to="+end).Get("chunk"), "thread", "org.example.dummy", "reference")
	})
	t.Run("a circle comes to an end", func(t *testing.T) {
		// The client makes up the id of the event that its first event is to relate to, and hits it by asking for both.
		a := room.reply("a", "m.reference", "$unknown")
		room.reply("b", "m.reference", a)
		wantNames(t, "of a", alice.must("GET", room.v1("/relations/"+a+"?recurse=true"), "").Get("chunk"), "b")
	})
	t.Run("bad requests", func(t *testing.T) {
		carol := r.register("carol")
		carol.refused("GET", room.v1("/relations/"+root), "", 404, "M_NOT_FOUND")
		alice.refused("GET", room.v1("/relations/$no"), "", 404, "M_NOT_FOUND")
		alice.refused("GET", room.v1("/relations/"+root+"?from=x"), "", 400, "M_INVALID_PARAM")
		alice.refused("GET", room.v1("/relations/"+root+"?dir=x"), "", 400, "M_INVALID_PARAM")
		alice.refused("GET", room.v1("/relations/"+root+"?recurse=x"), "", 400, "M_INVALID_PARAM")
	})
	t.Run("ignored users are left out", func(t *testing.T) {
		alice.must("PUT", clientV3+"user/@alice:hs/account_data/m.ignored_user_list", `{"ignored_users":{"@bob:hs":{}}}`)
		wantNames(t, "without bob", get("").Get("chunk"), "org.example.dummy", "thread")
	})
}

func TestThreads(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, carol := r.register("alice"), r.register("bob"), r.register("carol")
	room := alice.create(public)
	bobs, carols := room.joined(bob), room.joined(carol)
	one, two, three := room.say("one"), bobs.say("two"), carols.say("three")
	bobs.reply("in three", "m.thread", three)
	bobs.reply("in two", "m.thread", two)
	carols.reply("in one", "m.thread", one)
	bobs.reply("again in one", "m.thread", one)
	threads := func(who *member, query string) answer { return who.must("GET", room.v1("/threads"+query), "") }

	all := threads(room, "")
	wantNames(t, "newest reply first", all.Get("chunk"), "one", "two", "three")
	if got := all.Get("chunk.0.unsigned.m\\.relations.m\\.thread"); got.Get("count").Int() != 2 || name(got.Get("latest_event")) != "again in one" {
		t.Error(got.Raw)
	}
	wantNames(t, "threads that alice is in", threads(room, "?include=participated").Get("chunk"), "one")
	wantNames(t, "threads that carol is in", threads(carols, "?include=participated").Get("chunk"), "one", "three")
	first := threads(room, "?limit=2")
	wantNames(t, "first page", first.Get("chunk"), "one", "two")
	second := threads(room, "?limit=2&from="+first.Get("next_batch").Str)
	wantNames(t, "second page", second.Get("chunk"), "three")
	if second.Get("next_batch").Exists() {
		t.Error("there is a page after the last")
	}
	bob.must("POST", room.path("/leave"), "")
	room.reply("late", "m.thread", three)
	former := threads(bobs, "")
	wantNames(t, "a former member", former.Get("chunk"), "three", "one", "two")
	if got := former.Get("chunk.0.unsigned.m\\.relations.m\\.thread.latest_event"); name(got) != "in three" {
		t.Errorf("a former member sees as the newest reply %s", got.Raw)
	}
	wantNames(t, "a reply brings a thread to the front", threads(room, "").Get("chunk"), "three", "one", "two")

	alice.must("PUT", clientV3+"user/@alice:hs/account_data/m.ignored_user_list", `{"ignored_users":{"@carol:hs":{}}}`)
	got := threads(room, "").Get("chunk.0")
	if got.Get("event_id").Str != three || got.Get("content").Raw != `{}` {
		t.Errorf("the root by an ignored user is %s", got.Raw)
	}
	alice.refused("GET", room.v1("/threads?include=x"), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", room.v1("/threads?limit=0"), "", 400, "M_INVALID_PARAM")
	alice.refused("GET", room.v1("/threads?from=x"), "", 400, "M_INVALID_PARAM")
	r.register("dave").refused("GET", room.v1("/threads"), "", 403, "M_FORBIDDEN")
}
