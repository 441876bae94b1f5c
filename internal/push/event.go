package push

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// Event is an event that rules are to be evaluated on. Its properties are decoded when a condition first asks for them, and kept: it is
// not safe for concurrent use.
type Event struct {
	root   node
	sender string
	room   string
}

// NewEvent reads an event in its client form or its federation form. The ids are those that a client would see; the federation form
// need not have them.
func NewEvent(room id.RoomID, event id.EventID, raw json.RawMessage) (*Event, error) {
	if !gjson.ValidBytes(raw) {
		return nil, errors.New("read event for push rules: it is not JSON")
	}
	object := gjson.ParseBytes(raw)
	if !object.IsObject() {
		return nil, errors.New("read event for push rules: it is not an object")
	}
	e := &Event{root: node{raw: object.Raw, opened: true, fields: members(object)}, room: string(room)}
	e.root.fields["room_id"] = &node{parsed: true, value: textScalar(string(room))}
	if event != "" {
		e.root.fields["event_id"] = &node{parsed: true, value: textScalar(string(event))}
	}
	if s := e.root.fields["sender"].scalar(); s.kind == scalarText {
		e.sender = s.text
	}
	return e, nil
}

// members is the properties of an object.
func members(object gjson.Result) map[string]*node {
	out := make(map[string]*node, 16)
	object.ForEach(func(name, value gjson.Result) bool {
		out[name.Str] = &node{raw: value.Raw}
		return true
	})
	return out
}

// find returns the property with this path, or nil, which is a node without anything.
func (e *Event) find(path []string) *node {
	n := &e.root
	for _, name := range path {
		if n = n.child(name); n == nil {
			return nil
		}
	}
	return n
}

// node is a property of an event.
type node struct {
	raw    string // JSON without white space around it
	opened bool   // fields is set, if the property is an object
	fields map[string]*node
	parsed bool // value is set
	value  scalar
	folded bool // lower is set
	lower  string
	listed bool // items is set
	items  map[scalar]struct{}
}

func (n *node) child(name string) *node {
	if !n.opened {
		n.opened = true
		if n.starts('{') {
			n.fields = members(gjson.Parse(n.raw))
		}
	}
	return n.fields[name]
}

func (n *node) starts(c byte) bool { return len(n.raw) > 0 && n.raw[0] == c }

// scalar returns the value of the property, one of kind scalarNone if it has no value that conditions can be about.
func (n *node) scalar() scalar {
	if n == nil {
		return scalar{}
	}
	if !n.parsed {
		n.parsed, n.value = true, parseScalar(n.raw)
	}
	return n.value
}

// text returns the property lower-cased, if it is a string.
func (n *node) text() (string, bool) {
	s := n.scalar()
	if s.kind != scalarText {
		return "", false
	}
	if !n.folded {
		n.folded, n.lower = true, strings.ToLower(s.text)
	}
	return n.lower, true
}

// isList reports whether the property is a list.
func (n *node) isList() bool { return n != nil && n.starts('[') }

// contains reports whether the property is a list that has the value as an item.
func (n *node) contains(s scalar) bool {
	_, ok := n.set()[s]
	return ok
}

// set returns the items of the property, if it is a list.
func (n *node) set() map[scalar]struct{} {
	if n == nil {
		return nil
	}
	if n.isList() && !n.listed {
		n.listed, n.items = true, map[scalar]struct{}{}
		gjson.Parse(n.raw).ForEach(func(_, item gjson.Result) bool {
			if s := parseScalar(item.Raw); s.kind != scalarNone {
				n.items[s] = struct{}{}
			}
			return true
		})
	}
	return n.items
}

// scalar is a value that conditions can be about. Two are the same value if they are equal.
type scalar struct {
	kind   scalarKind
	text   string
	number int64
}

type scalarKind uint8

const (
	scalarNone scalarKind = iota // objects, lists, numbers that canonical JSON does not have, nothing
	scalarText
	scalarNumber
	scalarBool // number is 0 or 1
	scalarNull
)

// maxNumber is the greatest integer of canonical JSON; the least is its negative.
//
// Spec: appendices#canonical-json
const maxNumber = 1<<53 - 1

func textScalar(s string) scalar { return scalar{kind: scalarText, text: s} }

// parseScalar reads a JSON value without white space around it.
func parseScalar(raw string) scalar {
	if raw == "" {
		return scalar{}
	}
	switch c := raw[0]; {
	case c == '"':
		// Most strings have nothing to unescape.
		if body := raw[1 : len(raw)-1]; strings.IndexByte(body, '\\') < 0 && utf8.ValidString(body) {
			return textScalar(body)
		}
		var s string
		if json.Unmarshal([]byte(raw), &s) == nil {
			return textScalar(s)
		}
	case c == '-' || '0' <= c && c <= '9':
		if n, err := strconv.ParseInt(raw, 10, 64); err == nil && -maxNumber <= n && n <= maxNumber {
			return scalar{kind: scalarNumber, number: n}
		}
	case raw == "true":
		return scalar{kind: scalarBool, number: 1}
	case raw == "false":
		return scalar{kind: scalarBool}
	case raw == "null":
		return scalar{kind: scalarNull}
	}
	return scalar{}
}
