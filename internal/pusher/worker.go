package pusher

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hearthd/hearth/storage"
)

const (
	// maxRequests is the number of requests that are under way at the same time.
	maxRequests = 32
	// lifetime is how long an event is worth telling of. After it, only the number of unread messages is.
	lifetime = 24 * time.Hour
	// maxWaiting bounds the events that wait for a pusher that cannot be told. The oldest go.
	maxWaiting = 500
	// patient is the number of failures after which that bound is looked after.
	patient = 3
	// maxRefusals is how often a notification may be refused as malformed until it is given up: it must not stop all others.
	maxRefusals = 3
	// lookahead is the number of rows that are read at once, to leave out those that need not be told any more.
	lookahead = 50
	// After a failure a pusher rests for firstPause, and for twice as long after each more that follows, up to longestPause.
	firstPause   = time.Second
	longestPause = time.Hour
	// After a start, the pushers that something waits for take step each, all together at most spread.
	step   = 20 * time.Millisecond
	spread = time.Minute
	// storeRest is the time to the next try when the database fails.
	storeRest = 5 * time.Second
)

// worker is who works for a pusher. Its fields belong to its goroutine.
type worker struct {
	pusher   int64
	nudge    chan struct{} // ends a rest: something has changed
	set      int64         // when the pusher was set that failures counts for
	failures int           // in a row
	refused  int64         // the row that was refused as malformed the last time
	refusals int           // of it
}

// job is what a pusher is to be told next.
type job struct {
	pusher  storage.Pusher
	letter  *letter // of pushers by e-mail
	url     string
	body    []byte // nil: nothing of what waits needs to be told
	event   bool   // it tells of an event
	since   time.Time
	upTo    int64 // the rows that are done with it
	moot    int   // events among them that need not be told any more
	expired int   // and those that it is too late for
}

// Run tells pushers what waits for them until ctx ends, and returns when every request under way has ended.
func (s *Service) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	over := s.resume(ctx)
	for {
		for _, w := range s.hire() {
			var delay time.Duration
			if over > 0 {
				delay = time.Duration(mathrand.Int64N(int64(over)))
			}
			workers.Go(func() { s.guard(ctx, w, delay) })
		}
		over = 0
		select {
		case <-s.poke:
		case <-ctx.Done():
			return nil
		}
	}
}

// resume rings for the pushers that something was left waiting for when the last process ended, and returns the time over which their workers
// are to start.
func (s *Service) resume(ctx context.Context) time.Duration {
	for {
		var waiting []int64
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			waiting, err = tx.WaitingPushers()
			return err
		})
		if err == nil {
			s.wake(waiting...)
			return min(step*time.Duration(len(waiting)), spread)
		}
		if ctx.Err() != nil {
			return 0
		}
		s.log.Error("reading what waits for pushers failed", slog.Any("error", err))
		if !s.wait(ctx, storeRest, nil) {
			return 0
		}
	}
}

// wake has somebody look at what waits for pushers.
func (s *Service) wake(pushers ...int64) {
	if len(pushers) == 0 {
		return
	}
	s.mu.Lock()
	for _, p := range pushers {
		s.rung[p] = true
	}
	s.mu.Unlock()
	select {
	case s.poke <- struct{}{}:
	default: // Run has yet to look
	}
}

// hurry ends the rest of a pusher's worker, if it has one.
func (s *Service) hurry(pusher int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[pusher]; w != nil {
		select {
		case w.nudge <- struct{}{}:
		default: // it has not looked since the last time
		}
	}
}

// hire makes workers for the pushers that have none and were rung for.
func (s *Service) hire() (out []*worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.rung {
		if s.workers[p] == nil {
			delete(s.rung, p)
			w := &worker{pusher: p, nudge: make(chan struct{}, 1)}
			s.workers[p] = w
			out = append(out, w)
		}
	}
	return out
}

// end dismisses a worker who has found nothing to do, unless there may be something since, and reports whether it did.
func (s *Service) end(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rung[w.pusher] {
		delete(s.rung, w.pusher)
		return false
	}
	delete(s.workers, w.pusher)
	return true
}

// wait reports whether the time has passed, or nudge was rung, before ctx ended.
func (s *Service) wait(ctx context.Context, d time.Duration, nudge <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := s.clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-nudge:
		return true
	case <-ctx.Done():
		return false
	}
}

// guard works for a pusher; a panic is a failure like others.
func (s *Service) guard(ctx context.Context, w *worker, delay time.Duration) {
	for s.wait(ctx, delay, w.nudge) && !s.work(ctx, w) {
		delay = spread
	}
}

// work tells a pusher what waits for it. It reports false if it must be called again.
func (s *Service) work(ctx context.Context, w *worker) (done bool) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("a pusher panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			done = false
		}
	}()
	for {
		select {
		case <-w.nudge: // what has changed is read now, and is no reason to end the rest after it
		default:
		}
		j, err := s.next(ctx, w.pusher)
		switch {
		case ctx.Err() != nil:
			return true
		case err != nil:
			s.log.Error("reading what waits for a pusher failed", slog.Any("error", err))
			if !s.wait(ctx, storeRest, nil) {
				return true
			}
		case j == nil:
			if s.end(w) {
				return true
			}
		default:
			if !s.wait(ctx, s.deliver(ctx, w, j), w.nudge) {
				return true
			}
		}
	}
}

// next finds what a pusher is to be told next; nil, if nothing waits for it.
func (s *Service) next(ctx context.Context, pusher int64) (j *job, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		p, err := tx.Pusher(pusher)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := tx.PushQueue(pusher, lookahead)
		if err != nil || len(rows) == 0 {
			return err
		}
		if p.Kind == storage.PusherEmail {
			j, err = s.nextLetter(tx, p)
			return err
		}
		j = &job{pusher: p, url: gatewayOf(p)}
		return s.choose(tx, j, rows)
	})
	return j, err
}

