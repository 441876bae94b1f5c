package storage

import (
	"sync"

	"github.com/hearthd/hearth/internal/budget"
)

// readCache keeps what Views have read, for who is about to ask again: every sync does. A change drops the entry after its commit and begins a
// new epoch, so that a reader whose snapshot is older cannot put the old answer back.
type readCache[K comparable, V any] struct {
	mu      sync.Mutex
	epoch   int64
	share   *budget.Share
	bytes   int
	entries map[K]kept[V]
}

// kept is an answer that holds for snapshots from a position on.
type kept[V any] struct {
	value V
	pos   int64
	size  int // in bytes
}

func newReadCache[K comparable, V any](share *budget.Share) *readCache[K, V] {
	return &readCache[K, V]{share: share, entries: map[K]kept[V]{}}
}

// current is the epoch to note before a snapshot is taken.
func (c *readCache[K, V]) current() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// get is the answer for a snapshot at pos, or at an unknown position if that is 0.
func (c *readCache[K, V]) get(key K, pos int64) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	ok = ok && (pos == 0 || e.pos <= pos)
	c.share.Asked(ok)
	return e.value, ok
}

// add keeps an answer unless one has changed since epoch.
func (c *readCache[K, V]) add(key K, e kept[V], epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[key]; known || epoch != c.epoch {
		return
	}
	c.keep(key, e)
}

// put keeps what has just been committed, in the place of what was there.
func (c *readCache[K, V]) put(key K, e kept[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	c.keep(key, e)
}

func (c *readCache[K, V]) drop(keys ...K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, k := range keys {
		c.remove(k)
	}
	c.share.Hold(c.bytes)
}

// keep makes room for an entry that is not there. The caller holds mu, as that of remove does.
func (c *readCache[K, V]) keep(key K, e kept[V]) {
	for k := range c.entries {
		if c.bytes+e.size <= c.share.Limit() {
			break
		}
		c.remove(k)
	}
	c.entries[key] = e
	c.bytes += e.size
	c.share.Hold(c.bytes)
}

func (c *readCache[K, V]) remove(key K) {
	c.bytes -= c.entries[key].size
	delete(c.entries, key)
}
