package roomserver

import (
	"context"
	"log/slog"
	"time"

	"github.com/hearthd/hearth/storage"
)

const (
	// indexDelay is how long the search index waits for company, on the machine's clock, and indexBatch how many events one transaction shows it.
	indexDelay = 5 * time.Second
	indexBatch = 200
)

// searchable says that there are events that the search index has yet to see.
func (s *Server) searchable() {
	select {
	case s.indexing <- struct{}{}:
	default:
	}
}

// followForSearch has the search index follow until ctx ends.
func (s *Server) followForSearch(ctx context.Context) {
	s.searchable() // a crash may have left something
	for {
		select {
		case <-s.indexing:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(indexDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if err := s.CatchUpSearch(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("indexing for the search failed", slog.Any("error", err))
		}
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
