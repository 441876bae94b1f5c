package syncer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

func TestInitialSync(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Message(alice, "hello")
	r.data(alice, "", "org.example", `{"x":1}`)
	r.data(alice, "", "m.push_rules", `{}`)
	r.data(alice, room.Row.ID, "m.tag", `{"tags":{}}`)
	c := r.client(alice)
	got := c.sync()
	j := joined(got, room)
	check(t, "timeline", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "topic one", "hello"}, told(j.Get("timeline.events")))
	check(t, "limited", false, j.Get("timeline.limited").Bool())
	check(t, "state", []string(nil), told(j.Get("state.events")))
	check(t, "tags", "m.tag", j.Get("account_data.events.0.type").Str)
	check(t, "summary", `{"m.heroes":[],"m.invited_member_count":0,"m.joined_member_count":1}`, j.Get("summary").Raw)
	check(t, "unread", `{"highlight_count":0,"notification_count":0}`, j.Get("unread_notifications").Raw)
	check(t, "global account data", `[{"content":{"x":1},"type":"org.example"},{"content":{"global":{}},"type":"m.push_rules"}]`,
		got.Get("account_data.events").Raw)
	check(t, "key counts", `{"signed_curve25519":0}`, got.Get("device_one_time_keys_count").Raw)
	check(t, "fallback keys", `[]`, got.Get("device_unused_fallback_key_types").Raw)
	check(t, "membership", "join", j.Get("timeline.events.4.unsigned.membership").Str)
	check(t, "no room id", false, j.Get("timeline.events.4.room_id").Exists())
	got = c.sync()
	if got.Get("rooms").Exists() || got.Get("account_data").Exists() {
		t.Errorf("a second sync says %s", got.Raw)
	}
	check(t, "key counts of an empty sync", `{"signed_curve25519":0}`, got.Get("device_one_time_keys_count").Raw)
}

func TestIncrementalSyncTellsWhatIsNew(t *testing.T) {
	r := newRig(t)
	a, b := r.room("a"), r.room("b")
	c := r.client(alice)
	c.sync()
	a.Message(alice, "one")
	got := c.sync()
	check(t, "timeline", []string{"one"}, told(joined(got, a).Get("timeline.events")))
	check(t, "limited", false, joined(got, a).Get("timeline.limited").Bool())
	check(t, "the other room", false, joined(got, b).Exists())
	check(t, "no summary", false, joined(got, a).Get("summary").Exists())
	a.Member(bob, bob, "join")
	got = c.sync()
	check(t, "timeline", []string{"@bob:one join"}, told(joined(got, a).Get("timeline.events")))
	check(t, "summary", `{"m.heroes":["@bob:one"],"m.invited_member_count":0,"m.joined_member_count":2}`, joined(got, a).Get("summary").Raw)
}

func TestTokensSurviveARestart(t *testing.T) {
	r := newRig(t)
	a, b := r.room("a"), r.room("b")
	c := r.client(alice)
	c.sync()
	a.Message(alice, "one")
	r.clock.Advance(time.Minute)
	r.restart()
	b.Message(alice, "two")
	got := c.sync()
	check(t, "a", []string{"one"}, told(joined(got, a).Get("timeline.events")))
	check(t, "b", []string{"two"}, told(joined(got, b).Get("timeline.events")))
	if got := c.sync(); got.Get("rooms").Exists() {
		t.Errorf("a second sync says %s", got.Raw)
	}
}

func TestUnreadCounts(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c, threaded := r.client(alice), r.client(alice)
	threaded.filter = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	c.sync()
	threaded.sync()
	r.update(func(tx *storage.Tx) error {
		if err := tx.CountUnread(room.Row.NID, []id.UserID{alice}, 1, 0); err != nil {
			return err
		}
		return tx.CountInThread(room.Row.NID, "$root", []id.UserID{alice}, true)
	})
	room.Message(bob, "hi")
	check(t, "all together", `{"highlight_count":1,"notification_count":2}`, joined(c.sync(), room).Get("unread_notifications").Raw)
	j := joined(threaded.sync(), room)
	check(t, "main", `{"highlight_count":0,"notification_count":1}`, j.Get("unread_notifications").Raw)
	check(t, "thread", `{"$root":{"highlight_count":1,"notification_count":1}}`, j.Get("unread_thread_notifications").Raw)
}

