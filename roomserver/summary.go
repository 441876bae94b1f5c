package roomserver

import (
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// What those are shown of a room who are not in it: stripped state in invites and knocks, and the summary in lists.

// strippedTypes is the state that tells an invited or knocking user what the room is.
//
// Spec: client-server-api#stripped-state
var strippedTypes = []string{
	spec.MRoomCreate, spec.MRoomName, spec.MRoomAvatar, spec.MRoomTopic, spec.MRoomJoinRules, spec.MRoomCanonicalAlias, spec.MRoomEncryption,
}

// stripped is the stripped state that goes with an invite or knock, the event itself last, as a JSON array.
func (h *head) stripped(e *storage.Event) (string, error) {
	state, err := h.auth.preview(e.Sender, *e.StateKey)
	if err != nil {
		return "", err
	}
	out := []byte{'['}
	for _, a := range state {
		out = append(appendStripped(out, a.pdu.JSON()), ',')
	}
	return string(append(appendStripped(out, e.JSON), ']')), nil
}

// preview is the state that those may see who are invited or knock: what tells what the room is, and the membership of who invites.
//
// Spec: client-server-api#stripped-state
func (a *authState) preview(sender id.UserID, target string) ([]*authEvent, error) {
	keys := make([]storage.StateKey, 0, len(strippedTypes)+1)
	for _, typ := range strippedTypes {
		keys = append(keys, storage.StateKey{Type: typ})
	}
	if string(sender) != target {
		keys = append(keys, storage.StateKey{Type: spec.MRoomMember, Key: string(sender)})
	}
	out := make([]*authEvent, 0, len(keys))
	for _, key := range keys {
		e, err := a.get(key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// appendStripped appends the stripped form of an event. Of the create event it tells when that was, for clients that show it before they join
// (MSC4311).
func appendStripped(b, event []byte) []byte {
	e := gjson.GetManyBytes(event, "content", "origin_server_ts", "sender", "state_key", "type")
	b = append(b, `{"content":`...)
	b = append(b, e[0].Raw...)
	if e[1].Type == gjson.Number && text(e[4]) == spec.MRoomCreate {
		b = append(b, `,"origin_server_ts":`...)
		b = append(b, e[1].Raw...)
	}
	for i, name := range []string{`,"sender":`, `,"state_key":`, `,"type":`} {
		b = append(b, name...)
		b = append(b, e[i+2].Raw...)
	}
	return append(b, '}')
}

// summarise notes what a state event changes about how the room is shown in lists.
func summarise(s *storage.RoomSummary, key storage.StateKey, content gjson.Result) {
	if key.Key != "" {
		return
	}
	switch key.Type {
	case spec.MRoomName:
		s.Name = text(content.Get("name"))
	case spec.MRoomTopic:
		s.Topic = text(content.Get("topic"))
	case spec.MRoomCanonicalAlias:
		s.CanonicalAlias = text(content.Get("alias"))
	case spec.MRoomAvatar:
		s.AvatarURL = text(content.Get("url"))
	case spec.MRoomJoinRules:
		s.JoinRule = text(content.Get("join_rule"))
	case spec.MRoomHistoryVisibility:
		s.HistoryVisibility = text(content.Get("history_visibility"))
	case spec.MRoomGuestAccess:
		s.GuestAccess = text(content.Get("guest_access"))
	case spec.MRoomCreate:
		s.Type = text(content.Get("type"))
	case spec.MRoomEncryption:
		s.Encryption = text(content.Get("algorithm"))
	case "m.room.tombstone":
		s.Successor = text(content.Get("replacement_room"))
	}
}
