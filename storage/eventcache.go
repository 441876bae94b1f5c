package storage

import (
	lru "container/list"
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// eventCache keeps recently used events within a budget of bytes. Events can change, by redaction: an epoch makes sure that a reader whose
// snapshot is older than a change cannot put the old form back.
type eventCache struct {
	mu    sync.Mutex
	epoch int64
	share *budget.Share
	bytes int
	order *lru.List // of *Event, most recently used first
	nids  map[int64]*lru.Element
	ids   map[id.EventID]*lru.Element
}

func newEventCache(share *budget.Share) *eventCache {
	return &eventCache{share: share, order: lru.New(), nids: map[int64]*lru.Element{}, ids: map[id.EventID]*lru.Element{}}
}

// current is the epoch to note before a snapshot is taken.
func (c *eventCache) current() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

func (c *eventCache) at(nid int64) (*Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.use(c.nids[nid])
}

func (c *eventCache) byID(event id.EventID) (*Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.use(c.ids[event])
}

// cachedAt is what the cache has under a number. An Update does not ask it for what its own group has redacted, which the cache learns only
// with the commit.
func (tx *ReadTx) cachedAt(nid int64) (*Event, bool) {
	if tx.writer != nil && tx.writer.changed[nid] {
		return nil, false
	}
	return tx.store.events.at(nid)
}

// cachedByID is cachedAt by the event's id.
func (tx *ReadTx) cachedByID(event id.EventID) (*Event, bool) {
	e, ok := tx.store.events.byID(event)
	if ok && tx.writer != nil && tx.writer.changed[e.NID] {
		return nil, false
	}
	return e, ok
}

func (c *eventCache) use(el *lru.Element) (*Event, bool) {
	c.share.Asked(el != nil)
	if el == nil {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*Event), true
}

// add keeps e unless an event has changed since epoch.
func (c *eventCache) add(e *Event, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch || c.nids[e.NID] != nil {
		return
	}
	el := c.order.PushFront(e)
	c.nids[e.NID], c.ids[e.ID] = el, el
	c.bytes += e.size()
	for !c.share.Hold(c.bytes) && c.order.Len() > 1 {
		c.remove(c.order.Back())
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
	e := c.order.Remove(el).(*Event)
	delete(c.nids, e.NID)
	delete(c.ids, e.ID)
	c.bytes -= e.size()
}
