// Package hub is a doorbell, not a queue: a ring says "look again", never what changed. It also remembers the last position of every key
// that was rung, so that a reader can tell cheaply which rooms need a look. All of it is in memory and bounded: what it has forgotten it
// answers with "may have changed". Losing the hub costs latency, never data.
package hub

import (
	"slices"
	"sync"

	"github.com/hearthd/hearth/internal/id"
)

// DefaultLimit is the number of users, and of other keys, whose last position a hub remembers: about 75 MB each when all of them are in use.
const DefaultLimit = 1 << 19

// Hub wakes watchers and remembers positions. It is safe for concurrent use.
type Hub struct {
	watching sync.Mutex
	watchers map[Key][]*Watch // of keys that are not of users

	users  users
	memory [streams]memory // of other keys

	counting sync.Mutex
	counter  int64

	drain    sync.Once
	draining chan struct{}
}

// New returns a hub that knows of no change up to floor, the position of the stream at the start of the process, and whose ephemeral
// counter starts at 0.
func New(floor int64) *Hub { return NewAt(floor, 0, DefaultLimit) }

// NewAt is New with the start of the ephemeral counter and the number of keys to remember. An ephemeral start taken from the clock, in
// milliseconds, makes the counter grow over restarts, so that old sync tokens stay comparable.
func NewAt(floor, start int64, limit int) *Hub {
	h := &Hub{
		watchers: make(map[Key][]*Watch),
		users:    users{cells: make(map[id.UserID]*cell), limit: limit},
		memory:   [streams]memory{newMemory(floor, limit), newMemory(start, limit)},
		counter:  start,
		draining: make(chan struct{}),
	}
	h.users.floor[durable] = floor
	h.users.floor[ephemeral] = start
	return h
}

// Watch is a subscription to some keys. Close it.
type Watch struct {
	hub  *Hub
	keys []Key
	c    chan struct{}
}

// Watch subscribes to keys. Subscribe first and look at the data then, or a change in between is missed.
func (h *Hub) Watch(keys ...Key) *Watch {
	w := &Watch{hub: h, c: make(chan struct{}, 1)}
	w.Add(keys...)
	return w
}

// C receives after a ring of any of the keys. Rings that come before the receiver looks are one.
func (w *Watch) C() <-chan struct{} { return w.c }

// Add subscribes to more keys, for a reader who learns while building an answer what else it depends on.
func (w *Watch) Add(keys ...Key) {
	w.hub.watching.Lock()
	defer w.hub.watching.Unlock()
	for _, k := range keys {
		if list := w.hub.watchersOf(k); !slices.Contains(list, w) {
			w.hub.setWatchers(k, append(list, w))
			w.keys = append(w.keys, k)
		}
	}
}

// Close ends the subscription. It may be called more than once.
func (w *Watch) Close() {
	w.hub.watching.Lock()
	defer w.hub.watching.Unlock()
	for _, k := range w.keys {
		rest := w.hub.watchersOf(k)
		if i := slices.Index(rest, w); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
		w.hub.setWatchers(k, rest)
	}
	w.keys = nil
}

func (h *Hub) watchersOf(k Key) []*Watch {
	if k.kind == ofUser {
		return h.users.cell(id.UserID(k.name)).watchers
	}
	return h.watchers[k]
}

func (h *Hub) setWatchers(k Key, list []*Watch) {
	switch {
	case k.kind == ofUser:
		c := h.users.cell(id.UserID(k.name))
		c.watchers, c.watched = list, len(list) > 0
	case len(list) == 0:
		delete(h.watchers, k)
	default:
		h.watchers[k] = list
	}
}

// Ring records pos as the last position of keys and wakes who watches them. Call it after the commit of what happened at pos.
func (h *Hub) Ring(pos int64, keys ...Key) { h.RingCrowd(pos, nil, keys...) }

// RingCrowd is Ring for a crowd of users and some keys.
func (h *Hub) RingCrowd(pos int64, crowd Crowd, keys ...Key) {
	h.ring(durable, pos, crowd, keys)
	h.Wake(Everything())
}

// RingEphemeral is RingCrowd for the ephemeral counter.
func (h *Hub) RingEphemeral(eph int64, crowd Crowd, keys ...Key) { h.ring(ephemeral, eph, crowd, keys) }

// ring records first and wakes then: who is woken finds that there is something.
func (h *Hub) ring(s stream, pos int64, crowd Crowd, keys []Key) {
	h.memory[s].record(pos, keys)
	h.watching.Lock()
	defer h.watching.Unlock()
	for _, user := range h.users.ring(s, pos, crowd) {
		keys = append(keys, User(user))
	}
	for _, k := range keys {
		if k.kind == ofUser {
			h.users.ring(s, pos, Crowd{h.users.cell(id.UserID(k.name))})
		} else {
			wake(h.watchers[k])
		}
	}
}

// Wake wakes who watches keys without recording a position: for changes that are found by other means.
func (h *Hub) Wake(keys ...Key) {
	h.watching.Lock()
	defer h.watching.Unlock()
	for _, k := range keys {
		wake(h.watchersOf(k))
	}
}

func wake(list []*Watch) {
	for _, w := range list {
		select {
		case w.c <- struct{}{}:
		default: // it has not looked since the last ring
		}
	}
}

// Drain is the last ring: the process is about to end, and whoever waits shall answer now with what there is. It may be called more than
// once.
func (h *Hub) Drain() { h.drain.Do(func() { close(h.draining) }) }

// Draining is closed by Drain. Whoever waits for a ring on behalf of a client waits for this too.
func (h *Hub) Draining() <-chan struct{} { return h.draining }

// ChangedSince reports whether key was rung after pos. Where the hub cannot know, because pos is older than its memory, it says true.
func (h *Hub) ChangedSince(key Key, pos int64) bool { return h.since(durable, key, pos) }

// EphemeralSince is ChangedSince for the ephemeral counter. A value from the future, of a process with another clock, counts as old.
func (h *Hub) EphemeralSince(key Key, eph int64) bool {
	return eph > h.Ephemeral() || h.since(ephemeral, key, eph)
}

func (h *Hub) since(s stream, key Key, pos int64) bool {
	if key.kind == ofUser {
		return h.users.since(s, id.UserID(key.name), pos)
	}
	return h.memory[s].since(key, pos)
}

// NextEphemeral takes the next value of the ephemeral counter.
func (h *Hub) NextEphemeral() int64 {
	h.counting.Lock()
	defer h.counting.Unlock()
	h.counter++
	return h.counter
}

// Ephemeral returns the last value taken from the ephemeral counter.
func (h *Hub) Ephemeral() int64 {
	h.counting.Lock()
	defer h.counting.Unlock()
	return h.counter
}
