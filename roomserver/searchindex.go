package roomserver

import (
	"context"
	"time"

	"github.com/hearthd/hearth/storage"
)

const (
	// indexDelay is how long the search index waits for company, and indexBatch how many events one transaction shows it.
	indexDelay = time.Second
	indexBatch = 500
)

// searchable says that there are events that the search index has yet to see.
func (s *Server) searchable() {
	select {
	case s.indexing <- struct{}{}:
	default:
	}
}

func (s *Server) indexSoon(ctx context.Context) error {
	timer := s.clock.NewTimer(indexDelay)
	defer timer.Stop()
	select {
	case <-timer.C():
		return s.CatchUpSearch(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CatchUpSearch makes everything findable that has been acknowledged; who searches calls it first.
func (s *Server) CatchUpSearch(ctx context.Context) error {
	var more bool
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		more, err = tx.SearchBacklog()
		return err
	})
	for more && err == nil {
		err = s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			more, err = tx.IndexNextForSearch(indexBatch)
			return err
		})
	}
	return err
}