func TestReceiptsAndTyping(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	root := room.Message(alice, "root")
	reply := room.Event(alice, "m.room.message", fmt.Sprintf(`{"body":"reply","m.relates_to":{"rel_type":"m.thread","event_id":%q}}`, root.ID))
	a, b := r.client(alice), r.client(bob)
	a.sync()
	b.sync()
	receipt := func(user id.UserID, receipts ...edu.Receipt) {
		t.Helper()
		if err := r.edus.SetReceipts(context.Background(), room.Row.ID, user, receipts...); err != nil {
			t.Fatal(err)
		}
	}
	ts := r.clock.Now().UnixMilli()
	receipt(bob, edu.Receipt{Type: storage.Read, Event: root.ID}, edu.Receipt{Type: storage.Read, Event: root.ID, Thread: "main"})
	receipt(bob, edu.Receipt{Type: storage.ReadPrivate, Event: reply.ID, Thread: string(root.ID)})
	j := joined(a.sync(), room)
	check(t, "others see public receipts, one event for each of the same event", fmt.Sprintf(
		`[{"content":{%[1]q:{"m.read":{"@bob:one":{"ts":%[2]d}}}},"type":"m.receipt"},`+
			`{"content":{%[1]q:{"m.read":{"@bob:one":{"ts":%[2]d,"thread_id":"main"}}}},"type":"m.receipt"}]`, root.ID, ts),
		j.Get("ephemeral.events").Raw)
	check(t, "no timeline", false, j.Get("timeline").Exists())
	own := joined(b.sync(), room)
	check(t, "own private receipts", true, own.Get("ephemeral.events.0.content."+path(string(reply.ID))+`.m\.read\.private.`+path(string(bob))).Exists())
	check(t, "counts with own receipts", true, own.Get("unread_notifications").Exists())
	check(t, "told once", false, a.sync().Get("rooms").Exists())

	if err := r.edus.SetTyping(context.Background(), room.Row.ID, bob, true, time.Second); err != nil {
		t.Fatal(err)
	}
	check(t, "typing", `[{"content":{"user_ids":["@bob:one"]},"type":"m.typing"}]`, joined(a.sync(), room).Get("ephemeral.events").Raw)
	check(t, "told once", false, a.sync().Get("rooms").Exists())
	if err := r.edus.SetTyping(context.Background(), room.Row.ID, bob, false, 0); err != nil {
		t.Fatal(err)
	}
	check(t, "no typing", `[{"content":{"user_ids":[]},"type":"m.typing"}]`, joined(a.sync(), room).Get("ephemeral.events").Raw)
	a.since = ""
	check(t, "initially all public receipts", int64(2), joined(a.sync(), room).Get("ephemeral.events.#").Int())
}

func TestFilters(t *testing.T) {
	r := newRig(t)
	a, b := r.room("a"), r.room("b")
	r.data(alice, "", "org.one", `{}`)
	r.data(alice, a.Row.ID, "org.two", `{}`)
	a.Event(alice, "m.room.message", `{"body":"hi","x":1}`)
	for _, test := range []struct {
		name, filter, path, want string
	}{
		{"rooms that are not wanted are absent", `{"room":{"not_rooms":["!b:one"]}}`, "rooms.join." + path("!b:one"), ""},
		{"a timeline of no events is limited", `{"room":{"timeline":{"limit":0}}}`, "rooms.join." + path("!b:one") + ".timeline.events", "[]"},
		{"account data", `{"account_data":{"not_types":["*"]}}`, "account_data", ""},
		{"account data of rooms", `{"room":{"account_data":{"not_types":["*"]}}}`, "rooms.join." + path("!a:one") + ".account_data.events", "[]"},
		{"chosen fields", `{"event_fields":["content.x"],"room":{"timeline":{"limit":1}}}`,
			"rooms.join." + path("!a:one") + ".timeline.events", `[{"content":{"x":1}}]`},
		{"the federation's format", `{"event_format":"federation","room":{"timeline":{"limit":1}}}`,
			"rooms.join." + path("!a:one") + ".timeline.events.0.depth", "4"},
		{"state that is not wanted", `{"room":{"state":{"types":[]},"timeline":{"limit":1}}}`, "rooms.join." + path("!b:one") + ".state", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := r.client(alice)
			c.filter = test.filter
			check(t, test.path, test.want, c.sync().Get(test.path).Raw)
		})
	}
	_ = b
}

func TestTransactionIDsAreForTheDeviceThatSent(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(alice)
	c.sync()
	room.TxnDevice, room.TxnID = "D", "t1"
	room.Message(alice, "one")
	room.TxnDevice, room.TxnID = "OTHER", "t2"
	room.Message(alice, "two")
	events := joined(c.sync(), room).Get("timeline.events")
	check(t, "own", "t1", events.Get("0.unsigned.transaction_id").Str)
	check(t, "of another device", false, events.Get("1.unsigned.transaction_id").Exists())
}

