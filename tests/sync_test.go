package tests

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestInitialSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room, other := alice.CreateRoom(fields{"name": "Kitchen"}), alice.CreateRoom()
	bob.Join(room)
	last := bob.Say(room, "hi")
	alice.Invite(other, bob)

	first := alice.Sync()
	equal(t, "joined rooms", len(first.Get("rooms.join").Map()), 2)
	timeline := first.Timeline(room)
	equal(t, "last event", timeline[len(timeline)-1].ID(), string(last))
	in := first.At("rooms", "join", room)
	equal(t, "members joined", in.Get("summary.m\\.joined_member_count").Int(), 2)
	// Each piece of state is in the section for it or in the timeline.
	shown := map[string]bool{}
	for _, list := range []string{"state.events", "timeline.events"} {
		for key := range stateOf(in.Get(list)) {
			shown[key] = true
		}
	}
	for _, want := range []string{"m.room.create|", "m.room.power_levels|", "m.room.name|", "m.room.member|" + string(alice.ID), "m.room.member|" + string(bob.ID)} {
		if !shown[want] {
			t.Errorf("%s is not shown", want)
		}
	}
	equal(t, "room bob is invited to", keys(bob.Sync().Get("rooms.invite")), []string{string(other)})
	if !first.Get(`account_data.events.#(type=="m.push_rules").content.global.override`).IsArray() {
		t.Error("there are no push rules")
	}
	alice.Refused("GET", "sync?since=nonsense", nil, 400, "M_INVALID_PARAM")
	a.Nobody().Refused("GET", "sync", nil, 401, "M_MISSING_TOKEN")
}

func TestIncrementalSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	quiet, room := alice.CreateRoom(), alice.CreateRoom()
	bob.Join(room)
	since := alice.Sync().Next()

	nothing := alice.Sync("since", since)
	equal(t, "rooms when nothing happened", len(nothing.Get("rooms.join").Map()), 0)
	message := bob.Say(room, "hi")
	bob.SetState(room, "m.room.member", string(bob.ID), fields{"membership": "join", "displayname": "Bobby"})
	something := alice.Sync("since", since)
	equal(t, "rooms where something happened", keys(something.Get("rooms.join")), []string{string(room)})
	timeline := something.Timeline(room)
	equal(t, "what happened", types(timeline), []string{"m.room.message", "m.room.member"})
	equal(t, "the message", timeline[0].ID(), string(message))
	equal(t, "limited", something.At("rooms", "join", room, "timeline", "limited").Bool(), false)
	equal(t, "the same again", ids(alice.Sync("since", since).Timeline(room)), ids(timeline))
	equal(t, "afterwards", len(alice.Sync("since", something.Next()).Get("rooms.join").Map()), 0)

	full := alice.Sync("since", something.Next(), "full_state", "true")
	if _, ok := stateOf(full.At("rooms", "join", quiet, "state", "events"))["m.room.create|"]; !ok {
		t.Errorf("full_state has not the state of a quiet room: %s", full.Body)
	}
}

func TestLongPoll(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	a := hearthtest.Start(t, hearthtest.WithClock(now))
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	since := alice.Sync().Next()
	poll := func() <-chan hearthtest.Response {
		return asleep(t, now, alice, "GET", "sync?timeout=20003&since="+url.QueryEscape(since), nil)
	}
	waits := poll()
	now.Advance(20_003 * time.Millisecond)
	nothing := <-waits
	equal(t, "status when nothing happened", nothing.Status, 200)
	equal(t, "rooms when nothing happened", len(nothing.Get("rooms.join").Map()), 0)

	waits = poll()
	message := bob.Say(room, "hi")
	equal(t, "what woke alice", ids((<-waits).Timeline(room)), []string{string(message)})
}

