package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

const delayedEvents = "/_matrix/client/unstable/org.matrix.msc4140/"

// later schedules a message through the endpoint of the proposal's current text.
func later(u *hearthtest.User, room id.RoomID, txn string, ms int, text string) string {
	return u.Must("PUT", delayedEvents+hearthtest.Path("rooms", room, "delayed_event", "m.room.message", txn), hearthtest.Fields{
		"delay_ms": ms, "content": hearthtest.Fields{"msgtype": "m.text", "body": text},
	}).Get("delay_id").Str
}

func scheduled(u *hearthtest.User) []string {
	var out []string
	for _, d := range u.Get(delayedEvents + "delayed_events").Get("delayed_events").Array() {
		out = append(out, d.Get("content.body").Str)
	}
	return out
}

// Spec: MSC4140
func TestEventsAreSentLater(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	a := hearthtest.Start(t, hearthtest.WithClock(now), hearthtest.WithConfig(func(c *config.Config) {
		c.Rooms.MaxDelay, c.Rooms.MaxDelayedEvents = time.Hour, 4
	}))
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	alice.CatchUp()
	bob.CatchUp()
	equal(t, "limits", alice.Get("capabilities").At("capabilities", "org.matrix.msc4140.delayed_events").Raw, `{"max_delay_ms":3600000,"max_scheduled":4}`)

	second := later(alice, room, "1", 20_000, "second")
	equal(t, "a repeated request", later(alice, room, "1", 20_000, "second"), second)
	first := alice.Must("PUT", hearthtest.Path("rooms", room, "send", "m.room.message", "1")+"?org.matrix.msc4140.delay=10000",
		hearthtest.Fields{"msgtype": "m.text", "body": "first"}).Get("delay_id").Str
	never := later(alice, room, "2", 15_000, "never")
	other := later(alice, room, "3", 5_000, "third")
	equal(t, "scheduled, by the time of sending", scheduled(alice), []string{"third", "first", "never", "second"})
	equal(t, "bob's", len(scheduled(bob)), 0)
	alice.Refused("PUT", delayedEvents+hearthtest.Path("rooms", room, "delayed_event", "m.room.message", "4"),
		hearthtest.Fields{"delay_ms": 1, "content": hearthtest.Fields{}}, 429, "M_LIMIT_EXCEEDED")

	// Whoever knows the id can manage it, with the action in the path or, as it was once, in the body.
	nobody := a.Nobody()
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", never, "cancel"), hearthtest.Fields{})
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", never, "cancel"), nil)
	nobody.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", never, "restart"), nil, 409, "M_UNKNOWN")
	nobody.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", never), hearthtest.Fields{"action": "send"}, 409, "M_UNKNOWN")
	nobody.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", first, "burn"), nil, 404, "M_UNRECOGNIZED")
	nobody.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", first), hearthtest.Fields{}, 400, "M_MISSING_PARAM")
	nobody.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", "nonsense", "send"), nil, 404, "M_NOT_FOUND")
	bob.Refused("GET", delayedEvents+hearthtest.Path("delayed_events", first), nil, 404, "M_NOT_FOUND")

	now.Advance(4 * time.Second)
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", other), hearthtest.Fields{"action": "restart"})
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", other, "restart"), nil)
	now.Advance(4 * time.Second)
	equal(t, "still scheduled", scheduled(alice), []string{"third", "first", "second"})
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", other, "send"), nil)
	nobody.Must("POST", delayedEvents+hearthtest.Path("delayed_events", other, "send"), nil)
	bob.WaitFor(room, "third")
	now.Advance(2 * time.Second)
	bob.WaitFor(room, "first")
	now.Advance(10 * time.Second)
	e := bob.WaitFor(room, "second")
	equal(t, "a delay id is nobody's business", e.At("unsigned", "org.matrix.msc4140.delay_id").Exists(), false)
	equal(t, "but the sender's", alice.WaitFor(room, "second").At("unsigned", "org.matrix.msc4140.delay_id").Str, second)
	equal(t, "scheduled in the end", len(scheduled(alice)), 0)
	for _, m := range hearthtest.Events(alice.Get(hearthtest.Path("rooms", room, "messages") + "?dir=b&limit=100").Get("chunk")) {
		equal(t, "cancelled and sent all the same", m.Body() == "never", false)
	}
	sent := alice.Get(delayedEvents + hearthtest.Path("delayed_events", second))
	equal(t, "the event that it became", sent.Get("event_id").Str, e.ID())
	equal(t, "when", sent.Get("finalised_ts").Int(), int64(1_800_000_020_000))
}

