package sender

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// What waits for a server that cannot be reached is bounded. Of events, the newest of each room are enough: their prev_events lead a server
// that is back to the others, which it asks for. Messages to devices have no such trace; there is room for so many that only a server that
// is gone for good loses any, and not in silence.
//
// Spec: server-server-api#backfilling-and-retrieving-missing-events
const (
	maxWaitingEvents = 5_000
	maxWaitingEDUs   = 50_000
	// patient is the number of failures after which the bounds are looked after.
	patient = 3
)

// maxRefusals is how often a single row may be refused as malformed until it is given up.
const maxRefusals = 3

// destination is a server that something waits for, and so on the agenda or with a worker; or that was sent to a moment ago. The first part is
// guarded by the sender's mu, the second belongs to the worker.
type destination struct {
	name    id.ServerName
	working bool
	rung    bool      // since the worker has looked
	resting bool      // until at, whatever rings
	at      time.Time // when a worker is to look
	free    time.Time // until then what comes waits for company
	hurry   bool      // not what comes while there is a worker
	place   int       // on the agenda, -1: not on it
	passing passing
	flushes []flush
	since   time.Time // of the first of the failures that go on
	tried   time.Time // when the last failure was
	refuses bool      // that was an answer: that the server lives is no news

	failures int   // written by the worker, read by others while there is none
	repeat   int64 // a transaction that ends with this row has been tried and must be sent again before others; 0: none
	single   bool  // it was refused as a whole: its rows are sent one by one
	refusals int   // of that one row
}

// work sends what waits for a server, one transaction after another, until there is nothing or the server fails.
func (s *Sender) work(ctx context.Context, d *destination) {
	for {
		began := s.clock.Now()
		if until := s.client.Backoff(d.name); until.After(began) {
			s.rest(d, until)
			return
		}
		t, err := s.next(ctx, d)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("reading an outbox failed", slog.Any("error", err))
			s.rest(d, began.Add(storeRest))
			return
		case t == nil:
			if s.end(d, began) {
				return
			}
			continue
		}
		if !s.deliver(ctx, d, t) {
			return
		}
		if !t.more && s.end(d, began.Add(gap)) {
			return
		}
	}
}

// deliver sends a transaction. If it cannot, the work is ended and the answer false.
func (s *Sender) deliver(ctx context.Context, d *destination, t *transaction) bool {
	if t.empty() { // the events are gone
		s.delivered(d, t)
		return true
	}
	var objections map[id.EventID]string
	var err error
	s.yielding(func() { objections, err = s.client.SendTransaction(ctx, d.name, t.id, t.body) })
	if err != nil {
		s.failed(ctx, d, t, err)
		return false
	}
	now := s.clock.Now()
	s.metrics.sent(t, now)
	s.succeeded(d)
	for event, reason := range objections {
		s.metrics.objections.Inc()
		s.log.Debug("another server objects to an event", slog.String("server", string(d.name)), slog.String("event", string(event)),
			slog.String("reason", reason))
	}
	s.delivered(d, t)
	return true
}

// delivered ends what began with next.
func (s *Sender) delivered(d *destination, t *transaction) {
	if t.last == 0 {
		return
	}
	if !d.single {
		d.repeat = 0
	}
	s.sent(d.name, t.last)
	s.mu.Lock()
	d.flushed(t.last)
	s.mu.Unlock()
}

func (s *Sender) succeeded(d *destination) {
	if d.failures > 0 {
		s.log.Info("another server is back", slog.String("server", string(d.name)), slog.Int("failures", d.failures))
	}
	d.failures, d.refusals = 0, 0
	s.mu.Lock()
	d.since = time.Time{}
	s.mu.Unlock()
}

