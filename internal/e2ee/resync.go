package e2ee

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	// resyncWorkers is how many lists are fetched again at the same time, out of resyncBatch that are due.
	resyncWorkers = 8
	resyncBatch   = 64
	// A list that cannot be fetched is tried again after firstRetry, and each time after twice as long as before, but not longer than lastRetry.
	// After maxTries it is given up: then our users have to ask for it.
	firstRetry = 10 * time.Second
	lastRetry  = 6 * time.Hour
	maxTries   = 20
	// storeRest is the time to the next try when the database fails.
	storeRest = 5 * time.Second
	// sweepInterval is how often what nobody needs any more is removed, at most sweepBatch lists at a time.
	sweepInterval = time.Hour
	sweepBatch    = 500
	// Notes of received messages are kept for messageMemory, and no more than maxMessages of them.
	messageMemory = 7 * 24 * time.Hour
	maxMessages   = 200_000
)

// Run fetches lists of users of other servers that are stale, and removes what nobody needs any more, until ctx ends. It returns when all
// goroutines of the service have ended.
func (s *Service) Run(ctx context.Context) error {
	defer s.work.Stop()
	if s.remote == nil {
		<-ctx.Done()
		return nil
	}
	watch := s.hub.Watch(resyncs)
	defer watch.Close()
	swept := s.clock.Now()
	for {
		next, err := s.resyncDue(ctx)
		now := s.clock.Now()
		if err == nil && !now.Before(swept.Add(sweepInterval)) {
			swept = now
			err = s.sweep(ctx, now)
		}
		wait := min(swept.Add(sweepInterval).Sub(now), next.Sub(now))
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("device lists of other servers were not looked after", slog.Any("error", err))
			}
			wait = storeRest
		}
		timer := s.clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-watch.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// resyncDue fetches the lists that are due, and returns when the next one will be.
func (s *Service) resyncDue(ctx context.Context) (next time.Time, err error) {
	for {
		now := s.clock.Now()
		next = now.Add(sweepInterval)
		var due []storage.RemoteList
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			if due, err = tx.StaleLists(now.UnixMilli(), resyncBatch); err != nil || len(due) > 0 {
				return err
			}
			at, err := tx.NextResync()
			if err == nil {
				next = time.UnixMilli(at)
			}
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			return err
		})
		if err != nil || len(due) == 0 {
			return next, err
		}
		if err := s.resyncAll(ctx, due); err != nil {
			return next, err
		}
	}
}

func (s *Service) resyncAll(ctx context.Context, due []storage.RemoteList) error {
	work := make(chan storage.RemoteList, len(due))
	for _, l := range due {
		work <- l
	}
	close(work)
	var mu sync.Mutex
	var failed error
	var workers sync.WaitGroup
	for range min(resyncWorkers, len(due)) {
		workers.Go(func() {
			for l := range work {
				if err := s.resync(ctx, l); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return failed
}

// resync fetches a stale list. The error is one of this server; that the other one does not answer is none.
func (s *Service) resync(ctx context.Context, l storage.RemoteList) error {
	if !l.Current {
		return s.store.Update(ctx, func(tx *storage.Tx) error { return tx.DropRemoteList(l.User) })
	}
	f := s.fetchList(ctx, l.User)
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil
	}
	if f.err != nil {
		s.log.Debug("a device list was not fetched", slog.String("server", string(l.User.Server())), slog.Any("error", f.err))
		return s.retryLater(ctx, l)
	}
	if l.Tries == 0 {
		return nil
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		tx.OnCommit(func() { s.hub.Wake(resyncs) })
		return tx.HurryResyncs(l.User.Server(), s.clock.Now().UnixMilli())
	})
}

// retryLater notes that a list could not be fetched. At last it is given up, which its followers hear of.
func (s *Service) retryLater(ctx context.Context, l storage.RemoteList) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if l.Tries+1 >= maxTries {
			if err := tx.DropRemoteList(l.User); err != nil {
				return err
			}
			_, err := s.changed(tx, l.User)
			return err
		}
		return tx.PostponeResync(l.User, l.Tries+1, s.clock.Now().Add(retryAfter(l.Tries)).UnixMilli())
	})
}

// retryAfter is the time to the next try after so many that failed before this one.
func retryAfter(tries int64) time.Duration {
	wait := lastRetry
	if tries < 16 {
		wait = min(firstRetry<<tries, lastRetry)
	}
	return wait + time.Duration(rand.Int64N(int64(wait)/4))
}

// sweep removes lists of users whom nobody here shares a room with, and old notes of received messages.
func (s *Service) sweep(ctx context.Context, now time.Time) error {
	var users []id.UserID
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		users, err = tx.UnfollowedLists(sweepBatch)
		return err
	})
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		lists, err := tx.RemoteLists(users)
		if err != nil {
			return err
		}
		for u, l := range lists {
			if l.Followed {
				continue
			}
			if err := tx.DropRemoteList(u); err != nil {
				return err
			}
		}
		return tx.ForgetMessages(now.Add(-messageMemory).UnixMilli(), maxMessages)
	})
}
