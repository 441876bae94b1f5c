package storage

import (
	"slices"
	"sync"
)

// tails remembers where the newest events of rooms are, which every sync asks for. It learns them from the commits of this process and so knows,
// of each room, all that have come since the first of those that it has. In two generations, so that it is bounded: when the young one is
// full, the old one is dropped.
type tails struct {
	mu         sync.RWMutex
	young, old map[int64]*tail
}

// tail is the end of a room's timeline.
type tail struct {
	places []Place // in order
	after  int64   // all places after this position are there
}

const (
	maxTails = 1 << 11 // in a generation
	maxTail  = 32      // places in a tail, and as many again before they are cut
)

func newTails() *tails { return &tails{young: map[int64]*tail{}} }

// add notes an event that has got its place at the end of a room's timeline.
func (n *tails) add(room int64, p Place) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.find(room)
	if t == nil {
		t = &tail{after: p.Pos - 1}
	} else if t.places[len(t.places)-1].Pos >= p.Pos {
		n.drop(room)
		return
	}
	if n.young[room] == nil {
		if len(n.young) >= maxTails {
			n.old, n.young = n.young, map[int64]*tail{}
		}
		n.young[room] = t
	}
	if len(t.places) == 2*maxTail {
		t.after = t.places[maxTail-1].Pos
		t.places = t.places[:copy(t.places, t.places[maxTail:])]
	}
	t.places = append(t.places, p)
}

// forget drops a room of which something else has changed.
func (n *tails) forget(room int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(room)
}

func (n *tails) drop(room int64) {
	delete(n.young, room)
	delete(n.old, room)
}

func (n *tails) find(room int64) *tail {
	if t := n.young[room]; t != nil {
		return t
	}
	return n.old[room]
}

// last is the last places of a room within a span, the newest first, if all of them are known.
func (n *tails) last(room int64, span Span, limit int) (places []Place, known bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	t := n.find(room)
	if t == nil {
		return nil, false
	}
	for _, p := range slices.Backward(t.places) {
		if p.Pos <= span.After || len(places) == limit {
			break
		}
		if p.Pos <= span.UpTo {
			places = append(places, p)
		}
	}
	return places, len(places) == limit || span.After >= t.after
}

// placed tells the cache that an event has got its place. What fills a gap is not at the end.
func (tx *Tx) placed(e *Event) {
	room, place := e.Room, Place{e.NID, e.Pos}
	switch {
	case e.Pos <= 0: // it is before all that the cache can know, or has no place
	case e.Status == Accepted && e.Pos > tx.writer.stored.pos:
		tx.OnCommit(func() { tx.store.tails.add(room, place) })
	default:
		tx.OnCommit(func() { tx.store.tails.forget(room) })
	}
}

// followed is the position of the snapshot of a View, if the caches that follow the commits of this process know all that it shows; else 0, as
// where other processes commit too.
func (tx *ReadTx) followed() (int64, error) {
	if tx.writer != nil || tx.store.dialect.lockPosition {
		return 0, nil
	}
	pos, err := tx.Position()
	if err != nil || tx.store.settling.pending(pos) != nil {
		return 0, err
	}
	return pos, nil
}

// lastPlaces asks the cache.
func (tx *ReadTx) lastPlaces(room int64, span Span, limit int) (places []Place, known bool, err error) {
	pos, err := tx.followed()
	if err != nil || pos == 0 {
		return nil, false, err
	}
	span.UpTo = min(span.UpTo, pos)
	places, known = tx.store.tails.last(room, span, limit)
	return places, known, nil
}
