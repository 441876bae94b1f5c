package appservice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/storage"
)

const (
	sendTimeout = time.Minute
	// firstPause and maxPause bound the time between two tries to send a transaction. It doubles from try to try.
	firstPause = time.Second
	maxPause   = 2 * time.Minute
	// storeRest is the pause after the database has failed.
	storeRest = 10 * time.Second
	// maxUnstored is how many positions without anything to send may pass until the cursor is stored: they are what is looked at again after
	// a crash.
	maxUnstored = 20_000
)

// worker sends one application service what it is interested in, a transaction at a time. All of it but poke belongs to the goroutine
// of run.
type worker struct {
	s        *Service
	to       *Registration
	poke     chan struct{} // the application service may be back
	interest *interest

	opened   bool // the cursor has been read
	cursor   storage.AppserviceCursor
	stored   int64 // the position of the cursor that is stored
	news     int64 // the number of the last edu.News that it was told of
	newsTxn  int64 // the number of the last transaction of what is ephemeral
	failures int   // in a row
}

func newWorker(s *Service, to *Registration) *worker {
	return &worker{s: s, to: to, poke: make(chan struct{}, 1), interest: newInterest(to)}
}

// wake has the worker look now.
func (w *worker) wake() {
	select {
	case w.poke <- struct{}{}:
	default: // it has yet to look
	}
}

// run sends until ctx ends.
func (w *worker) run(ctx context.Context) error {
	// Watch first and look then, or what happens in between is missed.
	watch := w.s.hub.Watch(hub.Everything())
	defer watch.Close()
	if w.to.ReceiveEphemeral {
		watch.Add(edu.NewsKey())
	}
	for ctx.Err() == nil {
		rung := watch.C()
		pause, err := w.guard(func() (time.Duration, error) {
			if !w.opened {
				if err := w.open(ctx); err != nil {
					return 0, err
				}
			}
			return w.work(ctx)
		})
		if err != nil && ctx.Err() == nil {
			w.s.log.Error("looking for what to send to an application service failed", "appservice", w.to.ID, "error", err)
			pause = storeRest
		}
		var alarm <-chan time.Time
		stop := func() bool { return true }
		if pause > 0 {
			// What happens meanwhile is no reason to try earlier.
			t := w.s.clock.NewTimer(pause)
			alarm, stop, rung = t.C(), t.Stop, nil
		}
		select {
		case <-alarm:
		case <-rung:
		case <-w.poke:
		case <-ctx.Done():
		}
		stop()
	}
	if !w.opened || w.cursor.Pos == w.stored {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := w.store(last, w.cursor); err != nil && !errors.Is(err, storage.ErrClosed) {
		w.s.log.Warn("the cursor of an application service was not stored", "appservice", w.to.ID, "error", err)
	}
	return nil
}

// guard makes a panic the failure of one look.
func (w *worker) guard(look func() (time.Duration, error)) (pause time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return look()
}

// open reads the cursor. An application service that is new is told of what comes from now on.
func (w *worker) open(ctx context.Context) error {
	err := w.s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		w.cursor, err = tx.AppserviceCursor(w.to.ID)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		// The numbers of transactions go on from the time, so that those of a database that was made anew differ from those before.
		w.cursor = storage.AppserviceCursor{Txn: w.s.clock.Now().UnixMilli()}
		err = w.s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			if w.cursor.Pos, err = tx.Position(); err != nil {
				return err
			}
			return tx.PutAppserviceCursor(w.to.ID, w.cursor)
		})
	}
	w.stored = w.cursor.Pos
	// What is ephemeral is told from now on. The numbers are those of no earlier process.
	w.newsTxn = w.s.clock.Now().UnixMilli()
	if w.to.ReceiveEphemeral {
		w.news = w.s.edus.LastNews()
	}
	w.opened = err == nil
	return err
}

// work sends transactions until there is nothing to send, or the application service fails: then it returns when to try again.
func (w *worker) work(ctx context.Context) (pause time.Duration, err error) {
	for ctx.Err() == nil {
		if w.cursor.UpTo == 0 {
			found, err := w.next(ctx)
			if err != nil {
				return 0, err
			}
			if !found {
				more, pause, err := w.tell(ctx)
				if err != nil || !more {
					return pause, err
				}
				continue
			}
		}
		body, messages, err := w.body(ctx)
		if err != nil {
			return 0, err
		}
		if err := w.send(ctx, strconv.FormatInt(w.cursor.Txn, 10), body); err != nil {
			if ctx.Err() != nil {
				return 0, nil
			}
			return w.failed(err), nil
		}
		if err := w.delivered(ctx, messages); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// send sends a transaction.
//
// Spec: application-service-api#put_matrixappv1transactionstxnid
func (w *worker) send(ctx context.Context, txn string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := w.s.client.do(ctx, w.to, http.MethodPut, "/_matrix/app/v1/transactions/"+txn, nil, body)
	return err
}

// failed notes that a transaction did not get through, and returns when to try again.
func (w *worker) failed(err error) time.Duration {
	w.s.sent.WithLabelValues(w.to.ID, "failed").Inc()
	pause := pauseAfter(w.failures)
	w.failures++
	if w.failures == 1 {
		w.s.log.Warn("an application service does not take what is sent to it", "appservice", w.to.ID, "error", reason(err))
	}
	return pause
}

// pauseAfter is the time until the next try after some failures: doubled with each, and up to a quarter less or more, so that several do not
// come at once.
func pauseAfter(failures int) time.Duration {
	pause := min(firstPause<<min(failures, 10), maxPause)
	return pause*3/4 + time.Duration(rand.Int64N(int64(pause/2)))
}

// succeeded notes that a transaction got through.
func (w *worker) succeeded() {
	w.s.sent.WithLabelValues(w.to.ID, "delivered").Inc()
	if w.failures > 0 {
		w.s.log.Info("an application service is back", "appservice", w.to.ID, "tries", w.failures+1)
		w.failures = 0
	}
}

// delivered moves the cursor past the transaction under way, and removes those of its messages to devices that are for nobody else.
func (w *worker) delivered(ctx context.Context, messages []storage.InboxPlace) error {
	w.succeeded()
	next := storage.AppserviceCursor{Pos: w.cursor.UpTo, Txn: w.cursor.Txn}
	finished := w.finished(messages)
	err := w.s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.DeleteMessages(finished); err != nil {
			return err
		}
		return tx.PutAppserviceCursor(w.to.ID, next)
	})
	if err == nil {
		w.cursor, w.stored = next, next.Pos
	}
	return err
}

// store makes c the cursor.
func (w *worker) store(ctx context.Context, c storage.AppserviceCursor) error {
	err := w.s.store.Update(ctx, func(tx *storage.Tx) error { return tx.PutAppserviceCursor(w.to.ID, c) })
	if err == nil {
		w.cursor, w.stored = c, c.Pos
	}
	return err
}
