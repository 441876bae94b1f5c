package storage

import (
	lru "container/list"
	"sync"
	"sync/atomic"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// eventCache keeps recently used events within a budget of bytes. Events can change, by redaction: an epoch makes sure that a reader whose
// snapshot is older than a change cannot put the old form back. To find an event only marks it as used, so that readers do not wait for each
// other; who makes room passes over what has been used since it was last passed over.
type eventCache struct {
	mu    sync.RWMutex
	epoch int64
	share *budget.Share
	bytes int
	order *lru.List // of *keptEvent, the next to go last
	nids  map[int64]*lru.Element
	ids   map[id.EventID]*lru.Element
}

type keptEvent struct {
	event *Event
	used  atomic.Bool
}

func newEventCache(share *budget.Share) *eventCache {
	return &eventCache{share: share, order: lru.New(), nids: map[int64]*lru.Element{}, ids: map[id.EventID]*lru.Element{}}
}

// current is the epoch to note before a snapshot is taken.
func (c *eventCache) current() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epoch
}

func (c *eventCache) byID(event id.EventID) (*Event, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.use(c.ids[event])
}

// cachedAll puts into out what the cache has under some numbers, each in its place, and returns the numbers of the others. An Update does not
// ask it for what its own group has redacted, which the cache learns only with the commit.
func (tx *ReadTx) cachedAll(nids []int64, out []*Event) (missing []int64) {
	c := tx.store.events
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i, n := range nids {
		if tx.writer == nil || !tx.writer.changed[n] {
			if e, ok := c.use(c.nids[n]); ok {
				out[i] = e
				continue
			}
		}
		missing = append(missing, n)
	}
	return missing
}

// cachedByID is what the cache has under an event's id, with the same exception.
func (tx *ReadTx) cachedByID(event id.EventID) (*Event, bool) {
	e, ok := tx.store.events.byID(event)
	if ok && tx.writer != nil && tx.writer.changed[e.NID] {
		return nil, false
	}
	return e, ok
}

// use marks what was found as used. The caller holds the lock.
func (c *eventCache) use(el *lru.Element) (*Event, bool) {
	c.share.Asked(el != nil)
	if el == nil {
		return nil, false
	}
	kept := el.Value.(*keptEvent)
	if !kept.used.Load() {
		kept.used.Store(true)
	}
	return kept.event, true
}

// add keeps e unless an event has changed since epoch.
func (c *eventCache) add(e *Event, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch || c.nids[e.NID] != nil {
		return
	}
	el := c.order.PushFront(&keptEvent{event: e})
	c.nids[e.NID], c.ids[e.ID] = el, el
	c.bytes += e.size()
	for !c.share.Hold(c.bytes) && c.order.Len() > 1 {
		if last := c.order.Back(); last == el || last.Value.(*keptEvent).used.Swap(false) {
			c.order.MoveToFront(last)
		} else {
			c.remove(last)
		}
	}
}

// forget drops an event that has changed and begins a new epoch.
func (c *eventCache) forget(nid int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	if el := c.nids[nid]; el != nil {
		c.remove(el)
	}
}

func (c *eventCache) remove(el *lru.Element) {
	e := c.order.Remove(el).(*keptEvent).event
	delete(c.nids, e.NID)
	delete(c.ids, e.ID)
	c.bytes -= e.size()
}
