// Package push decides who is to be notified of an event: push rules, their defaults, their editing and their evaluation. It is pure,
// values in and values out: it refuses to know of storage, HTTP, time, pushers and ignored users.
//
// A Book holds the server's default rules. A user's own rules and changes to the defaults are a Stored, which is all that has to be kept.
// Book.Compile makes a Program of it; a Pass evaluates one event against the Programs of many users.
package push

import "encoding/json"

// Kind is the kind of a rule. Kinds are checked in the order of the constants.
type Kind string

// The kinds of rules.
//
// Spec: client-server-api#push-rules
const (
	Override    Kind = "override"
	Content     Kind = "content"
	PostContent Kind = "postcontent" // only of the server (MSC4306)
	Room        Kind = "room"
	Sender      Kind = "sender"
	Underride   Kind = "underride"
)

// Rule is a push rule in the form that clients see. Conditions is nil for the kinds that have none, Pattern is for content rules only.
// Conditions and actions stay as the client wrote them, because both may be of a sort that the server does not know.
type Rule struct {
	ID         string            `json:"rule_id"`
	Default    bool              `json:"default"`
	Enabled    bool              `json:"enabled"`
	Conditions []json.RawMessage `json:"conditions,omitzero"`
	Pattern    string            `json:"pattern,omitempty"`
	Actions    []json.RawMessage `json:"actions"`
}

// Ruleset is all rules of a user, the most important first within each kind.
type Ruleset struct {
	Override    []Rule
	Content     []Rule
	PostContent []Rule
	Room        []Rule
	Sender      []Rule
	Underride   []Rule
}

// Rules is the body of GET /pushrules/ and the content of m.push_rules.
type Rules struct {
	Global Ruleset `json:"global"`
}

// MarshalJSON writes every kind of the specification, an empty one as an empty list.
func (s Ruleset) MarshalJSON() ([]byte, error) {
	out := make(map[Kind][]Rule, 6)
	if len(s.PostContent) > 0 {
		out[PostContent] = s.PostContent
	}
	for _, k := range []Kind{Override, Content, Room, Sender, Underride} {
		out[k] = []Rule{}
		if rules := *s.kind(k); len(rules) > 0 {
			out[k] = rules
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes. It does not validate the rules.
func (s *Ruleset) UnmarshalJSON(b []byte) error {
	var in map[Kind][]Rule
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*s = Ruleset{in[Override], in[Content], in[PostContent], in[Room], in[Sender], in[Underride]}
	return nil
}

// kind returns the rules of a kind, or nil for a kind that does not exist.
func (s *Ruleset) kind(k Kind) *[]Rule {
	switch k {
	case Override:
		return &s.Override
	case Content:
		return &s.Content
	case PostContent:
		return &s.PostContent
	case Room:
		return &s.Room
	case Sender:
		return &s.Sender
	case Underride:
		return &s.Underride
	}
	return nil
}

// Kind returns the rules of one kind, never nil. An unknown kind is M_INVALID_PARAM.
func (s Ruleset) Kind(k Kind) ([]Rule, error) {
	rules := s.kind(k)
	if rules == nil {
		return nil, errKind()
	}
	if *rules == nil {
		return []Rule{}, nil
	}
	return *rules, nil
}

// Rule returns one rule, or M_NOT_FOUND, also when there is no such kind.
func (s Ruleset) Rule(k Kind, ruleID string) (Rule, error) {
	if rules := s.kind(k); rules != nil {
		if i := indexOf(*rules, ruleID); i >= 0 {
			return (*rules)[i], nil
		}
	}
	return Rule{}, errNotFound()
}

func indexOf(rules []Rule, ruleID string) int {
	for i := range rules {
		if rules[i].ID == ruleID {
			return i
		}
	}
	return -1
}