func TestAggregationsComeWithLimitedTimelines(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(alice)
	c.filter = `{"room":{"timeline":{"limit":2}}}`
	c.sync()
	ev := room.Message(alice, "helo")
	edit := fmt.Sprintf(`{"body":"* hello","m.new_content":{"body":"hello"},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, ev.ID)
	room.Event(alice, "m.room.message", edit)
	check(t, "not limited", false, joined(c.sync(), room).Get(`timeline.events.0.unsigned.m\.relations`).Exists())
	room.Message(alice, "lost")
	ev = room.Message(alice, "helo")
	room.Event(alice, "m.room.message", edit)
	edit = fmt.Sprintf(`{"body":"* hello","m.new_content":{"body":"hello"},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, ev.ID)
	room.Event(alice, "m.room.message", edit)
	c.filter = `{"room":{"timeline":{"limit":3}}}`
	check(t, "limited", true, joined(c.sync(), room).Get(`timeline.events.0.unsigned.m\.relations.m\.replace`).Exists())
}

func TestLongPolling(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	c := r.client(alice)
	c.sync()
	c.timeout = 30 * time.Second
	start := func() <-chan gjson.Result {
		out := make(chan gjson.Result, 1)
		req := c.request()
		go func() {
			body, err := r.syncer.Sync(context.Background(), req)
			if err != nil {
				t.Error(err)
			}
			out <- gjson.ParseBytes(body)
		}()
		r.clock.BlockUntil(1)
		return out
	}
	for _, test := range []struct {
		name string
		do   func()
		path string
	}{
		{"a message wakes", func() { room.Message(bob, "hi") }, "rooms.join"},
		{"account data wakes", func() { r.data(alice, "", "org.example", `{}`) }, "account_data"},
		{"typing wakes", func() {
			if err := r.edus.SetTyping(context.Background(), room.Row.ID, bob, true, time.Hour); err != nil {
				t.Error(err)
			}
		}, "rooms.join"},
		{"the end of the timeout wakes", func() { r.clock.Advance(30 * time.Second) }, "device_one_time_keys_count"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wait := start()
			test.do()
			got := <-wait
			if !got.Get(test.path).Exists() {
				t.Errorf("the answer is %s", got.Raw)
			}
			c.since = got.Get("next_batch").Str
		})
	}
	t.Run("what does not concern the client does not", func(t *testing.T) {
		c.filter = `{"room":{"timeline":{"not_types":["m.room.message"]}}}`
		wait := start()
		room.Message(bob, "hi")
		room.State(bob, "m.room.topic", "", `{"topic":"one"}`)
		check(t, "timeline", []string{"topic one"}, told(joined(<-wait, room).Get("timeline.events")))
	})
	t.Run("a client that goes away ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		c.since = r.client(alice).sync().Get("next_batch").Str
		req := c.request()
		go func() {
			_, err := r.syncer.Sync(ctx, req)
			done <- err
		}()
		r.clock.BlockUntil(1)
		cancel()
		if err := <-done; err == nil {
			t.Error("no error")
		}
	})
}

func TestBadTokens(t *testing.T) {
	r := newRig(t)
	for _, since := range []string{"s1", "x", "s1_2_3", "s-1_0"} {
		_, err := r.syncer.Sync(context.Background(), Request{User: alice, Since: since})
		if !merr.HasCode(err, merr.InvalidParam) {
			t.Errorf("%q: %v", since, err)
		}
	}
}

func TestPresence(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	who := func(got gjson.Result) []string {
		var out []string
		for _, ev := range got.Get("presence.events").Array() {
			out = append(out, ev.Get("sender").Str+" "+ev.Get("content.presence").Str)
		}
		return out
	}
	set := func(user id.UserID, state string) {
		t.Helper()
		if err := r.edus.SetPresence(context.Background(), user, state, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := r.client(alice)
	c.sync()
	set(bob, edu.Online)
	set(eve, edu.Online)
	check(t, "of those in the same room", []string{"@bob:one online"}, who(c.sync()))
	check(t, "told once", []string(nil), who(c.sync()))
	room.Member(eve, eve, "join")
	check(t, "of who comes", []string{"@eve:one online"}, who(c.sync()))
	e := r.client(eve)
	unordered(t, "initially", []string{"@bob:one online", "@eve:one online"}, who(e.sync()))
	set(bob, edu.Offline)
	e.since = ""
	unordered(t, "initially only who is there", []string{"@eve:one online"}, who(e.sync()))
	c.filter = `{"presence":{"not_types":["*"]}}`
	check(t, "filtered", []string(nil), who(c.sync()))
}
