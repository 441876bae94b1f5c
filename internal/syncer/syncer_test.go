package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
	eve   id.UserID = "@eve:one"
)

// rig is a Syncer over a real store, at a time that stands still.
type rig struct {
	t      testing.TB
	store  *storage.Store
	hub    *hub.Hub
	clock  *clock.Fake
	edus   *edu.Service
	syncer *Syncer
}

// loud notifies everybody of every message.
type loud struct{}

func (loud) Notifications(_ *storage.ReadTx, _ *storage.Room, ev *storage.Event, members []storage.Member) ([]storage.Notification, error) {
	var out []storage.Notification
	for _, m := range members {
		if ev.Type == "m.room.message" && m.User != ev.Sender {
			out = append(out, storage.Notification{User: m.User, Highlight: strings.Contains(ev.Get("content.body").Str, "!")})
		}
	}
	return out, nil
}

// PushRulesContent shows what is stored in a list.
func (loud) PushRulesContent(_ id.UserID, stored json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`{"global":` + string(stored) + `}`), nil
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, store: storagetest.Open(t), clock: clock.NewFake(time.UnixMilli(1_700_000_100_000))}
	for _, u := range []id.UserID{alice, bob, eve} {
		r.update(func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: u})
			return err
		})
	}
	r.restart()
	return r
}

// restart gives up what is in memory.
func (r *rig) restart() {
	r.hub = hub.NewAt(r.store.CommittedPos(), r.clock.Now().UnixMilli(), hub.DefaultLimit)
	r.edus = edu.New(r.store, r.hub, loud{}, r.clock, edu.Options{})
	r.syncer = New(r.store, r.hub, r.edus, loud{}, r.clock)
}

func (r *rig) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// room makes a room of alice's.
func (r *rig) room(name string) *storagetest.Room {
	room := storagetest.NewRoom(r.t, r.store, id.RoomID("!"+name+":one"), alice)
	ring := func(pos int64, users []id.UserID) {
		keys := []hub.Key{hub.Room(room.Row.ID)}
		for _, u := range users {
			keys = append(keys, hub.User(u))
		}
		r.hub.Ring(pos, keys...)
	}
	room.Rung = ring
	ring(room.Row.LastPos, []id.UserID{alice})
	return room
}

// data sets account data.
func (r *rig) data(user id.UserID, room id.RoomID, typ, content string) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { r.hub.Ring(pos, hub.User(user)) })
		return tx.SetAccountData(user, storage.AccountData{RoomID: room, Type: typ, Content: json.RawMessage(content), Pos: pos})
	})
}

// client is a device that syncs.
type client struct {
	r             *rig
	user          id.UserID
	since         string
	filter        string
	useStateAfter bool
	fullState     bool
	timeout       time.Duration
}

func (r *rig) client(user id.UserID) *client { return &client{r: r, user: user} }

func (c *client) request() Request {
	c.r.t.Helper()
	req := Request{User: c.user, Device: "D", Since: c.since, FullState: c.fullState, UseStateAfter: c.useStateAfter, Timeout: c.timeout}
	if c.filter != "" {
		f, err := filter.Parse(json.RawMessage(c.filter))
		if err != nil {
			c.r.t.Fatal(err)
		}
		req.Filter = f
	}
	return req
}

// sync syncs and goes on from there.
func (c *client) sync() gjson.Result {
	c.r.t.Helper()
	out, err := c.r.syncer.Sync(context.Background(), c.request())
	if err != nil {
		c.r.t.Fatal(err)
	}
	if !json.Valid(out) {
		c.r.t.Fatalf("not JSON: %s", out)
	}
	got := gjson.ParseBytes(out)
	c.since = got.Get("next_batch").Str
	return got
}

// path escapes what has a meaning in a path of gjson.
func path(s string) string {
	return strings.NewReplacer(".", `\.`, "!", `\!`, "@", `\@`, "*", `\*`).Replace(s)
}

