package tests

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestSayingThingsOnce(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	tablet := alice.Login()
	room := alice.CreateRoom()
	say := path("rooms", room, "send", "m.room.message", "same")
	first := alice.Must("PUT", say, fields{"body": "hi"}).Get("event_id").Str
	equal(t, "event of a retry", alice.Must("PUT", say, fields{"body": "hi"}).Get("event_id").Str, first)
	if second := tablet.Must("PUT", say, fields{"body": "hi"}).Get("event_id").Str; second == first {
		t.Error("the transaction of one device was taken for that of another")
	}
	echo := alice.WaitForID(room, id.EventID(first))
	equal(t, "transaction id at the device that sent it", echo.At("unsigned", "transaction_id").Str, "same")
	equal(t, "transaction id at another device", tablet.WaitForID(room, id.EventID(first)).At("unsigned", "transaction_id").Exists(), false)
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	say := path("rooms", room, "send", "m.room.message", "1")
	alice.Refused("PUT", say, `{"body":`, 400, "M_NOT_JSON")
	alice.Refused("PUT", say, `["body"]`, 400, "M_BAD_JSON")
	alice.Refused("PUT", say, `{"body":1.5}`, 400, "M_BAD_JSON")
	alice.Refused("PUT", say, fields{"body": string(make([]byte, 70_000))}, 413, "M_TOO_LARGE")
	bob.Refused("PUT", say, fields{"body": "hi"}, 403, "M_FORBIDDEN")
	alice.Refused("PUT", path("rooms", "!nowhere:"+string(a.Name), "send", "m.room.message", "1"), fields{"body": "hi"}, 404, "M_NOT_FOUND")
	alice.Must("PUT", say, fields{"body": "hi"})
}

func TestEdits(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	message := alice.Say(room, "teh soup")
	bob.WaitFor(room, "teh soup")
	alice.Edit(room, message, "teh soup!")
	edit := alice.Edit(room, message, "the soup")
	bob.Edit(room, message, "a lie")

	shown := bob.WaitForID(room, edit)
	equal(t, "what is replaced", shown.At("content", "m.relates_to", "event_id").Str, string(message))
	bundle := bob.Event(room, message).At("unsigned", "m.relations", "m.replace")
	equal(t, "the edit in force", bundle.Get("event_id").Str, string(edit))
	equal(t, "the text in force", hearthtest.Event{Result: bundle}.At("content", "m.new_content", "body").Str, "the soup")
	alice.Redact(room, edit)
	equal(t, "the edit in force after it was redacted",
		bob.Event(room, message).At("unsigned", "m.relations", "m.replace", "content", "m.new_content", "body").Str, "teh soup!")
}

func TestReactions(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	message := alice.Say(room, "soup?")
	reaction := bob.React(room, message, "👍")
	equal(t, "what alice sees", alice.WaitForID(room, reaction).At("content", "m.relates_to", "key").Str, "👍")
	bob.Refused("PUT", path("rooms", room, "send", "m.reaction", "again"), fields{
		"m.relates_to": fields{"rel_type": "m.annotation", "event_id": message, "key": "👍"},
	}, 400, "M_DUPLICATE_ANNOTATION")
	related := func() []string {
		return ids(hearthtest.Events(alice.Get("/_matrix/client/v1/" + path("rooms", room, "relations", message, "m.annotation")).Get("chunk")))
	}
	equal(t, "reactions", related(), []string{string(reaction)})
	bob.Redact(room, reaction)
	equal(t, "reactions after the redaction", related(), nil)
	bob.React(room, message, "👍")
}

