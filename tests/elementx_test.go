package tests

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// What Element X asks for, as matrix-rust-sdk has it in August 2026: the state of rooms in the list, and what the notification service wants.
var (
	elementState = [][]string{{"m.room.name", ""}, {"m.room.encryption", ""}, {"m.room.member", "$LAZY"}, {"m.room.member", "$ME"},
		{"m.room.topic", ""}, {"m.room.avatar", ""}, {"m.room.canonical_alias", ""}, {"m.room.power_levels", ""},
		{"org.matrix.msc3401.call.member", "*"}, {"m.room.join_rules", ""}, {"m.room.tombstone", ""}, {"m.room.create", ""},
		{"m.room.history_visibility", ""}, {"io.element.functional_members", ""}, {"m.space.parent", "*"}, {"m.space.child", "*"},
		{"org.matrix.msc3672.beacon_info", "*"}}
	noticeState = [][]string{{"m.room.encryption", ""}, {"m.room.member", "$LAZY"}, {"m.room.member", "$ME"}, {"m.room.canonical_alias", ""},
		{"m.room.name", ""}, {"m.room.avatar", ""}, {"m.room.power_levels", ""}, {"m.room.join_rules", ""},
		{"org.matrix.msc3401.call.member", "*"}, {"m.room.create", ""}, {"io.element.functional_members", ""}}
)

// loop is one of the loops that Element X keeps going, each on a connection of its own.
type loop struct {
	*hearthtest.User
	body fields
	pos  string
}

// roomList is the loop of the list of rooms, of which the first last+1 are wanted.
func roomList(u *hearthtest.User, last int) *loop {
	l := &loop{User: u, body: fields{"conn_id": "room-list", "extensions": fields{
		"account_data": fields{"enabled": true}, "receipts": fields{"enabled": true, "rooms": []string{"*"}}, "typing": fields{"enabled": true},
		"io.element.msc4308.thread_subscriptions": fields{"enabled": true, "limit": 10},
	}}}
	l.grow(last)
	return l
}

func (l *loop) grow(last int) {
	l.body["lists"] = fields{"all_rooms": fields{"ranges": [][]int{{0, last}}, "timeline_limit": 1, "required_state": elementState, "filters": fields{}}}
}

// open subscribes to rooms, as for those that are on the screen.
func (l *loop) open(rooms ...id.RoomID) {
	subscriptions := fields{}
	for _, room := range rooms {
		subscriptions[string(room)] = fields{"timeline_limit": 20, "required_state": append(slices.Clone(elementState), []string{"m.room.pinned_events", ""})}
	}
	l.body["room_subscriptions"] = subscriptions
}

func (l *loop) path(timeout int) string {
	path := simplified + fmt.Sprintf("?timeout=%d", timeout)
	if l.pos != "" {
		path += "&pos=" + url.QueryEscape(l.pos)
	}
	return path
}

// lose asks, and the answer gets lost.
func (l *loop) lose(timeout int) hearthtest.Response { return l.Must("POST", l.path(timeout), l.body) }

// next asks and goes on from the answer.
func (l *loop) next(timeout int) hearthtest.Response {
	r := l.lose(timeout)
	l.pos = r.Get("pos").Str
	return r
}

func rooms(r hearthtest.Response) []string { return append([]string{}, keys(r.Get("rooms"))...) }

func bodiesOf(list gjson.Result) []string {
	out := []string{}
	for _, e := range hearthtest.Events(list) {
		out = append(out, e.Get("content.body").Str)
	}
	return out
}

