package roomserver

import (
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
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
	out := []byte{'['}
	for _, typ := range strippedTypes {
		a, err := h.auth.get(storage.StateKey{Type: typ})
		if err != nil {
			return "", err
		}
		if a != nil {
			out = append(appendStripped(out, a.pdu.Content(), string(a.pdu.SenderID()), "", typ), ',')
		}
	}
	if string(e.Sender) != *e.StateKey {
		a, err := h.auth.get(storage.StateKey{Type: spec.MRoomMember, Key: string(e.Sender)})
		if err != nil {
			return "", err
		}
		if a != nil {
			out = append(appendStripped(out, a.pdu.Content(), string(e.Sender), string(e.Sender), spec.MRoomMember), ',')
		}
	}
	out = appendStripped(out, e.Content(), string(e.Sender), *e.StateKey, spec.MRoomMember)
	return string(append(out, ']')), nil
}

func appendStripped(b, content []byte, sender, key, typ string) []byte {
	b = append(b, `{"content":`...)
	b = append(b, content...)
	b = append(b, `,"sender":`...)
	b = canonjson.AppendString(b, sender)
	b = append(b, `,"state_key":`...)
	b = canonjson.AppendString(b, key)
	b = append(b, `,"type":`...)
	b = canonjson.AppendString(b, typ)
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
