// Package sender tells other servers what happens here. The rows of the outbox are the queue, written in the transaction of what they tell;
// this package only carries them away, in their order, one transaction at a time for each server. A server that something waits for and that
// is not known to be out of reach has a worker; all others cost nothing but their rows. A ring that is lost costs latency, never data. What
// is said in passing (typing, presence, receipts) is kept in memory, bounded, and lost with it. The package refuses to know how servers are
// found, how requests are signed and how long a server is left alone after a failure.
package sender

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Client makes the requests. It remembers, over restarts too, which servers fail.
type Client interface {
	// SendTransaction returns the events that the other server had objections to, with its reasons. An error means that the transaction must
	// be sent again.
	SendTransaction(ctx context.Context, to id.ServerName, txnID string, body json.RawMessage) (map[id.EventID]string, error)
	// Backoff is until when a server is to be left alone; it is in the past for most.
	Backoff(to id.ServerName) time.Time
}

const (
	// maxSending is the number of servers that are sent to at the same time. Those that have not answered slowAfter after they were sent to, up to
	// maxSlow of them, are not counted: a few that take their time on purpose would hold up all others.
	maxSending = 128
	maxSlow    = 512
	slowAfter  = 5 * time.Second
	// gap is the time between two transactions to a server that do not fill up: of a burst, the first message goes at once and the others in
	// few transactions.
	gap = 20 * time.Millisecond
	// patience is how long what is not urgent waits for company.
	patience = 500 * time.Millisecond
	// After a start, the servers that something waits for are woken one after another: each takes step, all together at most spread. That is
	// also how long a server that makes requests itself may have to wait.
	step   = 20 * time.Millisecond
	spread = time.Minute
	// storeRest is the time to the next try when the database fails.
	storeRest = 5 * time.Second
)

// Options are what a Sender needs.
type Options struct {
	Name    id.ServerName // of this server
	Store   *storage.Store
	Client  Client
	Clock   clock.Clock
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: metrics are kept but not exported
}

// Sender sends transactions to other servers while Run runs. It is safe for concurrent use.
type Sender struct {
	name    id.ServerName
	store   *storage.Store
	client  Client
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics

	run   string       // tells the transactions of this process that have no rows from those of others
	count atomic.Int64 // of such transactions
	poke  chan struct{}
	dirty chan struct{} // there are rows that have been sent

	workers sync.WaitGroup

	mu           sync.Mutex
	life         context.Context         // of Run; nil while it does not run
	done         map[id.ServerName]int64 // the last row that has been sent and is still there
	destinations map[id.ServerName]*destination
	agenda       agenda
	sending      int // workers, but for those that wait for a slow server
	slow         int // such workers
	slowAfter    time.Duration
	sweepDelay   time.Duration
}

// New returns a Sender. Until its Run runs, and after, everything waits.
func New(o Options) (*Sender, error) {
	s := &Sender{name: o.Name, store: o.Store, client: o.Client, clock: o.Clock, log: o.Log, run: rand.Text()[:10], slowAfter: slowAfter, sweepDelay: sweepDelay,
		poke: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		done: map[id.ServerName]int64{}, destinations: map[id.ServerName]*destination{}}
	var err error
	s.metrics, err = newMetrics(o.Metrics, s)
	return s, err
}

// Run sends until ctx ends, and returns when every transaction under way has ended.
func (s *Sender) Run(ctx context.Context) error {
	s.mu.Lock()
	s.life = ctx
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.life = nil
		s.mu.Unlock()
		s.workers.Wait()
		s.sweep(context.WithoutCancel(ctx))
	}()
	s.workers.Go(func() { s.sweepUntil(ctx) })
	s.resume(ctx)
	for {
		s.mu.Lock()
		next := s.begin()
		s.mu.Unlock()
		var alarm <-chan time.Time
		stop := func() bool { return true }
		if !next.IsZero() {
			t := s.clock.NewTimerAt(next)
			alarm, stop = t.C(), t.Stop
		}
		select {
		case <-alarm:
		case <-s.poke:
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
	}
}

// resume puts the servers on the agenda that something was left waiting for when the last process ended.
func (s *Sender) resume(ctx context.Context) {
	for ctx.Err() == nil {
		var servers []id.ServerName
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			servers, err = tx.Outboxes()
			return err
		})
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			now, over := s.clock.Now(), min(step*time.Duration(len(servers)), spread)
			for _, name := range servers {
				if name != s.name && s.destinations[name] == nil { // that has been rung since
					s.ring(s.destination(name), now.Add(time.Duration(mathrand.Int64N(int64(over)))))
				}
			}
			return
		}
		if ctx.Err() == nil {
			s.log.Error("reading the outboxes failed", slog.Any("error", err))
		}
		s.wait(ctx, storeRest)
	}
}