func TestElementXStartsAndOpensARoom(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	a := hearthtest.Start(t, hearthtest.WithClock(c), hearthtest.WithConfig(func(cfg *config.Config) { cfg.Presence.Enabled = false }))
	alice, bob := a.User("alice"), a.User("bob")
	var all []id.RoomID
	for i := range 26 {
		all = append(all, alice.CreateRoom(fields{"name": fmt.Sprint(i)}))
	}
	room := all[3]
	bob.Join(room)
	for i := range 25 {
		bob.Say(room, fmt.Sprint(i))
	}

	l := roomList(alice, 19)
	first := l.next(0)
	equal(t, "rooms that the screen shows", len(rooms(first)), 20)
	equal(t, "rooms that there are", first.Get("lists.all_rooms.count").Int(), 26)
	equal(t, "last message", bodiesOf(first.At("rooms", room, "timeline")), []string{"24"})
	equal(t, "there is more", first.At("rooms", room, "limited").Bool(), true)
	for _, name := range []string{"initial", "name", "bump_stamp", "joined_count", "invited_count", "notification_count", "highlight_count", "prev_batch"} {
		if !first.At("rooms", room, name).Exists() {
			t.Errorf("the room has no %s: %s", name, first.At("rooms", room).Raw)
		}
	}
	equal(t, "unread", first.At("rooms", room, "notification_count").Int(), 25)
	l.grow(99)
	second := l.next(0)
	equal(t, "the others", len(rooms(second)), 6)
	if both := len(append(rooms(first), rooms(second)...)); both != 26 {
		t.Errorf("%d rooms in all", both)
	}
	l.grow(25)
	equal(t, "nothing else", rooms(l.next(0)), []string{})

	// The user opens a room while the loop waits: the client gives up that request and makes another from the same position.
	waits := asleep(t, c, alice, "POST", l.path(50_003), maps.Clone(l.body))
	l.open(room)
	opened := l.next(0)
	if r := <-waits; r.Status != http.StatusConflict {
		t.Errorf("the request that was given up got %d %s", r.Status, r.Body)
	}
	got := opened.At("rooms", room)
	equal(t, "a screen of messages", bodiesOf(got.Get("timeline"))[:2], []string{"5", "6"})
	equal(t, "they are older", got.Get("unstable_expanded_timeline").Bool(), true)
	equal(t, "not news", got.Get("num_live").Int(), 0)
	equal(t, "and no new room", got.Get("initial").Exists(), false)
	bob.Say(room, "hello")
	news := l.next(30_000)
	equal(t, "news", bodiesOf(news.At("rooms", room, "timeline")), []string{"hello"})
	equal(t, "are live", news.At("rooms", room, "num_live").Int(), 1)

	last := id.EventID(news.At("rooms", room, "timeline").Get("0.event_id").Str)
	alice.Must("POST", path("rooms", room, "read_markers"), fields{"m.fully_read": last, "m.read": last})
	read := l.next(30_000)
	equal(t, "read marker", read.At("extensions", "account_data", "rooms", room, 0, "type").Str, "m.fully_read")
	equal(t, "receipt", read.At("extensions", "receipts", "rooms", room, "content", last, "m.read", alice.ID).Exists(), true)
	equal(t, "nothing is unread", read.At("rooms", room, "notification_count").Int(), 0)
	bob.Must("PUT", path("rooms", room, "typing", bob.ID), fields{"typing": true, "timeout": 20_000})
	equal(t, "typing", l.next(30_000).At("extensions", "typing", "rooms", room, "content", "user_ids", 0).Str, string(bob.ID))

	l.open()
	pinned := alice.SetState(room, "m.room.pinned_events", "", fields{"pinned": []string{}})
	closed := l.next(30_000)
	equal(t, "in the timeline of a room that is closed", closed.At("rooms", room, "timeline").Get("0.event_id").Str, string(pinned))
	equal(t, "but not in its state", closed.At("rooms", room, "required_state").Get(`#(type=="m.room.pinned_events")`).Exists(), false)
}

func TestElementXLosesAnswersAndComesBack(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithClock(clock.NewFake(time.UnixMilli(1_800_000_000_000)))) // or ages of events would differ
	alice, bob := a.User("alice"), a.User("bob")
	var all []id.RoomID
	for i := range 6 {
		room := alice.CreateRoom(fields{"name": fmt.Sprint(i)})
		bob.Join(room)
		all = append(all, room)
	}
	l := roomList(alice, 2)
	equal(t, "a first answer that gets lost", rooms(l.lose(0)), rooms(l.next(0)))
	l.grow(5)
	bob.Say(all[5], "m")
	lost := l.lose(0)
	equal(t, "rooms of an answer that gets lost", len(rooms(lost)), 4)
	again := l.lose(0)
	equal(t, "come again", again.Get("rooms").Raw, lost.Get("rooms").Raw)
	equal(t, "with what is beside them", again.Get("extensions").Raw, lost.Get("extensions").Raw)
	a.Restart()
	equal(t, "after a restart too", rooms(l.next(0)), rooms(lost))
	equal(t, "and then no more", rooms(l.next(0)), []string{})

	// The app was in the background: it comes back with its position and a short list, which it lets grow.
	for _, room := range []int{0, 1, 2, 3} {
		bob.Say(all[room], "missed")
	}
	l.grow(1)
	back := l.next(0)
	equal(t, "the top of what was missed", len(rooms(back)), 2)
	equal(t, "as news", back.At("rooms", all[3], "initial").Exists(), false)
	l.grow(5)
	rest := l.next(0)
	equal(t, "the rest", len(rooms(rest)), 2)
	equal(t, "all of it", bodiesOf(rest.At("rooms", all[0], "timeline")), []string{"missed"})

	// Another process of the app has begun anew: what the first remembers is worth nothing, and it begins anew as well.
	other := roomList(alice, 5)
	equal(t, "all rooms for who begins", len(rooms(other.next(0))), 6)
	alice.Refused("POST", l.path(0), l.body, 400, "M_UNKNOWN_POS")
	l.pos = ""
	equal(t, "all rooms again", len(rooms(l.next(0))), 6)
	tablet := roomList(alice.Login(), 5)
	tablet.pos = l.pos
	tablet.Refused("POST", tablet.path(0), tablet.body, 400, "M_UNKNOWN_POS")
}

