// Package serveracl decides which servers a room's m.room.server_acl lets in. It refuses to know what they want there: whoever serves or
// receives something of a room asks it first.
package serveracl

import (
	"errors"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// EventType is the state event, with an empty state key, that holds the list.
const EventType = "m.room.server_acl"

// List is the access list of a room. A nil List, that of a room without one, lets everybody in. It does not change and is safe for concurrent
// use.
type List struct {
	allow, deny []string // lower-case patterns
	noLiterals  bool
}

// In is the list that a room has now.
func In(tx *storage.ReadTx, room int64) (*List, error) {
	ev, err := tx.CurrentStateKey(room, storage.StateKey{Type: EventType})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(ev.Content()), nil
}

// Parse reads the content of the event. What has the wrong type counts as absent, as the specification wants it.
//
// Spec: client-server-api#mroomserver_acl
func Parse(content []byte) *List {
	c := gjson.ParseBytes(content)
	return &List{allow: patterns(c.Get("allow")), deny: patterns(c.Get("deny")), noLiterals: c.Get("allow_ip_literals").Type == gjson.False}
}

func patterns(list gjson.Result) []string {
	if !list.IsArray() {
		return nil
	}
	var out []string
	list.ForEach(func(_, v gjson.Result) bool {
		// A name has at most 255 characters, so that a pattern with more of them, the stars not counted, matches none.
		if v.Type == gjson.String && len(v.Str)-strings.Count(v.Str, "*") <= id.MaxLength {
			out = append(out, strings.ToLower(v.Str))
		}
		return true
	})
	return out
}

// Allows reports whether a server may take part in the room. Its port does not matter, nor does case.
//
// Spec: client-server-api#server-access-control-lists-acls-for-rooms
func (l *List) Allows(server id.ServerName) bool {
	if l == nil {
		return true
	}
	host := server.Host()
	literal := isAddress(host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // as in the name
	}
	if literal && l.noLiterals {
		return false
	}
	host = strings.ToLower(host)
	return !matchesAny(l.deny, host) && matchesAny(l.allow, host)
}

// isAddress reports whether a host is an address. Groups of digits are one even where they have leading zeros, which netip does not read.
func isAddress(host string) bool {
	return strings.Contains(host, ":") || strings.Count(host, ".") == 3 && strings.Trim(host, "0123456789.") == ""
}

func matchesAny(patterns []string, host string) bool {
	for _, p := range patterns {
		if match(p, host) {
			return true
		}
	}
	return false
}

// match reports whether a pattern matches the whole of a name: * stands for any characters, ? for exactly one. When something does not fit,
// only the last star needs to take one character more, so the time is at most the product of the lengths.
//
// Spec: appendices#glob-style-matching
func match(pattern, name string) bool {
	p, n := 0, 0
	star, after := -1, 0 // the last star, and the name's first character that it has not taken
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, after = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			after++
			p, n = star+1, after
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