func TestGapInTheTimeline(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	since := bob.Sync().Next()
	carol.Join(room)
	alice.SetState(room, "m.room.topic", "", fields{"topic": "Soup"})
	var said []string
	for i := range 30 {
		said = append(said, string(alice.Say(room, fmt.Sprint("message ", i))))
	}
	const filter = `{"room":{"timeline":{"limit":5}}}`
	gap := bob.Sync("since", since, "filter", filter)
	equal(t, "limited", gap.At("rooms", "join", room, "timeline", "limited").Bool(), true)
	equal(t, "timeline", ids(gap.Timeline(room)), said[25:])
	missed := stateOf(gap.At("rooms", "join", room, "state", "events"))
	equal(t, "state that was missed", slices.Sorted(maps.Keys(missed)), []string{"m.room.member|" + string(carol.ID), "m.room.topic|"})

	// What was missed is before prev_batch, and nothing twice.
	var before []string
	from := gap.At("rooms", "join", room, "timeline", "prev_batch").Str
	for len(before) < 25 {
		page := messages(bob, room, "dir=b&limit=10&from="+url.QueryEscape(from))
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if e.Type() == "m.room.message" {
				before = append([]string{e.ID()}, before...)
			}
		}
		if !page.Get("end").Exists() {
			break
		}
		from = page.Get("end").Str
	}
	equal(t, "what was missed", before, said[:25])
}

func TestLazyMembers(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	var heroes []string
	for i := range 5 {
		hero := a.User(fmt.Sprint("hero", i))
		hero.Join(room)
		heroes = append(heroes, string(hero.ID))
	}
	bob, carol := a.User("bob"), a.User("carol")
	bob.Join(room)
	carol.Join(room)
	for i := range 10 {
		bob.Say(room, fmt.Sprint("message ", i))
	}
	const lazy = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":5}}}`
	first := alice.Sync("filter", lazy)
	equal(t, "heroes", texts(first.At("rooms", "join", room, "summary", "m.heroes")), heroes)
	// Spec: client-server-api#lazy-loading-room-members. The heroes are needed for the name of the room.
	equal(t, "members that are shown", members(first.At("rooms", "join", room, "state", "events")),
		append([]string{string(alice.ID), string(bob.ID)}, heroes...))
	carol.Say(room, "me too")
	second := alice.Sync("filter", lazy, "since", first.Next())
	equal(t, "members that are new", members(second.At("rooms", "join", room, "state", "events")), []string{string(carol.ID)})
	bob.Say(room, "and again")
	third := alice.Sync("filter", lazy, "since", second.Next())
	equal(t, "members that were shown before", members(third.At("rooms", "join", room, "state", "events")), nil)
}

func TestFilters(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room, other := alice.CreateRoom(), alice.CreateRoom()
	bob.Join(room)
	message := bob.Say(room, "hi")
	bob.Send(room, "example.noise", fields{})
	alice.Say(room, "hello")
	definition := fields{
		"room": fields{
			"not_rooms": []any{other},
			"timeline":  fields{"types": []string{"m.room.*"}, "not_senders": []any{alice.ID}, "not_types": []string{"m.room.member"}},
			"state":     fields{"types": []string{"m.room.create"}},
		},
		"presence": fields{"types": []string{}}, "account_data": fields{"types": []string{}},
	}
	filter := alice.Must("POST", path("user", alice.ID, "filter"), definition).Get("filter_id").Str
	got := alice.Sync("filter", filter)
	equal(t, "rooms", keys(got.Get("rooms.join")), []string{string(room)})
	equal(t, "timeline", ids(got.Timeline(room)), []string{string(message)})
	some := alice.Sync("filter", `{"event_fields":["event_id","type","state_key"],"room":{"timeline":{"types":["m.room.message"]}}}`)
	equal(t, "fields of an event", keys(some.Timeline(room)[0].Result), []string{"event_id", "type"})
	equal(t, "state", types(hearthtest.Events(got.At("rooms", "join", room, "state", "events"))), []string{"m.room.create"})
	equal(t, "account data", got.Get("account_data.events.#").Int(), 0)
	alice.Refused("GET", "sync?filter=999999", nil, 404, "M_NOT_FOUND")
	alice.Refused("POST", path("user", alice.ID, "filter"), `{"room":{"timeline":{"limit":"ten"}}}`, 400, "M_BAD_JSON")
}

