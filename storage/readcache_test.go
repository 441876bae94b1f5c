package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

const maxBytes = 16 << 20

func TestAReadCacheAnswersForTheSnapshot(t *testing.T) {
	c := newReadCache[id.UserID, string](budget.Fixed(budget.Memberships, maxBytes))
	c.add("@a:b", kept[string]{"a", 9, 100}, c.current())
	for pos, want := range map[int64]bool{0: true, 8: false, 9: true, 10: true} {
		if _, ok := c.get("@a:b", pos); ok != want {
			t.Errorf("a snapshot at %d gets an answer: %t", pos, ok)
		}
	}
	before := c.current()
	c.drop("@a:b")
	c.add("@a:b", kept[string]{"b", 0, 100}, before)
	if _, ok := c.get("@a:b", 0); ok || c.bytes != 0 {
		t.Errorf("an answer from before a change was put back: %d bytes", c.bytes)
	}
}

func TestAReadCacheStaysWithinItsBudget(t *testing.T) {
	c := newReadCache[id.UserID, string](budget.Fixed(budget.Memberships, maxBytes))
	invite := sizeOf([]Membership{{Stripped: strings.Repeat("x", 1<<20)}})
	for i := range 3 * maxBytes >> 20 {
		c.add(id.UserID(fmt.Sprintf("@%d:b", i)), kept[string]{"", 0, invite}, c.current())
	}
	if c.bytes > maxBytes || len(c.entries) < maxBytes>>21 {
		t.Errorf("%d bytes for %d users", c.bytes, len(c.entries))
	}
	for u := range c.entries {
		c.drop(u)
	}
	if c.bytes != 0 {
		t.Errorf("%d bytes for nobody", c.bytes)
	}
}