func section(got gjson.Result, name string, room *storagetest.Room) gjson.Result {
	return got.Get("rooms." + name + "." + path(string(room.Row.ID)))
}

func joined(got gjson.Result, room *storagetest.Room) gjson.Result { return section(got, "join", room) }

// told describes events: the body of messages, type and key and value of state.
func told(events gjson.Result) []string {
	var out []string
	for _, ev := range events.Array() {
		switch typ := ev.Get("type").Str; typ {
		case "m.room.message":
			out = append(out, ev.Get("content.body").Str)
		case "m.room.member":
			out = append(out, ev.Get("state_key").Str+" "+ev.Get("content.membership").Str)
		case "m.room.topic":
			out = append(out, "topic "+ev.Get("content.topic").Str)
		default:
			out = append(out, typ)
		}
	}
	return out
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// unordered compares lists of which the order means nothing.
func unordered(t *testing.T, what string, want, got []string) {
	t.Helper()
	count := func(list []string) map[string]int {
		out := map[string]int{}
		for _, s := range list {
			out[s]++
		}
		return out
	}
	check(t, what, count(want), count(got))
}

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

// TestGap is PITFALL 55: what is told of a gap.
func TestGap(t *testing.T) {
	for _, test := range []struct {
		name, filter  string
		useStateAfter bool
		state         []string
	}{
		{"without lazy loading", `{"room":{"timeline":{"limit":2}}}`, false, []string{"topic one", "@bob:one join", "@eve:one leave"}},
		{"with lazy loading, all membership changes and the senders", `{"room":{"timeline":{"limit":2},"state":{"lazy_load_members":true}}}`, false,
			[]string{"topic one", "@bob:one join", "@eve:one leave"}},
		{"with state_after it is the state at the end", `{"room":{"timeline":{"limit":2}}}`, true,
			[]string{"topic two", "@bob:one join", "@eve:one leave"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			room := r.room("a")
			room.Member(eve, eve, "join")
			c := r.client(alice)
			c.filter, c.useStateAfter = test.filter, test.useStateAfter
			c.sync()
			room.State(alice, "m.room.topic", "", `{"topic":"zero"}`)
			room.Member(bob, bob, "join")
			room.Member(eve, eve, "leave")
			room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
			room.Message(alice, "lost")
			room.Message(bob, "hi")
			topic := room.State(alice, "m.room.topic", "", `{"topic":"two"}`)
			j := joined(c.sync(), room)
			check(t, "timeline", []string{"hi", "topic two"}, told(j.Get("timeline.events")))
			check(t, "limited", true, j.Get("timeline.limited").Bool())
			check(t, "prev_batch", fmt.Sprintf("t%d", topic.Pos-2), j.Get("timeline.prev_batch").Str)
			name := "state"
			if test.useStateAfter {
				name = "state_after"
				check(t, "no state", false, j.Get("state").Exists())
			}
			unordered(t, "state", test.state, told(j.Get(name+".events")))
		})
	}
}

// TestStateThatTheTimelineLeavesOut is PITFALL 56.
func TestStateThatTheTimelineLeavesOut(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(alice)
	c.filter = `{"room":{"timeline":{"types":["m.room.message"]}}}`
	j := joined(c.sync(), room)
	check(t, "timeline", []string(nil), told(j.Get("timeline.events")))
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(j.Get("state.events")))
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Message(alice, "hi")
	j = joined(c.sync(), room)
	check(t, "timeline", []string{"hi"}, told(j.Get("timeline.events")))
	check(t, "state", []string{"topic one"}, told(j.Get("state.events")))
	room.State(alice, "m.room.topic", "", `{"topic":"two"}`)
	check(t, "state without a timeline", []string{"topic two"}, told(joined(c.sync(), room).Get("state.events")))
}

