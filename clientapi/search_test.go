package clientapi

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

func TestSearch(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"name":"Wombles of Wimbledon"}`)
	for i := range 7 {
		room.say(fmt.Sprintf("Message number %d", i))
	}
	room.set("m.room.topic", "", `{"topic":"message exchange"}`)
	search := func(who *user, criteria, next string) gjson.Result {
		t.Helper()
		path := clientV3 + "search"
		if next != "" {
			path += query("next_batch", next)
		}
		return who.must("POST", path, `{"search_categories":{"room_events":`+criteria+`}}`).Get("search_categories.room_events")
	}
	texts := func(got gjson.Result) []string {
		out := []string{}
		for _, res := range got.Get("results").Array() {
			out = append(out, name(res.Get("result")))
		}
		return out
	}
	want := func(what string, got gjson.Result, want ...string) {
		t.Helper()
		if want == nil {
			want = []string{}
		}
		if diff := cmp.Diff(want, texts(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	t.Run("by words", func(t *testing.T) {
		want("newest first", search(alice, `{"search_term":"MESSAGE","order_by":"recent","keys":["content.body"],"filter":{"limit":2}}`, ""),
			"Message number 6", "Message number 5")
		want("all words", search(alice, `{"search_term":"number 4"}`, ""), "Message number 4")
		want("names", search(alice, `{"search_term":"wombles","keys":["content.name"]}`, ""), "name")
		want("topics", search(alice, `{"search_term":"message","keys":["content.topic"]}`, ""), "topic")
		want("not in this key", search(alice, `{"search_term":"wombles","keys":["content.body"]}`, ""))
		want("no words", search(alice, `{"search_term":"!?"}`, ""))
		want("filtered by sender", search(alice, `{"search_term":"message","filter":{"senders":["@bob:hs"]}}`, ""))
		want("filtered by room", search(alice, `{"search_term":"message","filter":{"not_rooms":["`+room.room+`"]}}`, ""))
		got := search(alice, `{"search_term":"number 4"}`, "")
		if got.Get("count").Int() != 1 || !got.Get("results.0.rank").Exists() || got.Get("highlights").Raw != `["number","4"]` ||
			got.Get("results.0.result.room_id").Str != room.room || got.Get("state").Exists() || got.Get("results.0.context").Exists() {
			t.Error(got.Raw)
		}
	})
	t.Run("only in rooms of the user", func(t *testing.T) {
		want("bob", search(bob, `{"search_term":"message"}`, ""))
	})
	t.Run("with context", func(t *testing.T) {
		got := search(alice, `{"search_term":"number 3","event_context":{"before_limit":2,"after_limit":1,"include_profile":true}}`, "")
		c := got.Get("results.0.context")
		wantNames(t, "before", c.Get("events_before"), "Message number 2", "Message number 1")
		wantNames(t, "after", c.Get("events_after"), "Message number 4")
		if c.Get("profile_info").Raw != `{"@alice:hs":{"displayname":"alice"}}` {
			t.Error(c.Get("profile_info").Raw)
		}
		back := alice.must("GET", room.path("/messages?dir=b&limit=1&from="+c.Get("start").Str), "")
		wantNames(t, "further back", back.Get("chunk"), "Message number 0")
	})
	t.Run("with state and groups", func(t *testing.T) {
		got := search(alice, `{"search_term":"number","include_state":true,"filter":{"limit":2},"order_by":"recent",
			"groupings":{"group_by":[{"key":"room_id"},{"key":"sender"}]}}`, "")
		if n := len(got.Get("state").Map()[room.room].Array()); n < 7 {
			t.Errorf("%d state events", n)
		}
		for key, value := range map[string]string{"room_id": room.room, "sender": "@alice:hs"} {
			group := got.Get("groups").Map()[key].Map()[value]
			if len(group.Get("results").Array()) != 2 || group.Get("order").Int() != 1 {
				t.Errorf("group %s: %s", key, got.Get("groups").Raw)
			}
			next := search(alice, `{"search_term":"number","filter":{"limit":2},"order_by":"recent"}`, group.Get("next_batch").Str)
			want("next in group", next, "Message number 4", "Message number 3")
		}
	})
	for _, order := range []string{"rank", "recent"} {
		t.Run("by pages, by "+order, func(t *testing.T) {
			criteria := `{"search_term":"number","filter":{"limit":3},"order_by":"` + order + `"}`
			seen := map[string]bool{}
			next := ""
			for page := range 3 {
				got := search(alice, criteria, next)
				for _, text := range texts(got) {
					seen[text] = true
				}
				if got.Get("count").Int() != 7 {
					t.Errorf("count %s", got.Get("count").Raw)
				}
				next = got.Get("next_batch").Str
				if (next == "") != (page == 2) {
					t.Errorf("page %d has the next batch %q", page, next)
				}
			}
			if len(seen) != 7 {
				t.Errorf("%d found", len(seen))
			}
		})
		t.Run("redacted events are not found, by "+order, func(t *testing.T) {
			other := alice.create(`{}`)
			event := other.say("secret redacted")
			other.say("not redacted")
			other.must("PUT", other.path("/redact/"+event+"/1"), `{}`)
			got := search(alice, `{"search_term":"redacted","filter":{"rooms":["`+other.room+`"]},"order_by":"`+order+`"}`, "")
			want("redacted", got, "not redacted")
			if got.Get("count").Int() != 1 {
				t.Error(got.Raw)
			}
		})
	}
	t.Run("what a former member could not see is not found", func(t *testing.T) {
		other := alice.create(public)
		other.joined(bob)
		other.say("tuesday one")
		bob.must("POST", other.path("/leave"), "")
		other.say("tuesday two")
		want("bob", search(bob, `{"search_term":"tuesday"}`, ""), "tuesday one")
		bob.must("POST", other.path("/forget"), "")
		want("bob, forgotten", search(bob, `{"search_term":"tuesday"}`, ""))
	})
	t.Run("bad requests", func(t *testing.T) {
		for _, test := range []struct{ name, path, body, errcode string }{
			{"no categories", "", `{}`, "M_MISSING_PARAM"},
			{"no term", "", `{"search_categories":{"room_events":{}}}`, "M_MISSING_PARAM"},
			{"wrong order", "", `{"search_categories":{"room_events":{"search_term":"a","order_by":"x"}}}`, "M_INVALID_PARAM"},
			{"wrong key", "", `{"search_categories":{"room_events":{"search_term":"a","keys":["x"]}}}`, "M_INVALID_PARAM"},
			{"wrong group", "", `{"search_categories":{"room_events":{"search_term":"a","groupings":{"group_by":[{"key":"x"}]}}}}`, "M_INVALID_PARAM"},
			{"wrong token", "?next_batch=x", `{"search_categories":{"room_events":{"search_term":"a"}}}`, "M_INVALID_PARAM"},
			{"token of the other order", "?next_batch=n1", `{"search_categories":{"room_events":{"search_term":"a"}}}`, "M_INVALID_PARAM"},
		} {
			alice.refused("POST", clientV3+"search"+test.path, test.body, 400, test.errcode)
		}
		if got := alice.must("POST", clientV3+"search", `{"search_categories":{}}`); got.Raw != `{"search_categories":{}}` {
			t.Error(got.Raw)
		}
	})
}
