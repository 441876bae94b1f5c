package push

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// In the conditions below these stand for the user whose rules they are.
const (
	selfID        = `"$self"`
	selfLocalpart = `$localpart`
)

// The actions of the default rules.
const (
	actNotify    = `"notify"`
	actSound     = `{"set_tweak":"sound","value":"default"}`
	actRing      = `{"set_tweak":"sound","value":"ring"}`
	actHighlight = `{"set_tweak":"highlight"}`
)

// The conditions that several default rules share.
const (
	condMember     = `{"kind":"event_match","key":"type","pattern":"m.room.member"}`
	condEncrypted  = `{"kind":"event_match","key":"type","pattern":"m.room.encrypted"}`
	condMessage    = `{"kind":"event_match","key":"type","pattern":"m.room.message"}`
	condPollStart  = `{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.start"}`
	condPollEnd    = `{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.end"}`
	condState      = `{"kind":"event_match","key":"state_key","pattern":""}`
	condTwoMembers = `{"kind":"room_member_count","is":"2"}`
	condMayRoom    = `{"kind":"sender_notification_permission","key":"room"}`
)

const masterRule = ".m.rule.master"

// defaultRule is a rule that every user has. A legacy rule is one that looks for mentions in the body: the specification had it until
// v1.16, for events without m.mentions. A poll rule is one about polls.
type defaultRule struct {
	kind       Kind
	id         string
	conditions []string
	pattern    string
	actions    []string
	disabled   bool
	legacy     bool
	poll       bool
}

// defaultRules lists the rules in the order of their importance within each kind.
//
// Spec: client-server-api#predefined-rules, MSC3930, MSC4306#new-push-rules
func defaultRules() []defaultRule {
	return []defaultRule{
		{kind: Override, id: masterRule, disabled: true},
		{kind: Override, id: ".m.rule.suppress_notices", conditions: []string{
			`{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}`,
		}},
		{kind: Override, id: ".m.rule.invite_for_me", conditions: []string{
			condMember,
			`{"kind":"event_match","key":"content.membership","pattern":"invite"}`,
			`{"kind":"event_match","key":"state_key","pattern":` + selfID + `}`,
		}, actions: []string{actNotify, actSound}},
		{kind: Override, id: ".m.rule.member_event", conditions: []string{condMember}},
		{kind: Override, id: ".m.rule.is_user_mention", conditions: []string{
			`{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":` + selfID + `}`,
		}, actions: []string{actNotify, actSound, actHighlight}},
		{kind: Override, id: ".m.rule.contains_display_name", legacy: true, conditions: []string{
			`{"kind":"contains_display_name"}`,
		}, actions: []string{actNotify, actSound, actHighlight}},
		{kind: Override, id: ".m.rule.is_room_mention", conditions: []string{
			`{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true}`,
			condMayRoom,
		}, actions: []string{actNotify, actHighlight}},
		{kind: Override, id: ".m.rule.roomnotif", legacy: true, conditions: []string{
			`{"kind":"event_match","key":"content.body","pattern":"@room"}`,
			condMayRoom,
		}, actions: []string{actNotify, actHighlight}},
		{kind: Override, id: ".m.rule.tombstone", conditions: []string{
			`{"kind":"event_match","key":"type","pattern":"m.room.tombstone"}`,
			condState,
		}, actions: []string{actNotify, actHighlight}},
		{kind: Override, id: ".m.rule.reaction", conditions: []string{
			`{"kind":"event_match","key":"type","pattern":"m.reaction"}`,
		}},
		{kind: Override, id: ".m.rule.room.server_acl", conditions: []string{
			`{"kind":"event_match","key":"type","pattern":"m.room.server_acl"}`,
			condState,
		}},
		{kind: Override, id: ".org.matrix.msc3930.rule.poll_response", poll: true, conditions: []string{
			`{"kind":"event_match","key":"type","pattern":"org.matrix.msc3381.poll.response"}`,
		}},
		{kind: Override, id: ".m.rule.suppress_edits", conditions: []string{
			`{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}`,
		}},

		{kind: Content, id: ".m.rule.contains_user_name", legacy: true, pattern: selfLocalpart,
			actions: []string{actNotify, actSound, actHighlight}},

		{kind: PostContent, id: ".io.element.msc4306.rule.unsubscribed_thread", conditions: []string{
			`{"kind":"io.element.msc4306.thread_subscription","subscribed":false}`,
		}},
		{kind: PostContent, id: ".io.element.msc4306.rule.subscribed_thread", conditions: []string{
			`{"kind":"io.element.msc4306.thread_subscription","subscribed":true}`,
		}, actions: []string{actNotify, actSound}},

		{kind: Underride, id: ".m.rule.call", conditions: []string{
			`{"kind":"event_match","key":"type","pattern":"m.call.invite"}`,
		}, actions: []string{actNotify, actRing}},
		{kind: Underride, id: ".m.rule.encrypted_room_one_to_one", conditions: []string{condTwoMembers, condEncrypted},
			actions: []string{actNotify, actSound}},
		{kind: Underride, id: ".m.rule.room_one_to_one", conditions: []string{condTwoMembers, condMessage},
			actions: []string{actNotify, actSound}},
		{kind: Underride, id: ".m.rule.message", conditions: []string{condMessage}, actions: []string{actNotify}},
		{kind: Underride, id: ".m.rule.encrypted", conditions: []string{condEncrypted}, actions: []string{actNotify}},
		{kind: Underride, id: ".org.matrix.msc3930.rule.poll_start_one_to_one", poll: true, conditions: []string{condTwoMembers, condPollStart},
			actions: []string{actNotify, actSound}},
		{kind: Underride, id: ".org.matrix.msc3930.rule.poll_start", poll: true, conditions: []string{condPollStart},
			actions: []string{actNotify}},
		{kind: Underride, id: ".org.matrix.msc3930.rule.poll_end_one_to_one", poll: true, conditions: []string{condTwoMembers, condPollEnd},
			actions: []string{actNotify, actSound}},
		{kind: Underride, id: ".org.matrix.msc3930.rule.poll_end", poll: true, conditions: []string{condPollEnd}, actions: []string{actNotify}},
	}
}

// rule gives the rule in the form that the user sees.
func (d *defaultRule) rule(user id.UserID) Rule {
	r := Rule{ID: d.id, Default: true, Enabled: !d.disabled, Actions: raws(d.actions)}
	switch d.kind {
	case Override, PostContent, Underride:
		r.Conditions = raws(d.conditions)
		for i, c := range d.conditions {
			r.Conditions[i] = bindSelf(c, user)
		}
	case Content:
		r.Pattern = d.pattern
		if d.pattern == selfLocalpart {
			r.Pattern = user.Localpart()
		}
	}
	return r
}

func raws(texts []string) []json.RawMessage {
	out := make([]json.RawMessage, len(texts))
	for i, t := range texts {
		out[i] = json.RawMessage(t)
	}
	return out
}
