package push_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
)

func TestConditions(t *testing.T) {
	const topic = `{"type":"m.room.topic","state_key":"","content":{"topic":"Lunch plans","body":"An example event.","n":7,"f":7.0,` +
		`"null":null,"m.federate":true,"m\\foo":"x","list":["#a:b",1,true,null,{"a":1},2.5],"deep":{"er":{"x":"y"}}}}`
	match := func(key, pattern string) string {
		return fmt.Sprintf(`{"kind":"event_match","key":%q,"pattern":%q}`, key, pattern)
	}
	is := func(key, value string) string {
		return fmt.Sprintf(`{"kind":"event_property_is","key":%q,"value":%s}`, key, value)
	}
	contains := func(key, value string) string {
		return fmt.Sprintf(`{"kind":"event_property_contains","key":%q,"value":%s}`, key, value)
	}
	count := func(is string) string { return fmt.Sprintf(`{"kind":"room_member_count","is":%q}`, is) }

	for _, c := range []struct {
		name      string
		condition string
		want      bool
	}{
		{"event_match compares without case", match("content.topic", "lunc?*"), true},
		{"event_match compares the whole value", match("content.topic", "lunch"), false},
		{"event_match with * needs a value", match("content.nothing", "*"), false},
		{"event_match with * needs a string", match("content.n", "*"), false},
		{"event_match finds deep properties", match("content.deep.er.x", "Y"), true},
		{"event_match does not find objects", match("content.deep", "*"), false},
		{"event_match sees the room", match("room_id", "!room:hearth.test"), true},
		{"event_match sees the event id", match("event_id", "$event"), true},
		{"event_match sees the sender", match("sender", "@*:hearth.test"), true},
		{"event_match in the body looks for words", match("content.body", "ex*ple"), true},
		{"event_match in the body looks for whole words", match("content.body", "xampl"), false},
		{"event_match in the body matches it all", match("content.body", "an example event."), true},

		{"event_property_is compares booleans", is(`content.m\.federate`, "true"), true},
		{"event_property_is does not unescape what is not escaped", is(`content.m.federate`, "true"), false},
		{"event_property_is finds backslashes", is(`content.m\\foo`, `"x"`), true},
		{"event_property_is does not cast to strings", is(`content.m\.federate`, `"true"`), false},
		{"event_property_is does not cast to numbers", is(`content.m\.federate`, `1`), false},
		{"event_property_is compares exactly", is("content.topic", `"lunch plans"`), false},
		{"event_property_is compares strings", is("content.topic", `"Lunch plans"`), true},
		{"event_property_is compares escaped strings", is("content.topic", `"\u004cunch plans"`), true},
		{"event_property_is compares integers", is("content.n", "7"), true},
		{"event_property_is does not know floats", is("content.f", "7"), false},
		{"event_property_is compares null", is("content.null", "null"), true},
		{"event_property_is needs the property", is("content.nothing", "null"), false},
		{"event_property_is does not look into lists", is("content.list", `"#a:b"`), false},

		{"event_property_contains finds strings", contains("content.list", `"#a:b"`), true},
		{"event_property_contains finds integers", contains("content.list", "1"), true},
		{"event_property_contains finds booleans", contains("content.list", "true"), true},
		{"event_property_contains finds null", contains("content.list", "null"), true},
		{"event_property_contains does not find parts", contains("content.list", `":b"`), false},
		{"event_property_contains tells 1 from true", contains("content.list", "false"), false},
		{"event_property_contains needs a list", contains("content.topic", `"Lunch plans"`), false},

		{"room_member_count without prefix is equality", count("3"), true},
		{"room_member_count ==", count("==4"), false},
		{"room_member_count < is strict", count("<3"), false},
		{"room_member_count <=", count("<=3"), true},
		{"room_member_count > is strict", count(">3"), false},
		{"room_member_count >=", count(">=3"), true},
		{"room_member_count knows large numbers", count("<99999999999999999999999"), true},

		{"sender_notification_permission of a kind with a level", `{"kind":"sender_notification_permission","key":"low"}`, true},
		{"sender_notification_permission of a kind with a higher level", `{"kind":"sender_notification_permission","key":"high"}`, false},
		{"sender_notification_permission of an unknown kind needs 50", `{"kind":"sender_notification_permission","key":"other"}`, true},

		{"contains_display_name", `{"kind":"contains_display_name"}`, true},
		{"an unknown condition does not match", `{"kind":"org.example.always"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			book := push.NewBook(push.Options{})
			body := fmt.Sprintf(`{"conditions":[%s],"actions":["notify"]}`, c.condition)
			room := push.RoomContext{MemberCount: 3, Power: func() push.Power {
				return push.Power{Sender: 50, Levels: map[string]int64{"low": 50, "high": 51}}
			}}
			to := push.Recipient{ID: "@bob:hearth.test", DisplayName: "Example Event"}
			for _, kind := range []push.Kind{push.Override, push.Underride} {
				stored := must(t)(book.Put(push.Stored{}, kind, "mine", "", "", []byte(body)))
				if got := push.NewPass(event(t, topic), room).Evaluate(book.Compile(stored), to); got.Notify != c.want {
					t.Errorf("%s rule: got %+v", kind, got)
				}
			}
		})
	}
}

func TestAllConditionsOfARuleMustHold(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.Put(push.Stored{}, push.Override, "mine", "", "", []byte(`{"actions":["notify"],"conditions":[
		{"kind":"event_match","key":"type","pattern":"org.example.*"},
		{"kind":"contains_display_name"},
		{"kind":"event_match","key":"content.body","pattern":"lunch"}]}`)))
	for body, want := range map[string]bool{"lunch, Bobby Tables?": true, "lunch?": false, "Bobby Tables?": false} {
		if got := evaluate(t, book, stored, fmt.Sprintf(`{"type":"org.example.x","content":{"body":%q}}`, body)); got.Notify != want {
			t.Errorf("%q: got %+v", body, got)
		}
	}
}

func TestTheSenderIsNotNotified(t *testing.T) {
	pass := push.NewPass(event(t, `{"type":"m.room.message","content":{}}`), push.RoomContext{MemberCount: 3})
	if got := pass.Evaluate(push.NewBook(push.Options{}).Compile(push.Stored{}), push.Recipient{ID: "@alice:hearth.test"}); got.Notify {
		t.Error("the sender is notified of the own event")
	}
}

func TestPermissionNeedsPowerLevels(t *testing.T) {
	mention := `{"type":"m.room.message","content":{"m.mentions":{"room":true}}}`
	for _, c := range []struct {
		name  string
		power func() push.Power
		want  bool
	}{
		{"unknown power is none", nil, false},
		{"a creator may always", func() push.Power { return push.Power{Sender: math.MaxInt64, Levels: map[string]int64{"room": 1 << 53}} }, true},
		{"a level of the room counts", func() push.Power { return push.Power{Sender: 10, Levels: map[string]int64{"room": 10}} }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			pass := push.NewPass(event(t, mention), push.RoomContext{MemberCount: 3, Power: c.power})
			if got := pass.Evaluate(push.NewBook(push.Options{}).Compile(push.Stored{}), bob()); got.Highlight != c.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// Rules of all kinds that all match, each told by its sound: the more important kind decides, and within it the earlier rule.
func TestKindsAreCheckedInOrder(t *testing.T) {
	book := push.NewBook(push.Options{LegacyMentions: true})
	var stored push.Stored
	put := func(k push.Kind, ruleID, fields string) {
		body := fmt.Sprintf(`{%s"actions":["notify",{"set_tweak":"sound","value":%q}]}`, fields, ruleID)
		stored = must(t)(book.Put(stored, k, ruleID, "", "", []byte(body)))
	}
	check := func(want string) {
		t.Helper()
		got := evaluate(t, book, stored, `{"type":"m.room.message","content":{"body":"lunch"}}`)
		if d := cmp.Diff(want, got.Sound); d != "" {
			t.Error(d)
		}
	}
	check("")
	put(push.Underride, "under", `"conditions":[],`)
	check("under")
	put(push.Sender, "@alice:hearth.test", "")
	check("@alice:hearth.test")
	put(push.Sender, "@carol:hearth.test", "")
	check("@alice:hearth.test")
	put(push.Room, "!room:hearth.test", "")
	check("!room:hearth.test")
	put(push.Room, "!other:hearth.test", "")
	check("!room:hearth.test")
	put(push.Content, "first", `"pattern":"lunch",`)
	check("first")
	put(push.Content, "second", `"pattern":"l*",`)
	check("second")
	put(push.Override, "over", `"conditions":[],`)
	check("over")
	stored = must(t)(book.SetEnabled(stored, push.Override, "over", []byte(`{"enabled":false}`)))
	check("second")
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		name    string
		actions string
		want    push.Outcome
	}{
		{"no actions do nothing", `[]`, push.Outcome{}},
		{"dont_notify does nothing", `["dont_notify"]`, push.Outcome{}},
		{"coalesce does nothing", `["coalesce"]`, push.Outcome{}},
		{"a tweak without notify does nothing", `[{"set_tweak":"highlight"}]`, push.Outcome{}},
		{"historical actions are not passed on", `["dont_notify","notify"]`, push.Outcome{Notify: true, Actions: json.RawMessage(`["notify"]`)}},
		{"highlight may be false", `["notify",{"set_tweak":"highlight","value":false}]`,
			push.Outcome{Notify: true, Actions: json.RawMessage(`["notify",{"set_tweak":"highlight","value":false}]`)}},
		{"a sound is a string", `["notify",{"set_tweak":"sound","value":3}]`,
			push.Outcome{Notify: true, Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":3}]`)}},
		{"unknown tweaks are passed on", `["notify",{"set_tweak":"org.example.light","value":"red"}]`,
			push.Outcome{Notify: true, Actions: json.RawMessage(`["notify",{"set_tweak":"org.example.light","value":"red"}]`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			book := push.NewBook(push.Options{})
			stored := must(t)(book.Put(push.Stored{}, push.Room, "!room:hearth.test", "", "", []byte(`{"actions":`+c.actions+`}`)))
			if d := cmp.Diff(c.want, evaluate(t, book, stored, `{"type":"m.room.message","content":{}}`)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAnEventMustBeAnObject(t *testing.T) {
	for _, raw := range []string{"", "[]", `"x"`, "{"} {
		if _, err := push.NewEvent("!r:h", "", json.RawMessage(raw)); err == nil {
			t.Errorf("%q is taken for an event", raw)
		}
	}
}

// The rules of one user must not hold up the others, whatever they are.
func TestHostileRulesAreBounded(t *testing.T) {
	var stored push.Stored
	for i := range 1000 {
		stored.Content = append(stored.Content, push.Rule{ID: fmt.Sprint(i), Enabled: true, Pattern: strings.Repeat("a?", 250) + "b"})
	}
	book := push.NewBook(push.Options{})
	e := event(t, fmt.Sprintf(`{"type":"m.room.message","content":{"body":%q}}`, strings.Repeat("a ", 30000)))
	pass := push.NewPass(e, push.RoomContext{MemberCount: 3})
	program := book.Compile(stored)
	start := time.Now()
	pass.Evaluate(program, bob())
	if took := time.Since(start); took > 20*time.Second { // it takes 20 ms, and more on a busy machine; without the bound, a minute
		t.Errorf("one user takes %s", took)
	}
}

func BenchmarkThousandDefaultUsers(b *testing.B) {
	for _, c := range []struct{ name, event string }{
		{"message", `{"type":"m.room.message","content":{"msgtype":"m.text","body":"Shall we have lunch together, all of us?"}}`},
		{"mention", `{"type":"m.room.message","content":{"msgtype":"m.text","body":"Lunch?","m.mentions":{"user_ids":["@user500:hearth.test"]}}}`},
		{"reaction", `{"type":"m.reaction","content":{"m.relates_to":{"rel_type":"m.annotation","key":"+1"}}}`},
	} {
		for _, legacy := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/legacy=%t", c.name, legacy), func(b *testing.B) {
				program := push.NewBook(push.Options{LegacyMentions: legacy}).Compile(push.Stored{})
				users := recipients()
				b.ReportAllocs()
				for b.Loop() {
					pass := push.NewPass(event(b, c.event), push.RoomContext{MemberCount: len(users)})
					for _, u := range users {
						pass.Evaluate(program, u)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(users)), "ns/user")
			})
		}
	}
}

func BenchmarkUserWithOwnRules(b *testing.B) {
	book := push.NewBook(push.Options{})
	var stored push.Stored
	for i := range 20 {
		stored = must(b)(book.Put(stored, push.Content, fmt.Sprintf("word%d", i), "", "", fmt.Appendf(nil, `{"pattern":"word%d","actions":["notify"]}`, i)))
		stored = must(b)(book.Put(stored, push.Room, fmt.Sprintf("!muted%d:hearth.test", i), "", "", []byte(`{"actions":[]}`)))
	}
	program := book.Compile(stored)
	pass := push.NewPass(event(b, `{"type":"m.room.message","content":{"body":"Shall we have lunch together, all of us?"}}`), push.RoomContext{MemberCount: 9})
	b.ReportAllocs()
	for b.Loop() {
		pass.Evaluate(program, bob())
	}
}

func recipients() []push.Recipient {
	users := make([]push.Recipient, 1000)
	for i := range users {
		users[i] = push.Recipient{ID: id.UserID(fmt.Sprintf("@user%d:hearth.test", i)), DisplayName: fmt.Sprintf("User %d", i)}
	}
	return users
}

func TestTweaks(t *testing.T) {
	for actions, want := range map[string]map[string]json.RawMessage{
		`["notify",{"set_tweak":"sound","value":"bing"},{"set_tweak":"highlight"},{"set_tweak":"light","value":{"a":1}}]`: {
			"sound": json.RawMessage(`"bing"`), "highlight": json.RawMessage("true"), "light": json.RawMessage(`{"a":1}`)},
		`["notify",{"value":1},{"set_tweak":2},7]`: nil,
		`[]`: nil, `{}`: nil, ``: nil,
	} {
		if d := cmp.Diff(want, push.Tweaks(json.RawMessage(actions))); d != "" {
			t.Errorf("%s: %s", actions, d)
		}
	}
}
