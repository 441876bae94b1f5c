package roomserver

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
)

// bare is a Server for what needs no store.
func bare() *Server {
	return &Server{cfg: Config{Name: "b.test"}, peers: Peers{}.orNobody(), versions: Versions(), log: slog.New(slog.DiscardHandler)}
}

func FuzzReadTemplate(f *testing.F) {
	f.Add("11", `{"type":"m.room.member","room_id":"!r:a.test","sender":"@bert:b.test","state_key":"@bert:b.test","content":{"membership":"join"},`+
		`"prev_events":["$a"],"auth_events":["$b"],"depth":3}`)
	f.Add("1", `{"type":"m.room.member","room_id":"!r:a.test","sender":"@bert:b.test","state_key":"@bert:b.test","content":{"membership":"join",`+
		`"join_authorised_via_users_server":"@anna:a.test"},"prev_events":[["$a:a.test",{"sha256":"x"}]],"auth_events":[],"depth":-1e99}`)
	f.Add("", `[]`)
	s := bare()
	r := MemberRequest{Room: "!r:a.test", Sender: "@bert:b.test"}
	f.Fuzz(func(t *testing.T, version, event string) {
		p, err := s.readTemplate(fedtypes.Template{Version: gomatrixserverlib.RoomVersion(version), Event: json.RawMessage(event)}, "", "a.test", r, spec.Join)
		if err != nil {
			return
		}
		if p.version == nil || len(p.prev) == 0 || len(p.prev) > maxEdges || len(p.auth) > maxEdges || p.depth < 1 || p.depth > maxDepth {
			t.Errorf("%s is read as %+v", event, p)
		}
		for _, e := range append(p.prev, p.auth...) {
			if _, err := id.ParseEventID(string(e)); err != nil {
				t.Errorf("%s is read as %+v", event, p)
			}
		}
		if p.authoriser != "" && p.authoriser.Server() != "a.test" {
			t.Errorf("authorised by %s", p.authoriser)
		}
	})
}

func FuzzPreviews(f *testing.F) {
	f.Add(`{"type":"m.room.name","state_key":"","sender":"@anna:a.test","content":{"name":"Home"}}`)
	f.Add(`{"type":"m.room.create","state_key":"","sender":"@anna:a.test","content":{},"origin_server_ts":1}`)
	f.Add("{\"type\":\"m.room.name\",\"state_key\":\"\",\"sender\":\"@anna:a.test\",\"content\":{\"name\":\"\xff\"}}")
	f.Add(`{"content":{"a\ud800":[[[]]]},"type":"\u0000","state_key":"","sender":"@:a","sender":7}`)
	s := bare()
	invite := []byte(`{"auth_events":[],"content":{"membership":"invite"},"depth":1,"origin_server_ts":1,"prev_events":[],"room_id":"!r:a.test",` +
		`"sender":"@anna:a.test","state_key":"@bert:b.test","type":"m.room.member"}`)
	e := &pdu.Event{Raw: invite}
	var err error
	if e.PDU, err = s.versions["11"].NewEventFromTrustedJSON(invite, false); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, event string) {
		shown, err := s.previews(context.Background(), s.versions["11"], e, []json.RawMessage{json.RawMessage(event)}, true)
		if err != nil || !json.Valid([]byte(shown)) || !utf8.ValidString(shown) {
			t.Fatalf("%q becomes %s, %v", event, shown, err)
		}
		gjson.Parse(shown).ForEach(func(_, v gjson.Result) bool {
			if v.Get("type").Type != gjson.String || v.Get("state_key").Type != gjson.String || !v.Get("content").IsObject() {
				t.Errorf("%q becomes %s", event, shown)
			}
			return true
		})
	})
}
