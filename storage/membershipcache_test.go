package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

const maxMembershipBytes = 16 << 20

func TestTheMembershipCacheAnswersForTheSnapshot(t *testing.T) {
	c := newMembershipCache(budget.Fixed(budget.Memberships, maxMembershipBytes))
	c.add("@a:b", newCachedMemberships([]Membership{{Room: 1, Pos: 5}, {Room: 2, Pos: 9}}), c.current())
	for pos, want := range map[int64]bool{0: true, 8: false, 9: true, 10: true} {
		if _, ok := c.get("@a:b", pos); ok != want {
			t.Errorf("a snapshot at %d gets an answer: %t", pos, ok)
		}
	}
	before := c.current()
	c.drop("@a:b")
	c.add("@a:b", newCachedMemberships(nil), before)
	if _, ok := c.get("@a:b", 0); ok || c.bytes != 0 {
		t.Errorf("an answer from before a change was put back: %d bytes", c.bytes)
	}
}

func TestTheMembershipCacheStaysWithinItsBudget(t *testing.T) {
	c := newMembershipCache(budget.Fixed(budget.Memberships, maxMembershipBytes))
	invite := newCachedMemberships([]Membership{{Stripped: strings.Repeat("x", 1<<20)}})
	for i := range 3 * maxMembershipBytes >> 20 {
		c.add(id.UserID(fmt.Sprintf("@%d:b", i)), invite, c.current())
	}
	if c.bytes > maxMembershipBytes || len(c.users) < maxMembershipBytes>>21 {
		t.Errorf("%d bytes for %d users", c.bytes, len(c.users))
	}
	for u := range c.users {
		c.drop(u)
	}
	if c.bytes != 0 {
		t.Errorf("%d bytes for nobody", c.bytes)
	}
}
