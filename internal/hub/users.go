package hub

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hearthd/hearth/internal/extend"
	"github.com/hearthd/hearth/internal/id"
)

// stream is one of the two kinds of positions.
type stream int

const (
	durable   stream = iota // of the stream
	ephemeral               // of typing and presence
	streams
)

// cell is what the hub remembers of a user. All who are in a room are rung for each of its events: see Crowd.
type cell struct {
	user     id.UserID
	last     [streams]atomic.Int64
	watchers []*Watch // under Hub.watching, as is gone
	gone     bool     // it is no longer among the users
}

// raise notes a position. Commits in one group may ring out of order.
func (c *cell) raise(s stream, pos int64) {
	for {
		last := c.last[s].Load()
		if pos <= last || c.last[s].CompareAndSwap(last, pos) {
			return
		}
	}
}

// users is the cells, up to a limit. When they are too many, those that nobody watches go, and the floors are raised to what they knew.
type users struct {
	mu    sync.RWMutex
	cells map[id.UserID]*cell
	limit int
	floor [streams]atomic.Int64 // who has no cell, or one that is not above it, has not changed after this position
}

func (u *users) known(user id.UserID) *cell {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.cells[user]
}

// cell finds or makes the cell of a user. The caller holds Hub.watching.
func (u *users) cell(user id.UserID) *cell {
	if c := u.known(user); c != nil {
		return c
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.cells) >= u.limit {
		u.sweep()
	}
	c := &cell{user: user}
	u.cells[user] = c
	return c
}

func (u *users) sweep() {
	for user, c := range u.cells {
		if len(c.watchers) > 0 {
			continue
		}
		for s := range c.last {
			u.floor[s].Store(max(u.floor[s].Load(), c.last[s].Load()))
		}
		c.gone = true
		delete(u.cells, user)
	}
	u.limit = max(u.limit, 2*len(u.cells)) // who is watched is not the hub's to forget
}

// since reports whether a user was rung after pos, or may have been.
func (u *users) since(s stream, user id.UserID, pos int64) bool {
	c := u.known(user) // before the floor, which rises before a cell goes
	last := u.floor[s].Load()
	if c != nil {
		last = max(last, c.last[s].Load())
	}
	return pos < last
}

// Crowd is users who are rung together, again and again, such as those in a room: each is looked up once. It is never changed in place.
type Crowd []*cell

// Crowd is a crowd of users in this order, none of them twice.
func (h *Hub) Crowd(users ...id.UserID) Crowd {
	h.watching.Lock()
	defer h.watching.Unlock()
	c := make(Crowd, len(users))
	for i, u := range users {
		c[i] = h.users.cell(u)
	}
	return c
}

// With is a crowd with one more user at its end.
func (h *Hub) With(c Crowd, user id.UserID) Crowd {
	h.watching.Lock()
	defer h.watching.Unlock()
	return extend.With(c, h.users.cell(user))
}

// Without is a crowd without the user at a place.
func (c Crowd) Without(at int) Crowd { return slices.Delete(slices.Clone(c), at, at+1) }
