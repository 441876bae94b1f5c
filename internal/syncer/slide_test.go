package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// What Element X sends, as matrix-rust-sdk has it: the room list service with its growing list, and the loop for encryption.
const (
	elementState = `[["m.room.name",""],["m.room.encryption",""],["m.room.member","$LAZY"],["m.room.member","$ME"],["m.room.topic",""],
		["m.room.avatar",""],["m.room.canonical_alias",""],["m.room.power_levels",""],["org.matrix.msc3401.call.member","*"],
		["m.room.join_rules",""],["m.room.tombstone",""],["m.room.create",""],["m.room.history_visibility",""],["io.element.functional_members",""],
		["m.space.parent","*"],["m.space.child","*"]]`
	elementExtensions = `"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true,"rooms":["*"]},"typing":{"enabled":true}}`
	elementEncryption = `{"conn_id":"encryption","extensions":{"e2ee":{"enabled":true},"to_device":{"enabled":true}}}`
)

func elementRooms(last int, more string) string {
	return fmt.Sprintf(`{"conn_id":"room-list","lists":{"all_rooms":{"ranges":[[0,%d]],"timeline_limit":1,"required_state":%s,
		"filters":{"not_room_types":["m.space"]}}},%s%s}`, last, elementState, more, elementExtensions)
}

// slider is a device on a connection of sliding sync.
type slider struct {
	r       *rig
	user    id.UserID
	device  id.DeviceID
	body    string
	pos     string
	stable  bool
	timeout time.Duration
}

// slider logs a device in.
func (r *rig) slider(user id.UserID, body string) *slider {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		_, err := tx.InsertDevice(storage.Device{UserID: user, ID: "D"})
		return err
	})
	return &slider{r: r, user: user, device: "D", body: body}
}

// try asks without going on.
func (s *slider) try() (gjson.Result, error) {
	s.r.t.Helper()
	asked, err := sliding.Parse(json.RawMessage(s.body), s.user, !s.stable)
	if err != nil {
		s.r.t.Fatal(err)
	}
	out, err := s.r.syncer.Slide(context.Background(), SlidingRequest{User: s.user, Device: s.device, Pos: s.pos, Timeout: s.timeout, Asked: asked,
		Experimental: !s.stable})
	if err != nil {
		return gjson.Result{}, err
	}
	if !json.Valid(out) {
		s.r.t.Fatalf("not JSON: %s", out)
	}
	return gjson.ParseBytes(out), nil
}

// lose asks and never gets the answer.
func (s *slider) lose() gjson.Result {
	s.r.t.Helper()
	got, err := s.try()
	if err != nil {
		s.r.t.Fatal(err)
	}
	return got
}

// next asks and goes on from the answer.
func (s *slider) next() gjson.Result {
	s.r.t.Helper()
	got := s.lose()
	s.pos = got.Get("pos").Str
	return got
}

func slid(got gjson.Result, room *storagetest.Room) gjson.Result {
	return got.Get("rooms." + path(string(room.Row.ID)))
}

// names is the rooms of an answer.
func names(got gjson.Result) []string {
	out := []string{}
	got.Get("rooms").ForEach(func(k, _ gjson.Result) bool { out = append(out, k.Str); return true })
	return out
}

func (r *rig) manyRooms(n int) []*storagetest.Room {
	var rooms []*storagetest.Room
	for i := range n {
		room := r.room(fmt.Sprintf("r%d", i))
		room.Member(bob, bob, "join")
		room.Message(bob, fmt.Sprintf("hello %d", i))
		rooms = append(rooms, room)
	}
	return rooms
}

