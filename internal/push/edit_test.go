package push_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
)

const alice = "@alice:hearth.test"

func TestPutRefuses(t *testing.T) {
	book := push.NewBook(push.Options{})
	there := must(t)(book.Put(push.Stored{}, push.Room, "there", "", "", []byte(`{"actions":[]}`)))
	for _, c := range []struct {
		name          string
		kind          push.Kind
		ruleID        string
		before, after string
		body          string
		code          merr.Code
		status        int
	}{
		{name: "an unknown kind", kind: "not_a_template", ruleID: "foo", body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "a kind that is the server's", kind: push.PostContent, ruleID: "foo", body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "a subscription that is neither", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"io.element.msc4306.thread_subscription"}]}`, code: merr.InvalidParam},
		{name: "an empty id", kind: push.Room, body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "an id with a backslash", kind: push.Room, ruleID: `#fo\o:example.com`, body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "an id with a slash", kind: push.Room, ruleID: `a/b`, body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "an id that starts with a dot", kind: push.Override, ruleID: ".m.rule.master", body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "a long id", kind: push.Room, ruleID: strings.Repeat("a", 256), body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "an id with NUL", kind: push.Room, ruleID: "a\x00", body: `{"actions":[]}`, code: merr.InvalidParam},
		{name: "a body that is no object", kind: push.Room, ruleID: "a", body: `[]`, code: merr.BadJSON},
		{name: "a null body", kind: push.Room, ruleID: "a", body: `null`, code: merr.BadJSON},
		{name: "a body that is not UTF-8", kind: push.Room, ruleID: "a", body: "{\"actions\":[{\"set_tweak\":\"\xff\"}]}", code: merr.BadJSON},
		{name: "no actions", kind: push.Room, ruleID: "a", body: `{}`, code: merr.MissingParam},
		{name: "actions under a name that is not quite theirs", kind: push.Room, ruleID: "a", body: `{"Actions":[]}`, code: merr.MissingParam},
		{name: "actions that are no list", kind: push.Room, ruleID: "a", body: `{"actions":"notify"}`, code: merr.BadJSON},
		{name: "null actions", kind: push.Room, ruleID: "a", body: `{"actions":null}`, code: merr.BadJSON},
		{name: "an unknown action", kind: push.Room, ruleID: "a", body: `{"actions":["not_an_action"]}`, code: merr.InvalidParam},
		{name: "an action that is a number", kind: push.Room, ruleID: "a", body: `{"actions":[1]}`, code: merr.InvalidParam},
		{name: "a tweak without a name", kind: push.Room, ruleID: "a", body: `{"actions":[{"value":1}]}`, code: merr.InvalidParam},
		{name: "many actions", kind: push.Room, ruleID: "a", body: `{"actions":["notify"` + strings.Repeat(`,"notify"`, 16) + `]}`, code: merr.TooLarge},
		{name: "a content rule without a pattern", kind: push.Content, ruleID: "a", body: `{"actions":[]}`, code: merr.MissingParam},
		{name: "a pattern that is no string", kind: push.Content, ruleID: "a", body: `{"actions":[],"pattern":1}`, code: merr.InvalidParam},
		{name: "an empty pattern", kind: push.Content, ruleID: "a", body: `{"actions":[],"pattern":""}`, code: merr.InvalidParam},
		{name: "a long pattern", kind: push.Content, ruleID: "a",
			body: `{"actions":[],"pattern":"` + strings.Repeat("a", 513) + `"}`, code: merr.InvalidParam},
		{name: "conditions that are no list", kind: push.Override, ruleID: "a", body: `{"actions":[],"conditions":{}}`, code: merr.BadJSON},
		{name: "a condition without a kind", kind: push.Underride, ruleID: "a", body: `{"actions":[],"conditions":[{}]}`, code: merr.InvalidParam},
		{name: "a condition that is no object", kind: push.Underride, ruleID: "a", body: `{"actions":[],"conditions":[1]}`, code: merr.InvalidParam},
		{name: "event_match without a key", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_match","pattern":"a"}]}`, code: merr.InvalidParam},
		{name: "event_match without a pattern", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_match","key":"a"}]}`, code: merr.InvalidParam},
		{name: "event_match with a deep key", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_match","pattern":"a","key":"` + strings.Repeat("a.", 40) + `"}]}`, code: merr.InvalidParam},
		{name: "event_property_is without a value", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_property_is","key":"a"}]}`, code: merr.InvalidParam},
		{name: "event_property_is with an object", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_property_is","key":"a","value":{}}]}`, code: merr.InvalidParam},
		{name: "event_property_contains with a float", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_property_contains","key":"a","value":1.5}]}`, code: merr.InvalidParam},
		{name: "event_property_is with an integer beyond canonical JSON", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"event_property_is","key":"a","value":9007199254740992}]}`, code: merr.InvalidParam},
		{name: "room_member_count without a count", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"room_member_count"}]}`, code: merr.InvalidParam},
		{name: "room_member_count with an unknown comparison", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"room_member_count","is":"=<2"}]}`, code: merr.InvalidParam},
		{name: "room_member_count with a sign", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"room_member_count","is":"+2"}]}`, code: merr.InvalidParam},
		{name: "sender_notification_permission without a key", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"sender_notification_permission"}]}`, code: merr.InvalidParam},
		{name: "many conditions", kind: push.Override, ruleID: "a",
			body: `{"actions":[],"conditions":[{"kind":"a"}` + strings.Repeat(`,{"kind":"a"}`, 32) + `]}`, code: merr.TooLarge},
		{name: "before a rule that is not there", kind: push.Room, ruleID: "a", before: "b", body: `{"actions":[]}`, code: merr.Unknown, status: 400},
		{name: "after a rule that is not there", kind: push.Room, ruleID: "a", after: "b", body: `{"actions":[]}`, code: merr.Unknown, status: 400},
		{name: "before a default rule", kind: push.Override, ruleID: "a", before: ".m.rule.reaction", body: `{"actions":[]}`, code: merr.Unknown, status: 400},
		{name: "before itself", kind: push.Room, ruleID: "there", before: "there", body: `{"actions":[]}`, code: merr.InvalidParam},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := book.Put(there, c.kind, c.ruleID, c.before, c.after, []byte(c.body))
			if !merr.HasCode(err, c.code) {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if e := merr.From(err); c.status != 0 && e.Status != c.status {
				t.Errorf("status %d, want %d", e.Status, c.status)
			}
			if d := cmp.Diff(there, got); d != "" {
				t.Errorf("the rules have changed: %s", d)
			}
		})
	}
}

func TestRulesAreKeptAsWritten(t *testing.T) {
	book := push.NewBook(push.Options{})
	for _, c := range []struct {
		name string
		kind push.Kind
		id   string
		body string
		want string
	}{
		{"a room rule", push.Room, "#spam:example.com", `{"actions":["notify"]}`,
			`{"rule_id":"#spam:example.com","default":false,"enabled":true,"actions":["notify"]}`},
		{"a historical action", push.Sender, "@bob:example.com", `{"actions":["dont_notify"]}`,
			`{"rule_id":"@bob:example.com","default":false,"enabled":true,"actions":["dont_notify"]}`},
		{"a content rule", push.Content, "тест", `{"actions":[{"set_tweak":"sound","value":"x.wav"}],"pattern":"Тест*","conditions":[{}]}`,
			`{"rule_id":"тест","default":false,"enabled":true,"pattern":"Тест*","actions":[{"set_tweak":"sound","value":"x.wav"}]}`},
		{"an override rule with unknown conditions", push.Override, "mine", `{"actions":[],"conditions":[{"kind":"device","profile_tag":[1]}]}`,
			`{"rule_id":"mine","default":false,"enabled":true,"conditions":[{"kind":"device","profile_tag":[1]}],"actions":[]}`},
		{"an underride rule without conditions", push.Underride, "mine", `{"actions":[]}`,
			`{"rule_id":"mine","default":false,"enabled":true,"conditions":[],"actions":[]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored := reload(t, must(t)(book.Put(push.Stored{}, c.kind, c.id, "", "", []byte(c.body))))
			rule, err := book.Effective(alice, stored).Rule(c.kind, c.id)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(rule)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(decode(t, []byte(c.want)), decode(t, got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOrderOfRules(t *testing.T) {
	book := push.NewBook(push.Options{})
	type put struct{ id, before, after string }
	for _, c := range []struct {
		name string
		puts []put
		want string
	}{
		{"new rules come first", []put{{"a", "", ""}, {"b", "", ""}}, "b a"},
		{"before a rule", []put{{"a", "", ""}, {"b", "", ""}, {"c", "a", ""}}, "b c a"},
		{"after a rule", []put{{"a", "", ""}, {"b", "", ""}, {"c", "", "b"}}, "b c a"},
		{"after the last rule", []put{{"a", "", ""}, {"b", "", ""}, {"c", "", "a"}}, "b a c"},
		{"before decides over after", []put{{"a", "", ""}, {"b", "", ""}, {"c", "", ""}, {"d", "a", "c"}}, "c b d a"},
		{"a changed rule stays where it is", []put{{"a", "", ""}, {"b", "", ""}, {"a", "", ""}}, "b a"},
		{"a changed rule moves up", []put{{"a", "", ""}, {"b", "", ""}, {"c", "", ""}, {"a", "c", ""}}, "a c b"},
		{"a changed rule moves down", []put{{"a", "", ""}, {"b", "", ""}, {"c", "", ""}, {"c", "", "b"}}, "b c a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stored push.Stored
			for _, p := range c.puts {
				stored = must(t)(book.Put(stored, push.Override, p.id, p.before, p.after, []byte(`{"actions":[]}`)))
			}
			var ids []string
			for _, r := range book.Effective(alice, stored).Override {
				if !r.Default {
					ids = append(ids, r.ID)
				}
			}
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestUserRulesComeAfterTheMasterAndBeforeTheOtherDefaults(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.Put(push.Stored{}, push.Override, "mine", "", "", []byte(`{"actions":[]}`)))
	stored = must(t)(book.Put(stored, push.Underride, "mine", "", "", []byte(`{"actions":[]}`)))
	all := book.Effective(alice, stored)
	got := []string{all.Override[0].ID, all.Override[1].ID, all.Override[2].ID, all.Underride[0].ID, all.Underride[1].ID}
	if d := cmp.Diff([]string{".m.rule.master", "mine", ".m.rule.suppress_notices", "mine", ".m.rule.call"}, got); d != "" {
		t.Error(d)
	}
}

func TestAChangedRuleStaysDisabledAndANewOneIsEnabled(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.Put(push.Stored{}, push.Room, "a", "", "", []byte(`{"actions":[]}`)))
	stored = must(t)(book.SetEnabled(stored, push.Room, "a", []byte(`{"enabled":false}`)))
	stored = must(t)(book.Put(stored, push.Room, "a", "", "", []byte(`{"actions":["notify"]}`)))
	if stored.Room[0].Enabled {
		t.Error("a disabled rule was enabled by a change")
	}
	stored = must(t)(book.Delete(stored, push.Room, "a"))
	stored = must(t)(book.Put(stored, push.Room, "a", "", "", []byte(`{"actions":["notify"]}`)))
	if !stored.Room[0].Enabled {
		t.Error("a new rule is not enabled")
	}
}

func TestChangesToDefaultRulesAreKeptAsDifferences(t *testing.T) {
	book := push.NewBook(push.Options{})
	const message = ".m.rule.message"
	stored := must(t)(book.SetEnabled(push.Stored{}, push.Underride, message, []byte(`{"enabled":false}`)))
	stored = must(t)(book.SetActions(stored, push.Underride, message, []byte(`{"actions":["dont_notify"]}`)))
	b, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`{"defaults":{".m.rule.message":{"enabled":false,"actions":["dont_notify"]}}}`, string(b)); d != "" {
		t.Error(d)
	}
	stored = reload(t, stored)
	rule, err := book.Effective(alice, stored).Rule(push.Underride, message)
	if err != nil || rule.Enabled || !rule.Default || string(rule.Actions[0]) != `"dont_notify"` {
		t.Errorf("got %+v, %v", rule, err)
	}
	stored = must(t)(book.SetEnabled(stored, push.Underride, message, []byte(`{"enabled":true}`)))
	stored = must(t)(book.SetActions(stored, push.Underride, message, []byte(`{"actions":["notify"]}`)))
	if !stored.IsZero() {
		t.Errorf("after the way back there is %+v", stored)
	}
	if book.Compile(stored) != book.Compile(push.Stored{}) {
		t.Error("users who have changed nothing do not share a program")
	}
}

// A rule that the user has silenced must not be loud again after a release that lacked it for a while.
func TestChangesOutliveTheRuleTheyAreAbout(t *testing.T) {
	legacy, plain := push.NewBook(push.Options{LegacyMentions: true}), push.NewBook(push.Options{})
	stored := must(t)(legacy.SetActions(push.Stored{}, push.Content, ".m.rule.contains_user_name", []byte(`{"actions":[]}`)))
	stored = must(t)(plain.SetEnabled(stored, push.Override, ".m.rule.reaction", []byte(`{"enabled":false}`)))
	if _, err := plain.Effective(alice, stored).Rule(push.Content, ".m.rule.contains_user_name"); !merr.HasCode(err, merr.NotFound) {
		t.Errorf("got %v", err)
	}
	rule, err := legacy.Effective(alice, stored).Rule(push.Content, ".m.rule.contains_user_name")
	if err != nil || len(rule.Actions) != 0 {
		t.Errorf("got %+v, %v", rule, err)
	}
}

func TestChangedDefaultsDecide(t *testing.T) {
	book := push.NewBook(push.Options{})
	message := `{"type":"m.room.message","content":{"msgtype":"m.notice"}}`
	stored := must(t)(book.SetEnabled(push.Stored{}, push.Override, ".m.rule.suppress_notices", []byte(`{"enabled":false}`)))
	if got := evaluate(t, book, stored, message); !got.Notify {
		t.Errorf("with notices not suppressed: %+v", got)
	}
	stored = must(t)(book.SetActions(stored, push.Underride, ".m.rule.message", []byte(`{"actions":["notify",{"set_tweak":"highlight"}]}`)))
	if got := evaluate(t, book, stored, message); !got.Highlight {
		t.Errorf("with messages that highlight: %+v", got)
	}
}

func TestADisabledDefaultRuleStaysSoWhenItsActionsChange(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.SetActions(push.Stored{}, push.Override, ".m.rule.master", []byte(`{"actions":["dont_notify"]}`)))
	if got := evaluate(t, book, stored, `{"type":"m.room.message","content":{}}`); !got.Notify {
		t.Errorf("got %+v", got)
	}
}

func TestRulesThatAreNotThere(t *testing.T) {
	book := push.NewBook(push.Options{})
	enabled, actions := []byte(`{"enabled":true}`), []byte(`{"actions":[]}`)
	for _, c := range []struct {
		name string
		kind push.Kind
		id   string
	}{
		{"a rule of the user", push.Override, "mine"},
		{"a default rule", push.Override, ".not.a.default.rule"},
		{"a default rule of another kind", push.Room, ".m.rule.master"},
		{"a kind", "postcontent", "mine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, get := book.Defaults(alice).Rule(c.kind, c.id)
			_, set := book.SetEnabled(push.Stored{}, c.kind, c.id, enabled)
			_, act := book.SetActions(push.Stored{}, c.kind, c.id, actions)
			_, del := book.Delete(push.Stored{}, c.kind, c.id)
			for _, err := range []error{get, set, act, del} {
				if !merr.HasCode(err, merr.NotFound) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestEditsRefuse(t *testing.T) {
	book := push.NewBook(push.Options{})
	for body, code := range map[string]merr.Code{
		`{}`: merr.MissingParam, `{"enabled":"not a boolean"}`: merr.InvalidParam, `{"enabled":null}`: merr.InvalidParam, `[]`: merr.BadJSON,
	} {
		if _, err := book.SetEnabled(push.Stored{}, push.Override, ".m.rule.master", []byte(body)); !merr.HasCode(err, code) {
			t.Errorf("enabled %s: got %v", body, err)
		}
	}
	for body, code := range map[string]merr.Code{`{}`: merr.MissingParam, `{"actions":["?"]}`: merr.InvalidParam, `[]`: merr.BadJSON} {
		if _, err := book.SetActions(push.Stored{}, push.Override, ".m.rule.master", []byte(body)); !merr.HasCode(err, code) {
			t.Errorf("actions %s: got %v", body, err)
		}
	}
	if _, err := book.Delete(push.Stored{}, push.Override, ".m.rule.master"); !merr.HasCode(err, merr.InvalidParam) {
		t.Errorf("removing a default rule: %v", err)
	}
	if _, err := book.Defaults(alice).Kind("not_a_template"); !merr.HasCode(err, merr.InvalidParam) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestRulesAreLimited(t *testing.T) {
	book := push.NewBook(push.Options{})
	var stored push.Stored
	for i := range 1000 {
		stored = must(t)(book.Put(stored, push.Room, fmt.Sprint(i), "", "", []byte(`{"actions":[]}`)))
	}
	if _, err := book.Put(stored, push.Room, "new", "", "", []byte(`{"actions":[]}`)); !merr.HasCode(err, merr.TooLarge) {
		t.Errorf("one rule more than possible: %v", err)
	}
	must(t)(book.Put(stored, push.Room, "7", "", "", []byte(`{"actions":["notify"]}`)))
	must(t)(book.Put(stored, push.Sender, "new", "", "", []byte(`{"actions":[]}`)))

	long := []byte(`{"actions":[{"set_tweak":"a","value":"` + strings.Repeat("x", 900) + `"}]}`)
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		stored, err = book.Put(stored, push.Sender, fmt.Sprint(i), "", "", long)
	}
	if !merr.HasCode(err, merr.TooLarge) {
		t.Errorf("half a megabyte of rules and more: %v", err)
	}
}

func TestEditsDoNotChangeWhatTheyStartFrom(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.Put(push.Stored{}, push.Room, "a", "", "", []byte(`{"actions":[]}`)))
	stored = must(t)(book.Put(stored, push.Room, "b", "", "", []byte(`{"actions":[]}`)))
	stored = must(t)(book.SetEnabled(stored, push.Override, ".m.rule.master", []byte(`{"enabled":true}`)))
	before := reload(t, stored)
	must(t)(book.Put(stored, push.Room, "c", "a", "", []byte(`{"actions":["notify"]}`)))
	must(t)(book.Put(stored, push.Room, "a", "b", "", []byte(`{"actions":["notify"]}`)))
	must(t)(book.SetEnabled(stored, push.Room, "a", []byte(`{"enabled":false}`)))
	must(t)(book.SetEnabled(stored, push.Override, ".m.rule.master", []byte(`{"enabled":false}`)))
	must(t)(book.SetActions(stored, push.Room, "a", []byte(`{"actions":["notify"]}`)))
	must(t)(book.Delete(stored, push.Room, "b"))
	stored.CopyRoom("a", "z")
	if d := cmp.Diff(before, stored); d != "" {
		t.Error(d)
	}
}

func TestEmptyKindsAreEmptyLists(t *testing.T) {
	got, err := json.Marshal(push.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`{"global":{"content":[],"override":[],"room":[],"sender":[],"underride":[]}}`, string(got)); d != "" {
		t.Error(d)
	}
}

// reload takes the rules through their stored form, which loses nothing.
func reload(t testing.TB, s push.Stored) push.Stored {
	t.Helper()
	out := reloadOnce(t, s)
	if d := cmp.Diff(s, out); d != "" {
		t.Error(d)
	}
	return out
}

// reloadOnce is reload for rules with text that encoding/json writes in another way, as < for one.
func reloadOnce(t testing.TB, s push.Stored) push.Stored {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := push.ParseStored(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
