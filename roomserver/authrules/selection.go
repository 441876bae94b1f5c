package authrules

import (
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// AuthTypes is the keys of the state that the event has to name in auth_events, as far as there is state for them.
func AuthTypes(version gomatrixserverlib.IRoomVersion, event Event) []storage.StateKey {
	return Select(version, event.Type(), event.StateKey(), id.UserID(event.SenderID()), event.Content())
}

// Select is AuthTypes for an event that is still to be made.
//
// Spec: server-server-api#auth-events-selection
func Select(version gomatrixserverlib.IRoomVersion, typ string, stateKey *string, sender id.UserID, content []byte) []storage.StateKey {
	if typ == spec.MRoomCreate {
		return nil
	}
	out := []storage.StateKey{{Type: spec.MRoomPowerLevels}, {Type: spec.MRoomMember, Key: string(sender)}}
	if !version.DomainlessRoomIDs() { // the room's id stands for its create event. Spec: rooms/v12#event-format
		out = append(out, storage.StateKey{Type: spec.MRoomCreate})
	}
	if typ != spec.MRoomMember {
		return out
	}
	member := func(user string) {
		if key := (storage.StateKey{Type: spec.MRoomMember, Key: user}); !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	if stateKey != nil {
		member(*stateKey)
	}
	fields := gjson.ParseBytes(content)
	membership := text(fields.Get("membership"))
	switch membership {
	case spec.Join, spec.Invite, spec.Knock:
		out = append(out, storage.StateKey{Type: spec.MRoomJoinRules})
	}
	if token := fields.Get("third_party_invite.signed.token"); membership == spec.Invite && token.Type == gjson.String {
		out = append(out, storage.StateKey{Type: spec.MRoomThirdPartyInvite, Key: token.Str})
	}
	by := fields.Get("join_authorised_via_users_server")
	if membership == spec.Join && by.Type == gjson.String && knowsRestricted(version) {
		member(by.Str)
	}
	return out
}

// CheckAuthEvents checks that the event names the right auth events: those of its own room that the selection asks for, once each, the
// create event among them up to version 11, none of them rejected. authEvents is all events that event.AuthEventIDs names, which include
// the create event in version 12 too, in which it must not be named itself; their order does not matter. rejected is those of them that are
// rejected. A refusal is M_FORBIDDEN.
//
// Spec: rooms/v11#authorization-rules, rule 2, and rooms/v12#authorization-rules, rules 2 and 3
func CheckAuthEvents(
	version gomatrixserverlib.IRoomVersion, event Event, authEvents []Event, rejected ...id.EventID,
) error {
	if event.Type() == spec.MRoomCreate {
		return nil // rule 1 decides
	}
	ids := event.AuthEventIDs()
	named := make(map[string]bool, len(ids))
	for _, a := range ids {
		if named[a] {
			return refuse("The auth events name %s more than once", a)
		}
		named[a] = true
	}
	room := roomOf(version, event)
	create := storage.StateKey{Type: spec.MRoomCreate}
	wanted := append(AuthTypes(version, event), create)
	seen := make(map[storage.StateKey]bool, len(authEvents))
	for _, a := range authEvents {
		if a.StateKey() == nil {
			return refuse("The auth event %s is no state", a.EventID())
		}
		key := storage.StateKey{Type: a.Type(), Key: *a.StateKey()}
		switch {
		case slices.Contains(rejected, id.EventID(a.EventID())):
			return refuse("The auth event %s was rejected", a.EventID())
		case roomOf(version, a) != room: // MSC4307
			return refuse("The auth event %s is from another room", a.EventID())
		case seen[key]:
			return refuse("There are several auth events of type %s", a.Type())
		case !slices.Contains(wanted, key):
			return refuse("The event does not need the auth event %s of type %s", a.EventID(), a.Type())
		}
		seen[key] = true
	}
	if !seen[create] && !version.DomainlessRoomIDs() {
		return refuse("The create event is not among the auth events")
	}
	return nil
}