func TestUseStateAfter(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(alice)
	c.useStateAfter = true
	j := joined(c.sync(), room)
	unordered(t, "initially all", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(j.Get("state_after.events")))
	check(t, "no state", false, j.Get("state").Exists())
	room.Message(alice, "hi")
	check(t, "empty but there", `{"events":[]}`, joined(c.sync(), room).Get("state_after").Raw)
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	j = joined(c.sync(), room)
	check(t, "state in the timeline is in it", []string{"topic one"}, told(j.Get("state_after.events")))
	check(t, "timeline", []string{"topic one"}, told(j.Get("timeline.events")))
}

func TestInitialStateIsThatBeforeTheTimeline(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Message(alice, "hi")
	room.State(alice, "m.room.topic", "", `{"topic":"two"}`)
	c := r.client(alice)
	c.filter = `{"room":{"timeline":{"limit":2}}}`
	j := joined(c.sync(), room)
	check(t, "timeline", []string{"hi", "topic two"}, told(j.Get("timeline.events")))
	check(t, "limited", true, j.Get("timeline.limited").Bool())
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "topic one"}, told(j.Get("state.events")))
}

func TestLazyMembers(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	room.Member(eve, eve, "join")
	room.State(alice, "m.room.name", "", `{"name":"den"}`)
	room.Message(bob, "old")
	c := r.client(alice)
	c.filter = `{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}`
	j := joined(c.sync(), room)
	unordered(t, "initially the senders and oneself", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "m.room.name", "@bob:one join"},
		told(j.Get("state.events")))
	room.Message(bob, "known")
	check(t, "nobody twice", []string(nil), told(joined(c.sync(), room).Get("state.events")))
	room.Message(eve, "new")
	before := c.since
	check(t, "new senders", []string{"@eve:one join"}, told(joined(c.sync(), room).Get("state.events")))
	after := c.since
	c.since = before
	check(t, "again, if the answer was lost", []string{"@eve:one join"}, told(joined(c.sync(), room).Get("state.events")))
	c.since = after
	c.filter = `{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true}}}`
	room.Message(eve, "again")
	check(t, "redundant ones on demand", []string{"@eve:one join"}, told(joined(c.sync(), room).Get("state.events")))
}

func TestHeroesAreSentWithLazyMembers(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	room.Message(alice, "hi")
	c := r.client(alice)
	c.filter = `{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}`
	j := joined(c.sync(), room)
	check(t, "heroes", `["@bob:one"]`, j.Get(`summary.m\.heroes`).Raw)
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "@bob:one join"}, told(j.Get("state.events")))
}

func TestNewlyJoinedRooms(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Message(alice, "before")
	c := r.client(bob)
	c.filter = `{"room":{"timeline":{"limit":2}}}`
	c.sync()
	room.Member(bob, bob, "join")
	j := joined(c.sync(), room)
	check(t, "timeline", []string{"before", "@bob:one join"}, told(j.Get("timeline.events")))
	check(t, "limited", true, j.Get("timeline.limited").Bool())
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(j.Get("state.events")))
	check(t, "summary", `["@alice:one"]`, j.Get(`summary.m\.heroes`).Raw)
	room.Message(alice, "after")
	j = joined(c.sync(), room)
	check(t, "timeline", []string{"after"}, told(j.Get("timeline.events")))
	check(t, "state", false, j.Get("state").Exists())
	room.State(bob, "m.room.member", string(bob), `{"membership":"join","displayname":"Bobby"}`)
	j = joined(c.sync(), room)
	check(t, "a new name is no new join", []string{"@bob:one join"}, told(j.Get("timeline.events")))
	check(t, "state", false, j.Get("state").Exists())
}

