package roomserver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hearthd/hearth/storage"
)

const (
	// txnLife is for how long a repeated request gets the answer of the first: longer than clients try to send something.
	txnLife = 48 * time.Hour
	// tidyEvery is the time between two rounds of housekeeping, and tidyBatch how many rows one transaction of it removes at most.
	tidyEvery = time.Hour
	tidyBatch = 1000
)

// Run does the housekeeping of rooms until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var indexing sync.WaitGroup
	defer indexing.Wait()
	indexing.Go(func() { s.followForSearch(ctx) })
	for {
		timer := s.clock.NewTimer(tidyEvery)
		select {
		case <-timer.C():
			if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("room housekeeping failed", slog.Any("error", err))
			}
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (s *Server) tidy(ctx context.Context) error {
	before := s.clock.Now().Add(-txnLife).UnixMilli()
	for removed := int64(tidyBatch); removed == tidyBatch; {
		err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			removed, err = tx.ForgetTransactions(before, tidyBatch)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