func TestSlidingFirstAnswer(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.State(alice, "m.room.name", "", `{"name":"Tea"}`)
	a.Member(bob, bob, "join")
	a.Member(eve, eve, "join")
	a.Message(bob, "one")
	last := a.Message(bob, "two")
	b := r.room("b")
	b.Member(alice, bob, "invite")
	s := r.slider(alice, elementRooms(19, ""))
	got := s.next()
	check(t, "count", int64(2), got.Get("lists.all_rooms.count").Int())
	check(t, "order", []string{"!b:one", "!a:one"}, names(got))
	room := slid(got, a)
	check(t, "initial", true, room.Get("initial").Bool())
	check(t, "name", "Tea", room.Get("name").Str)
	check(t, "heroes of a named room", false, room.Get("heroes").Exists())
	check(t, "timeline", []string{"two"}, told(room.Get("timeline")))
	check(t, "limited", true, room.Get("limited").Bool())
	check(t, "live", int64(0), room.Get("num_live").Int())
	check(t, "bump", last.Pos, room.Get("bump_stamp").Int())
	check(t, "counts", "3 0", room.Get("joined_count").Raw+" "+room.Get("invited_count").Raw)
	check(t, "prev_batch", fmt.Sprintf("t%d", last.Pos-1), room.Get("prev_batch").Str)
	unordered(t, "state", []string{"m.room.name", "m.room.create", "m.room.join_rules", "@alice:one join", "@bob:one join"}, told(room.Get("required_state")))
	check(t, "heroes", `[{"user_id":"@bob:one","displayname":"bob"}]`, slid(got, b).Get("heroes").Raw)
	check(t, "nothing new", []string{}, names(s.next()))
}

func TestSlidingListGrows(t *testing.T) {
	r := newRig(t)
	rooms := r.manyRooms(30)
	s := r.slider(alice, elementRooms(19, ""))
	got := s.next()
	check(t, "rooms at first", 20, len(names(got)))
	check(t, "the last active is first", "!r29:one", names(got)[0])
	check(t, "count", int64(30), got.Get("lists.all_rooms.count").Int())
	s.body = elementRooms(99, "")
	got = s.next()
	check(t, "rooms that were not there", 10, len(names(got)))
	rooms[3].Message(bob, "news")
	got = s.next()
	check(t, "news", []string{"!r3:one"}, names(got))
	check(t, "the timeline is what is new", []string{"news"}, told(slid(got, rooms[3]).Get("timeline")))
	check(t, "and not limited", false, slid(got, rooms[3]).Get("limited").Bool())
	check(t, "live", int64(1), slid(got, rooms[3]).Get("num_live").Int())
	check(t, "not initial", false, slid(got, rooms[3]).Get("initial").Bool())
}

func TestSlidingNarrowWindow(t *testing.T) {
	r := newRig(t)
	rooms := r.manyRooms(5)
	body := `{"lists":{"l":{"ranges":[[0,%d]],"timeline_limit":5,"required_state":[["m.room.topic",""]]}}}`
	s := r.slider(alice, fmt.Sprintf(body, 4))
	s.next()
	s.body = fmt.Sprintf(body, 0)
	rooms[1].Message(bob, "missed")
	rooms[1].State(alice, "m.room.topic", "", `{"topic":"new"}`)
	rooms[2].Message(bob, "seen")
	check(t, "the top", []string{"!r2:one"}, names(s.next()))
	for _, restart := range []bool{false, true} {
		if restart {
			r.restart()
		}
		s.body = fmt.Sprintf(body, 4)
		got := s.lose()
		check(t, "what was outside is told when it is inside", []string{"!r1:one"}, names(got))
		check(t, "timeline", []string{"missed", "topic new"}, told(slid(got, rooms[1]).Get("timeline")))
		check(t, "state", []string{"topic new"}, told(slid(got, rooms[1]).Get("required_state")))
	}
	s.next()
	check(t, "once", []string{}, names(s.next()))
}

