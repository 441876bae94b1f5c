package pdu

import (
	"fmt"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
)

func TestRedactionsKeepWhatTheRoomVersionSays(t *testing.T) {
	for _, tt := range []struct {
		typ, content string
		want         map[gomatrixserverlib.RoomVersion]string // from that version on
	}{
		{"m.room.message", `{"body":"hi","membership":"join"}`, map[gomatrixserverlib.RoomVersion]string{"1": `{}`}},
		{"m.room.member", `{"displayname":"A","join_authorised_via_users_server":"@a:x","membership":"join","third_party_invite":{"display_name":"a","signed":{"b":1}}}`,
			map[gomatrixserverlib.RoomVersion]string{
				"1": `{"membership":"join"}`, "9": `{"join_authorised_via_users_server":"@a:x","membership":"join"}`,
				"11": `{"join_authorised_via_users_server":"@a:x","membership":"join","third_party_invite":{"signed":{"b":1}}}`,
			}},
		{"m.room.member", `{"third_party_invite":{"display_name":"a"}}`, map[gomatrixserverlib.RoomVersion]string{"1": `{}`, "11": `{"third_party_invite":{}}`}},
		{"m.room.member", `{"third_party_invite":[{"signed":{}}]}`, map[gomatrixserverlib.RoomVersion]string{"1": `{}`}},
		{"m.room.create", `{"creator":"@a:x","m.federate":false,"room_version":"7"}`,
			map[gomatrixserverlib.RoomVersion]string{"1": `{"creator":"@a:x"}`, "11": `{"creator":"@a:x","m.federate":false,"room_version":"7"}`}},
		{"m.room.join_rules", `{"allow":[{}],"join_rule":"restricted"}`,
			map[gomatrixserverlib.RoomVersion]string{"1": `{"join_rule":"restricted"}`, "8": `{"allow":[{}],"join_rule":"restricted"}`}},
		{"m.room.power_levels", `{"ban":1,"events":{"a":9007199254740993},"events_default":1,"invite":1,"kick":1,"notifications":{},"redact":1,"state_default":1,"users":{"@<>:x":-3},"users_default":1e3}`,
			map[gomatrixserverlib.RoomVersion]string{
				"1":  `{"ban":1,"events":{"a":9007199254740993},"events_default":1,"kick":1,"redact":1,"state_default":1,"users":{"@<>:x":-3},"users_default":1e3}`,
				"11": `{"ban":1,"events":{"a":9007199254740993},"events_default":1,"invite":1,"kick":1,"redact":1,"state_default":1,"users":{"@<>:x":-3},"users_default":1e3}`,
			}},
		{"m.room.aliases", `{"aliases":["#a:x"],"x":1}`, map[gomatrixserverlib.RoomVersion]string{"1": `{"aliases":["#a:x"]}`, "6": `{}`}},
		{"m.room.history_visibility", `{"history_visibility":"shared","x":1}`, map[gomatrixserverlib.RoomVersion]string{"1": `{"history_visibility":"shared"}`}},
		{"m.room.redaction", `{"reason":"x","redacts":"$a"}`, map[gomatrixserverlib.RoomVersion]string{"1": `{}`, "11": `{"redacts":"$a"}`}},
	} {
		want := ""
		for n := 1; n <= 12; n++ {
			version := gomatrixserverlib.RoomVersion(fmt.Sprint(n))
			if changed, ok := tt.want[version]; ok {
				want = changed
			}
			event := fmt.Sprintf(`{"auth_events":[],"content":%s,"depth":1,"event_id":"$e","hashes":{},"membership":"join","origin":"x","origin_server_ts":1,`+
				`"prev_events":[],"prev_state":[],"redacts":"$a","room_id":"!r","sender":"@a:x","signatures":{},"state_key":"","type":%q,"x":1}`, tt.content, tt.typ)
			whole := fmt.Sprintf(`{"auth_events":[],"content":%s,"depth":1,"event_id":"$e","hashes":{},"membership":"join","origin":"x","origin_server_ts":1,`+
				`"prev_events":[],"prev_state":[],"room_id":"!r","sender":"@a:x","signatures":{},"state_key":"","type":%q}`, want, tt.typ)
			if n >= 11 {
				whole = fmt.Sprintf(`{"auth_events":[],"content":%s,"depth":1,"event_id":"$e","hashes":{},"origin_server_ts":1,`+
					`"prev_events":[],"room_id":"!r","sender":"@a:x","signatures":{},"state_key":"","type":%q}`, want, tt.typ)
			}
			got, err := Redact(gomatrixserverlib.MustGetRoomVersion(version), []byte(event))
			if err != nil || string(got) != whole {
				t.Errorf("version %s, %s: %s, %v, want %s", version, tt.typ, got, err, whole)
			}
		}
	}
}

func TestRedactionNeedsAContent(t *testing.T) {
	for _, raw := range []string{`{"type":"m.room.member"}`, `{"content":[],"type":"m.room.member"}`, `7`} {
		if got, err := Redact(gomatrixserverlib.MustGetRoomVersion("11"), []byte(raw)); err == nil {
			t.Errorf("%s becomes %s", raw, got)
		}
	}
}

// What a redaction leaves must be what other servers compute.
func FuzzRedact(f *testing.F) {
	f.Add(uint8(10), []byte(`{"content":{"membership":"join","x":1},"depth":1,"type":"m.room.member"}`))
	f.Add(uint8(1), []byte(`{"content":{"aliases":[1]},"origin":"x","type":"m.room.aliases"}`))
	f.Add(uint8(12), []byte(`{"content":{"users":{"a":1}},"type":"m.room.power_levels"}`))
	f.Fuzz(func(t *testing.T, n uint8, raw []byte) {
		version, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(fmt.Sprint(n%12 + 1)))
		if err != nil {
			return
		}
		event, err := canonjson.Strict(raw)
		if err != nil || !gjson.GetBytes(event, "content").IsObject() || gjson.GetBytes(event, "type").Type != gjson.String ||
			gjson.GetBytes(event, "content.third_party_invite").Exists() {
			return
		}
		theirs, err := version.RedactEventJSON(event)
		if err != nil {
			return
		}
		for name := range gjson.ParseBytes(theirs).Map() {
			if !gjson.GetBytes(event, gjson.Escape(name)).Exists() {
				return // they have taken a member in another case, or made one up
			}
		}
		want, err := canonjson.Canonical(theirs)
		if err != nil {
			return
		}
		got, err := Redact(version, event)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s becomes %s, %v; want %s", event, got, err, want)
		}
	})
}
