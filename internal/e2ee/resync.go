package e2ee

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxResyncing is the number of servers that lists are fetched again from at the same time: one after another from each, so that a slow
	// one holds up nobody else. resyncBatch is how many that are due are looked at together.
	maxResyncing = 16
	resyncBatch  = 64
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
	r := resyncer{s: s, busy: map[id.ServerName]bool{}}
	defer r.running.Wait()
	swept := s.clock.Now()
	for {
		now := s.clock.Now()
		next, err := r.startDue(ctx, now)
		if err == nil && !now.Before(swept.Add(sweepInterval)) {
			swept = now
			err = s.sweep(ctx, now)
		}
		if sweep := swept.Add(sweepInterval); sweep.Before(next) {
			next = sweep
		}
		if err != nil {
			s.complain(ctx, err)
			next = now.Add(storeRest)
		}
		timer := s.clock.NewTimerAt(next)
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

// complain logs that this server could not do its own part.
func (s *Service) complain(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.log.Error("device lists of other servers were not looked after", slog.Any("error", err))
	}
}

// resyncer knows which servers lists are being fetched from.
type resyncer struct {
	s       *Service
	running sync.WaitGroup
	mu      sync.Mutex
	busy    map[id.ServerName]bool
}

// startDue has the lists fetched that are due, and returns when the next one will be. It leaves out the servers that are busy, which ring when
// they are done.
func (r *resyncer) startDue(ctx context.Context, now time.Time) (next time.Time, err error) {
	for {
		r.mu.Lock()
		busy := slices.Collect(maps.Keys(r.busy))
		r.mu.Unlock()
		next = now.Add(sweepInterval)
		if len(busy) >= maxResyncing {
			return next, nil
		}
		var due []storage.RemoteList
		err := r.s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			if due, err = tx.StaleLists(now.UnixMilli(), busy, resyncBatch); err != nil || len(due) > 0 {
				return err
			}
			at, err := tx.NextResync(busy)
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
		servers := map[id.ServerName][]storage.RemoteList{}
		for _, l := range due {
			servers[l.User.Server()] = append(servers[l.User.Server()], l)
		}
		for server, lists := range servers {
			r.mu.Lock()
			r.busy[server] = true
			r.mu.Unlock()
			r.running.Go(func() { r.work(ctx, server, lists) })
		}
	}
}

// work fetches lists of one server.
func (r *resyncer) work(ctx context.Context, server id.ServerName, lists []storage.RemoteList) {
	defer func() {
		r.mu.Lock()
		delete(r.busy, server)
		r.mu.Unlock()
		r.s.hub.Wake(resyncs)
	}()
	for _, l := range lists {
		if err := r.s.resync(ctx, l.User); err != nil {
			r.s.complain(ctx, err)
			// Without a rest it would be due again at once.
			timer := r.s.clock.NewTimer(storeRest)
			select {
			case <-timer.C():
			case <-ctx.Done():
			}
			timer.Stop()
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// resync fetches a stale list. The error is one of this server; that the other one does not answer is none.
func (s *Service) resync(ctx context.Context, user id.UserID) error {
	var tries int64
	wanted := false
	err := s.stillStale(ctx, user, func(tx *storage.Tx, l *storage.RemoteList) error {
		tries, wanted = l.Tries, l.Current
		if !wanted { // nobody has it any more
			return tx.DropRemoteList(user)
		}
		return nil
	})
	if err != nil || !wanted {
		return err
	}
	f := s.fetchList(ctx, user)
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil
	}
	if f.err != nil {
		s.log.Debug("a device list was not fetched", slog.String("server", string(user.Server())), slog.Any("error", f.err))
		return s.stillStale(ctx, user, s.retryLater)
	}
	if tries == 0 {
		return nil
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		return tx.HurryResyncs(user.Server(), s.clock.Now().UnixMilli())
	})
}

// stillStale runs fn on a list, unless somebody else has fetched it meanwhile.
func (s *Service) stillStale(ctx context.Context, user id.UserID, fn func(tx *storage.Tx, l *storage.RemoteList) error) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		lists, err := tx.RemoteLists([]id.UserID{user})
		if err != nil || !lists[user].Stale {
			return err
		}
		return fn(tx, lists[user])
	})
}

// retryLater notes that a list could not be fetched. At last it is given up, which its followers hear of.
func (s *Service) retryLater(tx *storage.Tx, l *storage.RemoteList) error {
	if l.Tries+1 < maxTries {
		return tx.PostponeResync(l.User, l.Tries+1, s.clock.Now().Add(retryAfter(l.Tries)).UnixMilli())
	}
	if err := tx.DropRemoteList(l.User); err != nil {
		return err
	}
	_, err := s.changed(tx, l.User)
	return err
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
