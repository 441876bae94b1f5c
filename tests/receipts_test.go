package tests

import (
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestReceipts(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	carol.Join(room)
	first, second := alice.Say(room, "one"), alice.Say(room, "two")
	alice.CatchUp()
	bob.Read(room, second)
	receipt := func(r hearthtest.Response) hearthtest.Event {
		for _, e := range hearthtest.Events(r.At("rooms", "join", room, "ephemeral", "events")) {
			if e.Type() == "m.receipt" {
				return e
			}
		}
		return hearthtest.Event{}
	}
	got := alice.WaitUntil("the receipt of bob", func(r hearthtest.Response) bool { return receipt(r).Exists() })
	read := receipt(got).At("content", second, "m.read", bob.ID)
	if read.Get("ts").Int() == 0 {
		t.Errorf("the receipt is %s", receipt(got).Raw)
	}

	// Private ones are seen by nobody else, and receipts never go back.
	carol.Must("POST", path("rooms", room, "receipt", "m.read.private", second), fields{})
	bob.Read(room, first)
	initial := receipt(alice.Sync())
	equal(t, "what alice sees of carol", initial.At("content", second, "m.read.private", carol.ID).Exists(), false)
	equal(t, "where bob is", initial.At("content", second, "m.read", bob.ID).Exists(), true)
	equal(t, "where bob is not", initial.At("content", first, "m.read", bob.ID).Exists(), false)
	equal(t, "what carol sees of herself", receipt(carol.Sync()).At("content", second, "m.read.private", carol.ID).Exists(), true)
	bob.Refused("POST", path("rooms", room, "receipt", "m.seen", first), fields{}, 400, "M_INVALID_PARAM")
}

func TestReadMarkers(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet := alice.Login()
	room := alice.CreateRoom()
	event := alice.Say(room, "one")
	tablet.CatchUp()
	alice.Must("POST", path("rooms", room, "read_markers"), fields{"m.fully_read": event, "m.read": event})
	tablet.WaitUntil("the marker", func(r hearthtest.Response) bool {
		for _, e := range hearthtest.Events(r.At("rooms", "join", room, "account_data", "events")) {
			if e.Type() == "m.fully_read" {
				return e.At("content", "event_id").Str == string(event)
			}
		}
		return false
	})
	alice.Refused("PUT", path("user", alice.ID, "rooms", room, "account_data", "m.fully_read"), fields{}, 405, "M_BAD_JSON")
}

func TestTyping(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	a := hearthtest.Start(t, hearthtest.WithClock(now))
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	alice.CatchUp()
	typing := func(want ...string) func(hearthtest.Response) bool {
		return func(r hearthtest.Response) bool {
			for _, e := range hearthtest.Events(r.At("rooms", "join", room, "ephemeral", "events")) {
				if e.Type() == "m.typing" {
					users := e.Get("content.user_ids").Array()
					return len(users) == len(want) && (len(want) == 0 || users[0].Str == want[0])
				}
			}
			return false
		}
	}
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": true, "timeout": 20_000})
	alice.WaitUntil("bob to type", typing(string(bob.ID)))
	now.Advance(21 * time.Second)
	alice.WaitUntil("bob to have stopped", typing())
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": true, "timeout": 20_000})
	alice.WaitUntil("bob to type again", typing(string(bob.ID)))
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": false})
	alice.WaitUntil("bob to stop", typing())
	bob.Refused("PUT", path("rooms", room, "typing", alice.ID), fields{"typing": true}, 403, "M_FORBIDDEN")
}

func TestUnreadCounts(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	counts := func(query ...string) [2]int64 {
		in := alice.Sync(query...).At("rooms", "join", room)
		return [2]int64{in.Get("unread_notifications.notification_count").Int(), in.Get("unread_notifications.highlight_count").Int()}
	}
	alice.Read(room, bob.Say(room, "hello"))
	equal(t, "all is read", counts(), [2]int64{0, 0})
	root := bob.Say(room, "one")
	mention := bob.Send(room, "m.room.message", fields{"msgtype": "m.text", "body": "look", "m.mentions": fields{"user_ids": []any{alice.ID}}})
	equal(t, "a message and a mention", counts(), [2]int64{2, 1})
	bob.Send(room, "m.room.message", fields{"msgtype": "m.notice", "body": "beep"})
	bob.React(room, root, "👍")
	equal(t, "notices and reactions do not count", counts(), [2]int64{2, 1})
	alice.Read(room, root)
	equal(t, "one is read", counts(), [2]int64{1, 1})
	alice.Say(room, "I am here")
	alice.Read(room, mention)
	last := bob.Say(room, "good")
	equal(t, "a new one", counts(), [2]int64{1, 0})
	alice.Read(room, last)

	thread := bob.SayInThread(room, root, "in a thread")
	const perThread = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	equal(t, "without threads all is in the room", counts(), [2]int64{1, 0})
	equal(t, "with threads", counts("filter", perThread), [2]int64{0, 0})
	inThread := func() int64 {
		return alice.Sync("filter", perThread).At("rooms", "join", room, "unread_thread_notifications", root, "notification_count").Int()
	}
	equal(t, "the thread", inThread(), 1)
	alice.Must("POST", path("rooms", room, "receipt", "m.read", thread), fields{"thread_id": root})
	equal(t, "the thread is read", inThread(), 0)

	bob.SayInThread(room, root, "still there?")
	bob.Say(room, "and here?")
	equal(t, "both", [2]int64{counts("filter", perThread)[0], inThread()}, [2]int64{1, 1})
	alice.SetState(room, "m.room.topic", "", fields{"topic": "x"})
	equal(t, "state is no answer", [2]int64{counts("filter", perThread)[0], inThread()}, [2]int64{1, 1})
	alice.SayInThread(room, root, "yes")
	equal(t, "who answers in the thread has read it", [2]int64{counts("filter", perThread)[0], inThread()}, [2]int64{1, 0})
	delay := later(alice, room, "delayed", 100_000, "good morning")
	alice.Must("POST", delayedEvents+path("delayed_events", delay, "send"), nil)
	equal(t, "what was written before is no answer", counts(), [2]int64{1, 0})
	alice.Say(room, "yes")
	equal(t, "who answers has read", counts(), [2]int64{0, 0})
}
