package sender

import (
	"context"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// flush is somebody who waits until a server has been told everything up to a row of its outbox.
type flush struct {
	upTo int64
	done chan struct{}
}

// Flush returns when a server has been told what is in its outbox now, without waiting for company; or when that fails, or is left for later
// because the server has failed before; or when ctx ends.
func (s *Sender) Flush(ctx context.Context, to id.ServerName) {
	var last int64
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		last, err = tx.OutboxEnd(to)
		return err
	})
	if err != nil || last <= s.sentUpTo(to) {
		return
	}
	f := flush{last, make(chan struct{})}
	s.mu.Lock()
	d := s.destination(to)
	if d.resting {
		s.mu.Unlock()
		return
	}
	d.flushes = append(d.flushes, f)
	d.free, d.hurry = time.Time{}, d.working
	s.ring(d, s.clock.Now())
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// flushed tells those who wait for rows up to the last one that was delivered. The caller holds mu.
func (d *destination) flushed(last int64) {
	d.flushes = slices.DeleteFunc(d.flushes, func(f flush) bool {
		if f.upTo <= last {
			close(f.done)
		}
		return f.upTo <= last
	})
}
