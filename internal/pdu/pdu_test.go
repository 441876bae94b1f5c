package pdu

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// made builds a signed event with the library.
func made(t testing.TB, version gomatrixserverlib.RoomVersion, typ, content string) []byte {
	t.Helper()
	impl := gomatrixserverlib.MustGetRoomVersion(version)
	b := impl.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
		Type: typ, SenderID: "@a:x", RoomID: "!r:x", Content: []byte(content), PrevEvents: []any{}, AuthEvents: []any{}, Depth: 3, Version: impl,
	})
	if impl.EventFormat() == gomatrixserverlib.EventFormatV1 {
		b.PrevEvents, b.AuthEvents = []any{}, []any{}
	} else {
		b.PrevEvents, b.AuthEvents = []string{}, []string{}
	}
	if strings.HasPrefix(typ, "m.room.") && typ != "m.room.message" {
		key := ""
		b.StateKey = &key
	}
	event, err := b.Build(time.UnixMilli(1700000000000), "x", "ed25519:1", testKey)
	if err != nil {
		t.Fatal(err)
	}
	return event.JSON()
}

var testKey = make([]byte, 64)

func TestEventsKeepTheIDsThatTheLibraryGivesThem(t *testing.T) {
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "2", "3", "4", "6", "10", "11"} {
		impl := gomatrixserverlib.MustGetRoomVersion(version)
		for typ, content := range map[string]string{
			"m.room.message":      `{"body":"hi","msgtype":"m.text"}`,
			"m.room.member":       `{"membership":"join","displayname":"A"}`,
			"m.room.power_levels": `{"users":{"@a:x":100},"invite":50,"x":1}`,
			"m.room.aliases":      `{"aliases":["#a:x"]}`,
			"m.room.redaction":    `{"redacts":"$x:x","reason":"y"}`,
		} {
			raw := made(t, version, typ, content)
			got, err := Parse(impl, raw)
			if err != nil {
				t.Errorf("version %s, %s: %v", version, typ, err)
				continue
			}
			want, err := impl.NewEventFromUntrustedJSON(raw)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.ID) != want.EventID() || got.Tampered || string(got.Raw) != string(want.JSON()) {
				t.Errorf("version %s, %s: %s instead of %s, redacted %v", version, typ, got.ID, want.EventID(), got.Tampered)
			}
		}
	}
}

func TestAnEventWhoseContentWasChangedIsRedacted(t *testing.T) {
	impl := gomatrixserverlib.MustGetRoomVersion("10")
	raw := made(t, "10", "m.room.message", `{"body":"hi"}`)
	before, err := Parse(impl, raw)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ = sjson.SetBytes(raw, "content.body", "ho")
	after, err := Parse(impl, raw)
	if err != nil || !after.Tampered || gjson.GetBytes(after.Raw, "content").Raw != "{}" || after.ID != before.ID {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestWhatIsNoEventIsRefused(t *testing.T) {
	impl := gomatrixserverlib.MustGetRoomVersion("10")
	good := made(t, "10", "m.room.message", `{"body":"hi"}`)
	set := func(path string, value any) []byte {
		out, err := sjson.SetBytes(good, path, value)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, raw := range map[string][]byte{
		"nothing":                        nil,
		"no JSON":                        []byte("{"),
		"an array":                       []byte("[]"),
		"a float":                        set("content.x", 1.5),
		"a large number":                 set("content.x", json.Number("9007199254740992")),
		"no sender":                      without(good, "sender"),
		"a sender that is no user":       set("sender", "x"),
		"a second name for a member":     set("Sender", "@b:x"),
		"a name that folds to another":   set("\u017fender", "@b:x"),
		"a depth that is a string":       set("depth", "1"),
		"a content that is an array":     set("content", []int{}),
		"a type with NUL":                set("type", "a\x00"),
		"a state key with NUL":           set("state_key", "a\x00"),
		"a parent that is no event":      set("prev_events", []string{"a"}),
		"a parent with NUL":              set("prev_events", []string{"$a\x00"}),
		"an auth event that is too long": set("auth_events", []string{"$" + strings.Repeat("x", maxField)}),
		"too many parents":               set("prev_events", make([]string, maxEdges+1)),
		"more bytes than are allowed":    set("content.x", strings.Repeat("x", MaxSize)),
		"a type that is too long":        set("type", strings.Repeat("x", maxField+1)),
	} {
		if e, err := Parse(impl, raw); err == nil {
			t.Errorf("%s: read as %s", name, e.ID)
		}
	}
}

// Spec: rooms/v1#event-ids
func TestAnEventIDThatIsMadeUpNamesAServer(t *testing.T) {
	impl := gomatrixserverlib.MustGetRoomVersion("1")
	for event, want := range map[string]bool{
		"$x:x": true,
		"$x":   false,
		"$x:":  false,
		"$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk": false, // one of room version 3
	} {
		raw, err := sjson.SetBytes(made(t, "1", "m.room.message", `{"body":"hi"}`), "event_id", event)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(impl, raw); (err == nil) != want {
			t.Errorf("%s: %v", event, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10", made(f, "10", "m.room.message", `{"body":"hi"}`))
	f.Add("1", made(f, "1", "m.room.member", `{"membership":"join"}`))
	f.Add("12", []byte(`{"type":"m.room.create"}`))
	f.Fuzz(func(t *testing.T, version string, raw []byte) {
		impl, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
		if err != nil {
			return
		}
		e, err := Parse(impl, raw)
		if err != nil {
			return
		}
		again, err := Parse(impl, e.Raw)
		if err != nil || again.ID != e.ID || string(again.Raw) != string(e.Raw) {
			t.Errorf("%s becomes %v, %v", e.Raw, again, err)
		}
	})
}
