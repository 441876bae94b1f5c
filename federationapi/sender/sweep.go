package sender

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// sweepDelay is for how long rows that have been sent are left where they are, so that one commit removes those of many transactions: a
// commit costs more than a transaction. After a crash they are sent again, which other servers must expect. The store has the machine's clock.
const sweepDelay = 5 * time.Second

// sent notes that a server has had the rows of its outbox up to a position.
func (s *Sender) sent(to id.ServerName, last int64) {
	s.mu.Lock()
	s.done[to] = last
	s.mu.Unlock()
	s.sweepSoon()
}

func (s *Sender) sweepSoon() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// sentUpTo is the position up to which a server has had what is in its outbox.
func (s *Sender) sentUpTo(to id.ServerName) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[to]
}

// sweepUntil removes rows that have been sent until ctx ends.
func (s *Sender) sweepUntil(ctx context.Context) {
	for {
		select {
		case <-s.dirty:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(s.sweepDelay)
		select {
		case <-timer.C:
			s.sweep(ctx)
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// sweep removes the rows, and forgets the servers that nothing waits for.
func (s *Sender) sweep(ctx context.Context) {
	s.mu.Lock()
	done := maps.Clone(s.done)
	maps.DeleteFunc(s.destinations, func(_ id.ServerName, d *destination) bool { return d.idle() })
	s.mu.Unlock()
	if len(done) == 0 {
		return
	}
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		for to, last := range done {
			if err := tx.Delivered(to, last); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error("removing sent rows from the outboxes failed", slog.Any("error", err))
		s.sweepSoon()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for to, last := range done {
		if s.done[to] == last {
			delete(s.done, to)
		}
	}
}