func TestSlidingLostAnswers(t *testing.T) {
	r := newRig(t)
	rooms := r.manyRooms(25)
	s := r.slider(alice, elementRooms(19, ""))
	first := s.lose()
	check(t, "a first answer that was lost is given again", names(first), names(s.next()))
	s.body = elementRooms(99, "")
	rooms[24].Message(bob, "m")
	lost := s.lose()
	check(t, "rooms", 6, len(names(lost)))
	rooms[0].Message(bob, "later")
	again := s.lose()
	check(t, "a retry has all of it", 6, len(names(again)))
	check(t, "and what came meanwhile", []string{"later"}, told(slid(again, rooms[0]).Get("timeline")))
	check(t, "as new rooms", true, slid(again, rooms[0]).Get("initial").Bool())
	s.body = elementRooms(19, "") // the client changes its mind
	check(t, "a retry can ask for something else", 2, len(names(s.next())))
	s.body = elementRooms(99, "")
	check(t, "what the lost answers had is not taken as told", 4, len(names(s.next())))
	r.restart()
	check(t, "a restart changes nothing", []string{}, names(s.next()))
	s.pos = again.Get("pos").Str
	if _, err := s.try(); !merr.HasCode(err, merr.UnknownPos) {
		t.Errorf("the position of an answer that was never taken: %v", err)
	}
}

func TestSlidingUnknownPositions(t *testing.T) {
	r := newRig(t)
	r.manyRooms(2)
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	other := r.slider(bob, elementRooms(19, ""))
	other.next()
	for name, pos := range map[string]string{
		"of somebody else": other.pos, "nonsense": "x", "of another kind": "s1_2", "from the future": "s999999_0_1_1_0",
	} {
		s.pos = pos
		if _, err := s.try(); !merr.HasCode(err, merr.UnknownPos) {
			t.Errorf("a position %s: %v", name, err)
		}
	}
	s.pos = ""
	check(t, "a new beginning", 2, len(names(s.next())))
	old := s.pos
	s.pos = ""
	s.next()
	s.pos = old
	if _, err := s.try(); !merr.HasCode(err, merr.UnknownPos) {
		t.Errorf("a connection that was begun anew: %v", err)
	}
	s.device = "NONE"
	s.pos = ""
	if _, err := s.try(); !merr.HasCode(err, merr.Forbidden) {
		t.Errorf("no device: %v", err)
	}
}

func TestSlidingConnectionsAreBounded(t *testing.T) {
	r := newRig(t)
	r.manyRooms(1)
	s := r.slider(alice, `{"conn_id":"first"}`)
	s.next()
	first := s.pos
	for i := range maxConnections {
		r.clock.Advance(time.Second)
		s.pos, s.body = "", fmt.Sprintf(`{"conn_id":"c%d"}`, i)
		s.next()
	}
	r.restart()
	s.pos, s.body = first, `{"conn_id":"first"}`
	if _, err := s.try(); !merr.HasCode(err, merr.UnknownPos) {
		t.Errorf("the least used of too many connections: %v", err)
	}
}

func TestSlidingSubscriptions(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.Member(bob, bob, "join")
	for i := range 5 {
		a.Message(bob, fmt.Sprint(i))
	}
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	s.body = elementRooms(19, `"room_subscriptions":{"!a:one":{"timeline_limit":3,"required_state":[["m.room.pinned_events",""]]},
		"!nowhere:one":{"timeline_limit":3,"required_state":[]}},`)
	a.State(alice, "m.room.pinned_events", "", `{"pinned":[]}`)
	got := slid(s.lose(), a)
	check(t, "more of the timeline", []string{"3", "4", "m.room.pinned_events"}, told(got.Get("timeline")))
	check(t, "is said to be so", true, got.Get("unstable_expanded_timeline").Bool())
	check(t, "not initial", false, got.Get("initial").Exists())
	check(t, "live", int64(1), got.Get("num_live").Int())
	unordered(t, "what was not asked for before, and who is shown", []string{"m.room.pinned_events", "@bob:one join", "@alice:one join"},
		told(got.Get("required_state")))
	s.next()
	check(t, "once", []string{}, names(s.next()))
	s.body = elementRooms(19, "")
	check(t, "less is no news", []string{}, names(s.next()))
	s.body = elementRooms(19, `"room_subscriptions":{"!a:one":{"timeline_limit":3,"required_state":[]}},`)
	check(t, "what was told already is no news", []string{}, names(s.next()))
	for i := range 3 {
		a.Message(bob, fmt.Sprint("new ", i))
	}
	s.body = elementRooms(19, "")
	got = slid(s.next(), a)
	check(t, "one of three", []string{"new 2"}, told(got.Get("timeline")))
	check(t, "limited", true, got.Get("limited").Bool())
	s.body = elementRooms(19, `"room_subscriptions":{"!a:one":{"timeline_limit":3,"required_state":[]}},`)
	check(t, "a hole is filled", []string{"new 0", "new 1", "new 2"}, told(slid(s.next(), a).Get("timeline")))
}

