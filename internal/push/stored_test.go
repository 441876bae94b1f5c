package push_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/push"
)

func TestRulesAboutARoomAreCopiedOnUpgrade(t *testing.T) {
	book := push.NewBook(push.Options{})
	var stored push.Stored
	for _, p := range []struct {
		kind push.Kind
		id   string
		body string
	}{
		{push.Room, "!other:h", `{"actions":["notify"]}`},
		{push.Room, "!old:h", `{"actions":["notify",{"set_tweak":"highlight"}]}`},
		{push.Override, "!old:h", `{"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!old:h"}]}`},
		{push.Override, "lunch", `{"actions":[],"conditions":[{"kind":"a"},{"kind":"event_property_is","key":"room_id","value":"!old:h"}]}`},
		{push.Override, "unrelated", `{"actions":[],"conditions":[{"kind":"event_match","key":"content.x","pattern":"!old:h"}]}`},
	} {
		stored = must(t)(book.Put(stored, p.kind, p.id, "", "", []byte(p.body)))
	}
	stored = must(t)(book.SetEnabled(stored, push.Override, "lunch", []byte(`{"enabled":false}`)))

	got, changed := stored.CopyRoom("!old:h", "!new:h")
	if !changed {
		t.Error("nothing was copied")
	}
	want := []push.Rule{
		{ID: "!new:h", Enabled: true, Actions: raw(`"notify"`, `{"set_tweak":"highlight"}`)},
		{ID: "!old:h", Enabled: true, Actions: raw(`"notify"`, `{"set_tweak":"highlight"}`)},
		{ID: "!other:h", Enabled: true, Actions: raw(`"notify"`)},
	}
	if d := cmp.Diff(want, got.Room); d != "" {
		t.Error(d)
	}
	want = []push.Rule{
		stored.Override[0],
		{ID: "lunch_!new:h", Conditions: raw(`{"kind":"a"}`, `{"key":"room_id","kind":"event_property_is","value":"!new:h"}`), Actions: raw()},
		stored.Override[1],
		{ID: "!new:h", Enabled: true, Conditions: raw(`{"key":"room_id","kind":"event_match","pattern":"!new:h"}`), Actions: raw()},
		stored.Override[2],
	}
	if d := cmp.Diff(want, got.Override); d != "" {
		t.Error(d)
	}
	if again, changed := got.CopyRoom("!old:h", "!new:h"); changed {
		t.Errorf("copied twice: %+v", again)
	}
	if _, changed := stored.CopyRoom("!nobody:h", "!new:h"); changed {
		t.Error("copied rules about another room")
	}
}

func TestStoredRulesThatAreNoJSONAreAnError(t *testing.T) {
	if _, err := push.ParseStored([]byte(`{"room":3}`)); err == nil {
		t.Error("accepted")
	}
	if s, err := push.ParseStored(nil); err != nil || !s.IsZero() {
		t.Errorf("nothing is %+v, %v", s, err)
	}
}

func raw(texts ...string) []json.RawMessage {
	out := []json.RawMessage{}
	for _, t := range texts {
		out = append(out, json.RawMessage(t))
	}
	return out
}

// FuzzPut puts a rule, stores it and evaluates it: whatever it is, nothing breaks and the stored form loses nothing.
func FuzzPut(f *testing.F) {
	const message = `{"type":"m.room.message","content":{"body":"lunch with Bob","m.mentions":{"user_ids":["@bob:hearth.test",null,2]}}}`
	f.Add("override", "a", `{"actions":["notify"],"conditions":[{"kind":"event_match","key":"content.body","pattern":"l?nch*"}]}`, message)
	f.Add("underride", "a", `{"actions":[{"set_tweak":"highlight"}],"conditions":[{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true}]}`, message)
	f.Add("override", "a", `{"actions":["coalesce"],"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":2}]}`, message)
	f.Add("override", "a", `{"actions":[],"conditions":[{"kind":"room_member_count","is":">=2"},{"kind":"contains_display_name"}]}`, message)
	f.Add("override", "a", `{"actions":[],"conditions":[{"kind":"sender_notification_permission","key":"room"}]}`, message)
	f.Add("content", "a", `{"actions":["notify",{"set_tweak":"sound","value":"x"}],"pattern":"*"}`, message)
	f.Add("room", "!room:hearth.test", `{"actions":["dont_notify"]}`, `{"type":3,"sender":{},"content":[]}`)
	book := push.NewBook(push.Options{LegacyMentions: true})
	room := push.RoomContext{MemberCount: 3, Power: func() push.Power { return push.Power{Sender: 50} }}
	f.Fuzz(func(t *testing.T, kind, ruleID, body, event string) {
		stored, err := book.Put(push.Stored{}, push.Kind(kind), ruleID, "", "", []byte(body))
		if err == nil {
			stored = reload(t, reloadOnce(t, stored))
		}
		e, err := push.NewEvent("!room:hearth.test", "$event", json.RawMessage(event))
		if err != nil {
			return
		}
		pass := push.NewPass(e, room)
		own, plain := pass.Evaluate(book.Compile(stored), bob()), pass.Evaluate(book.Compile(push.Stored{}), bob())
		for _, out := range []push.Outcome{own, plain} {
			if !out.Notify && (out.Highlight || out.Sound != "" || out.Actions != nil) {
				t.Errorf("silent, but %+v", out)
			}
		}
		if again := pass.Evaluate(book.Compile(stored), bob()); !cmp.Equal(own, again) {
			t.Errorf("first %+v, then %+v", own, again)
		}
	})
}
