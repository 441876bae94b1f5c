package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxGroup     = 128                   // Updates in one outer transaction
	maxGroupTime = 20 * time.Millisecond // after the first Update no further one joins, so that it need not wait long
)

// Update runs fn in a transaction of its own and returns nil only after its changes are durable. If fn returns an error, or
// panics, or one of its statements fails, nothing of it is kept and the error is returned.
//
// There is one writer: fn runs alone, exactly once, and perhaps on another goroutine than its caller's. It must be short, must not
// do network I/O, must not wait for other goroutines and must not call View or Update. Updates that arrive together share one
// commit, which is what makes durability cheap; each still succeeds or fails by itself, except that all fail if the common commit does.
//
// If ctx ends while fn is waiting for its turn, fn is not run; once it runs, it is completed.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return s.writer.do(ctx, fn)
}

// job is one Update on its way through the writer.
type job struct {
	ctx  context.Context
	fn   func(tx *Tx) error
	got  atomic.Bool // by the writer, which runs it, or by the caller, who has given up
	tx   *Tx
	err  error
	done chan struct{} // closed when err is there; nil: the caller runs it
}

// end tells the caller that err is there.
func (j *job) end() {
	if j.done != nil {
		close(j.done)
	}
}

// writer owns the writing connection. It runs jobs in the order of their arrival and commits them in groups: the first job of a
// group needs no savepoint, because when it fails there is nothing else to keep; every later one gets its own.
//
// A job that finds the writer at rest runs on its caller's goroutine, because two others would have to be woken otherwise, which costs more
// than many a statement. Those that come meanwhile join its group; who is too late for it gets a goroutine that runs until nobody waits.
type writer struct {
	store  *Store
	conn   conn
	reopen func(ctx context.Context) (conn, error)
	ends   ends // handed out so far

	groupTime time.Duration // maxGroupTime; tests that need one group have more

	mu      sync.Mutex
	queue   []*job    // waiting, in order
	running bool      // some goroutine runs jobs: what follows is its
	closed  bool      // no further jobs
	rested  sync.Cond // no longer running

	group   []*job         // in the open outer transaction, in order
	kept    int            // how many of them succeeded so far
	stored  ends           // of the stream in the database
	changed map[int64]bool // positions of the events that the group has redacted: the cache still has them as they were
	notes   map[any]any    // of the Updates of the group that have succeeded; see Note
	noted   map[any]any    // by the one that runs

	updates, failures, commits, largest atomic.Uint64
	commitNanos, writeNanos             atomic.Int64
}

func newWriter(s *Store, c conn, at ends, reopen func(ctx context.Context) (conn, error)) *writer {
	w := &writer{store: s, conn: c, ends: at, stored: at, changed: map[int64]bool{}, notes: map[any]any{}, noted: map[any]any{}, reopen: reopen, groupTime: maxGroupTime}
	w.rested.L = &w.mu
	return w
}

func (w *writer) do(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{ctx: ctx, fn: fn}
	if alone, err := w.enter(j); err != nil {
		return err
	} else if alone {
		w.run(j, false)
		return j.err
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.got.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-j.done
	}
	return j.err
}

// enter queues a job, unless the writer is at rest: then the caller is alone and has to run it.
func (w *writer) enter(j *job) (alone bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return false, ErrClosed
	case !w.running:
		w.running = true
		return true, nil
	}
	j.done = make(chan struct{})
	w.queue = append(w.queue, j)
	return false, nil
}

// waiting is how many jobs do.
func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// next is the job that has waited longest, nil if there is none.
func (w *writer) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pop()
}

// pop is next for those who hold mu.
func (w *writer) pop() *job {
	if len(w.queue) == 0 {
		return nil
	}
	j := w.queue[0]
	w.queue[0] = nil
	if w.queue = w.queue[1:]; len(w.queue) == 0 {
		w.queue = nil
	}
	return j
}

// close lets the waiting jobs finish and closes the connection.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	for w.running {
		w.rested.Wait()
	}
	w.mu.Unlock()
	return w.conn.close()
}

// run runs the group of a job and, where its goroutine has nothing else to do, those of all who wait meanwhile. A function that ends its
// goroutine (a test's t.Fatal inside Update does) takes this one with it; the group is then rolled back.
func (w *writer) run(j *job, forAll bool) {
	returned := false
	defer func() {
		if !returned {
			w.abort(errors.New("storage: the function given to Update ended its goroutine"))
		}
		if j := w.rest(); j != nil {
			go w.run(j, true)
		}
	}()
	w.runGroup(j)
	for forAll {
		if j = w.next(); j == nil {
			break
		}
		w.runGroup(j)
	}
	returned = true
}

// rest has the writer rest, unless somebody waits: that job is to be run.
func (w *writer) rest() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j := w.pop(); j != nil {
		return j
	}
	w.running = false
	w.rested.Broadcast()
	return nil
}

// runGroup runs j and whatever is waiting behind it in one outer transaction and commits it.
func (w *writer) runGroup(j *job) {
	start := time.Now()
	var first time.Time // when the first job was through
	for more := true; more; j, more = w.nextJob(first) {
		if !j.got.CompareAndSwap(false, true) {
			continue
		}
		if j.err = j.ctx.Err(); j.err != nil {
			j.end()
			continue
		}
		w.runJob(j)
		if first.IsZero() {
			first = time.Now()
		}
	}
	w.commit()
	w.writeNanos.Add(int64(time.Since(start)))
}