func TestSlidingInvitesAndLeaving(t *testing.T) {
	r := newRig(t)
	s := r.slider(bob, elementRooms(19, ""))
	s.next()
	a := r.room("a")
	a.Message(alice, "before")
	a.Member(alice, bob, "invite")
	got := slid(s.next(), a)
	check(t, "invite", "invite", got.Get("membership").Str)
	check(t, "stripped state", []string{"@bob:one invite"}, told(got.Get("invite_state")))
	check(t, "no timeline", false, got.Get("timeline").Exists())
	check(t, "told once", []string{}, names(s.next()))
	a.Member(bob, bob, "leave")
	got = slid(s.next(), a)
	check(t, "rejected", []string{"@bob:one leave"}, told(got.Get("timeline")))
	check(t, "in the state", []string{"@bob:one leave"}, told(got.Get("required_state")))
	a.Member(alice, bob, "invite")
	s.next()
	a.Member(bob, bob, "join")
	got = slid(s.next(), a)
	check(t, "joined", "join true", got.Get("membership").Str+" "+got.Get("initial").Raw)
	check(t, "live", int64(1), got.Get("num_live").Int())
	a.Message(alice, "x")
	a.Member(bob, bob, "leave")
	a.Message(alice, "secret")
	got = slid(s.next(), a)
	check(t, "left", "leave", got.Get("membership").Str)
	check(t, "up to the end", []string{"@bob:one leave"}, told(got.Get("timeline")))
	check(t, "and no further", []string{}, names(s.next()))
	a.Message(alice, "secret")
	check(t, "or later", []string{}, names(s.next()))
	s.pos = ""
	check(t, "a new connection has no rooms that one has left", []string{}, names(s.next()))
	a.Member(bob, bob, "join")
	check(t, "joined again", true, slid(s.next(), a).Get("initial").Bool())
	a.Member(alice, bob, "ban")
	check(t, "banned", "ban", slid(s.next(), a).Get("membership").Str)
	s.pos = ""
	got = s.next()
	check(t, "which a new connection is told", []string{"!a:one"}, names(got))
	check(t, "with the end", []string{"@bob:one ban"}, told(slid(got, a).Get("timeline")))
}

func TestSlidingFilters(t *testing.T) {
	r := newRig(t)
	space, a, b := r.room("space"), r.room("a"), r.room("b")
	c := r.room("c")
	space.State(alice, "m.space.child", "!a:one", `{"via":["one"]}`)
	space.State(alice, "m.space.child", "!b:one", `{}`)
	a.State(alice, "m.room.name", "", `{"name":"Garden"}`)
	b.Row.Summary.Encryption, space.Row.Summary.Type = "m.megolm.v1.aes-sha2", "m.space"
	b.Message(alice, "m")
	space.Message(alice, "m")
	r.data(alice, "", "m.direct", `{"@bob:one":["!b:one"]}`)
	r.data(alice, "!a:one", "m.tag", `{"tags":{"m.favourite":{},"u.x":{}}}`)
	r.data(alice, "!c:one", "m.tag", `{"tags":{"m.favourite":{}}}`)
	d := storagetest.NewRoom(t, r.store, "!d:one", bob)
	d.Member(bob, alice, "invite")
	_ = c
	for filter, want := range map[string][]string{
		`{}`:                                {"!a:one", "!b:one", "!c:one", "!d:one", "!space:one"},
		`{"is_dm":true}`:                    {"!b:one"},
		`{"is_dm":false,"is_invite":false}`: {"!a:one", "!c:one", "!space:one"},
		`{"is_encrypted":true}`:             {"!b:one"},
		`{"is_invite":true}`:                {"!d:one"},
		`{"is_invited":false,"is_encrypted":false,"not_room_types":["m.space"]}`: {"!a:one", "!c:one"},
		`{"room_types":["m.space"]}`:                              {"!space:one"},
		`{"room_types":[null],"is_invite":false}`:                 {"!a:one", "!b:one", "!c:one"},
		`{"room_types":["m.space"],"not_room_types":["m.space"]}`: {},
		`{"room_name_like":"gard"}`:                               {"!a:one"},
		`{"spaces":["!space:one"]}`:                               {"!a:one"},
		`{"spaces":["!elsewhere:one"]}`:                           {},
		`{"tags":["m.favourite"]}`:                                {"!a:one", "!c:one"},
		`{"tags":["m.favourite"],"not_tags":["u.x"]}`:             {"!c:one"},
	} {
		s := r.slider(alice, `{"lists":{"l":{"ranges":[[0,9]],"timeline_limit":0,"required_state":[],"filters":`+filter+`}}}`)
		got := s.next()
		unordered(t, filter, want, names(got))
		check(t, filter+" counts", int64(len(want)), got.Get("lists.l.count").Int())
	}
}

