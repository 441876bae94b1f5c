package hub

import (
	"slices"
	"sync"

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

// cell is what the hub remembers of a user. All who are in a room are rung for each of its events (see Crowd), so it is small, and lies beside
// those that were made before and after it.
type cell struct {
	last    [streams]int64 // under users.mu
	watched bool           // there are watchers; under Hub.watching, like all that follows
	gone    bool           // it is no longer among the users
	*person
}

// person is what is rarely needed of a user.
type person struct {
	user     id.UserID
	watchers []*Watch
}

// slab is how many cells lie side by side.
const slab = 256

// users is the cells, up to a limit. When they are too many, those that nobody watches go, and the floors are raised to what they knew.
type users struct {
	mu    sync.RWMutex
	cells map[id.UserID]*cell
	free  []cell // what is left of a slab
	limit int
	floor [streams]int64 // who has no cell, or one that is not above it, has not changed after this position
}

// cell finds or makes the cell of a user. The caller holds Hub.watching.
func (u *users) cell(user id.UserID) *cell {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.cells[user]; c != nil {
		return c
	}
	if len(u.cells) >= u.limit {
		u.sweep()
	}
	if len(u.free) == 0 {
		u.free = make([]cell, slab)
	}
	c := &u.free[0]
	u.free = u.free[1:]
	c.person = &person{user: user}
	u.cells[user] = c
	return c
}

func (u *users) sweep() {
	for user, c := range u.cells {
		if len(c.watchers) > 0 {
			continue
		}
		for s := range c.last {
			u.floor[s] = max(u.floor[s], c.last[s])
		}
		c.gone = true
		delete(u.cells, user)
	}
	u.limit = max(u.limit, 2*len(u.cells)) // who is watched is not the hub's to forget
}

// since reports whether a user was rung after pos, or may have been.
func (u *users) since(s stream, user id.UserID, pos int64) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	last := u.floor[s]
	if c := u.cells[user]; c != nil {
		last = max(last, c.last[s])
	}
	return pos < last
}

// ring notes a position of a crowd and wakes who watches them. Commits in one group may ring out of order. It returns those whom it did not find:
// their cells have gone. The caller holds Hub.watching.
func (u *users) ring(s stream, pos int64, crowd Crowd) (lost []id.UserID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range crowd {
		c.last[s] = max(c.last[s], pos)
		if c.watched {
			wake(c.watchers)
		}
		if c.gone {
			lost = append(lost, c.user)
		}
	}
	return lost
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