// nextJob is the next waiting job, if it may still join the group.
func (w *writer) nextJob(first time.Time) (*job, bool) {
	if len(w.group) >= maxGroup || !first.IsZero() && time.Since(first) > w.groupTime {
		return nil, false
	}
	j := w.next()
	return j, j != nil
}

// runJob runs one job and undoes it if it fails. Its caller hears of it after the outer commit either way, because even a
// failure may rest on what an earlier job of the group has written.
func (w *writer) runJob(j *job) {
	w.group = append(w.group, j)
	alone := w.kept == 0
	if j.err = w.beginJob(alone); j.err != nil {
		if !alone {
			w.abort(j.err)
		}
		return
	}
	j.tx = &Tx{ReadTx: ReadTx{store: w.store, conn: w.conn, ctx: context.Background(), writer: w}}
	j.err = call(j.fn, j.tx)
	if j.err == nil && j.tx.open != nil {
		j.err = errors.New("storage: the rows of a query were left open")
	}
	if j.err == nil && j.tx.err != nil {
		j.err = fmt.Errorf("storage: an ignored statement failed: %w", j.tx.err)
	}
	j.tx.end()
	if err := w.endJob(alone, j.err == nil); err != nil {
		w.abort(err)
		return
	}
	if j.err == nil {
		w.kept++
		maps.Copy(w.notes, w.noted)
	}
	clear(w.noted)
}

func (w *writer) beginJob(alone bool) error {
	if !alone {
		return w.control("savepoint job")
	}
	if !w.conn.usable() {
		_ = w.conn.close() // it is lost, or stuck in a transaction that could not be rolled back
		c, err := w.reopen(context.Background())
		if err != nil {
			return err
		}
		w.conn = c
	}
	if err := w.control(w.store.dialect.beginWrite); err != nil {
		return err
	}
	if w.store.dialect.lockPosition {
		at, err := readEnds(context.Background(), w.conn, "select pos, backfill from stream_position for update")
		if err != nil {
			_ = w.control("rollback") // err says what is wrong
			return err
		}
		w.stored = at
		w.ends.pos, w.ends.backfill = max(w.ends.pos, at.pos), min(w.ends.backfill, at.backfill)
	}
	return nil
}

func (w *writer) endJob(alone, keep bool) error {
	switch {
	case keep && alone: // the outer commit keeps it
		return nil
	case keep:
		return w.control("release savepoint job")
	case alone:
		return w.control("rollback")
	}
	if err := w.control("rollback to savepoint job"); err != nil {
		return err
	}
	return w.control("release savepoint job")
}

func (w *writer) control(sql string) error {
	if _, err := w.conn.exec(context.Background(), sql, nil); err != nil {
		return fmt.Errorf("storage: %s: %w", sql, err)
	}
	return nil
}

// commit makes the group durable, runs its OnCommit functions in order and tells the callers.
func (w *writer) commit() {
	if w.kept == 0 {
		w.finish(nil)
		return
	}
	start := time.Now()
	if w.ends != w.stored {
		_, err := w.conn.exec(context.Background(),
			"update stream_position set pos = $1, backfill = $2", []any{w.ends.pos, w.ends.backfill})
		if err == nil {
			err = w.store.announce(w.conn, w.ends.pos)
		}
		if err != nil {
			w.abort(fmt.Errorf("storage: write the stream position: %w", err))
			return
		}
	}
	w.store.settling.begin(w.ends.pos)
	w.store.takeTurn()
	err := w.control("commit")
	w.store.takeTurn()
	if err != nil {
		w.abort(err)
		return
	}
	w.stored = w.ends
	w.commitNanos.Add(int64(time.Since(start)))
	w.commits.Add(1)
	if n := uint64(w.kept); n > w.largest.Load() {
		w.largest.Store(n)
	}
	w.store.advance(w.ends.pos)
	w.finish(nil)
}

// abort rolls the outer transaction back; every job of the group fails.
func (w *writer) abort(err error) {
	for _, j := range w.group {
		if j.tx != nil {
			j.tx.end() // of a function that ended its goroutine
		}
	}
	// A failed rollback needs no report of its own: the connection is then unusable and replaced.
	_, _ = w.conn.exec(context.Background(), "rollback", nil)
	w.store.log.Error("storage: a commit failed", "error", err, "updates", len(w.group))
	w.finish(err)
}

// finish ends the group: OnCommit functions first, so that who returns from Update finds their effects.
func (w *writer) finish(err error) {
	group := w.group
	w.group, w.kept = nil, 0
	clear(w.changed)
	clear(w.notes)
	clear(w.noted)
	defer func() {
		w.store.settling.finish()
		for _, j := range group {
			j.end()
		}
	}()
	for _, j := range group {
		if err != nil {
			j.err = errors.Join(j.err, err)
		}
		if j.err != nil {
			w.failures.Add(1)
			continue
		}
		w.updates.Add(1)
		for _, fn := range j.tx.onCommit {
			if perr := call(func(*Tx) error { fn(); return nil }, nil); perr != nil {
				w.store.log.Error("storage: a function given to OnCommit failed", "error", perr)
			}
		}
	}
}

// call runs fn and turns a panic into an error.
func call(fn func(tx *Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage: panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}
