package clientapi

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const public = `{"preset":"public_chat"}`

func TestMessages(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(public)
	room.joined(bob).say("from bob")
	for i := range 5 {
		room.say(fmt.Sprint(i))
	}
	url := room.send("m.room.message", `{"msgtype":"m.image","body":"picture","url":"mxc://hs/x"}`)
	room.reply("reply", "m.thread", url)
	get := func(pairs ...string) answer { return alice.must("GET", room.path("/messages")+query(pairs...), "") }

	t.Run("backwards from the end by pages", func(t *testing.T) {
		var all []string
		from := []string{"dir", "b", "limit", "4"}
		pages := 0
		for {
			got := get(from...)
			all = append(all, names(got.Get("chunk"))...)
			pages++
			end := got.Get("end")
			if !end.Exists() {
				break
			}
			from = []string{"dir", "b", "limit", "4", "from", end.Str}
		}
		want := []string{"reply", "picture", "4", "3", "2", "1", "0", "from bob", "bob join",
			"history_visibility", "join_rules", "power_levels", "alice join", "create"}
		if i := slices.Index(all, "guest_access"); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if pages != 4 {
			t.Errorf("%d pages", pages)
		}
	})
	t.Run("forwards from the beginning", func(t *testing.T) {
		got := get("dir", "f", "limit", "2")
		wantNames(t, "chunk", got.Get("chunk"), "create", "alice join")
		again := get("dir", "f", "limit", "1", "from", got.Get("end").Str)
		wantNames(t, "next page", again.Get("chunk"), "power_levels")
		same := get("dir", "f", "limit", "1", "from", got.Get("start").Str)
		wantNames(t, "from start", same.Get("chunk"), "create")
		back := get("dir", "b", "limit", "9", "from", got.Get("end").Str)
		wantNames(t, "back from the end", back.Get("chunk"), "alice join", "create")
		if back.Get("end").Exists() {
			t.Error("the beginning has an end token")
		}
	})
	t.Run("the last page has no end and to is a bound", func(t *testing.T) {
		a := get("dir", "b", "limit", "2").Get("end").Str
		b := get("dir", "b", "limit", "4").Get("end").Str
		got := get("dir", "f", "from", b, "to", a, "limit", "100")
		wantNames(t, "chunk", got.Get("chunk"), "3", "4")
		if got.Get("end").Exists() {
			t.Errorf("end is %s", got.Get("end"))
		}
		got = get("dir", "f", "from", a, "limit", "2")
		wantNames(t, "chunk", got.Get("chunk"), "picture", "reply")
		got = get("dir", "f", "from", got.Get("end").Str)
		wantNames(t, "behind the last event", got.Get("chunk"))
		if got.Get("end").Exists() {
			t.Error("there is an end at the end")
		}
	})
	t.Run("filters", func(t *testing.T) {
		for _, test := range []struct {
			name, filter string
			want         []string
		}{
			{"types", `{"types":["m.room.create"]}`, []string{"create"}},
			{"senders", `{"senders":["@bob:hs"],"types":["m.room.message"]}`, []string{"from bob"}},
			{"contains_url", `{"contains_url":true}`, []string{"picture"}},
			{"related_by_rel_types", `{"related_by_rel_types":["m.thread"]}`, []string{"picture"}},
			{"related_by_senders of somebody else", `{"related_by_senders":["@bob:hs"]}`, nil},
			{"rel_types of MSC3874", `{"org.matrix.msc3874.rel_types":["m.thread"]}`, []string{"reply"}},
			{"limit", `{"limit":1}`, []string{"reply"}},
			{"other rooms", `{"rooms":["!other:hs"]}`, nil},
		} {
			got := get("dir", "b", "limit", "100", "filter", test.filter)
			wantNames(t, test.name, got.Get("chunk"), test.want...)
			if got.Get("state").Exists() {
				t.Errorf("%s: there is state without lazy-loading", test.name)
			}
		}
	})
	t.Run("lazy-loading gives the senders", func(t *testing.T) {
		got := get("dir", "b", "limit", "8", "filter", `{"lazy_load_members":true,"types":["m.room.message"]}`)
		wantNames(t, "state", got.Get("state"), "alice join", "bob join")
		got = get("dir", "b", "limit", "1", "filter", `{"lazy_load_members":true}`)
		wantNames(t, "state", got.Get("state"), "alice join")
		// Bob says goodbye: what is old keeps the membership that he had.
		old := get("dir", "b", "limit", "1").Get("end").Str
		bob.must("POST", room.path("/leave"), "")
		got = get("dir", "b", "limit", "20", "from", old, "filter", `{"lazy_load_members":true,"senders":["@bob:hs"]}`)
		wantNames(t, "old state", got.Get("state"), "bob join")
		got = get("dir", "b", "limit", "20", "filter", `{"lazy_load_members":true,"senders":["@bob:hs"]}`)
		wantNames(t, "new state", got.Get("state"), "bob leave")
	})
	t.Run("events have their client form", func(t *testing.T) {
		ev := get("dir", "b", "limit", "3").Get("chunk.2")
		if ev.Get("room_id").Str != room.room || ev.Get("event_id").Str != url || ev.Get("unsigned.membership").Str != "join" ||
			ev.Get("unsigned.m\\.relations.m\\.thread.count").Int() != 1 {
			t.Error(ev.Raw)
		}
	})
	t.Run("bad requests", func(t *testing.T) {
		for _, test := range []struct {
			who           *user
			query         string
			code          int
			errcode       string
			room, comment string
		}{
			{alice, "", 400, "M_MISSING_PARAM", room.room, "no dir"},
			{alice, "?dir=x", 400, "M_INVALID_PARAM", room.room, "wrong dir"},
			{alice, "?dir=b&from=x", 400, "M_INVALID_PARAM", room.room, "wrong token"},
			{alice, "?dir=b&to=s1", 400, "M_INVALID_PARAM", room.room, "wrong token"},
			{alice, "?dir=b&limit=-1", 400, "M_INVALID_PARAM", room.room, "wrong limit"},
			{alice, "?dir=b&filter=x", 400, "M_BAD_JSON", room.room, "wrong filter"},
			{alice, "?dir=b", 403, "M_FORBIDDEN", "!no:hs", "no such room"},
			{alice, "?dir=b", 400, "M_INVALID_PARAM", "room", "no room id"},
			{r.register("carol"), "?dir=b", 403, "M_FORBIDDEN", room.room, "not a member of a public room"},
			{r.nobody(), "?dir=b", 401, "M_MISSING_TOKEN", room.room, "nobody"},
		} {
			test.who.refused("GET", clientV3+"rooms/"+test.room+"/messages"+test.query, "", test.code, test.errcode)
		}
	})
}