// failed leaves a server alone for a while. Its transaction is sent again, the same, before any other.
//
// Spec: server-server-api#put_matrixfederationv1sendtxnid
func (s *Sender) failed(ctx context.Context, d *destination, t *transaction, err error) {
	if ctx.Err() != nil { // this server ends, the other has not failed
		return
	}
	now := s.clock.Now()
	d.failures++
	s.log.Debug("a transaction was not delivered", slog.String("server", string(d.name)), slog.Int("failures", d.failures), slog.Any("error", err))
	s.mu.Lock()
	d.tried = now
	if d.since.IsZero() {
		d.since = now
	}
	if t.last != 0 && !d.single {
		d.repeat = t.last
	}
	status, answered := answerOf(err)
	d.refuses = answered
	refused := status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge
	if !refused {
		d.passing.back(t.passing)
	}
	s.mu.Unlock()
	if refused {
		s.metrics.transactions.WithLabelValues(malformed).Inc()
		s.refused(ctx, d, t, err)
	} else {
		s.metrics.transactions.WithLabelValues(unreachable).Inc()
	}
	if d.failures >= patient {
		s.shorten(ctx, d)
	}
	until := now.Add(max(pauseAfter(d.failures), wished(err)))
	if b := s.client.Backoff(d.name); b.After(until) {
		until = b
	}
	s.rest(d, until)
}

// pauseAfter is the least time between two tries. The client leaves alone for longer who does not answer at all.
func pauseAfter(failures int) time.Duration {
	const first, longest = time.Second, 15 * time.Minute
	return min(first<<min(max(failures-1, 0), 10), longest)
}

// wished is for how long the other server asks to be left alone, if it does.
//
// Spec: client-server-api#rate-limiting
func wished(err error) time.Duration {
	var answer interface {
		error
		LeaveAlone() time.Duration
	}
	if errors.As(err, &answer) {
		return answer.LeaveAlone()
	}
	return 0
}

// answerOf is the status of the other server's answer, if the failure is one.
func answerOf(err error) (status int, ok bool) {
	var answer interface {
		error
		MatrixError() (status int, code string)
	}
	if errors.As(err, &answer) {
		status, _ = answer.MatrixError()
		return status, true
	}
	return 0, false
}

// refused keeps one row that the other server cannot read, today or tomorrow, from stopping all others: the rows are sent one by one, and the
// one that is still refused is given up.
func (s *Sender) refused(ctx context.Context, d *destination, t *transaction, err error) {
	if t.rows > 1 {
		d.single, d.refusals = true, 0
		return
	}
	if d.refusals++; t.rows == 0 || d.refusals < maxRefusals {
		return
	}
	d.refusals = 0
	s.metrics.dropped.WithLabelValues("refused").Inc()
	s.log.Warn("another server refuses something for good, it is not sent", slog.String("server", string(d.name)), slog.Any("error", err))
	err = s.store.Update(ctx, func(tx *storage.Tx) error { return tx.Delivered(d.name, t.last) })
	if err != nil && ctx.Err() == nil {
		s.log.Error("removing a refused row from an outbox failed", slog.Any("error", err))
	}
}

// shorten bounds what waits for a server that has been out of reach for some time.
func (s *Sender) shorten(ctx context.Context, d *destination) {
	var over storage.OutboxOverflow
	err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		over, err = tx.ShortenOutbox(d.name, maxWaitingEvents, maxWaitingEDUs)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.Error("shortening an outbox failed", slog.Any("error", err))
	}
	if over.Events > 0 {
		s.metrics.dropped.WithLabelValues("events").Add(float64(over.Events))
		s.log.Info("another server will have to ask for events", slog.String("server", string(d.name)), slog.Int64("events", over.Events))
	}
	if over.EDUs > 0 {
		s.metrics.dropped.WithLabelValues("edus").Add(float64(over.EDUs))
		s.log.Warn("messages to devices of a server that cannot be reached are lost", slog.String("server", string(d.name)),
			slog.Int64("messages", over.EDUs))
	}
}

// agenda is the destinations that no worker looks at, the next one first.
type agenda []*destination

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push is for the package container/heap.
func (a *agenda) Push(x any) {
	d := x.(*destination)
	d.place = len(*a)
	*a = append(*a, d)
}

// Pop is for the package container/heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	d := (*a)[last]
	(*a)[last] = nil
	*a, d.place = (*a)[:last], -1
	return d
}
