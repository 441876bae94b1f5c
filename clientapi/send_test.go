package clientapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestSendingEvents(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"preset":"public_chat","room_alias_name":"home"}`)
	elsewhere := alice.create(`{}`)

	t.Run("a repeated request makes one event", func(t *testing.T) {
		first := alice.must("PUT", room.path("/send/m.room.message/1"), `{"body":"once"}`).Get("event_id").Str
		for _, path := range []string{
			room.path("/send/m.room.message/1"),
			strings.ReplaceAll(room.path("/send/m.room.message/1"), "%21", "!"),
			strings.ReplaceAll(room.path("/send/m%2Eroom.message/1"), ":", "%3A"),
		} {
			if again := alice.must("PUT", path, `{"body":"other"}`).Get("event_id").Str; again != first {
				t.Errorf("%s made %s, the first was %s", path, again, first)
			}
		}
		for name, path := range map[string]string{
			"another id": room.path("/send/m.room.message/2"), "another type": room.path("/send/m.x/1"), "another room": elsewhere.path("/send/m.room.message/1"),
			"another endpoint": room.path("/redact/" + first + "/1"),
		} {
			if other := alice.must("PUT", path, `{}`).Get("event_id").Str; other == first {
				t.Errorf("%s gave the same event", name)
			}
		}
	})
	t.Run("state that changes nothing makes no event", func(t *testing.T) {
		first := room.set("m.x", "", `{"a":1,"b":2}`)
		if again := room.set("m.x", "", `{"b":2, "a":1}`); again != first {
			t.Errorf("%s, the first was %s", again, first)
		}
		if other := room.set("m.x", "", `{"a":1}`); other == first {
			t.Error("other content gave the same event")
		}
	})
	t.Run("what is refused", func(t *testing.T) {
		for name, c := range map[string]struct {
			by                 *user
			method, path, body string
			status             int
			code               string
		}{
			"who is not in the room":            {bob, "PUT", room.path("/send/m.x/1"), `{}`, 403, "M_FORBIDDEN"},
			"state by who is not in it":         {bob, "PUT", room.path("/state/m.x"), `{}`, 403, "M_FORBIDDEN"},
			"a room that is not there":          {alice, "PUT", clientV3 + "rooms/!no:hs/send/m.x/1", `{}`, 404, "M_NOT_FOUND"},
			"what is no room id":                {alice, "PUT", clientV3 + "rooms/no/send/m.x/1", `{}`, 400, "M_INVALID_PARAM"},
			"what is no object":                 {alice, "PUT", room.path("/send/m.x/3"), `[]`, 400, "M_BAD_JSON"},
			"what is no JSON":                   {alice, "PUT", room.path("/send/m.x/3"), `{`, 400, "M_NOT_JSON"},
			"a number with a fraction":          {alice, "PUT", room.path("/send/m.x/3"), `{"a":0.5}`, 400, "M_BAD_JSON"},
			"an event that is too large":        {alice, "PUT", room.path("/send/m.x/3"), fmt.Sprintf(`{"a":%q}`, strings.Repeat("a", 66_000)), 413, "M_TOO_LARGE"},
			"a type that is too long":           {alice, "PUT", room.path("/send/" + strings.Repeat("a", 256) + "/3"), `{}`, 413, "M_TOO_LARGE"},
			"a transaction id that is too long": {alice, "PUT", room.path("/send/m.x/" + strings.Repeat("a", 256)), `{}`, 400, "M_INVALID_PARAM"},
			"a create event":                    {alice, "PUT", room.path("/state/m.room.create"), `{"a":1}`, 400, "M_FORBIDDEN"},
			"an alias that leads elsewhere":     {alice, "PUT", room.path("/state/m.room.canonical_alias"), `{"alias":"#no:hs"}`, 400, "M_BAD_ALIAS"},
			"an alias that is none":             {alice, "PUT", room.path("/state/m.room.canonical_alias"), `{"alias":"home"}`, 400, "M_INVALID_PARAM"},
			"an alias that is no text":          {alice, "PUT", room.path("/state/m.room.canonical_alias"), `{"alias":7}`, 400, "M_INVALID_PARAM"},
			"aliases that are no list":          {alice, "PUT", room.path("/state/m.room.canonical_alias"), `{"alt_aliases":"#home:hs"}`, 400, "M_BAD_JSON"},
		} {
			t.Run(name, func(*testing.T) { c.by.refused(c.method, c.path, c.body, c.status, c.code) })
		}
	})
	t.Run("a reaction counts once", func(*testing.T) {
		parent := room.say("hello")
		body := fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"a"}}`, parent)
		room.send("m.reaction", body)
		alice.refused("PUT", room.path("/send/m.reaction/again"), body, 400, "M_DUPLICATE_ANNOTATION")
	})
}

func TestRedacting(t *testing.T) {
	r := newRoomRig(t)
	alice, bob := r.register("alice"), r.register("bob")
	room := alice.create(`{"preset":"public_chat"}`)
	bobs := room.joined(bob)
	said := room.say("hello")
	bob.refused("PUT", bobs.path("/redact/"+said+"/1"), `{}`, 403, "M_FORBIDDEN")
	alice.refused("PUT", room.path("/redact/nothing/1"), `{}`, 400, "M_INVALID_PARAM")
	alice.refused("PUT", room.path("/redact/"+said+"/1"), `{"reason":7}`, 400, "M_BAD_JSON")
	by := alice.must("PUT", room.path("/redact/"+said+"/1"), `{"reason":"typo"}`).Get("event_id").Str
	got := alice.must("GET", room.path("/event/"+said), "")
	if got.Get("content.body").Exists() || got.Get("unsigned.redacted_because.event_id").Str != by ||
		got.Get("unsigned.redacted_because.content.reason").Str != "typo" {
		t.Error(got.Raw)
	}
}