func TestSlidingDirectRooms(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	s := r.slider(alice, elementRooms(19, ""))
	check(t, "at first", false, slid(s.next(), a).Get("is_dm").Exists())
	r.data(alice, "", "m.direct", `{"@bob:one":["!a:one"]}`)
	check(t, "made one", "true", slid(s.lose(), a).Get("is_dm").Raw)
	check(t, "made one, after a loss", "true", slid(s.next(), a).Get("is_dm").Raw)
	r.data(alice, "", "m.direct", `{}`)
	check(t, "unmade", "false", slid(s.next(), a).Get("is_dm").Raw)
	check(t, "once", []string{}, names(s.next()))
}

func TestSlidingInTheWordsOfTheProposal(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.State(alice, "m.room.name", "", `{"name":"x"}`)
	a.Member(bob, bob, "join")
	a.State(alice, "m.room.topic", "", `{"topic":"t"}`)
	s := r.slider(alice, `{"lists":{"l":{"range":[0,9],"timeline_limit":1,"required_state":{"include":[{}],"exclude":[{"type":"m.room.create"}],"lazy_members":true}}},
		"room_subscriptions":{"!a:one":{"timeline_limit":1,"required_state":{"include":[{"type":"m.room.member","state_key":"@bob:one"}]}}}}`)
	s.stable = true
	got := slid(s.next(), a)
	unordered(t, "all but what is excluded", []string{"m.room.join_rules", "m.room.name", "topic t", "@bob:one join", "@alice:one join"},
		told(got.Get("required_state")))
	check(t, "lists", `["l"]`, got.Get("lists").Raw)
	check(t, "no counts", false, got.Get("notification_count").Exists())
	a.State(alice, "m.room.name", "", `{}`)
	check(t, "a name that is gone", "null", slid(s.next(), a).Get("name").Raw)
	r.update(func(tx *storage.Tx) error { // state resolution takes the topic away
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { r.hub.Ring(pos, hub.Room("!a:one"), hub.User(alice)) })
		return tx.SetCurrentState(a.Row.NID, pos, []storage.StateChange{{StateKey: storage.StateKey{Type: "m.room.topic"}}})
	})
	check(t, "state that is gone", `[{"type":"m.room.topic","state_key":""}]`, slid(s.next(), a).Get("required_state").Raw)
	a.Member(alice, eve, "invite")
	e := r.slider(eve, s.body)
	e.stable = true
	check(t, "stripped state", []string{"@eve:one invite"}, told(slid(e.next(), a).Get("stripped_state")))
}

func TestSlidingLazyMembers(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.Member(bob, bob, "join")
	a.Member(eve, eve, "join")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	a.Message(bob, "1")
	check(t, "who is shown", []string{"@bob:one join"}, told(slid(s.lose(), a).Get("required_state")))
	check(t, "again after a loss", []string{"@bob:one join"}, told(slid(s.next(), a).Get("required_state")))
	a.Message(bob, "2")
	check(t, "but once", false, slid(s.next(), a).Get("required_state").Exists())
	a.Member(eve, eve, "leave")
	got := slid(s.next(), a)
	check(t, "changes", []string{"@eve:one leave"}, told(got.Get("required_state")))
	check(t, "counts", int64(2), got.Get("joined_count").Int())
}

