package storage

import (
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// membershipCache keeps what MembershipsOf answers, for who is about to ask again: every sync does. A change drops the user's entry after
// its commit and begins a new epoch, so that a reader whose snapshot is older cannot put the old answer back.
type membershipCache struct {
	mu    sync.Mutex
	epoch int64
	share *budget.Share
	bytes int
	users map[id.UserID]cachedMemberships
}

type cachedMemberships struct {
	list  []Membership
	rooms map[id.RoomID]int // where in the list they are
	pos   int64             // of the newest of them
	size  int
}

func newCachedMemberships(list []Membership) cachedMemberships {
	e := cachedMemberships{list: list, rooms: make(map[id.RoomID]int, len(list)), size: sizeOf(list)}
	for i := range list {
		e.rooms[list[i].RoomID] = i
		e.pos = max(e.pos, list[i].Pos)
	}
	return e
}

// sizeOf estimates. An invite can be large: its stripped state has the room's topic in it.
func sizeOf(list []Membership) int {
	n := 100
	for i := range list {
		m := &list[i]
		n += 300 + len(m.Name) + len(m.AvatarURL) + len(m.Stripped)
	}
	return n
}

func newMembershipCache(share *budget.Share) *membershipCache {
	return &membershipCache{share: share, users: map[id.UserID]cachedMemberships{}}
}

func (c *membershipCache) current() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// get is the memberships of a user for a snapshot at pos, or at an unknown position if that is 0.
func (c *membershipCache) get(user id.UserID, pos int64) (cachedMemberships, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.users[user]
	ok = ok && (pos == 0 || e.pos <= pos)
	c.share.Asked(ok)
	return e, ok
}

func (c *membershipCache) add(user id.UserID, e cachedMemberships, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.users[user]; known || epoch != c.epoch {
		return
	}
	for u, old := range c.users {
		if c.bytes+e.size <= c.share.Limit() {
			break
		}
		c.bytes -= old.size
		delete(c.users, u)
	}
	c.users[user] = e
	c.bytes += e.size
	c.share.Hold(c.bytes)
}

func (c *membershipCache) drop(user id.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.bytes -= c.users[user].size
	c.share.Hold(c.bytes)
	delete(c.users, user)
}
