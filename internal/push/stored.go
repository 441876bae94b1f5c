package push

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// Stored is what a user has made of the push rules, and all that has to be kept of them: the user's own rules, the most important first,
// and the changes to default rules by rule id. Default rules themselves are not in it, so that new ones reach old users; a change to a
// default rule that a later release does not have waits for its return. Values are never modified: every edit returns a new one.
type Stored struct {
	Override  []Rule            `json:"override,omitempty"`
	Content   []Rule            `json:"content,omitempty"`
	Room      []Rule            `json:"room,omitempty"`
	Sender    []Rule            `json:"sender,omitempty"`
	Underride []Rule            `json:"underride,omitempty"`
	Defaults  map[string]Change `json:"defaults,omitempty"`
}

// Change is how a user's default rule differs from the default. Nil means that it does not.
type Change struct {
	Enabled *bool             `json:"enabled,omitempty"`
	Actions []json.RawMessage `json:"actions,omitzero"`
}

// ParseStored reads the JSON form of Stored. No bytes are a user who has changed nothing.
func ParseStored(b []byte) (Stored, error) {
	var s Stored
	if len(b) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return Stored{}, fmt.Errorf("read push rules: %w", err)
	}
	return s, nil
}

// IsZero reports whether the user has changed nothing.
func (s Stored) IsZero() bool {
	return len(s.Override)+len(s.Content)+len(s.Room)+len(s.Sender)+len(s.Underride)+len(s.Defaults) == 0
}

// CopyRoom returns s with the rules about one room repeated for another, and whether there were any. It is for room upgrades: the room
// rule is copied, and every rule with a condition that names the old room.
//
// Spec: client-server-api#room-upgrades
func (s Stored) CopyRoom(from, to id.RoomID) (Stored, bool) {
	changed := false
	if i := indexOf(s.Room, string(from)); i >= 0 && indexOf(s.Room, string(to)) < 0 && len(s.Room) < maxRules {
		r := s.Room[i]
		r.ID = string(to)
		s.Room = slices.Insert(slices.Clone(s.Room), i, r)
		changed = true
	}
	for _, rules := range []*[]Rule{&s.Override, &s.Underride} {
		if copied := copyRoomConditions(*rules, from, to); len(copied) > len(*rules) {
			*rules, changed = copied, true
		}
	}
	return s, changed
}

func copyRoomConditions(rules []Rule, from, to id.RoomID) []Rule {
	out := make([]Rule, 0, len(rules))
	for i, r := range rules {
		if conditions, named := renameRoom(r.Conditions, from, to); named && len(rules)+len(out)-i < maxRules {
			c := r
			c.Conditions = conditions
			if c.ID = strings.ReplaceAll(r.ID, string(from), string(to)); c.ID == r.ID {
				c.ID = r.ID + "_" + string(to)
			}
			if checkRuleID(c.ID) == nil && indexOf(rules, c.ID) < 0 && indexOf(out, c.ID) < 0 {
				out = append(out, c)
			}
		}
		out = append(out, r)
	}
	return out
}

// renameRoom returns the conditions with those on room_id that name one room naming another, and whether there were any.
func renameRoom(conditions []json.RawMessage, from, to id.RoomID) ([]json.RawMessage, bool) {
	out, named := slices.Clone(conditions), false
	for i, raw := range conditions {
		field := "pattern"
		c, err := parseObject(raw)
		if err != nil {
			continue
		}
		kind, _ := c.text("kind")
		switch kind {
		case kindEventMatch:
		case kindPropertyIs:
			field = "value"
		default:
			continue
		}
		key, _ := c.text("key")
		if room, ok := c.text(field); !ok || key != "room_id" || room != string(from) {
			continue
		}
		quoted, err := json.Marshal(string(to))
		if err != nil {
			continue
		}
		c[field] = quoted
		if renamed, err := json.Marshal(c); err == nil {
			out[i], named = renamed, true
		}
	}
	return out, named
}

// ruleset gives the user's own rules. The result shares them with s.
func (s Stored) ruleset() Ruleset {
	return Ruleset{Override: s.Override, Content: s.Content, Room: s.Room, Sender: s.Sender, Underride: s.Underride}
}

// withKind returns s with other rules of a kind, which must exist.
func (s Stored) withKind(k Kind, rules []Rule) Stored {
	own := s.ruleset()
	*own.kind(k) = rules
	return Stored{own.Override, own.Content, own.Room, own.Sender, own.Underride, s.Defaults}
}

// withChange returns s with another change to a default rule; the zero Change takes it back.
func (s Stored) withChange(ruleID string, c Change) Stored {
	changes := make(map[string]Change, len(s.Defaults)+1)
	for k, v := range s.Defaults {
		changes[k] = v
	}
	if changes[ruleID] = c; c.Enabled == nil && c.Actions == nil {
		delete(changes, ruleID)
	}
	if len(changes) == 0 {
		changes = nil
	}
	s.Defaults = changes
	return s
}

// size is about how many bytes the rules take.
func (s Stored) size() int {
	n := 0
	own := s.ruleset()
	for _, k := range []Kind{Override, Content, Room, Sender, Underride} {
		for _, r := range *own.kind(k) {
			n += ruleOverhead + len(r.ID) + len(r.Pattern) + rawSize(r.Conditions) + rawSize(r.Actions)
		}
	}
	for _, c := range s.Defaults {
		n += ruleOverhead + rawSize(c.Actions)
	}
	return n
}

func rawSize(list []json.RawMessage) int {
	n := 0
	for _, raw := range list {
		n += len(raw) + 1
	}
	return n
}

// apply changes a default rule.
func (c Change) apply(r *Rule) {
	if c.Enabled != nil {
		r.Enabled = *c.Enabled
	}
	if c.Actions != nil {
		r.Actions = c.Actions
	}
}
