package syncer

import (
	"testing"

	"github.com/hearthd/hearth/storage"
)

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
	check(t, "in an initial sync, for who was put out", true, section(c.sync(), "leave", room).Exists())
	left := r.room("b")
	left.Member(bob, bob, "join")
	left.Member(bob, bob, "leave")
	c.since = ""
	check(t, "not in an initial sync, for who has gone", false, section(c.sync(), "leave", left).Exists())
	c.since, c.filter = "", `{"room":{"include_leave":true,"timeline":{"limit":2}}}`
	l := section(c.sync(), "leave", room)
	check(t, "archived, on demand", []string{"during", "@bob:one leave"}, told(l.Get("timeline.events")))
	unordered(t, "state at the time", []string{"m.room.create", "@alice:one join", "m.room.join_rules", "@bob:one join"}, told(l.Get("state.events")))
	r.update(func(tx *storage.Tx) error { return tx.ForgetRoom(room.Row.NID, bob) })
	c.since = ""
	check(t, "forgotten", false, section(c.sync(), "leave", room).Exists())
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