func TestNewlyJoinedRoomsShowWhatTheirVisibilityAllows(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.State(alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Message(alice, "before")
	room.Member(bob, bob, "join")
	room.Message(alice, "after")
	j := joined(r.client(bob).sync(), room)
	unordered(t, "timeline", []string{"m.room.create", "m.room.history_visibility", "@alice:one join", "m.room.join_rules", "@bob:one join", "after"},
		told(j.Get("timeline.events")))
	check(t, "state", []string{"topic one"}, told(j.Get("state.events")))
}

func TestComingBack(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	c := r.client(bob)
	c.sync()
	room.Member(bob, bob, "leave")
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Member(bob, bob, "join")
	j := joined(c.sync(), room)
	check(t, "between two syncs", []string{"@bob:one leave", "topic one", "@bob:one join"}, told(j.Get("timeline.events")))
	room.Member(bob, bob, "leave")
	c.sync()
	room.Member(bob, bob, "join")
	j = joined(c.sync(), room)
	check(t, "as if new", true, len(j.Get("state.events").Array())+len(j.Get("timeline.events").Array()) >= 8)
}

// TestLeftRooms is PITFALL 57.
func TestLeftRooms(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Member(bob, bob, "join")
	c := r.client(bob)
	c.sync()
	room.Message(alice, "during")
	room.Member(alice, bob, "leave")
	room.Message(alice, "after")
	got := c.sync()
	check(t, "not joined", false, joined(got, room).Exists())
	check(t, "timeline", []string{"during", "@bob:one leave"}, told(section(got, "leave", room).Get("timeline.events")))
	room.Message(alice, "later")
	check(t, "told once", false, c.sync().Get("rooms").Exists())
	c.since = ""
	check(t, "not in an initial sync", false, c.sync().Get("rooms").Exists())
	c.since, c.filter = "", `{"room":{"include_leave":true,"timeline":{"limit":2}}}`
	l := section(c.sync(), "leave", room)
	check(t, "archived, on demand", []string{"during", "@bob:one leave"}, told(l.Get("timeline.events")))
	unordered(t, "state at the time", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "@bob:one join"}, told(l.Get("state.events")))
	r.update(func(tx *storage.Tx) error { return tx.ForgetRoom(room.Row.NID, bob) })
	c.since = ""
	check(t, "forgotten", false, c.sync().Get("rooms").Exists())
}

func TestLeftRoomsShowTheStateOfTheirTime(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	room.Member(bob, bob, "join")
	room.Member(bob, bob, "leave")
	room.State(alice, "m.room.topic", "", `{"topic":"two"}`)
	room.Member(eve, eve, "join")
	room.Member(alice, bob, "ban")
	for _, after := range []bool{false, true} {
		c := r.client(bob)
		c.useStateAfter = after
		c.filter = `{"room":{"include_leave":true,"timeline":{"limit":1}}}`
		l := section(c.sync(), "leave", room)
		check(t, "timeline", []string{"@bob:one ban"}, told(l.Get("timeline.events")))
		name := "state"
		if after {
			name = "state_after"
		}
		unordered(t, name, []string{"m.room.create", "@alice:one join", "m.room.join_rules", "topic one", "@bob:one leave"}, told(l.Get(name+".events")))
	}
}

func TestJoinedAndLeftBetweenTwoSyncs(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Message(alice, "before")
	c := r.client(bob)
	c.filter = `{"room":{"timeline":{"limit":2}}}`
	c.sync()
	room.Member(bob, bob, "join")
	room.Member(bob, bob, "leave")
	l := section(c.sync(), "leave", room)
	check(t, "timeline", []string{"@bob:one join", "@bob:one leave"}, told(l.Get("timeline.events")))
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(l.Get("state.events")))
}

func TestRejectedInvitesShowNothingOfTheRoom(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	room.Message(alice, "secret")
	room.Member(alice, bob, "invite")
	c := r.client(bob)
	c.sync()
	room.Member(bob, bob, "leave")
	l := section(c.sync(), "leave", room)
	check(t, "timeline", []string{"@bob:one leave"}, told(l.Get("timeline.events")))
	check(t, "state", []string(nil), told(l.Get("state.events")))
}

