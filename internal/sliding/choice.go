package sliding

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

const memberType = "m.room.member"

// Choice is a choice of state: what any of its parts chooses. It does not change. Nil chooses nothing.
type Choice struct {
	parts []part
	text  string
}

// part is the required_state of one rule.
type part struct {
	Include []element `json:"include,omitempty"`
	Exclude []element `json:"exclude,omitempty"`
	Lazy    bool      `json:"lazy_members,omitempty"`
}

// element is the state of a type under a key; nil is any.
type element struct {
	Type *string `json:"type,omitempty"`
	Key  *string `json:"state_key,omitempty"`
}

func (e element) match(typ, key string) bool {
	return (e.Type == nil || *e.Type == typ) && (e.Key == nil || *e.Key == key)
}

func (p *part) match(typ, key string) bool {
	for _, e := range p.Exclude {
		if e.match(typ, key) {
			return false
		}
	}
	for _, e := range p.Include {
		// Members that are loaded lazily are chosen by name only.
		if e.match(typ, key) && (!p.Lazy || typ != memberType || e.Key != nil) {
			return true
		}
	}
	return false
}

// allMembers reports whether the part chooses all members, but perhaps for some that it excludes.
func (p *part) allMembers() bool {
	return !p.Lazy && slices.ContainsFunc(p.Include, func(e element) bool { return e.Key == nil && (e.Type == nil || *e.Type == memberType) })
}

// stateChoice reads required_state: an object, or in the experiments a list of pairs in which "*" is anything.
type stateChoice struct{ part }

// UnmarshalJSON reads both forms.
func (s *stateChoice) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '[' {
		return json.Unmarshal(raw, &s.part)
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return err
	}
	wild := func(s string) *string {
		if s == "*" {
			return nil
		}
		return &s
	}
	for _, p := range pairs {
		if len(p) != 2 {
			return merr.New(merr.BadJSON, "required_state has an item that is no pair of type and state key")
		}
		// Spec: MSC3575#room-list-parameters
		if p[0] == memberType && p[1] == "$LAZY" {
			s.Lazy = true
			continue
		}
		s.Include = append(s.Include, element{wild(p[0]), wild(p[1])})
	}
	return nil
}

// compile checks the choice and puts the user in the place of "$ME".
func (s *stateChoice) compile(user id.UserID) (*Choice, error) {
	for _, list := range [][]element{s.Include, s.Exclude} {
		if len(list) > maxItems {
			return nil, merr.Newf(merr.InvalidParam, "required_state has more than %d elements", maxItems)
		}
		for i, e := range list {
			if e.Type != nil && len(*e.Type) > maxText || e.Key != nil && len(*e.Key) > maxText {
				return nil, merr.Newf(merr.InvalidParam, "required_state has a type or key of more than %d bytes", maxText)
			}
			if e.Key != nil && *e.Key == "$ME" {
				me := string(user)
				list[i].Key = &me
			}
		}
	}
	return newChoice([]part{s.part})
}

func newChoice(parts []part) (*Choice, error) {
	texts := make([]string, len(parts))
	byText := make(map[string]part, len(parts))
	for i, p := range parts {
		text, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("write a choice of state: %w", err)
		}
		texts[i], byText[string(text)] = string(text), p
	}
	slices.Sort(texts)
	c := &Choice{}
	for _, t := range slices.Compact(texts) {
		c.parts = append(c.parts, byText[t])
	}
	text, err := json.Marshal(c.parts)
	if err != nil {
		return nil, fmt.Errorf("write a choice of state: %w", err)
	}
	c.text = string(text)
	return c, nil
}

// ParseChoice reads what Text writes.
func ParseChoice(text string) (*Choice, error) {
	var parts []part
	if err := json.Unmarshal([]byte(text), &parts); err != nil {
		return nil, fmt.Errorf("read a choice of state: %w", err)
	}
	return newChoice(parts)
}

// Text is the same for choices that were made in the same words.
func (c *Choice) Text() string {
	if c == nil {
		return "[]"
	}
	return c.text
}

func union(choices []*Choice) *Choice {
	var parts []part
	for _, c := range choices {
		if c != nil {
			parts = append(parts, c.parts...)
		}
	}
	out, err := newChoice(parts)
	if err != nil { // what was written once can be written again
		return choices[0]
	}
	return out
}

func (c *Choice) size() int {
	n := 0
	for _, p := range c.parts {
		n += len(p.Include) + len(p.Exclude)
	}
	return n
}

// Match reports whether a piece of state is chosen. Members that are needed only because somebody is shown are not.
func (c *Choice) Match(typ, key string) bool {
	if c == nil {
		return false
	}
	for i := range c.parts {
		if c.parts[i].match(typ, key) {
			return true
		}
	}
	return false
}

// Empty reports whether nothing is chosen.
func (c *Choice) Empty() bool {
	return c == nil || !slices.ContainsFunc(c.parts, func(p part) bool { return len(p.Include) > 0 || p.Lazy })
}

// AllMembers reports whether all members may be chosen.
func (c *Choice) AllMembers() bool {
	return c != nil && slices.ContainsFunc(c.parts, func(p part) bool { return p.allMembers() })
}

// Lazy reports whether members are chosen when somebody is shown.
//
// Spec: MSC4186#combining-room-configs
func (c *Choice) Lazy() bool {
	return c != nil && !c.AllMembers() && slices.ContainsFunc(c.parts, func(p part) bool { return p.Lazy })
}

// Members is the members that are chosen by name.
func (c *Choice) Members() []string {
	var out []string
	if c == nil {
		return nil
	}
	for _, p := range c.parts {
		for _, e := range p.Include {
			if e.Key != nil && *e.Key != "" && (e.Type == nil || *e.Type == memberType) && !slices.Contains(out, *e.Key) {
				out = append(out, *e.Key)
			}
		}
	}
	return out
}
