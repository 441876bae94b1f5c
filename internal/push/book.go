package push

import (
	"encoding/json"
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Options says which default rules a server has. The zero value is exactly the specification's rule set.
type Options struct {
	// LegacyMentions adds the three rules that look for the user's name, display name and @room in the body of events that have no
	// m.mentions. The specification dropped them in v1.17; bots and bridges that do not know m.mentions still rely on them.
	LegacyMentions bool
	// Polls adds the rules for polls, which have been accepted and are not in the specification yet (MSC3930).
	Polls bool
	// Threads adds the rules for subscriptions to threads (MSC4306).
	Threads bool
}

// Book is the default rules of a server. It is immutable and safe for concurrent use.
type Book struct {
	rules []defaultRule
	base  *base
	plain *Program // of all users who have changed nothing
}

// NewBook returns the default rules.
func NewBook(o Options) *Book {
	b := &Book{}
	for _, d := range defaultRules() {
		if (o.LegacyMentions || !d.legacy) && (o.Polls || !d.poll) && (o.Threads || d.kind != PostContent) {
			b.rules = append(b.rules, d)
		}
	}
	b.base = compileBase(b.rules)
	b.plain = &Program{base: b.base}
	return b
}

// Defaults returns the rules of a user who has changed nothing.
func (b *Book) Defaults(user id.UserID) Ruleset { return b.Effective(user, Stored{}) }

// Effective returns the rules of a user: the defaults of today with the user's changes, and the user's own rules above those of the
// same kind. Only the master rule stands above all.
//
// Spec: client-server-api#predefined-rules
func (b *Book) Effective(user id.UserID, stored Stored) Ruleset {
	var out Ruleset
	own := stored.ruleset()
	for _, k := range []Kind{Content, Room, Sender, Underride} {
		*out.kind(k) = append(*out.kind(k), *own.kind(k)...)
	}
	for i := range b.rules {
		d := &b.rules[i]
		r := d.rule(user)
		if c, ok := stored.Defaults[d.id]; ok {
			c.apply(&r)
		}
		rules := out.kind(d.kind)
		*rules = append(*rules, r)
		if d.id == masterRule {
			*rules = append(*rules, own.Override...)
		}
	}
	return out
}

// find returns the default rule with this id, or nil.
func (b *Book) find(k Kind, ruleID string) *defaultRule {
	for i := range b.rules {
		if b.rules[i].kind == k && b.rules[i].id == ruleID {
			return &b.rules[i]
		}
	}
	return nil
}

// bindSelf puts a user's id into a condition of a default rule.
func bindSelf(condition string, user id.UserID) json.RawMessage {
	if !strings.Contains(condition, selfID) {
		return json.RawMessage(condition)
	}
	quoted, err := json.Marshal(string(user))
	if err != nil { // a string always marshals
		return json.RawMessage(condition)
	}
	return json.RawMessage(strings.Replace(condition, selfID, string(quoted), 1))
}