func TestThreads(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	soup, cake := alice.Say(room, "soup?"), alice.Say(room, "cake?")
	bob.SayInThread(room, cake, "with cream")
	alice.SayInThread(room, soup, "with bread")
	last := bob.SayInThread(room, soup, "without")

	thread := bob.Event(room, soup).At("unsigned", "m.relations", "m.thread")
	equal(t, "answers", thread.Get("count").Int(), 2)
	equal(t, "last answer", thread.Get("latest_event.event_id").Str, string(last))
	equal(t, "bob took part", thread.Get("current_user_participated").Bool(), true)

	threads := func(u *hearthtest.User, query string) []string {
		return ids(hearthtest.Events(u.Get("/_matrix/client/v1/" + path("rooms", room, "threads") + query).Get("chunk")))
	}
	equal(t, "threads, the latest answer first", threads(alice, ""), []string{string(soup), string(cake)})
	equal(t, "threads alice took part in", threads(alice, "?include=participated"), []string{string(soup), string(cake)})
	one := alice.Get("/_matrix/client/v1/" + path("rooms", room, "threads") + "?limit=1")
	equal(t, "one page of threads", ids(hearthtest.Events(one.Get("chunk"))), []string{string(soup)})
	equal(t, "the next", threads(alice, "?from="+one.Get("next_batch").Str), []string{string(cake)})
	children := alice.Get("/_matrix/client/v1/" + path("rooms", room, "relations", soup, "m.thread", "m.room.message") + "?dir=f")
	equal(t, "the thread", hearthtest.Bodies(hearthtest.Events(children.Get("chunk"))), "with bread without")
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	carol.Join(room)
	message := bob.Say(room, "a secret")
	carol.Refused("PUT", path("rooms", room, "redact", message, "1"), fields{}, 403, "M_FORBIDDEN")
	carol.CatchUp()
	alice.Must("PUT", path("rooms", room, "redact", message, "1"), fields{"reason": "No secrets here"})
	told := carol.WaitForEvent(room, "the redaction", func(e hearthtest.Event) bool { return e.Type() == "m.room.redaction" })
	equal(t, "what was redacted", told.At("content", "redacts").Str, string(message))
	equal(t, "the same for older clients", told.Get("redacts").Str, string(message))
	left := carol.Event(room, message)
	equal(t, "what is left", left.Get("content").Raw, "{}")
	equal(t, "reason", left.At("unsigned", "redacted_because", "content", "reason").Str, "No secrets here")
	again := alice.Must("PUT", path("rooms", room, "redact", message, "1"), fields{}).Get("event_id").Str
	equal(t, "event of a retry", again, told.ID())
}

func TestPagesOfHistory(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	var all []string
	for i := range 25 {
		all = append(all, string(alice.Say(room, fmt.Sprint("message ", i))))
	}
	bob.Join(room)
	bob.Say(room, "last")

	// From the end to the beginning in small pages, every event once.
	var backwards []string
	from := ""
	for {
		page := messages(bob, room, "dir=b&limit=7&from="+from)
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if e.Sender() == string(alice.ID) && e.Type() == "m.room.message" {
				backwards = append([]string{e.ID()}, backwards...)
			}
		}
		if !page.Get("end").Exists() {
			break
		}
		from = page.Get("end").Str
	}
	equal(t, "the history read backwards", backwards, all)

	forwards := messages(bob, room, "dir=f&limit=100&from="+from)
	filtered := messages(bob, room, `dir=f&limit=100&filter=`+`%7B%22types%22:%5B%22m.room.message%22%5D,%22not_senders%22:%5B%22`+string(alice.ID)+`%22%5D%7D`)
	equal(t, "first event read forwards", hearthtest.Events(forwards.Get("chunk"))[0].Type() != "m.room.message", true)
	equal(t, "what a filter lets through", hearthtest.Bodies(hearthtest.Events(filtered.Get("chunk"))), "last")

	context := bob.Get(path("rooms", room, "context", all[10]) + "?limit=4")
	equal(t, "the event itself", context.Get("event.event_id").Str, all[10])
	equal(t, "before, the nearest first", ids(hearthtest.Events(context.Get("events_before"))), []string{all[9], all[8]})
	equal(t, "after", ids(hearthtest.Events(context.Get("events_after"))), all[11:13])
	older := messages(bob, room, "dir=b&limit=1&from="+context.Get("start").Str)
	equal(t, "going on before", ids(hearthtest.Events(older.Get("chunk"))), []string{all[7]})
	newer := messages(bob, room, "dir=f&limit=1&from="+context.Get("end").Str)
	equal(t, "going on after", ids(hearthtest.Events(newer.Get("chunk"))), []string{all[13]})
}

func TestHistoryVisibility(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	tests := []struct{ visibility, seen string }{
		{"invited", "invited joined"},
		{"joined", "joined"},
		{"shared", "early invited joined"},
		{"world_readable", "early invited joined"},
	}
	for _, test := range tests {
		t.Run(test.visibility, func(t *testing.T) {
			alice, bob := alice.With(t), bob.With(t)
			room := alice.CreateRoom(fields{"initial_state": []fields{{
				"type": "m.room.history_visibility", "state_key": "", "content": fields{"history_visibility": test.visibility},
			}}})
			early := alice.Say(room, "early")
			status := bob.Do("GET", path("rooms", room, "event", early), nil).Status
			equal(t, "a stranger sees it", status == 200, test.visibility == "world_readable")
			alice.Invite(room, bob)
			alice.Say(room, "invited")
			bob.Join(room)
			alice.Say(room, "joined")
			equal(t, "what bob sees", hearthtest.Bodies(hearthtest.Events(messages(bob, room, "dir=f&limit=100").Get("chunk"))), test.seen)
		})
	}
}