func TestSlidingLazyMembersAfterAGap(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.Member(bob, bob, "join")
	a.Message(bob, "1")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	a.Message(bob, "2")
	check(t, "who is known", false, slid(s.next(), a).Get("required_state").Exists())
	a.State(bob, "m.room.member", string(bob), `{"membership":"join","displayname":"Robert"}`)
	a.Message(eve, "3")
	a.Message(alice, "4")
	got := slid(s.next(), a)
	check(t, "a gap", true, got.Get("limited").Bool())
	check(t, "does not tell of all that has changed in it", []string{"@alice:one join"}, told(got.Get("required_state")))
	a.Message(bob, "5")
	check(t, "who was known before it is told again", "Robert", slid(s.next(), a).Get("required_state.0.content.displayname").Str)
	a.State(bob, "m.room.member", string(bob), `{"membership":"join","displayname":"Bobby"}`)
	a.Message(alice, "6")
	a.Message(bob, "7")
	check(t, "who speaks after it", "Bobby", slid(s.next(), a).Get(`required_state.#(state_key=="@bob:one").content.displayname`).Str)
}

func TestSlidingAccountDataLooksAtItsRooms(t *testing.T) {
	r := newRig(t)
	rooms := r.manyRooms(5)
	left := r.room("left")
	left.Member(alice, alice, "leave")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	s.next()
	of := func(got gjson.Result, room *storagetest.Room) string {
		return got.Get("extensions.account_data.rooms." + path(string(room.Row.ID)) + ".0.type").Str
	}
	r.data(alice, rooms[2].Row.ID, "m.marked_unread", `{"unread":true}`)
	rooms[1].Message(bob, "m")
	got := s.next()
	check(t, "the data", "m.marked_unread", of(got, rooms[2]))
	check(t, "and news", []string{"!r1:one"}, names(got))
	check(t, "count", int64(5), got.Get("lists.all_rooms.count").Int())
	r.data(alice, left.Row.ID, "m.x", `{}`)
	check(t, "of a room that is in no list", "", of(s.next(), left))
	s.body = `{"lists":{"l":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[],"filters":{"tags":["m.favourite"]}}}}`
	s.pos = ""
	check(t, "no favourites", int64(0), s.next().Get("lists.l.count").Int())
	r.data(alice, rooms[3].Row.ID, "m.tag", `{"tags":{"m.favourite":{}}}`)
	check(t, "a tag brings a room", []string{"!r3:one"}, names(s.next()))
	r.data(alice, rooms[3].Row.ID, "m.tag", `{"tags":{}}`)
	check(t, "and takes it away", int64(0), s.next().Get("lists.l.count").Int())
}

func TestSlidingPictures(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	a.Row.Summary.AvatarURL = "mxc://one/x"
	a.State(alice, "m.room.avatar", "", `{"url":"mxc://one/x"}`)
	check(t, "set", "mxc://one/x", slid(s.next(), a).Get("avatar").Str)
	a.Row.Summary.AvatarURL = ""
	a.State(alice, "m.room.avatar", "", `{}`)
	check(t, "taken away", "null", slid(s.next(), a).Get("avatar").Raw)
}

func TestSlidingGaps(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	s := r.slider(alice, `{"lists":{"l":{"ranges":[[0,9]],"timeline_limit":10,"required_state":[]}}}`)
	s.next()
	a.Message(alice, "before")
	r.update(func(tx *storage.Tx) error {
		_, err := tx.AddGap(a.Row.NID, []id.EventID{"$missing"})
		return err
	})
	a.Message(alice, "after")
	got := slid(s.next(), a)
	check(t, "what is after the gap", []string{"after"}, told(got.Get("timeline")))
	check(t, "limited", true, got.Get("limited").Bool())
}