func TestInvitesAndKnocks(t *testing.T) {
	r := newRig(t)
	a, b := r.room("a"), r.room("b")
	c := r.client(bob)
	c.sync()
	a.Member(alice, bob, "invite")
	b.Member(bob, bob, "knock")
	got := c.sync()
	check(t, "invite", []string{"@bob:one invite"}, told(section(got, "invite", a).Get("invite_state.events")))
	check(t, "knock", []string{"@bob:one knock"}, told(section(got, "knock", b).Get("knock_state.events")))
	check(t, "told once", false, c.sync().Get("rooms").Exists())
	c.since = ""
	check(t, "and initially", true, section(c.sync(), "invite", a).Exists())
}

// TestIgnoredUsers is PITFALL 66 and more.
func TestIgnoredUsers(t *testing.T) {
	r := newRig(t)
	room, other := r.room("a"), r.room("b")
	room.Member(eve, eve, "join")
	c := r.client(eve)
	c.sync()
	r.data(eve, "", "m.ignored_user_list", `{"ignored_users":{"@alice:one":{}}}`)
	c.sync()
	room.Message(alice, "hidden")
	check(t, "messages", false, c.sync().Get("rooms").Exists())
	room.State(alice, "m.room.topic", "", `{"topic":"shown"}`)
	check(t, "state", []string{"topic shown"}, told(joined(c.sync(), room).Get("timeline.events")))
	other.Member(alice, eve, "invite")
	check(t, "invites", false, c.sync().Get("rooms").Exists())
	c.since = ""
	got := c.sync()
	check(t, "invites initially", false, section(got, "invite", other).Exists())
	for _, body := range told(joined(got, room).Get("timeline.events")) {
		if body == "hidden" {
			t.Error("an initial sync shows the message")
		}
	}
	r.data(eve, "", "m.ignored_user_list", `{"ignored_users":{}}`)
	c.sync()
	room.Message(alice, "shown again")
	check(t, "no longer ignored", []string{"shown again"}, told(joined(c.sync(), room).Get("timeline.events")))
}

func TestInvitesAreHiddenFromWhoWantsNone(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(bob)
	c.sync()
	r.data(bob, "", "m.invite_permission_config", `{"default_action":"block"}`)
	c.sync()
	room.Member(alice, bob, "invite")
	check(t, "news", false, c.sync().Get("rooms").Exists())
	c.since = ""
	check(t, "initially", false, c.sync().Get("rooms").Exists())
	r.data(bob, "", "m.invite_permission_config", `{}`)
	c.since = ""
	check(t, "invite", true, section(c.sync(), "invite", room).Exists())
}

func TestUnreadCounts(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c, threaded := r.client(alice), r.client(alice)
	threaded.filter = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	c.sync()
	threaded.sync()
	r.update(func(tx *storage.Tx) error {
		if err := tx.CountUnread(room.Row.NID, "", []id.UserID{alice}, false); err != nil {
			return err
		}
		return tx.CountUnread(room.Row.NID, "$root", []id.UserID{alice}, true)
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
		{"account data of rooms", `{"room":{"account_data":{"not_types":["*"]}}}`, "rooms.join." + path("!a:one") + ".account_data", ""},
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

func TestFullState(t *testing.T) {
	r := newRig(t)
	room := r.room("a")
	c := r.client(alice)
	c.sync()
	c.fullState, c.timeout = true, time.Minute
	room.Message(alice, "hi")
	j := joined(c.sync(), room)
	check(t, "timeline", []string{"hi"}, told(j.Get("timeline.events")))
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(j.Get("state.events")))
	j = joined(c.sync(), room)
	check(t, "without anything new", true, j.Get("timeline.events").Exists())
	unordered(t, "state", []string{"m.room.create", "@alice:one join", "m.room.join_rules"}, told(j.Get("state.events")))
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
	ev = room.Message(alice, "lost")
	ev = room.Message(alice, "helo")
	room.Event(alice, "m.room.message", strings.Replace(edit, "$", "$", 1))
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
