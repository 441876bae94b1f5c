// Package authrules says whether an event is allowed by a state of its room, for every room version, and which part of the state that is.
// It is a function of what it is given: any provider of state will do, the current one, the one before an event, or an event's auth events.
// It refuses to look at signatures, which are checked on receipt, but for those that third-party invites carry in their content.
package authrules

import (
	"fmt"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Allowed applies the auth rules of a room version to an event that is to follow the state. Of the state it asks for no more than AuthTypes
// names, and for the create event. A refusal is a *merr.Error: M_FORBIDDEN, or M_BAD_JSON for content that no state allows. All other
// errors are those of the provider.
//
// Spec: server-server-api#authorization-rules
func Allowed(version gomatrixserverlib.IRoomVersion, event Event, state State) error {
	if event.Type() == spec.MRoomCreate {
		return createAllowed(version, event)
	}
	create, err := state.Create()
	if err != nil {
		return fmt.Errorf("find the create event: %w", err)
	}
	r := &rules{
		version: version, event: event, content: gjson.ParseBytes(event.Content()), sender: id.UserID(event.SenderID()), state: state,
		create: create,
	}
	switch {
	case create == nil:
		return refuse("The room has no create event")
	case roomOf(version, create) != roomOf(version, event):
		return refuse("The create event is that of another room")
	case !r.federated():
		return refuse("The room is not federated")
	case event.Type() == spec.MRoomAliases && !aliasesAreOrdinary(version):
		return r.aliases()
	case event.Type() == spec.MRoomMember:
		return r.member()
	}
	return r.ordinary()
}

func refuse(format string, args ...any) error { return merr.Newf(merr.Forbidden, format, args...) }

// rules are the rules about to be applied to one event.
type rules struct {
	version gomatrixserverlib.IRoomVersion
	event   Event
	content gjson.Result
	sender  id.UserID
	state   State
	create  Event
}

func createAllowed(version gomatrixserverlib.IRoomVersion, event Event) error {
	content := gjson.ParseBytes(event.Content())
	room := content.Get("room_version")
	creators := content.Get("additional_creators")
	switch {
	case !event.StateKeyEquals(""):
		return refuse("A create event is state, and there is one of it")
	case len(event.PrevEventIDs()) > 0:
		return refuse("A create event must be the first event of its room")
	case version.DomainlessRoomIDs() && gjson.GetBytes(event.JSON(), "room_id").Exists():
		return refuse("The create event is the room's id, so it cannot have one")
	case !version.DomainlessRoomIDs() && roomOf(version, event).Server() != id.UserID(event.SenderID()).Server():
		return refuse("The room's id is not one of the server that creates it")
	case room.Exists() && !gomatrixserverlib.KnownRoomVersion(gomatrixserverlib.RoomVersion(text(room))):
		return refuse("The room version is not known")
	case version.CreatorInCreateEvent() && !content.Get("creator").Exists():
		return refuse("The create event names no creator")
	case version.PrivilegedCreators() && creators.Exists() && !userIDs(creators):
		return refuse("additional_creators must be a list of user ids")
	}
	return nil
}

// roomOf is the room of an event. The library's own answer is a panic for ids that it does not like.
func roomOf(version gomatrixserverlib.IRoomVersion, event Event) id.RoomID {
	if version.DomainlessRoomIDs() && event.Type() == spec.MRoomCreate && event.StateKeyEquals("") {
		return id.RoomID("!" + strings.TrimPrefix(event.EventID(), "$"))
	}
	return id.RoomID(text(gjson.GetBytes(event.JSON(), "room_id")))
}

func userIDs(list gjson.Result) bool {
	ok := list.IsArray()
	list.ForEach(func(_, u gjson.Result) bool {
		_, err := id.ParseUserID(text(u))
		ok = ok && err == nil
		return ok
	})
	return ok
}

// federated says that the sender's server may take part in the room.
func (r *rules) federated() bool {
	federate := gjson.GetBytes(r.create.Content(), `m\.federate`)
	return federate.Type != gjson.False || r.sender.Server() == id.UserID(r.create.SenderID()).Server()
}

// aliases is the rule for m.room.aliases, as long as it had its own.
//
// Spec: rooms/v1#authorization-rules, rule 4
func (r *rules) aliases() error {
	if !r.event.StateKeyEquals(string(r.sender.Server())) {
		return refuse("Aliases are state, of the server that has them")
	}
	return nil
}

// ordinary is the rules for everything but create, alias and membership events.
func (r *rules) ordinary() error {
	membership, err := Membership(r.state, r.sender)
	if err != nil {
		return err
	}
	if membership != spec.Join {
		return refuse("%s is not in the room", r.sender)
	}
	p, err := powerOf(r.version, r.create, r.state)
	if err != nil {
		return err
	}
	level := p.User(r.sender)
	key := r.event.StateKey()
	switch {
	case r.event.Type() == spec.MRoomThirdPartyInvite:
		if level < p.Invite {
			return refuse("You may not invite to this room")
		}
		return nil
	case level < p.EventLevel(r.event.Type(), key != nil):
		return refuse("You may not send such events in this room")
	case key != nil && len(*key) > 0 && (*key)[0] == '@' && *key != string(r.sender):
		return refuse("You may not set the state of others")
	case r.event.Type() == spec.MRoomPowerLevels:
		return r.powerLevels(p)
	case r.event.Type() == spec.MRoomRedaction && redactionsAreJudged(r.version):
		// Spec: rooms/v1#authorization-rules, rule 11
		if level < p.Redact && serverOf(r.event.EventID()) != serverOf(r.event.Redacts()) {
			return refuse("You may not redact events of other servers")
		}
	}
	return nil
}

// serverOf is the server in an event id of room versions 1 and 2.
func serverOf(event string) id.ServerName { return id.RoomID(event).Server() }

// Membership is a user's membership in a state; leave, where the state has none.
func Membership(state State, user id.UserID) (string, error) {
	e, err := state.Member(spec.SenderID(user))
	if err != nil {
		return "", fmt.Errorf("find the membership of %s: %w", user, err)
	}
	if e == nil {
		return spec.Leave, nil
	}
	return text(gjson.GetBytes(e.Content(), "membership")), nil
}

// JoinRule is the join rule of a room.
type JoinRule struct {
	Rule  string
	Allow []id.RoomID // whose members may join, if the rule says so
}

// JoinRuleOf is who may join by the state; only the invited, where the state says nothing.
func JoinRuleOf(state State) (JoinRule, error) {
	e, err := state.JoinRules()
	if err != nil {
		return JoinRule{}, fmt.Errorf("find the join rule: %w", err)
	}
	if e == nil {
		return JoinRule{Rule: spec.Invite}, nil
	}
	content := gjson.ParseBytes(e.Content())
	out := JoinRule{Rule: spec.Invite}
	if rule := content.Get("join_rule"); rule.Exists() {
		out.Rule = text(rule)
	}
	content.Get("allow").ForEach(func(_, a gjson.Result) bool {
		if text(a.Get("type")) == "m.room_membership" {
			out.Allow = append(out.Allow, id.RoomID(text(a.Get("room_id"))))
		}
		return true
	})
	return out, nil
}

// text is the string in a result; nothing, if it is none.
func text(r gjson.Result) string {
	if r.Type != gjson.String {
		return ""
	}
	return r.Str
}

// Events is the State of the events it was made from. CheckAuthEvents looks at their rooms.
type Events struct {
	byKey map[storage.StateKey]Event
}

// NewEvents makes a state of events. Those that are no state are left out; of several for one key the last counts.
func NewEvents(events []Event) *Events {
	e := &Events{make(map[storage.StateKey]Event, len(events))}
	for _, pdu := range events {
		if key := pdu.StateKey(); key != nil {
			e.byKey[storage.StateKey{Type: pdu.Type(), Key: *key}] = pdu
		}
	}
	return e
}

// Get finds the event for a key; nil if there is none.
func (e *Events) Get(key storage.StateKey) Event { return e.byKey[key] }

// Create implements State.
func (e *Events) Create() (Event, error) {
	return e.byKey[storage.StateKey{Type: spec.MRoomCreate}], nil
}

// JoinRules implements State.
func (e *Events) JoinRules() (Event, error) {
	return e.byKey[storage.StateKey{Type: spec.MRoomJoinRules}], nil
}

// PowerLevels implements State.
func (e *Events) PowerLevels() (Event, error) {
	return e.byKey[storage.StateKey{Type: spec.MRoomPowerLevels}], nil
}

// Member implements State.
func (e *Events) Member(user spec.SenderID) (Event, error) {
	return e.byKey[storage.StateKey{Type: spec.MRoomMember, Key: string(user)}], nil
}

// ThirdPartyInvite implements State.
func (e *Events) ThirdPartyInvite(token string) (Event, error) {
	return e.byKey[storage.StateKey{Type: spec.MRoomThirdPartyInvite, Key: token}], nil
}