// choose makes the job of the first of the rows that still has to be told, and of those before it.
func (s *Service) choose(tx *storage.ReadTx, j *job, rows []storage.Push) error {
	unread, err := tx.UnreadTotal(j.pusher.User)
	if err != nil {
		return err
	}
	n := forPusher(j.pusher, unread)
	oldest := s.clock.Now().Add(-lifetime).UnixMilli()
	badge := false
	for _, row := range rows {
		j.upTo, j.since = row.Pos, time.UnixMilli(row.TS)
		if row.Event == 0 { // an event that follows brings the number with it
			badge = true
			continue
		}
		if row.TS < oldest {
			j.expired++
			continue
		}
		e, err := tx.EventAt(row.Event)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		gone := err != nil // it was purged
		if !gone {
			if gone, err = moot(tx, j.pusher.User, e); err != nil {
				return err
			}
		}
		if gone {
			j.moot++
			continue
		}
		j.event = true
		if err := n.about(tx, j.pusher, e, row.Actions); err != nil {
			return err
		}
		j.body, err = n.body()
		return err
	}
	if badge || j.expired > 0 {
		j.body, err = n.body()
	}
	return err
}

// deliver tells a pusher something, removes what it was made of, and says how long to rest after it.
func (s *Service) deliver(ctx context.Context, w *worker, j *job) time.Duration {
	if w.set != j.pusher.SetTS { // it may have another gateway
		w.set, w.failures, w.refused = j.pusher.SetTS, 0, 0
	}
	if j.letter != nil {
		return s.deliverLetter(ctx, w, j)
	}
	if j.body != nil {
		r := s.post(ctx, j)
		switch {
		case r.err != nil && ctx.Err() != nil: // this server ends, the gateway has not failed
			return 0
		case r.err != nil && !s.giveUp(w, j, r):
			return s.failed(ctx, w, j, r)
		case r.err == nil && r.rejected:
			return s.rejected(ctx, j.pusher)
		case r.err == nil:
			w.failures, w.refused = 0, 0
			s.metrics.told(j, s.clock.Now())
		}
	}
	// A process that is told to end removes the rows all the same: nobody is to be alerted again after the next start.
	err := s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) error { return tx.Pushed(w.pusher, j.upTo) })
	if err != nil {
		s.log.Error("removing what a pusher was told failed", slog.Any("error", err))
		return storeRest
	}
	s.metrics.dropped.WithLabelValues("moot").Add(float64(j.moot))
	s.metrics.dropped.WithLabelValues("expired").Add(float64(j.expired))
	return 0
}

// post makes the request of a job when there are not too many under way.
func (s *Service) post(ctx context.Context, j *job) reply {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		return s.gateways.post(ctx, j.url, j.pusher.Pushkey, j.body)
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

// giveUp reports whether a notification has been refused as malformed often enough.
func (s *Service) giveUp(w *worker, j *job, r reply) bool {
	if !r.malformed() {
		return false
	}
	if w.refused != j.upTo {
		w.refused, w.refusals = j.upTo, 0
	}
	if w.refusals++; w.refusals < maxRefusals {
		return false
	}
	w.refused = 0
	s.metrics.requests.WithLabelValues(resultFailed).Inc()
	s.metrics.dropped.WithLabelValues("refused").Inc()
	s.log.Info("a push gateway refuses a notification for good", slog.String("app", j.pusher.AppID), slog.Any("error", r.err))
	return true
}

// failed leaves a pusher alone for a while.
//
// Spec: push-gateway-api#homeserver-behaviour
func (s *Service) failed(ctx context.Context, w *worker, j *job, r reply) time.Duration {
	w.failures++
	s.metrics.requests.WithLabelValues(resultFailed).Inc()
	s.log.Debug("a push gateway was not told", slog.String("app", j.pusher.AppID), slog.Int("failures", w.failures), slog.Any("error", r.err))
	if w.failures >= patient {
		s.shorten(ctx, w)
	}
	return max(pauseAfter(w.failures), r.retryAfter)
}

// shorten bounds what waits for a pusher that is told nothing for long.
func (s *Service) shorten(ctx context.Context, w *worker) {
	var gone int64
	err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		gone, err = tx.ShortenPushQueue(w.pusher, maxWaiting)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Error("shortening what waits for a pusher failed", slog.Any("error", err))
	}
	s.metrics.dropped.WithLabelValues("overflow").Add(float64(gone))
}

// pauseAfter is how long a pusher rests after failures in a row: at most, and at least half of, a time that doubles with each.
func pauseAfter(failures int) time.Duration {
	most := min(firstPause<<min(failures-1, 20), longestPause)
	return most - time.Duration(mathrand.Int64N(int64(most/2)))
}

// rejected removes a pusher whose pushkey is no good any more.
//
// Spec: push-gateway-api#post_matrixpushv1notify
func (s *Service) rejected(ctx context.Context, p storage.Pusher) time.Duration {
	s.metrics.requests.WithLabelValues(resultRejected).Inc()
	var gone bool
	err := s.store.Update(context.WithoutCancel(ctx), func(tx *storage.Tx) (err error) {
		gone, err = tx.DeleteRejectedPusher(p)
		return err
	})
	if err != nil {
		s.log.Error("removing a rejected pusher failed", slog.Any("error", err))
		return storeRest
	}
	if gone {
		s.log.Info("a push gateway has rejected a pusher, which was removed", slog.String("user", string(p.User)), slog.String("app", p.AppID))
	}
	return 0
}
