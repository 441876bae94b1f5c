package syncer

import (
	"fmt"
	"testing"
	"time"
)

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