// Spec: MSC4140
func TestDelayedEventsAreJudgedWhenTheyAreSent(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	a := hearthtest.Start(t, hearthtest.WithClock(now))
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	delay := later(bob, room, "1", 1000, "hi") // before bob is in the room
	bob.Refused("POST", delayedEvents+hearthtest.Path("delayed_events", delay, "send"), nil, 403, "M_FORBIDDEN")
	equal(t, "stays scheduled", scheduled(bob), []string{"hi"})
	bob.Join(room)
	state := bob.Must("PUT", hearthtest.Path("rooms", room, "state", "m.room.topic")+"?org.matrix.msc4140.delay=1000",
		hearthtest.Fields{"topic": "bob's"}).Get("delay_id").Str
	later(bob, room, "2", 1500, "after that") // in one room they are sent one after the other
	bob.CatchUp()

	// What is due while the server is away is sent when it is back.
	a.Close()
	now.Advance(2 * time.Second)
	a.Open()
	bob.WaitFor(room, "hi")
	bob.WaitFor(room, "after that")
	equal(t, "scheduled in the end", len(scheduled(bob)), 0)
	equal(t, "why not", bob.Get(delayedEvents+hearthtest.Path("delayed_events", state)).Get("error.errcode").Str, "M_FORBIDDEN")
	equal(t, "the topic", alice.Do("GET", hearthtest.Path("rooms", room, "state", "m.room.topic", ""), nil).Status, 404)
}

func TestDelaysThatAreNone(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	send := hearthtest.Path("rooms", room, "send", "m.room.message", "1") + "?org.matrix.msc4140.delay="
	for _, delay := range []string{"0", "-1", "x", "1.5", "99999999999999999999"} {
		alice.Refused("PUT", send+delay, hearthtest.Fields{}, 400, "M_INVALID_PARAM")
	}
	too := alice.Refused("PUT", send+"86400001", hearthtest.Fields{}, 400, "M_UNKNOWN")
	equal(t, "the longest", too.At("org.matrix.msc4140.max_delay").Int(), int64(86400000))
	later := delayedEvents + hearthtest.Path("rooms", room, "delayed_event", "m.room.message", "1")
	alice.Refused("PUT", later, hearthtest.Fields{"delay_ms": 86400001, "content": hearthtest.Fields{}}, 403, "M_FORBIDDEN")
	alice.Refused("PUT", later, hearthtest.Fields{"content": hearthtest.Fields{}}, 400, "M_INVALID_PARAM")
	alice.Refused("PUT", later, hearthtest.Fields{"delay_ms": 1}, 400, "M_BAD_JSON")
	alice.Refused("PUT", later, hearthtest.Fields{"delay_ms": 1, "content": "x"}, 400, "M_BAD_JSON")
	alice.Refused("PUT", later, hearthtest.Fields{"delay_ms": 1, "content": hearthtest.Fields{"body": strings.Repeat("x", 65536)}}, 413, "M_TOO_LARGE")
	a.Reload(func(c *config.Config) { c.Rooms.MaxDelayedEvents = 0 })
	alice.Refused("PUT", send+"1", hearthtest.Fields{}, 403, "M_FORBIDDEN")
	equal(t, "no capability", alice.Get("capabilities").At("capabilities", "org.matrix.msc4140.delayed_events").Exists(), false)
}
