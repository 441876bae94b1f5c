package syncer

import (
	"context"
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// connections keeps connections of sliding sync in memory, as many as there is place for: what is dropped is read again. On each connection
// there is one request at a time; the next one ends it.
type connections struct {
	mu    sync.Mutex
	share *budget.Share
	open  map[connectionKey]*slot
	size  int // rooms of all of them
}

type connectionKey struct {
	user   id.UserID
	device id.DeviceID
	name   string
}

// slot is the place of a connection. Whoever has put something into busy may use conn.
type slot struct {
	key    connectionKey
	busy   chan struct{}
	guests int // who is in the slot, or waits for it
	cancel context.CancelFunc
	conn   *connection // nil if it is not in memory
	size   int
}

// rememberedBytes is what a room of a connection takes.
const rememberedBytes = 150

func newConnections(share *budget.Share) *connections {
	return &connections{share: share, open: map[connectionKey]*slot{}}
}

// enter waits for a slot to be free, after telling who is in it to go. The context that it returns ends when the next one comes.
func (c *connections) enter(ctx context.Context, k connectionKey) (*slot, context.Context, error) {
	c.mu.Lock()
	s := c.open[k]
	if s == nil {
		s = &slot{key: k, busy: make(chan struct{}, 1)}
		c.open[k] = s
	}
	s.guests++
	ctx, cancel := context.WithCancel(ctx)
	if s.cancel != nil {
		s.cancel()
	}
	s.cancel = cancel
	c.mu.Unlock()
	select {
	case s.busy <- struct{}{}:
		return s, ctx, nil
	case <-ctx.Done():
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.left(s)
		return nil, nil, ctx.Err()
	}
}

// leave frees a slot.
func (c *connections) leave(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := 1
	if s.conn != nil {
		size += len(s.conn.rooms)
	}
	c.size += size - s.size
	s.size = size
	<-s.busy
	c.left(s)
	for k, other := range c.open {
		if c.share.Hold(rememberedBytes * c.size) {
			break
		}
		if other.guests == 0 {
			c.size -= other.size
			delete(c.open, k)
		}
	}
}

func (c *connections) left(s *slot) {
	if s.guests--; s.guests == 0 {
		s.cancel()
		s.cancel = nil
		if s.conn == nil {
			c.size -= s.size
			delete(c.open, s.key)
		}
	}
}

// resume finds the connection that a position belongs to. The error for one that is not known is M_UNKNOWN_POS.
func (s *Syncer) resume(ctx context.Context, at *slot, from token.Sliding) error {
	if from.Pos > s.store.CommittedPos() {
		return unknownPos()
	}
	if at.conn.resume(from) {
		return nil
	}
	var found *connection
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		found, err = loadConnection(tx, at.key)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return unknownPos()
	}
	if err != nil {
		return err
	}
	if !found.resume(from) {
		return unknownPos()
	}
	at.conn = found
	return nil
}
