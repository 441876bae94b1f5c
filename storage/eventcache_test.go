package storage

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

func cachedEvent(pos int64) *Event {
	return &Event{NID: pos, Pos: pos, ID: id.EventID(fmt.Sprint("$", pos)), JSON: make([]byte, 300)} // 1,000 bytes by its own account
}

// at is the cached event with a number.
func (c *eventCache) at(nid int64) (*Event, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.use(c.nids[nid])
}

func TestTheEventCacheStaysWithinItsBudget(t *testing.T) {
	c := newEventCache(budget.Fixed(budget.Events, 5000))
	for pos := range int64(20) {
		c.add(cachedEvent(pos+1), c.current())
		c.at(1) // in steady use
	}
	if c.bytes > 5000 || c.order.Len() != len(c.nids) || len(c.nids) != len(c.ids) || len(c.nids) != 5 {
		t.Errorf("%d bytes, %d, %d and %d entries", c.bytes, c.order.Len(), len(c.nids), len(c.ids))
	}
	for _, pos := range []int64{1, 20, 17} {
		if e, ok := c.byID(cachedEvent(pos).ID); !ok || e.Pos != pos {
			t.Errorf("%d, used lately, is not there", pos)
		}
	}
	if _, ok := c.at(2); ok {
		t.Error("2, used least lately, is there")
	}
	// One that is larger than the budget is kept alone.
	c.add(&Event{NID: 99, Pos: 99, ID: "$99", JSON: make([]byte, 10_000)}, c.current())
	if len(c.nids) != 1 {
		t.Errorf("%d entries beside a large one", len(c.nids)-1)
	}
}

func TestWhoReadBeforeAChangePutsNothingIntoTheEventCache(t *testing.T) {
	c := newEventCache(budget.Fixed(budget.Events, 1<<20))
	before := c.current()
	c.add(cachedEvent(1), before)
	c.forget(1)
	if _, ok := c.at(1); ok {
		t.Error("a forgotten event is there")
	}
	c.add(cachedEvent(1), before)
	c.add(cachedEvent(2), before)
	if len(c.nids) != 0 {
		t.Error("a reader from before the change has put something back")
	}
	c.add(cachedEvent(1), c.current())
	if _, ok := c.byID("$1"); !ok {
		t.Error("a reader from after the change could not put the event there")
	}
	if c.bytes != cachedEvent(1).size() {
		t.Errorf("%d bytes", c.bytes)
	}
}
