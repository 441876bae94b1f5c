package roomserver

import (
	"errors"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// allowed applies the auth rules of the room's version to an event that is to follow the current state. The rules are gomatrixserverlib's;
// the functions below mend where those differ from the specification.
//
// Spec: server-server-api#authorization-rules
func (a *authState) allowed(pdu gomatrixserverlib.PDU) (err error) {
	m := &mended{authState: a}
	switch pdu.Type() {
	case spec.MRoomAliases:
		if aliasesAreOrdinary(a.version) {
			return a.ordinary(pdu)
		}
		if pdu.StateKey() == nil {
			return merr.New(merr.Forbidden, "Aliases are state")
		}
	case spec.MRoomPowerLevels:
		err = m.levels(pdu)
	case spec.MRoomMember:
		err = m.member(pdu)
	}
	if err != nil {
		return err
	}
	err = gomatrixserverlib.Allowed(pdu, m, userIDOf)
	var (
		refused *gomatrixserverlib.NotAllowed
		invalid *gomatrixserverlib.EventValidationError
	)
	switch {
	case errors.As(err, &refused):
		return merr.New(merr.Forbidden, refused.Message)
	case errors.As(err, &invalid):
		return merr.New(merr.BadJSON, invalid.Message)
	case err != nil:
		return merr.Newf(merr.Forbidden, "The event is not allowed: %s", err)
	}
	return nil
}

// mended is the state as gomatrixserverlib has to see it so that its rules come to the right result.
type mended struct {
	*authState
	oldLevels gomatrixserverlib.PDU
	newcomer  spec.SenderID // whose membership is not looked at
}

// PowerLevels implements gomatrixserverlib.AuthEventProvider.
func (m *mended) PowerLevels() (gomatrixserverlib.PDU, error) {
	if m.oldLevels != nil {
		return m.oldLevels, nil
	}
	return m.authState.PowerLevels()
}

// Member implements gomatrixserverlib.AuthEventProvider.
func (m *mended) Member(user spec.SenderID) (gomatrixserverlib.PDU, error) {
	if user == m.newcomer {
		return nil, nil //nolint:nilnil // the library's way to say that there is none
	}
	return m.authState.Member(user)
}

// otherContent is an event with another content.
type otherContent struct {
	gomatrixserverlib.PDU
	content []byte
}

// Content returns the other content.
func (e *otherContent) Content() []byte { return e.content }

// levels judges two things in new power levels: users_default, which the library does not look at, and the levels for notifications, where it
// refuses changes of a level that equals the sender's, and does not know that creators stand above all. It is then shown the same levels for
// notifications on both sides.
func (m *mended) levels(pdu gomatrixserverlib.PDU) error {
	old, err := m.authState.PowerLevels()
	if err != nil || old == nil {
		return err
	}
	p, err := m.power()
	if err != nil {
		return err
	}
	next, err := gomatrixserverlib.NewPowerLevelContentFromEvent(pdu)
	if err != nil {
		return merr.New(merr.Forbidden, "The power levels are not those of this room version")
	}
	level := p.user(id.UserID(pdu.SenderID()))
	if p.UsersDefault != next.UsersDefault && max(p.UsersDefault, next.UsersDefault) > level {
		return merr.New(merr.Forbidden, "You may not change users_default from or to a level above your own")
	}
	if !notificationsAreLevels(m.version) {
		return nil
	}
	for _, side := range []map[string]int64{p.Notifications, next.Notifications} {
		for name, n := range side {
			was, before := p.Notifications[name]
			is, after := next.Notifications[name]
			if n > level && (was != is || before != after) {
				return merr.New(merr.Forbidden, "You may not change a level for notifications that is above your own")
			}
		}
	}
	content := old.Content()
	if now := gjson.GetBytes(pdu.Content(), "notifications"); now.Exists() {
		content, err = sjson.SetRawBytes(content, "notifications", []byte(now.Raw))
	} else {
		content, err = sjson.DeleteBytes(content, "notifications")
	}
	m.oldLevels = &otherContent{old, content}
	return err
}

// member judges what the library does not: knock_restricted is no join rule before room version 10, and who has knocked may join a public
// room like anybody else.
func (m *mended) member(pdu gomatrixserverlib.PDU) error {
	content := gjson.ParseBytes(pdu.Content())
	membership := text(content.Get("membership"))
	if membership == "" { // the library would also take "Membership" for it
		return merr.New(merr.BadJSON, "A membership event must have a membership")
	}
	if membership != spec.Join && membership != spec.Knock || !pdu.StateKeyEquals(string(pdu.SenderID())) {
		return nil
	}
	rule, err := m.joinRule()
	if err != nil {
		return err
	}
	if rule.rule == spec.KnockRestricted && !knowsKnockRestricted(m.version) {
		return merr.New(merr.Forbidden, "The join rule of the room is none that its version knows")
	}
	was, _, err := m.membership(id.UserID(pdu.SenderID()))
	if membership == spec.Join && was == spec.Knock {
		m.newcomer = pdu.SenderID()
	}
	return err
}

// ordinary is the rule for events that have none of their own.
func (a *authState) ordinary(pdu gomatrixserverlib.PDU) error {
	create, err := gomatrixserverlib.NewCreateContentFromAuthEvents(a, userIDOf)
	if err != nil {
		return err
	}
	sender, err := userIDOf(pdu.RoomID(), pdu.SenderID())
	if err != nil {
		return err
	}
	p, err := a.power()
	if err != nil {
		return err
	}
	membership, _, err := a.membership(id.UserID(pdu.SenderID()))
	if err != nil {
		return err
	}
	key := pdu.StateKey()
	switch {
	case create.UserIDAllowed(*sender) != nil:
		return merr.New(merr.Forbidden, "The room is not federated")
	case membership != spec.Join:
		return merr.Newf(merr.Forbidden, "%s is not in the room", pdu.SenderID())
	case p.user(id.UserID(pdu.SenderID())) < p.EventLevel(pdu.Type(), key != nil):
		return merr.New(merr.Forbidden, "You may not send such events in this room")
	case key != nil && len(*key) > 0 && (*key)[0] == '@' && *key != string(pdu.SenderID()):
		return merr.New(merr.Forbidden, "You may not set the state of others")
	}
	return nil
}

func userIDOf(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
	return spec.NewUserID(string(sender), true)
}

type joinRule struct {
	rule  string
	allow []id.RoomID
}

// joinRule is who may join; only the invited, where the state says nothing.
func (a *authState) joinRule() (joinRule, error) {
	e, err := a.get(storage.StateKey{Type: spec.MRoomJoinRules})
	if err != nil || e == nil {
		return joinRule{rule: spec.Invite}, err
	}
	content := gjson.ParseBytes(e.pdu.Content())
	out := joinRule{rule: text(content.Get("join_rule"))}
	content.Get("allow").ForEach(func(_, a gjson.Result) bool {
		if text(a.Get("type")) == "m.room_membership" {
			out.allow = append(out.allow, id.RoomID(text(a.Get("room_id"))))
		}
		return true
	})
	return out, nil
}
