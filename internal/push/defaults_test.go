package push_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
)

// The golden file is the definitions in the specification's text, in its order.
func TestDefaultsAreThoseOfTheSpecification(t *testing.T) {
	golden, err := os.ReadFile("testdata/defaults_v1.19.json")
	if err != nil {
		t.Fatal(err)
	}
	golden = bytes.ReplaceAll(golden, []byte("[the user's Matrix ID]"), []byte("@alice:hearth.test"))
	got, err := json.Marshal(push.NewBook(push.Options{}).Defaults("@alice:hearth.test"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(decode(t, golden), decode(t, got)); d != "" {
		t.Error(d)
	}
}

func TestLegacyMentionsAddThreeRules(t *testing.T) {
	all := push.NewBook(push.Options{LegacyMentions: true}).Defaults("@alice:hearth.test")
	var ids []string
	for _, rules := range [][]push.Rule{all.Override, all.Content, all.Underride} {
		for _, r := range rules {
			ids = append(ids, r.ID)
		}
	}
	want := []string{
		".m.rule.master", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.member_event", ".m.rule.is_user_mention",
		".m.rule.contains_display_name", ".m.rule.is_room_mention", ".m.rule.roomnotif", ".m.rule.tombstone", ".m.rule.reaction",
		".m.rule.room.server_acl", ".m.rule.suppress_edits",
		".m.rule.contains_user_name",
		".m.rule.call", ".m.rule.encrypted_room_one_to_one", ".m.rule.room_one_to_one", ".m.rule.message", ".m.rule.encrypted",
	}
	if d := cmp.Diff(want, ids); d != "" {
		t.Error(d)
	}
	if got := all.Content[0].Pattern; got != "alice" {
		t.Errorf("the pattern is %q, not the localpart", got)
	}
}

func TestRulesForThreads(t *testing.T) {
	book := push.NewBook(push.Options{Threads: true})
	event, err := push.NewEvent("!r:hearth.test", "$e", json.RawMessage(`{"type":"m.room.message","sender":"@alice:hearth.test","content":{"body":"soup"}}`))
	if err != nil {
		t.Fatal(err)
	}
	notify := push.Outcome{Notify: true, Actions: json.RawMessage(`["notify"]`)}
	sound := push.Outcome{Notify: true, Sound: "default", Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"default"}]`)}
	quiet := must(t)(book.Put(push.Stored{}, push.Room, "!r:hearth.test", "", "", []byte(`{"actions":[]}`)))
	keyword := must(t)(book.Put(push.Stored{}, push.Content, "soup", "", "", []byte(`{"pattern":"soup","actions":["notify"]}`)))
	off := must(t)(book.SetEnabled(push.Stored{}, push.PostContent, ".io.element.msc4306.rule.unsubscribed_thread", []byte(`{"enabled":false}`)))
	for _, c := range []struct {
		name   string
		stored push.Stored
		said   push.Subscription
		want   push.Outcome
	}{
		{"a thread without subscription is silent", push.Stored{}, push.Unsubscribed, push.Outcome{}},
		{"a keyword in it is not", keyword, push.Unsubscribed, notify},
		{"a thread with a subscription has a sound", push.Stored{}, push.Subscribed, sound},
		{"in a room that is silent too", quiet, push.Subscribed, sound},
		{"other messages of that room are silent", quiet, 0, push.Outcome{}},
		{"what is in no thread notifies", push.Stored{}, 0, notify},
		{"a disabled rule does nothing", off, push.Unsubscribed, notify},
	} {
		pass := push.NewPass(event, push.RoomContext{MemberCount: 3, Subscription: func(id.UserID) push.Subscription { return c.said }})
		if d := cmp.Diff(c.want, pass.Evaluate(book.Compile(c.stored), push.Recipient{ID: "@bob:hearth.test"})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	rules, err := book.Defaults("@alice:hearth.test").Kind(push.PostContent)
	if err != nil || len(rules) != 2 || rules[0].ID != ".io.element.msc4306.rule.unsubscribed_thread" || len(rules[0].Conditions) != 1 {
		t.Errorf("%+v, %v", rules, err)
	}
}

func TestPollRules(t *testing.T) {
	book := push.NewBook(push.Options{Polls: true})
	program := book.Compile(push.Stored{})
	for _, c := range []struct {
		name, event string
		members     int
		want        push.Outcome
	}{
		{"the start of a poll notifies", "start", 3, push.Outcome{Notify: true, Actions: json.RawMessage(`["notify"]`)}},
		{"the end of a poll between two has a sound", "end", 2,
			push.Outcome{Notify: true, Sound: "default", Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"default"}]`)}},
		{"a response is silent", "response", 2, push.Outcome{}},
	} {
		event, err := push.NewEvent("!r:hearth.test", "$e", json.RawMessage(`{"type":"org.matrix.msc3381.poll.`+c.event+`","sender":"@alice:hearth.test"}`))
		if err != nil {
			t.Fatal(err)
		}
		got := push.NewPass(event, push.RoomContext{MemberCount: c.members}).Evaluate(program, push.Recipient{ID: "@bob:hearth.test"})
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	var ids []string
	for _, r := range book.Defaults("@alice:hearth.test").Underride {
		ids = append(ids, r.ID)
	}
	want := []string{".m.rule.call", ".m.rule.encrypted_room_one_to_one", ".m.rule.room_one_to_one", ".m.rule.message", ".m.rule.encrypted",
		".org.matrix.msc3930.rule.poll_start_one_to_one", ".org.matrix.msc3930.rule.poll_start",
		".org.matrix.msc3930.rule.poll_end_one_to_one", ".org.matrix.msc3930.rule.poll_end"}
	if d := cmp.Diff(want, ids); d != "" {
		t.Error(d)
	}
}

