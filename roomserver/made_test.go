package roomserver

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
)

// The rules see an event that was made just now as they see it when it is read from the database.
func TestAnEventIsTheSameToTheRulesBeforeAndAfterItIsStored(t *testing.T) {
	empty, alice := "", "@alice:hearth.test"
	for name, version := range Versions() {
		for _, d := range []draft{
			{typ: "m.room.message", content: json.RawMessage(`{"n": 1, "body": "a\u00e9\"\\\n<b>"}`)},
			{typ: "m.room.member", stateKey: &alice, content: json.RawMessage(`{"membership":"join"}`), handed: true},
			{typ: "m.room.power_levels", stateKey: &empty, content: json.RawMessage(`{"users":{"@alice:hearth.test":100}}`)},
			{typ: spec.MRoomRedaction, content: json.RawMessage(`{"reason":"x"}`), redacts: "$x:hearth.test"},
			{typ: spec.MRoomCreate, stateKey: &empty, content: json.RawMessage(`{"creator":"@alice:hearth.test"}`)},
		} {
			s, p := builder()
			p.version, d.sender = version, id.UserID(alice)
			if version.DomainlessRoomIDs() {
				if p.room = "!room"; d.typ == spec.MRoomCreate {
					p.room = ""
				}
			}
			if d.typ == spec.MRoomCreate {
				p.prev, p.auth = nil, nil
			}
			event, raw, err := s.build(d, p)
			if err != nil {
				t.Fatalf("version %s, %s: %v", name, d.typ, err)
			}
			got, err := newMade(event, d, p, raw)
			if err != nil {
				t.Fatalf("version %s, %s: %v", name, d.typ, err)
			}
			want, err := version.NewEventFromTrustedJSONWithEventID(string(event), raw, false)
			if err != nil {
				t.Fatalf("version %s, %s: %v", name, d.typ, err)
			}
			if diff := cmp.Diff(asked(want), asked(got)); diff != "" {
				t.Errorf("version %s, %s (-as stored +as made):\n%s", name, d.typ, diff)
			}
			if _, made := got.(*made); made == (version.EventFormat() == gomatrixserverlib.EventFormatV1) {
				t.Errorf("version %s: the event is a %T", name, got)
			}
		}
	}
}

// asked is all that can be asked of an event.
func asked(e authrules.Event) map[string]any {
	return map[string]any{
		"id": e.EventID(), "type": e.Type(), "key": e.StateKey(), "empty key": e.StateKeyEquals(""), "alice's": e.StateKeyEquals("@alice:hearth.test"),
		"sender": e.SenderID(), "content": string(e.Content()), "json": string(e.JSON()), "ts": e.OriginServerTS(), "redacts": e.Redacts(),
		"depth": e.Depth(), "prev": e.PrevEventIDs(), "auth": e.AuthEventIDs(),
	}
}
