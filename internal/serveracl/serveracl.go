// Package serveracl decides which servers a room's m.room.server_acl lets in. It refuses to know what they want there: whoever serves or
// receives something of a room asks it first.
package serveracl

import (
	"errors"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/glob"
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
		if v.Type == gjson.String && glob.Matchable(v.Str) {
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
	if l.noLiterals && isAddress(server.Host()) {
		return false
	}
	host := glob.Server(server)
	return !glob.Any(l.deny, host) && glob.Any(l.allow, host)
}

// isAddress reports whether a host is an address. Groups of digits are one even where they have leading zeros, which netip does not read.
func isAddress(host string) bool {
	return strings.Contains(host, ":") || strings.Count(host, ".") == 3 && strings.Trim(host, "0123456789.") == ""
}
