package pdu

import (
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
)

// names is a set of members of an object.
type names map[string]bool

func set(of ...string) names {
	out := make(names, len(of))
	for _, n := range of {
		out[n] = true
	}
	return out
}

// algorithm is what a redaction keeps: of the event, and by its type of its content.
type algorithm struct {
	event   names
	content map[string]names
}

// everything stands for all members of a content.
var everything = names{}

// redactions is the algorithms of the room versions. gomatrixserverlib knows them as well, but it rounds large numbers, takes members in any case
// for those it knows, and does not keep what was signed of a third-party invite.
//
// Spec: rooms/v1#redactions, rooms/v6#redactions, rooms/v8#redactions, rooms/v9#redactions, rooms/v11#redactions
var redactions = func() map[gomatrixserverlib.RoomVersion]*algorithm {
	event := set("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events", "prev_state",
		"auth_events", "origin", "origin_server_ts", "membership")
	v1 := &algorithm{event, map[string]names{
		spec.MRoomMember:            set("membership"),
		spec.MRoomCreate:            set("creator"),
		spec.MRoomJoinRules:         set("join_rule"),
		spec.MRoomPowerLevels:       set("ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"),
		spec.MRoomAliases:           set("aliases"),
		spec.MRoomHistoryVisibility: set("history_visibility"),
	}}
	v6 := v1.with(event, map[string]names{spec.MRoomAliases: nil})
	v8 := v6.with(event, map[string]names{spec.MRoomJoinRules: set("join_rule", "allow")})
	v9 := v8.with(event, map[string]names{spec.MRoomMember: set("membership", "join_authorised_via_users_server")})
	event = set("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events", "auth_events",
		"origin_server_ts")
	v11 := v9.with(event, map[string]names{
		spec.MRoomMember: set("membership", "join_authorised_via_users_server", thirdParty),
		spec.MRoomCreate: everything,
		spec.MRoomPowerLevels: set("ban", "events", "events_default", "invite", "kick", "redact", "state_default", "users",
			"users_default"),
		spec.MRoomRedaction: set("redacts"),
	})
	return map[gomatrixserverlib.RoomVersion]*algorithm{
		"1": v1, "2": v1, "3": v1, "4": v1, "5": v1, "6": v6, "7": v6, "8": v8, "9": v9, "10": v9, "11": v11, "12": v11,
	}
}()

// with is the algorithm with changes for some types of events.
func (a *algorithm) with(event names, changes map[string]names) *algorithm {
	out := &algorithm{event, make(map[string]names, len(a.content)+len(changes))}
	for typ, keep := range a.content {
		out.content[typ] = keep
	}
	for typ, keep := range changes {
		out.content[typ] = keep
	}
	return out
}

// thirdParty is a member of which a redaction keeps a part.
const thirdParty = "third_party_invite"

// KeepsContent reports whether a redaction keeps something of the content of a type of events in some room version.
func KeepsContent(typ string) bool {
	return redactions["1"].content[typ] != nil || redactions["12"].content[typ] != nil
}

// Redact is what a redaction leaves of an event in canonical form, also in canonical form.
//
// Spec: rooms#redactions
func Redact(version gomatrixserverlib.IRoomVersion, event []byte) ([]byte, error) {
	a := redactions[version.Version()]
	if a == nil { // an experiment
		redacted, err := version.RedactEventJSON(event)
		if err != nil {
			return nil, fmt.Errorf("redact an event: %w", err)
		}
		return canonjson.Canonical(redacted)
	}
	content := gjson.GetBytes(event, "content")
	if !content.IsObject() {
		return nil, fmt.Errorf("%w: its content", errShape)
	}
	keep := a.content[gjson.GetBytes(event, "type").Str]
	out := make([]byte, 0, len(event))
	return appendMembers(out, gjson.ParseBytes(event), a.event, func(out []byte, name string, value gjson.Result) []byte {
		switch {
		case name != "content":
			return append(out, value.Raw...)
		case len(keep) == 0 && keep != nil:
			return append(out, content.Raw...)
		}
		return appendMembers(out, content, keep, appendContent)
	}), nil
}

// appendContent appends what is kept of a member of a content.
func appendContent(out []byte, name string, value gjson.Result) []byte {
	if name == thirdParty {
		return appendMembers(out, value, set("signed"), nil)
	}
	return append(out, value.Raw...)
}

// appendMembers appends an object with some of its members, each of them written by a function; nil: as it is.
func appendMembers(out []byte, object gjson.Result, keep names, write func(out []byte, name string, value gjson.Result) []byte) []byte {
	out = append(out, '{')
	first := true
	object.ForEach(func(k, v gjson.Result) bool {
		if !keep[k.Str] || k.Str == thirdParty && !v.IsObject() {
			return true
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(out, k.Raw...), ':')
		if write == nil {
			out = append(out, v.Raw...)
		} else {
			out = write(out, k.Str, v)
		}
		return true
	})
	return append(out, '}')
}