func TestElementXGetsKeysOnAConnectionOfTheirOwn(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	send := func(n string) {
		t.Helper()
		bob.Must("PUT", path("sendToDevice", "m.x", n), fields{"messages": fields{string(alice.ID): fields{string(alice.Device): fields{"body": n}}}})
	}
	l := &loop{User: alice, body: fields{"conn_id": "encryption", "extensions": fields{"e2ee": fields{"enabled": true}, "to_device": fields{"enabled": true}}}}
	in := func(r hearthtest.Response) []string { return bodiesOf(r.At("extensions", "to_device", "events")) }
	first := l.next(30_000)
	equal(t, "no keys", first.At("extensions", "e2ee", "device_one_time_keys_count", "signed_curve25519").Raw, "0")
	equal(t, "a token", first.At("extensions", "to_device", "next_batch").Type, gjson.String)
	send("1")
	equal(t, "a message in an answer that gets lost", in(l.lose(30_000)), []string{"1"})
	a.Restart()
	send("2")
	got := l.next(30_000)
	equal(t, "comes again, with the next", in(got), []string{"1", "2"})
	// The process ends after it has stored the token, but not the position, which is not stored for this loop.
	send("3")
	l.pos = ""
	l.body["extensions"].(fields)["to_device"].(fields)["since"] = got.At("extensions", "to_device", "next_batch").Str
	anew := l.next(30_000)
	equal(t, "what came since", in(anew), []string{"3"})
	l.body["extensions"].(fields)["to_device"].(fields)["since"] = anew.At("extensions", "to_device", "next_batch").Str
	equal(t, "nothing more", in(l.next(0)), []string{})
	room := alice.CreateRoom()
	bob.Join(room)
	changed := l.next(30_000)
	for changed.At("extensions", "e2ee", "device_lists", "changed").Get("#").Int() == 0 {
		changed = l.next(30_000)
	}
	equal(t, "whose keys to fetch", changed.At("extensions", "e2ee", "device_lists", "changed", 0).Str, string(bob.ID))
	equal(t, "and no rooms", rooms(changed), []string{})
}

func TestElementXShowsNotifications(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{"name": "Kitchen"})
	bob.Join(room)
	invited := bob.CreateRoom(fields{"name": "Garden"})
	bob.Invite(invited, alice)
	event := bob.Say(room, "dinner")
	l := &loop{User: alice, body: fields{"conn_id": "notifications",
		"lists":              fields{"invites": fields{"ranges": [][]int{{0, 16}}, "timeline_limit": 8, "required_state": noticeState, "filters": fields{"is_invite": true}}},
		"room_subscriptions": fields{string(room): fields{"timeline_limit": 16, "required_state": noticeState}},
		"extensions":         fields{"account_data": fields{"enabled": true}},
	}}
	got := l.next(1000)
	in := got.At("rooms", room)
	timeline := in.Get("timeline").Array()
	equal(t, "the event", timeline[len(timeline)-1].Get("event_id").Str, string(event))
	for _, want := range []string{string(alice.ID), string(bob.ID)} {
		if !in.Get(fmt.Sprintf(`required_state.#(state_key==%q)`, want)).Exists() {
			t.Errorf("%s is not in the state: %s", want, in.Get("required_state").Raw)
		}
	}
	equal(t, "what the invite is to", got.At("rooms", invited, "invite_state").Get(`#(type=="m.room.name").content.name`).Str, "Garden")
	equal(t, "who is invited", got.At("rooms", invited, "invite_state").Get(fmt.Sprintf(`#(state_key==%q).content.membership`, alice.ID)).Str, "invite")
	equal(t, "invites", got.Get("lists.invites.count").Int(), 1)
	equal(t, "push rules", got.At("extensions", "account_data", "global").Get(`#(type=="m.push_rules").content.global.override.0.rule_id`).Str, ".m.rule.master")
}
