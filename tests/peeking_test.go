package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func textsOf(events []hearthtest.Event) []string {
	var out []string
	for _, e := range events {
		if e.Body() != "" {
			out = append(out, e.Body())
		}
	}
	return out
}

// Spec: client-server-api#room-previews
func TestPeekingIntoRooms(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithConfig(func(c *config.Config) { c.Registration.Guests = true }))
	alice, bob, guest := a.User("alice"), a.User("bob"), a.Guest()
	room := alice.CreateRoom()
	alice.Say(room, "secret")
	for _, path := range []string{hearthtest.Path("rooms", room, "initialSync"), "events?room_id=" + hearthtest.Path(room)} {
		guest.Refused("GET", path, nil, 403, "M_FORBIDDEN")
		bob.Refused("GET", path, nil, 403, "M_FORBIDDEN")
	}
	alice.SetState(room, "m.room.history_visibility", "", hearthtest.Fields{"history_visibility": "world_readable"})
	said := alice.Say(room, "for all")
	for name, u := range map[string]*hearthtest.User{"a user": bob, "a guest": guest} {
		shown := u.Get(hearthtest.Path("rooms", room, "initialSync"))
		equal(t, "the messages for "+name, textsOf(hearthtest.Events(shown.At("messages", "chunk"))), []string{"for all"})
		equal(t, "membership of "+name, shown.Get("membership").Exists(), false)
		equal(t, "visibility", shown.Get("visibility").Str, "private")
		equal(t, "the state for "+name, len(shown.Get("state").Array()) > 4, true)
		for _, path := range []string{
			hearthtest.Path("rooms", room, "state"), hearthtest.Path("rooms", room, "members"), hearthtest.Path("rooms", room, "messages") + "?dir=b",
			hearthtest.Path("rooms", room, "event", said), hearthtest.Path("rooms", room, "context", said),
			hearthtest.Path("rooms", room, "state", "m.room.create", ""), hearthtest.Path("events", said),
		} {
			equal(t, path+" for "+name, u.Do("GET", path, nil).Status, 200)
		}
		// What happens from there on.
		from := shown.At("messages", "end").Str
		events := "events?timeout=10000&room_id=" + hearthtest.Path(room) + "&from="
		answer := make(chan hearthtest.Response, 1)
		go func() {
			r, _ := u.Try("GET", events+from, nil)
			answer <- r
		}()
		alice.Say(room, "news for "+name)
		news := <-answer
		equal(t, "news for "+name, textsOf(hearthtest.Events(news.Get("chunk"))), []string{"news for " + name})
		equal(t, "it starts", news.Get("start").Str, from)
		equal(t, "nothing after it", u.Get("events?room_id="+hearthtest.Path(room)+"&from="+news.Get("end").Str).Get("chunk").Raw, "[]")
		equal(t, "nothing without a token", u.Get("events?room_id="+hearthtest.Path(room)).Get("chunk").Raw, "[]")
		alice.Redact(room, newestIn(alice, room))
	}
	guest.Refused("GET", hearthtest.Path("events", said)+"x", nil, 404, "M_NOT_FOUND")
	bob.Refused("GET", "events", nil, 400, "M_MISSING_PARAM")
	bob.Refused("GET", "events?room_id=x", nil, 400, "M_INVALID_PARAM")
	bob.Refused("GET", "events?from=x&room_id="+hearthtest.Path(room), nil, 400, "M_INVALID_PARAM")
	equal(t, "of a member", alice.Get(hearthtest.Path("rooms", room, "initialSync")+"?limit=1").Get("membership").Str, "join")

	// Who looks in is shut out when the room closes.
	alice.SetState(room, "m.room.history_visibility", "", hearthtest.Fields{"history_visibility": "joined"})
	guest.Refused("GET", hearthtest.Path("rooms", room, "initialSync"), nil, 403, "M_FORBIDDEN")
	guest.Refused("GET", "events?room_id="+hearthtest.Path(room), nil, 403, "M_FORBIDDEN")
}

// newestIn is the newest message of a room.
func newestIn(u *hearthtest.User, room id.RoomID) id.EventID {
	return id.EventID(u.Get(hearthtest.Path("rooms", room, "messages") + "?dir=b&limit=1").Get("chunk.0.event_id").Str)
}
