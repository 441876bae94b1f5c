// Package hub is a doorbell, not a queue: a ring says "look again", never what changed. It also remembers the last position of every key
// that was rung, so that a reader can tell cheaply which rooms need a look. All of it is in memory and bounded: what it has forgotten it
// answers with "may have changed". Losing the hub costs latency, never data.
package hub

import (
	"slices"
	"sync"
)

// DefaultLimit is the number of keys whose last position a hub remembers: about 150 MB when all of them are in use.
const DefaultLimit = 1 << 20

// Hub wakes watchers and remembers positions. It is safe for concurrent use.
type Hub struct {
	watching sync.Mutex
	watchers map[Key][]*Watch

	durable   memory // positions of the stream
	ephemeral memory // positions of typing and presence

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
func NewAt(floor, ephemeral int64, limit int) *Hub {
	return &Hub{
		watchers:  make(map[Key][]*Watch),
		durable:   newMemory(floor, limit),
		ephemeral: newMemory(ephemeral, limit),
		counter:   ephemeral,
		draining:  make(chan struct{}),
	}
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
		if !slices.Contains(w.hub.watchers[k], w) {
			w.hub.watchers[k] = append(w.hub.watchers[k], w)
			w.keys = append(w.keys, k)
		}
	}
}

// Close ends the subscription. It may be called more than once.
func (w *Watch) Close() {
	w.hub.watching.Lock()
	defer w.hub.watching.Unlock()
	for _, k := range w.keys {
		rest := w.hub.watchers[k]
		if i := slices.Index(rest, w); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
		if len(rest) == 0 {
			delete(w.hub.watchers, k)
		} else {
			w.hub.watchers[k] = rest
		}
	}
	w.keys = nil
}

// Ring records pos as the last position of keys and wakes who watches them. Call it after the commit of what happened at pos.
func (h *Hub) Ring(pos int64, keys ...Key) {
	h.durable.record(pos, keys)
	h.wake(keys)
	h.wake([]Key{Everything()})
}

// RingEphemeral is Ring for the ephemeral counter.
func (h *Hub) RingEphemeral(eph int64, keys ...Key) {
	h.ephemeral.record(eph, keys)
	h.wake(keys)
}

// Wake wakes who watches keys without recording a position: for changes that are found by other means.
func (h *Hub) Wake(keys ...Key) { h.wake(keys) }

func (h *Hub) wake(keys []Key) {
	h.watching.Lock()
	defer h.watching.Unlock()
	if len(h.watchers) == 0 {
		return
	}
	for _, k := range keys {
		for _, w := range h.watchers[k] {
			select {
			case w.c <- struct{}{}:
			default: // it has not looked since the last ring
			}
		}
	}
}

// Drain is the last ring: the process is about to end, and whoever waits shall answer now with what there is. It may be called more than
// once.
func (h *Hub) Drain() { h.drain.Do(func() { close(h.draining) }) }

// Draining is closed by Drain. Whoever waits for a ring on behalf of a client waits for this too.
func (h *Hub) Draining() <-chan struct{} { return h.draining }

// ChangedSince reports whether key was rung after pos. Where the hub cannot know, because pos is older than its memory, it says true.
func (h *Hub) ChangedSince(key Key, pos int64) bool { return h.durable.since(key, pos) }

// EphemeralSince is ChangedSince for the ephemeral counter. A value from the future, of a process with another clock, counts as old.
func (h *Hub) EphemeralSince(key Key, eph int64) bool {
	return eph > h.Ephemeral() || h.ephemeral.since(key, eph)
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