// wait reports whether the time has passed before ctx ended.
func (s *Sender) wait(ctx context.Context, d time.Duration) bool {
	t := s.clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// Wake says that something has been put into the outboxes of servers and committed.
func (s *Sender) Wake(servers []id.ServerName) {
	if len(servers) == 0 {
		return
	}
	now := s.clock.Now()
	s.mu.Lock()
	for _, name := range servers {
		if name != s.name {
			s.ring(s.destination(name), now)
		}
	}
	s.mu.Unlock()
}

// Heard says that a server has made a request, so that it may be in reach again. The client, which knows until when the server is to be left
// alone, must hear of it first.
func (s *Sender) Heard(server id.ServerName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinations[server]
	if d == nil || !d.resting || d.refuses {
		return
	}
	// A server that can reach us and that we cannot reach is not tried with each of its requests.
	at := s.clock.Now()
	if soonest := d.tried.Add(min(pauseAfter(d.failures), spread)); at.Before(soonest) {
		at = soonest
	}
	if at.Before(d.at) {
		s.schedule(d, at)
	}
}

// destination finds a server, or makes it known. The caller holds mu.
func (s *Sender) destination(name id.ServerName) *destination {
	d := s.destinations[name]
	if d == nil {
		d = &destination{name: name, place: -1}
		s.destinations[name] = d
	}
	return d
}

// ring has somebody look, not before the given time, at what waits for a server. The caller holds mu.
func (s *Sender) ring(d *destination, at time.Time) {
	switch {
	case d.working:
		d.rung = true
	case d.resting: // it is looked at in any case, and not earlier
	default:
		if at.Before(d.free) {
			at = d.free
		}
		if d.place < 0 || at.Before(d.at) {
			s.schedule(d, at)
		}
	}
}

// schedule puts a server on the agenda, or moves it there, and begins if its time has come. The caller holds mu.
func (s *Sender) schedule(d *destination, at time.Time) {
	d.at = at
	if d.place < 0 {
		heap.Push(&s.agenda, d)
	} else {
		heap.Fix(&s.agenda, d.place)
	}
	if d.place != 0 {
		return
	}
	if s.begin(); d.place == 0 {
		s.look()
	}
}

// look has Run look for how long it has to wait.
func (s *Sender) look() {
	select {
	case s.poke <- struct{}{}:
	default: // it has yet to look
	}
}

// begin takes the destinations whose time has come off the agenda, as far as there are workers for them, and says when to look again: zero, if
// only a ring can change anything. The caller holds mu.
func (s *Sender) begin() (next time.Time) {
	now := s.clock.Now()
	for s.life != nil && len(s.agenda) > 0 && s.sending < maxSending {
		d := s.agenda[0]
		if d.at.After(now) {
			return d.at
		}
		heap.Pop(&s.agenda)
		d.working, d.resting, d.refuses, d.rung, d.hurry = true, false, false, false, false
		s.sending++
		ctx := s.life
		s.workers.Go(func() { s.guard(ctx, d) })
	}
	return time.Time{}
}

// guard works for a server; a panic is a failure like others.
func (s *Sender) guard(ctx context.Context, d *destination) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("sending panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			s.rest(d, s.clock.Now().Add(spread))
		}
	}()
	s.work(ctx, d)
}

// rest ends the work for a server that something waits for until a time.
func (s *Sender) rest(d *destination, until time.Time) {
	s.mu.Lock()
	d.working, d.resting = false, true
	d.passing.rest()
	d.flushed(math.MaxInt64)
	s.sending--
	s.schedule(d, until)
	s.freed()
	s.mu.Unlock()
}

// yielding calls send for a worker, which makes room for another one while that takes long.
func (s *Sender) yielding(send func()) {
	yielded, over := false, false                // guarded by mu
	late := time.AfterFunc(s.slowAfter, func() { // of the network, which has the machine's clock
		s.mu.Lock()
		defer s.mu.Unlock()
		if yielded = !over && s.slow < maxSlow; yielded {
			s.slow++
			s.sending--
			s.freed()
		}
	})
	defer func() {
		late.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		if over = true; yielded {
			s.slow--
			s.sending++
		}
	}()
	send()
}

// freed gives the place of a worker that has ended just now to whoever waits for one. The caller holds mu.
func (s *Sender) freed() {
	if s.sending == maxSending-1 {
		s.begin()
		s.look() // as long as there was no place, it waited for nobody
	}
}

// end ends the work for a server, unless there may be more of it now, which it reports. What comes before free waits until then.
func (s *Sender) end(d *destination, free time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.rung && (d.hurry || !free.After(s.clock.Now())) {
		d.rung, d.hurry = false, false
		return false
	}
	d.working, d.free = false, free
	s.sending--
	if d.rung {
		s.schedule(d, free)
	} else {
		d.flushed(math.MaxInt64) // there is nothing left
		s.sweepSoon()
	}
	s.freed()
	return true
}

// idle reports whether nothing waits for a server. The caller holds mu.
func (d *destination) idle() bool { return !d.working && d.place < 0 }
