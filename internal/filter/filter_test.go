package filter_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/merr"
)

// The first ones are those of sytest and Complement.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		code         merr.Code
		says         string
	}{
		{"a presence that is no object", `{"presence":"not_an_object"}`, merr.BadJSON, `"presence"`},
		{"a timeline that is no object", `{"room":{"timeline":"not_an_object"}}`, merr.BadJSON, `"room.timeline"`},
		{"a state that is no object", `{"room":{"state":"not_an_object"}}`, merr.BadJSON, `"room.state"`},
		{"ephemeral that is no object", `{"room":{"ephemeral":"not_an_object"}}`, merr.BadJSON, `"room.ephemeral"`},
		{"account data that is no object", `{"room":{"account_data":"not_an_object"}}`, merr.BadJSON, `"room.account_data"`},
		{"rooms that are no list", `{"room":{"timeline":{"rooms":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.rooms"`},
		{"not_rooms that are no list", `{"room":{"timeline":{"not_rooms":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.not_rooms"`},
		{"senders that are no list", `{"room":{"timeline":{"senders":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.senders"`},
		{"not_senders that are no list", `{"room":{"timeline":{"not_senders":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.not_senders"`},
		{"types that are no list", `{"room":{"timeline":{"types":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.types"`},
		{"not_types that are no list", `{"room":{"timeline":{"not_types":"not_a_list"}}}`, merr.BadJSON, `"room.timeline.not_types"`},
		{"a type that is no string", `{"room":{"timeline":{"types":[1]}}}`, merr.BadJSON, `"room.timeline.types"`},
		{"a type that is null", `{"room":{"timeline":{"types":[null]}}}`, merr.BadJSON, `"room.timeline.types"`},
		{"a room that is no room id", `{"room":{"timeline":{"rooms":["not_a_room_id"]}}}`, merr.BadJSON, `"room.timeline.rooms"`},
		{"a sender that is no user id", `{"room":{"timeline":{"senders":["not_a_sender_id"]}}}`, merr.BadJSON, `"room.timeline.senders"`},

		{"no JSON", `{`, merr.BadJSON, "object"},
		{"nothing", ``, merr.BadJSON, "object"},
		{"null", `null`, merr.BadJSON, "object"},
		{"a list", `[]`, merr.BadJSON, "object"},
		{"what is not UTF-8", "{\"a\":\"\xff\"}", merr.BadJSON, "UTF-8"},
		{"a room that is no object", `{"room":[]}`, merr.BadJSON, `"room"`},
		{"a room filter's room that is no room id", `{"room":{"rooms":["@a:b"]}}`, merr.BadJSON, `"room.rooms"`},
		{"an unwanted sender that is no user id", `{"account_data":{"not_senders":["a"]}}`, merr.BadJSON, `"account_data.not_senders"`},
		{"a negative limit", `{"presence":{"limit":-1}}`, merr.BadJSON, `"presence.limit"`},
		{"a limit that is no integer", `{"presence":{"limit":1.5}}`, merr.BadJSON, `"presence.limit"`},
		{"a limit that is a string", `{"presence":{"limit":"10"}}`, merr.BadJSON, `"presence.limit"`},
		{"contains_url that is no boolean", `{"room":{"state":{"contains_url":"yes"}}}`, merr.BadJSON, `"room.state.contains_url"`},
		{"lazy_load_members that is no boolean", `{"room":{"state":{"lazy_load_members":1}}}`, merr.BadJSON, `"room.state.lazy_load_members"`},
		{"an unknown format", `{"event_format":"xml"}`, merr.BadJSON, `"event_format"`},
		{"event fields that are no list", `{"event_fields":"type"}`, merr.BadJSON, `"event_fields"`},
		{"a deep event field", `{"event_fields":["` + strings.Repeat("a.", 40) + `"]}`, merr.BadJSON, `"event_fields"`},
		{"many event fields", `{"event_fields":["a"` + strings.Repeat(`,"a"`, 200) + `]}`, merr.TooLarge, `"event_fields"`},
		{"many types", `{"presence":{"types":["a"` + strings.Repeat(`,"a"`, 2000) + `]}}`, merr.TooLarge, `"presence.types"`},
		{"a long type", `{"presence":{"types":["` + strings.Repeat("a", 513) + `"]}}`, merr.BadJSON, `"presence.types"`},
		{"a large filter", `{"x":"` + strings.Repeat("a", 128<<10) + `"}`, merr.TooLarge, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := filter.Parse(json.RawMessage(c.filter))
			if !merr.HasCode(err, c.code) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParseRoomEventsRefuses(t *testing.T) {
	for _, bad := range []string{`[]`, `{"rooms":["a"]}`, `{"types":{}}`, `{"related_by_senders":["a"]}`, `{"limit":true}`} {
		if _, err := filter.ParseRoomEvents(json.RawMessage(bad)); !merr.HasCode(err, merr.BadJSON) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		want         string // of the events below, by their letters
	}{
		{"an empty filter lets everything through", `{}`, "abcde"},
		{"unknown members are ignored", `{"org.example":1,"Types":[]}`, "abcde"},
		{"null is not given", `{"types":null,"contains_url":null,"limit":null}`, "abcde"},
		{"types", `{"types":["m.room.message"]}`, "ab"},
		{"no types at all", `{"types":[]}`, ""},
		{"a wildcard at the end", `{"types":["m.room.*"]}`, "abc"},
		{"a wildcard in the middle", `{"types":["m.*.m*e"]}`, "ab"},
		{"a wildcard alone", `{"types":["*"]}`, "abcde"},
		{"a wildcard at the start", `{"types":["*ing"]}`, "de"},
		{"the ends of a wildcard do not overlap", `{"types":["m.typing*typing","m.room.messa*essage"]}`, ""},
		{"not_types", `{"not_types":["m.room.message"]}`, "cde"},
		{"not_types is stronger than types", `{"types":["m.room.*"],"not_types":["*.message"]}`, "c"},
		{"an empty not_types excludes nothing", `{"not_types":[]}`, "abcde"},
		{"other wildcards have no meaning", `{"types":["m.room.messag?"]}`, ""},
		{"senders", `{"senders":["@alice:h"]}`, "ac"},
		{"no senders at all", `{"senders":[]}`, ""},
		{"not_senders", `{"not_senders":["@alice:h"]}`, "bde"},
		{"not_senders is stronger than senders", `{"senders":["@alice:h","@bob:h"],"not_senders":["@bob:h"]}`, "ac"},
		{"senders have no wildcards", `{"senders":["@*:h"]}`, "d"},
		{"rooms", `{"rooms":["!one:h"]}`, "abe"},
		{"not_rooms", `{"not_rooms":["!one:h"]}`, "cd"},
		{"not_rooms is stronger than rooms", `{"rooms":["!one:h","!two:h"],"not_rooms":["!two:h"]}`, "abe"},
		{"with a URL", `{"contains_url":true}`, "b"},
		{"without a URL", `{"contains_url":false}`, "acde"},
		{"everything must match", `{"types":["m.room.message"],"senders":["@bob:h"],"rooms":["!one:h"],"contains_url":true}`, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := filter.ParseRoomEvents(json.RawMessage(c.filter))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, e := range []struct {
				letter, sender, eventType, room string
				url                             bool
			}{
				{"a", "@alice:h", "m.room.message", "!one:h", false},
				{"b", "@bob:h", "m.room.message", "!one:h", true},
				{"c", "@alice:h", "m.room.member", "!two:h", false},
				{"d", "@*:h", "org.example.thing", "!two:h", false},
				{"e", "", "m.typing", "!one:h", false},
			} {
				if f.Match(e.sender, e.eventType, e.room, e.url) {
					got += e.letter
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRelations(t *testing.T) {
	f, err := filter.ParseRoomEvents(json.RawMessage(`{"org.matrix.msc3874.rel_types":["m.thread","m.reference"],` +
		`"org.matrix.msc3874.not_rel_types":["m.reference"],"related_by_rel_types":["m.thread"],"related_by_senders":["@alice:h"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for relType, want := range map[string]bool{"m.thread": true, "m.reference": false, "m.annotation": false, "": false} {
		if got := f.MatchRelType(relType); got != want {
			t.Errorf("%q: got %t", relType, got)
		}
	}
	if d := cmp.Diff([][]string{{"m.thread"}, {"@alice:h"}}, [][]string{f.RelatedByRelTypes, f.RelatedBySenders}); d != "" {
		t.Error(d)
	}
	not, err := filter.ParseRoomEvents(json.RawMessage(`{"org.matrix.msc3874.not_rel_types":["m.thread"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if not.MatchRelType("m.thread") || !not.MatchRelType("") || !not.NeedsRelType() {
		t.Error("not_rel_types alone does not exclude what it names only")
	}
	if new(filter.RoomEventFilter).NeedsRelType() {
		t.Error("an empty filter needs the relation")
	}
}

func TestParse(t *testing.T) {
	f, err := filter.Parse(json.RawMessage(`{
		"event_format":"federation",
		"presence":{"types":["m.presence"],"not_senders":["@alice:h"],"limit":3},
		"account_data":{"not_types":["org.example.*"]},
		"room":{
			"rooms":["!a:h","!b:h"],"not_rooms":["!b:h"],"include_leave":true,
			"state":{"lazy_load_members":true,"include_redundant_members":true},
			"timeline":{"limit":0,"unread_thread_notifications":true,"include_redundant_members":true},
			"ephemeral":{"not_rooms":["!a:h"]},
			"account_data":{"types":["m.tag"]}
		}}`))
	if err != nil {
		t.Fatal(err)
	}
	type flags struct{ LazyLoad, Redundant, Threads bool }
	of := func(f filter.RoomEventFilter) flags {
		return flags{f.LazyLoadMembers, f.IncludeRedundantMembers, f.UnreadThreadNotifications}
	}
	if d := cmp.Diff([]flags{{true, true, false}, {false, false, true}}, []flags{of(f.Room.State), of(f.Room.Timeline)}); d != "" {
		t.Error(d)
	}
	limits := []int{f.Presence.Limit(10, 100), f.Presence.Limit(10, 2), f.Room.Timeline.Limit(10, 100), f.Room.State.Limit(10, 100)}
	if d := cmp.Diff([]int{3, 2, 0, 10}, limits); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		name      string
		got, want bool
	}{
		{"the format is the federation's", f.Federation, true},
		{"rooms left are wanted", f.Room.IncludeLeave, true},
		{"a wanted room", f.Room.MatchRoom("!a:h"), true},
		{"a room both wanted and not", f.Room.MatchRoom("!b:h"), false},
		{"a room that is not named", f.Room.MatchRoom("!c:h"), false},
		{"a wanted presence", f.Presence.Match("@bob:h", "m.presence"), true},
		{"an unwanted presence", f.Presence.Match("@alice:h", "m.presence"), false},
		{"wanted account data", f.AccountData.MatchType("m.direct"), true},
		{"unwanted account data", f.AccountData.MatchType("org.example.x"), false},
		{"ephemeral events of an unwanted room", f.Room.Ephemeral.MatchRoom("!a:h"), false},
		{"account data of a room", f.Room.AccountData.MatchType("m.fully_read"), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %t", c.name, c.got)
		}
	}
}

func TestEventFields(t *testing.T) {
	const event = `{"type":"m.room.message","sender":"@a:h","content":{"body":"<hi>","m.relates_to":{"rel_type":"m.thread","event_id":"$1"},` +
		`"a\\b":{"c":1}},"unsigned":{"age":3},"content.body":"dotted"}`
	for _, c := range []struct{ name, fields, want string }{
		{"no fields are all fields", `null`, event},
		{"an empty list is all fields", `[]`, event},
		{"a top-level field", `["type"]`, `{"type":"m.room.message"}`},
		{"a whole object", `["unsigned"]`, `{"unsigned":{"age":3}}`},
		{"fields of objects", `["content.body","type"]`, `{"content":{"body":"<hi>"},"type":"m.room.message"}`},
		{"an escaped dot", `["content.m\\.relates_to.rel_type"]`, `{"content":{"m.relates_to":{"rel_type":"m.thread"}}}`},
		{"an escaped dot at the top", `["content\\.body"]`, `{"content.body":"dotted"}`},
		{"an escaped backslash", `["content.a\\\\b.c"]`, `{"content":{"a\\b":{"c":1}}}`},
		{"a field and what it is in", `["content.m\\.relates_to.rel_type","content.m\\.relates_to"]`,
			`{"content":{"m.relates_to":{"rel_type":"m.thread","event_id":"$1"}}}`},
		{"an object and what is in it", `["unsigned","unsigned.nothing"]`, `{"unsigned":{"age":3}}`},
		{"a field that is not there", `["content.nothing","type"]`, `{"type":"m.room.message"}`},
		{"a field of a string", `["sender","type.x"]`, `{"sender":"@a:h"}`},
		{"nothing that is there", `["x","y.z"]`, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := filter.Parse(json.RawMessage(`{"event_fields":` + c.fields + `}`))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.EventFields.Apply(json.RawMessage(event))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEventFieldsOfWhatIsNoEvent(t *testing.T) {
	f, err := filter.Parse(json.RawMessage(`{"event_fields":["type"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.EventFields.Apply(json.RawMessage(`[1]`)); err == nil {
		t.Errorf("got %s", got)
	}
}

// FuzzParse reads anything as a filter and applies it: it must not break, and what comes out of event_fields must be JSON.
func FuzzParse(f *testing.F) {
	const event = `{"type":"m.room.message","content":{"body":"hi","m.relates_to":{"rel_type":"m.thread"}}}`
	f.Add(`{"room":{"timeline":{"limit":10,"types":["m.room.*"],"not_senders":["@a:h"],"contains_url":true}}}`, event)
	f.Add(`{"event_fields":["content.m\\.relates_to","type"],"event_format":"client"}`, event)
	f.Add(`{"types":["*a*b*"],"org.matrix.msc3874.rel_types":["m.thread"]}`, `{"a":[{}]}`)
	f.Fuzz(func(t *testing.T, raw, event string) {
		if r, err := filter.ParseRoomEvents(json.RawMessage(raw)); err == nil {
			r.Match("@a:h", event, "!r:h", true)
			if n := r.Limit(10, 100); n < 0 || n > 100 {
				t.Errorf("the limit is %d", n)
			}
		}
		parsed, err := filter.Parse(json.RawMessage(raw))
		if err != nil {
			return
		}
		parsed.Room.Timeline.Match("@a:h", event, "!r:h", false)
		if got, err := parsed.EventFields.Apply(json.RawMessage(event)); err == nil && parsed.EventFields != nil && !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var senders []string
	for i := range 100 {
		senders = append(senders, fmt.Sprintf(`"@user%d:h"`, i))
	}
	f, err := filter.ParseRoomEvents(json.RawMessage(`{"types":["m.room.message","m.room.*","org.*.x"],"not_senders":[` + strings.Join(senders, ",") + `]}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Match("@someone:h", "m.room.member", "!room:h", false)
	}
}