func TestUserIDsAreQuotedInDefaultRules(t *testing.T) {
	user := `@a"b\c:hearth.test`
	got, err := json.Marshal(push.NewBook(push.Options{}).Defaults("@a\"b\\c:hearth.test"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Override []struct {
			Conditions []struct{ Value any }
		}
	}
	if err := json.Unmarshal(got, &rules); err != nil {
		t.Fatal(err)
	}
	if got := rules.Override[4].Conditions[0].Value; got != user {
		t.Errorf("got %q", got)
	}
}

// What each default rule makes of an event for Bob, from Alice, in a room of three in which she is an ordinary member.
func TestDefaultRules(t *testing.T) {
	notify := push.Outcome{Notify: true, Actions: json.RawMessage(`["notify"]`)}
	sound := push.Outcome{Notify: true, Sound: "default", Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"default"}]`)}
	mention := push.Outcome{Notify: true, Highlight: true, Sound: "default",
		Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]`)}
	highlight := push.Outcome{Notify: true, Highlight: true, Actions: json.RawMessage(`["notify",{"set_tweak":"highlight"}]`)}
	ring := push.Outcome{Notify: true, Sound: "ring", Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"ring"}]`)}
	var nothing push.Outcome

	for _, c := range []struct {
		name    string
		event   string
		members int
		sender  int64 // power
		legacy  bool
		want    push.Outcome
	}{
		{name: "a message notifies", event: `{"type":"m.room.message","content":{"body":"hi"}}`, want: notify},
		{name: "a message between two has a sound", event: `{"type":"m.room.message","content":{"body":"hi"}}`, members: 2, want: sound},
		{name: "an encrypted event notifies", event: `{"type":"m.room.encrypted","content":{}}`, want: notify},
		{name: "an encrypted event between two has a sound", event: `{"type":"m.room.encrypted","content":{}}`, members: 2, want: sound},
		{name: "a call rings", event: `{"type":"m.call.invite","content":{}}`, members: 2, want: ring},
		{name: "a notice is silent", event: `{"type":"m.room.message","content":{"msgtype":"m.notice","body":"hi"}}`, want: nothing},
		{name: "a notice that mentions is silent too",
			event: `{"type":"m.room.message","content":{"msgtype":"m.notice","m.mentions":{"user_ids":["@bob:hearth.test"]}}}`, want: nothing},
		{name: "an event of an unknown type is silent", event: `{"type":"org.example.thing","content":{"body":"hi"}}`, want: nothing},
		{name: "an invite for oneself notifies",
			event: `{"type":"m.room.member","state_key":"@bob:hearth.test","content":{"membership":"invite"}}`, want: sound},
		{name: "an invite for another is silent",
			event: `{"type":"m.room.member","state_key":"@carol:hearth.test","content":{"membership":"invite"}}`, want: nothing},
		{name: "a kick of oneself is silent",
			event: `{"type":"m.room.member","state_key":"@bob:hearth.test","content":{"membership":"leave"}}`, want: nothing},
		{name: "a mention highlights",
			event: `{"type":"m.room.message","content":{"m.mentions":{"user_ids":["@carol:hearth.test","@bob:hearth.test"]}}}`, want: mention},
		{name: "a mention highlights in any type of event",
			event: `{"type":"org.example.thing","content":{"m.mentions":{"user_ids":["@bob:hearth.test"]}}}`, want: mention},
		{name: "a mention of another does not highlight",
			event: `{"type":"m.room.message","content":{"m.mentions":{"user_ids":["@carol:hearth.test"]}}}`, want: notify},
		{name: "a mention that is no list does not highlight",
			event: `{"type":"m.room.message","content":{"m.mentions":{"user_ids":"@bob:hearth.test"}}}`, want: notify},
		{name: "a mention in an edit highlights",
			event: `{"type":"m.room.message","content":{"m.mentions":{"user_ids":["@bob:hearth.test"]},"m.relates_to":{"rel_type":"m.replace"}}}`,
			want:  mention},
		{name: "a mention of the room with power highlights",
			event: `{"type":"m.room.message","content":{"m.mentions":{"room":true}}}`, sender: 50, want: highlight},
		{name: "a mention of the room without power does not highlight",
			event: `{"type":"m.room.message","content":{"m.mentions":{"room":true}}}`, sender: 49, want: notify},
		{name: "a mention of the room must be true",
			event: `{"type":"m.room.message","content":{"m.mentions":{"room":"true"}}}`, sender: 50, want: notify},
		{name: "a tombstone highlights", event: `{"type":"m.room.tombstone","state_key":"","content":{}}`, want: highlight},
		{name: "a tombstone that is no state is silent", event: `{"type":"m.room.tombstone","content":{}}`, want: nothing},
		{name: "a tombstone with another state key is silent", event: `{"type":"m.room.tombstone","state_key":"x","content":{}}`, want: nothing},
		{name: "a reaction is silent",
			event: `{"type":"m.reaction","content":{"m.relates_to":{"rel_type":"m.annotation","key":"+1"}}}`, members: 2, want: nothing},
		{name: "a server ACL is silent", event: `{"type":"m.room.server_acl","state_key":"","content":{}}`, members: 2, want: nothing},
		{name: "an edit is silent",
			event: `{"type":"m.room.message","content":{"body":"* hi","m.relates_to":{"rel_type":"m.replace"}}}`, members: 2, want: nothing},
		{name: "a message in a thread notifies",
			event: `{"type":"m.room.message","content":{"body":"hi","m.relates_to":{"rel_type":"m.thread"}}}`, want: notify},

		{name: "a name in the body is just a message", event: `{"type":"m.room.message","content":{"body":"Bob, bob"}}`, want: notify},
		{name: "with legacy rules a display name highlights",
			event: `{"type":"m.room.message","content":{"body":"hi Bobby Tables!"}}`, legacy: true, want: mention},
		{name: "with legacy rules a display name must be words",
			event: `{"type":"m.room.message","content":{"body":"hi bobby tablespoon"}}`, legacy: true, want: notify},
		{name: "with legacy rules a user name highlights",
			event: `{"type":"m.room.message","content":{"body":"hi @BOB:hearth.test"}}`, legacy: true, want: mention},
		{name: "with legacy rules a part of a word does not highlight",
			event: `{"type":"m.room.message","content":{"body":"a bobsled"}}`, legacy: true, want: notify},
		{name: "with legacy rules @room with power highlights",
			event: `{"type":"m.room.message","content":{"body":"hi @room"}}`, sender: 50, legacy: true, want: highlight},
		{name: "with legacy rules @room without power does not highlight",
			event: `{"type":"m.room.message","content":{"body":"hi @room"}}`, legacy: true, want: notify},
		{name: "legacy rules are off for events that say whom they mention",
			event: `{"type":"m.room.message","content":{"body":"hi bob Bobby Tables @room","m.mentions":{}}}`, sender: 50, legacy: true, want: notify},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.members == 0 {
				c.members = 3
			}
			room := push.RoomContext{MemberCount: c.members, Power: func() push.Power { return push.Power{Sender: c.sender} }}
			program := push.NewBook(push.Options{LegacyMentions: c.legacy}).Compile(push.Stored{})
			got := push.NewPass(event(t, c.event), room).Evaluate(program, bob())
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheMasterRuleIsAboveTheUsersRules(t *testing.T) {
	book := push.NewBook(push.Options{})
	stored := must(t)(book.Put(push.Stored{}, push.Override, "all", "", "", []byte(`{"conditions":[],"actions":["notify"]}`)))
	message := `{"type":"m.room.message","content":{"body":"hi"}}`
	if got := evaluate(t, book, stored, message); !got.Notify {
		t.Error("silent before the master rule was enabled")
	}
	stored = must(t)(book.SetEnabled(stored, push.Override, ".m.rule.master", []byte(`{"enabled":true}`)))
	if got := evaluate(t, book, stored, message); got.Notify {
		t.Error("notifies in spite of the master rule")
	}
}

func bob() push.Recipient { return push.Recipient{ID: "@bob:hearth.test", DisplayName: "Bobby Tables"} }

// event makes an event from Alice.
func event(t testing.TB, fields string) *push.Event {
	t.Helper()
	raw := `{"sender":"@alice:hearth.test",` + fields[1:]
	e, err := push.NewEvent("!room:hearth.test", "$event", json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// evaluate says what Bob's rules make of an event from Alice in a room of three.
func evaluate(t testing.TB, book *push.Book, stored push.Stored, fields string) push.Outcome {
	t.Helper()
	return push.NewPass(event(t, fields), push.RoomContext{MemberCount: 3}).Evaluate(book.Compile(stored), bob())
}

func must(t testing.TB) func(push.Stored, error) push.Stored {
	return func(s push.Stored, err error) push.Stored {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func decode(t testing.TB, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