func TestRoomsOneHasLeft(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room, forgotten := alice.CreateRoom(), alice.CreateRoom()
	bob.Join(room)
	bob.Join(forgotten)
	since := bob.Sync().Next()
	alice.Say(room, "before")
	bob.Leave(room)
	alice.Say(room, "after")
	bob.Leave(forgotten)
	bob.Forget(forgotten)

	left := bob.Sync("since", since)
	timeline := hearthtest.Events(left.At("rooms", "leave", room, "timeline", "events"))
	equal(t, "the end of the room", types(timeline), []string{"m.room.message", "m.room.member"})
	equal(t, "last words", timeline[0].Body(), "before")
	equal(t, "joined rooms", len(left.Get("rooms.join").Map()), 0)
	equal(t, "next time", bob.Sync("since", left.Next()).At("rooms", "leave", room).Exists(), false)

	equal(t, "left rooms in an initial sync", bob.Sync().At("rooms", "leave", room).Exists(), false)
	archive := bob.Sync("filter", `{"room":{"include_leave":true}}`)
	equal(t, "archived rooms", keys(archive.Get("rooms.leave")), []string{string(room)})
	old := hearthtest.Events(archive.At("rooms", "leave", room, "timeline", "events"))
	equal(t, "end of the archive", old[len(old)-1].Get("content.membership").Str, "leave")

	bob.Join(room)
	back := bob.Sync("since", left.Next())
	equal(t, "joined again", keys(back.Get("rooms.join")), []string{string(room)})
}

func TestStateAfter(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	since := alice.Sync().Next()
	topic := alice.SetState(room, "m.room.topic", "", fields{"topic": "Soup"})
	after := alice.Sync("since", since, "use_state_after", "true").At("rooms", "join", room)
	equal(t, "state before the timeline is not there", after.Get("state").Exists(), false)
	equal(t, "state after it", stateOf(after.Get("state_after.events"))["m.room.topic|"].ID(), string(topic))
}

func TestStateOfEventsTheTimelineDoesNotShow(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	since := alice.Sync().Next()
	topic := alice.SetState(room, "m.room.topic", "", fields{"topic": "Soup"})
	alice.Say(room, "hi")
	got := alice.Sync("since", since, "filter", `{"room":{"timeline":{"types":["m.room.message"]}}}`).At("rooms", "join", room)
	equal(t, "timeline", got.Get("timeline.events.#").Int(), 1)
	equal(t, "state", ids(hearthtest.Events(got.Get("state.events"))), []string{string(topic)})
}

func TestIgnoredUsers(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := alice.CreateRoom()
	bob.Join(room)
	carol.Join(room)
	alice.Must("PUT", path("user", alice.ID, "account_data", "m.ignored_user_list"), fields{"ignored_users": fields{string(bob.ID): fields{}}})
	alice.CatchUp()
	bob.Say(room, "buy this")
	bob.Invite(bob.CreateRoom(), alice)
	carol.Say(room, "soup is ready")
	r := alice.WaitUntil("the message of carol", func(r hearthtest.Response) bool {
		return slices.ContainsFunc(r.Timeline(room), func(e hearthtest.Event) bool { return e.Body() == "soup is ready" })
	})
	for _, e := range r.Timeline(room) {
		if e.Sender() == string(bob.ID) {
			t.Errorf("alice got what bob said: %s", e.Raw)
		}
	}
	equal(t, "invitations", len(alice.Sync().Get("rooms.invite").Map()), 0)
	history := messages(alice, room, "dir=b&limit=50").Get(`chunk.#(content.body=="buy this")`)
	equal(t, "in the history", history.Exists(), false)
}

func TestMembershipOnEvents(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	early := alice.Say(room, "early")
	bob.Join(room)
	late := alice.Say(room, "late")
	memberships := map[string]string{}
	messages(bob, room, "dir=f&limit=50").Get("chunk").ForEach(func(_, e gjson.Result) bool {
		memberships[e.Get("event_id").Str] = e.Get("unsigned.membership").Str
		return true
	})
	equal(t, "before bob joined", memberships[string(early)], "leave")
	equal(t, "afterwards", memberships[string(late)], "join")
}