// What former members, peekers and members of rooms with restricted history can read.
func TestWhoReadsWhat(t *testing.T) {
	r := newRoomRig(t)
	alice, bob, carol := r.register("alice"), r.register("bob"), r.register("carol")
	chunk := func(m *member) []string {
		got := m.must("GET", m.path("/messages?dir=b&limit=4"), "")
		return names(got.Get("chunk"))
	}
	want := func(what string, m *member, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, chunk(m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	room := alice.create(public)
	room.say("before")
	bobs := room.joined(bob)
	room.say("during")
	bob.must("POST", room.path("/leave"), "")
	after := room.say("after")
	room.joined(carol)
	want("a former member reads up to the leave", bobs, "bob leave", "during", "bob join", "before")
	bob.refused("GET", room.path("/event/"+after), "", 404, "M_NOT_FOUND")
	bob.refused("GET", room.path("/context/"+after), "", 404, "M_NOT_FOUND")
	got := bob.must("GET", room.path("/messages?dir=b&limit=1"), "")
	forwards := bob.must("GET", room.path("/messages?dir=f&limit=10&from="+got.Get("start").Str), "")
	wantNames(t, "forwards from the leave", forwards.Get("chunk"))
	if forwards.Get("end").Exists() {
		t.Error("there is more after the leave")
	}
	bob.must("POST", room.path("/forget"), "{}")
	bob.refused("GET", room.path("/messages?dir=b"), "", 403, "M_FORBIDDEN")

	closed := alice.create(public)
	closed.history("joined")
	hidden := closed.say("hidden")
	carols := closed.joined(carol)
	closed.say("open")
	got = carol.must("GET", carols.path("/messages?dir=b&limit=4"), "")
	wantNames(t, "what is hidden is passed over", got.Get("chunk"), "open", "carol join", "history_visibility", "history_visibility")
	carol.refused("GET", closed.path("/event/"+hidden), "", 404, "M_NOT_FOUND")

	glass := alice.create(public)
	glass.say("private")
	glass.history("world_readable")
	open := glass.say("public")
	want("everybody reads world-readable history", glass.by(bob), "public", "history_visibility")
	bob.must("GET", glass.path("/event/"+open), "")
	bob.must("GET", glass.path("/state"), "")
	bob.refused("GET", glass.path("/joined_members"), "", 403, "M_FORBIDDEN")
	if got := bob.must("GET", glass.path("/event/"+open), ""); got.Get("unsigned.membership").Str != "leave" {
		t.Error(got.Raw)
	}

	bob.must("PUT", clientV3+"user/@bob:hs/account_data/m.ignored_user_list", `{"ignored_users":{"@alice:hs":{}}}`)
	want("ignored users are not heard, but their state is seen", glass.by(bob), "history_visibility")
}

func TestEventContext(t *testing.T) {
	r := newRoomRig(t)
	alice := r.register("alice")
	bob := r.register("bob")
	room := alice.create(public)
	bobs := room.joined(bob)
	var ids []string
	for i := range 7 {
		ids = append(ids, room.say(fmt.Sprint(i)))
	}
	bobs.say("7")
	got := alice.must("GET", room.path("/context/"+ids[3]+"?limit=5"), "")
	wantNames(t, "before", got.Get("events_before"), "2", "1", "0")
	wantNames(t, "after", got.Get("events_after"), "4", "5")
	if name(got.Get("event")) != "3" {
		t.Error(got.Get("event").Raw)
	}
	back := alice.must("GET", room.path("/messages?dir=b&limit=1&from="+got.Get("start").Str), "")
	wantNames(t, "further back", back.Get("chunk"), "bob join")
	on := alice.must("GET", room.path("/messages?dir=f&limit=1&from="+got.Get("end").Str), "")
	wantNames(t, "further on", on.Get("chunk"), "6")
	if states := got.Get("state").Array(); len(states) < 6 {
		t.Errorf("%d state events", len(states))
	}

	got = alice.must("GET", room.path("/context/"+ids[3])+query("limit", "0", "filter", `{"lazy_load_members":true,"types":["m.room.member"]}`), "")
	wantNames(t, "before", got.Get("events_before"))
	wantNames(t, "after", got.Get("events_after"))
	wantNames(t, "state", got.Get("state"), "alice join")
	back = alice.must("GET", room.path("/messages?dir=b&limit=1&from="+got.Get("start").Str), "")
	wantNames(t, "start is before the event", back.Get("chunk"), "2")
	back = alice.must("GET", room.path("/messages?dir=b&limit=1&from="+got.Get("end").Str), "")
	wantNames(t, "end is behind the event", back.Get("chunk"), "3")

	alice.refused("GET", room.path("/context/$no"), "", 404, "M_NOT_FOUND")
	alice.refused("GET", alice.create(public).path("/context/"+ids[3]), "", 404, "M_NOT_FOUND")
	r.register("carol").refused("GET", room.path("/context/"+ids[3]), "", 403, "M_FORBIDDEN")
}

func TestTimestampToEvent(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(public)
	room.history("joined")
	start := r.clock.Now().UnixMilli()
	tick := func() { r.clock.Advance(time.Second) }
	tick()
	first := room.say("first")
	tick()
	bobs := room.joined(bob)
	join := room.must("GET", room.path("/state/m.room.member/@bob:hs?format=event"), "").Get("event_id").Str
	tick()
	second := room.say("second")
	third := room.say("third")
	for _, test := range []struct {
		name  string
		who   *member
		after int64
		dir   string
		want  string
	}{
		{"the first one after", room, 1, "f", first},
		{"at the very time", room, 1000, "f", first},
		{"the last one before", room, 1999, "b", first},
		{"the first of the same time forwards", room, 3000, "f", second},
		{"the last of the same time backwards", room, 3000, "b", third},
		{"what is hidden is passed over", bobs, 1, "f", join},
		{"nothing after the latest", room, 3001, "f", ""},
		{"nothing before the earliest", room, -1, "b", ""},
	} {
		path := test.who.v1(fmt.Sprintf("/timestamp_to_event?ts=%d&dir=%s", start+test.after, test.dir))
		if test.want == "" {
			test.who.refused("GET", path, "", 404, "M_NOT_FOUND")
		} else if got := test.who.must("GET", path, ""); got.Get("event_id").Str != test.want || !got.Get("origin_server_ts").Exists() {
			t.Errorf("%s: got %s, want %s", test.name, got.Raw, test.want)
		}
	}
	alice.refused("GET", room.v1("/timestamp_to_event?dir=f"), "", 400, "M_MISSING_PARAM")
	alice.refused("GET", room.v1("/timestamp_to_event?ts=1"), "", 400, "M_MISSING_PARAM")
	alice.refused("GET", room.v1("/timestamp_to_event?dir=f&ts=x"), "", 400, "M_INVALID_PARAM")
	r.register("carol").refused("GET", room.v1("/timestamp_to_event?dir=f&ts=1"), "", 403, "M_FORBIDDEN")
}
