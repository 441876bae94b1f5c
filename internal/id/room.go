package id

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// hashLength is the length of a SHA-256 hash in unpadded base64.
const hashLength = 43

// RoomID is a room id: !opaque:domain, or !hash from room version 12 on.
type RoomID string

// ParseRoomID accepts both forms. A domain, where there is one, must be a server name.
//
// Spec: appendices#room-ids
func ParseRoomID(s string) (RoomID, error) {
	err := check(s, '!')
	if err == nil {
		if _, d, ok := strings.Cut(s, ":"); ok {
			err = ServerName(d).check()
		} else if len(s) == 1 {
			err = errors.New("it has nothing but the sigil")
		}
	}
	if err != nil {
		return "", bad("room id", err)
	}
	return RoomID(s), nil
}

// Server is the server that made up the id, empty for an id without a domain. It says nothing about who is in the room.
func (r RoomID) Server() ServerName { return domain(string(r)) }

// Localpart is what stands between the sigil and the first colon: everything, for an id without a domain.
func (r RoomID) Localpart() string { return local(string(r)) }

// IsHash reports whether the id is made from the hash of the create event, as in room version 12.
func (r RoomID) IsHash() bool { return len(r) == hashLength+1 && urlSafe(string(r[1:])) }

// CreateEvent returns the id of the create event, for a room id made from its hash.
func (r RoomID) CreateEvent() (EventID, bool) {
	if !r.IsHash() {
		return "", false
	}
	return EventID("$" + r[1:]), true
}

// String returns the id.
func (r RoomID) String() string { return string(r) }

// RoomAlias is a name of a room, #localpart:domain.
type RoomAlias string

// ParseRoomAlias accepts any code points but colon and NUL in the localpart.
//
// Spec: appendices#room-aliases
func ParseRoomAlias(s string) (RoomAlias, error) {
	if err := checkDomain(s, '#'); err != nil {
		return "", bad("room alias", err)
	}
	return RoomAlias(s), nil
}

// Localpart is what stands between the sigil and the first colon.
func (a RoomAlias) Localpart() string { return local(string(a)) }

// Server is the server that knows where the alias leads to.
func (a RoomAlias) Server() ServerName { return domain(string(a)) }

// String returns the alias.
func (a RoomAlias) String() string { return string(a) }

// EventID is an event id: $opaque:domain in room versions 1 and 2, $hash in standard base64 in 3, in URL-safe base64 since.
type EventID string

// ParseEventID accepts all forms. Which of them a room has, only its version can tell.
//
// Spec: appendices#event-ids
func ParseEventID(s string) (EventID, error) {
	err := check(s, '$')
	if err == nil && len(s) == 1 {
		err = errors.New("it has nothing but the sigil")
	}
	if err != nil {
		return "", bad("event id", err)
	}
	return EventID(s), nil
}

// IsHash reports whether the id is a URL-safe hash, as in room version 4 and later.
func (e EventID) IsHash() bool { return len(e) == hashLength+1 && urlSafe(string(e[1:])) }

// String returns the id.
func (e EventID) String() string { return string(e) }

func urlSafe(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func legalText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
