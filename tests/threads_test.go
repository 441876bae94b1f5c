package tests

import (
	"net/url"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func subscription(room id.RoomID, root id.EventID) string {
	return "/_matrix/client/unstable/io.element.msc4306/rooms/" + url.PathEscape(string(room)) + "/thread/" + url.PathEscape(string(root)) + "/subscription"
}

func TestThreadSubscriptions(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, eve := a.User("alice"), a.User("bob"), a.User("eve")
	room := alice.CreateRoom()
	bob.Join(room)
	root := alice.Say(room, "root")
	first := bob.SayInThread(room, root, "one")
	elsewhere := bob.Say(room, "elsewhere")
	of := subscription(room, root)
	equal(t, "advertised", alice.Get("/_matrix/client/versions").Get(`unstable_features.org\.matrix\.msc4306`).Bool(), true)

	bob.Refused("GET", of, nil, 404, "M_NOT_FOUND")
	bob.Refused("PUT", of, fields{"automatic": elsewhere}, 400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD")
	bob.Refused("PUT", of, fields{"automatic": "$nothing"}, 400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD")
	bob.Refused("PUT", of, fields{"automatic": "x"}, 400, "M_INVALID_PARAM")
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		var body any
		if method == "PUT" {
			body = fields{}
		}
		bob.Refused(method, subscription(room, "$nothing"), body, 404, "M_NOT_FOUND")
		eve.Refused(method, of, body, 404, "M_NOT_FOUND")
		eve.Refused(method, subscription("!nowhere:"+id.RoomID(a.Name), root), body, 404, "M_NOT_FOUND")
	}
	bob.Must("PUT", of, fields{"automatic": first})
	equal(t, "a client has subscribed", bob.Get(of).Get("automatic").Bool(), true)
	bob.Must("PUT", of, fields{})
	equal(t, "the user has subscribed", bob.Get(of).Get("automatic").Bool(), false)
	bob.Must("PUT", of, fields{"automatic": first})
	equal(t, "which no client undoes", bob.Get(of).Get("automatic").Bool(), false)
	bob.Must("DELETE", of, nil)
	bob.Must("DELETE", of, nil)
	bob.Refused("GET", of, nil, 404, "M_NOT_FOUND")
	bob.Refused("PUT", of, fields{"automatic": first}, 409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION")
	bob.Must("PUT", of, fields{"automatic": alice.SayInThread(room, root, "two")})
	alice.Refused("GET", of, nil, 404, "M_NOT_FOUND")
	a.Restart()
	equal(t, "after a restart", bob.Get(of).Get("automatic").Bool(), true)
}

func TestThreadsNotifyWhoSubscribes(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	heard, other := alice.Say(room, "heard"), alice.Say(room, "other")
	const perThread = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	unread := func(root id.EventID) int64 {
		return bob.Sync("filter", perThread).At("rooms", "join", room, "unread_thread_notifications", root, "notification_count").Int()
	}
	alice.SayInThread(room, other, "1")
	equal(t, "of a user whose clients know nothing of subscriptions", unread(other), 1)
	bob.Must("PUT", subscription(room, heard), fields{})
	bob.Must("PUT", path("pushrules", "global", "room", room), fields{"actions": []any{}})
	alice.SayInThread(room, heard, "1")
	alice.SayInThread(room, other, "2")
	equal(t, "a thread with a subscription, in a silent room", unread(heard), 1)
	equal(t, "one without", unread(other), 1)
	bob.Must("DELETE", subscription(room, heard), nil)
	alice.SayInThread(room, heard, "2")
	equal(t, "a subscription that has ended", unread(heard), 1)
	rules := bob.Get(path("pushrules", "global", "postcontent"))
	equal(t, "rules", rules.Get("#.rule_id").Raw, `[".io.element.msc4306.rule.unsubscribed_thread",".io.element.msc4306.rule.subscribed_thread"]`)
	bob.Refused("PUT", path("pushrules", "global", "postcontent", "mine"), fields{"actions": []any{}, "conditions": []any{}}, 400, "M_INVALID_PARAM")
	bob.Must("PUT", path("pushrules", "global", "postcontent", ".io.element.msc4306.rule.unsubscribed_thread", "enabled"), fields{"enabled": false})
	bob.Must("DELETE", path("pushrules", "global", "room", room), nil)
	alice.SayInThread(room, other, "3")
	equal(t, "without the rule that silences", unread(other), 2)
}

func TestThreadSubscriptionsInSlidingSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	var roots []id.EventID
	for range 5 {
		roots = append(roots, alice.Say(room, "root"))
	}
	const extension = "io.element.msc4308.thread_subscriptions"
	body := func(enabled bool) fields {
		return fields{"extensions": fields{extension: fields{"enabled": enabled, "limit": 2}}}
	}
	pos := ""
	next := func(enabled bool) hearthtest.Response {
		r := alice.Must("POST", simplified+"?timeout=0&pos="+url.QueryEscape(pos), body(enabled))
		pos = r.Get("pos").Str
		return r
	}
	in := func(r hearthtest.Response, what string) int {
		return len(r.At("extensions", extension, what, room).Map())
	}
	before := next(true).Get("pos").Str
	for _, root := range roots {
		alice.Must("PUT", subscription(room, root), fields{})
	}
	alice.Must("DELETE", subscription(room, roots[4]), nil)
	lost := alice.Must("POST", simplified+"?timeout=0&pos="+url.QueryEscape(pos), body(true))
	got := next(true)
	equal(t, "again after a loss", got.At("extensions").Raw, lost.At("extensions").Raw)
	equal(t, "the newest that end", in(got, "unsubscribed"), 1)
	equal(t, "the newest that begin", in(got, "subscribed"), 1)
	equal(t, "the stamp of the newest is greater", got.At("extensions", extension, "unsubscribed", room, roots[4], "bump_stamp").Int() >
		got.At("extensions", extension, "subscribed", room, roots[3], "bump_stamp").Int(), true)

	const companion = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
	from, found := got.At("extensions", extension, "prev_batch").Str, 0
	for pages := 0; from != ""; pages++ {
		page := alice.Get(companion + "?dir=b&limit=2&to=" + url.QueryEscape(before) + "&from=" + url.QueryEscape(from))
		found += len(page.At("subscribed", room).Map()) + len(page.At("unsubscribed", room).Map())
		if from = page.Get("end").Str; pages > 2 {
			t.Fatal("there is no end")
		}
	}
	equal(t, "the others", found, 3)
	equal(t, "all without from", len(alice.Get(companion+"?dir=b").At("subscribed", room).Map()), 4)
	alice.Refused("GET", companion, nil, 400, "M_MISSING_PARAM")
	alice.Refused("GET", companion+"?dir=f", nil, 400, "M_INVALID_PARAM")
	alice.Refused("GET", companion+"?dir=b&limit=0", nil, 400, "M_INVALID_PARAM")

	if r := next(true); strings.Contains(string(r.Body), extension) {
		t.Errorf("nothing has changed: %s", r.Body)
	}
	next(false)
	alice.Must("DELETE", subscription(room, roots[3]), nil)
	next(false)
	equal(t, "all that there is for who asks again", in(next(true), "unsubscribed"), 2)
	a.Restart()
	if r := next(true); strings.Contains(string(r.Body), extension) {
		t.Errorf("nothing has changed since the restart: %s", r.Body)
	}
}
