package roomserver

import (
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
)

// made is an event that this server has just made, for the auth rules: what they ask of it is known, and need not be read back from its JSON.
type made struct {
	event   id.EventID
	d       draft
	p       place
	raw     []byte
	content []byte
}

// newMade is the event that build has made of a draft.
func newMade(event id.EventID, d draft, p place, raw []byte) (authrules.Event, error) {
	if p.version.EventFormat() == gomatrixserverlib.EventFormatV1 { // which is read by the library alone
		return p.version.NewEventFromTrustedJSONWithEventID(string(event), raw, false)
	}
	return &made{event, d, p, raw, []byte(gjson.GetBytes(raw, "content").Raw)}, nil
}

func (m *made) EventID() string                { return string(m.event) }
func (m *made) Type() string                   { return m.d.typ }
func (m *made) StateKey() *string              { return m.d.stateKey }
func (m *made) StateKeyEquals(key string) bool { return m.d.stateKey != nil && *m.d.stateKey == key }
func (m *made) SenderID() spec.SenderID        { return spec.SenderID(m.d.sender) }
func (m *made) Content() []byte                { return m.content }
func (m *made) JSON() []byte                   { return m.raw }
func (m *made) OriginServerTS() spec.Timestamp { return spec.Timestamp(m.p.ts) }
func (m *made) Depth() int64                   { return m.p.depth }
func (m *made) PrevEventIDs() []string         { return toStrings(m.p.prev) }

// Redacts is the member beside the content, which there is before room version 11.
func (m *made) Redacts() string {
	if redactsInContent(m.p.version) {
		return ""
	}
	return string(m.d.redacts)
}

// AuthEventIDs has the create event also where events do not name it.
//
// Spec: rooms/v12#event-format
func (m *made) AuthEventIDs() []string {
	switch auth := toStrings(m.p.auth); {
	case !m.p.version.DomainlessRoomIDs():
		return auth
	case m.d.typ == spec.MRoomCreate && m.StateKeyEquals(""):
		return []string{}
	default:
		return append([]string{"$" + string(m.p.room[1:])}, auth...)
	}
}
