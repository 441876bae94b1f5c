package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// Config says where the data is. Exactly one of Path and URL is set; everything else has a default.
type Config struct {
	// Path is the SQLite file. It, its -wal and -shm companions and a .lock file live in the same directory.
	Path string
	// URL is a PostgreSQL connection string, postgres://...
	URL string
	// Readers bounds how many Views run at the same time; the default is twice the number of processors, at least four.
	Readers int
	// Memory is what the caches get their shares of; nil: of the default. Of SQLite's page caches an eighth is the writer's.
	Memory *budget.Memory
	// BusyTimeout is how long a SQLite statement waits for a lock; the default is 10 seconds.
	BusyTimeout time.Duration
	// Doorbell, if set, is called when another process over the same PostgreSQL database has committed up to pos.
	Doorbell func(pos int64)
}

// Store is the one way to the data. It is safe for concurrent use.
type Store struct {
	cfg       Config
	log       *slog.Logger
	dialect   *dialect
	readers   *pool
	writer    *writer
	words     *words        // interned strings
	roomIDs   *words        // numbers and ids of rooms
	pages     *budget.Share // of SQLite
	events    *eventCache
	members   *readCache[id.UserID, cachedMemberships]
	unread    *readCache[unreadKey, []Unread]
	states    *marks[int64] // rooms whose state has changed
	gaps      *marks[int64] // rooms that have got a gap
	tails     *tails
	rooms     *readCache[id.RoomID, Room]
	personal  *marks[id.UserID] // users whose account data has changed
	watchers  *marks[id.UserID] // users for whom a device list that they follow has changed
	keyCounts *keyCounts
	inbox     *inbox
	settling  settling
	erased    erasures
	committed atomic.Int64
	turn      atomic.Uint64 // see takeTurn
	views     atomic.Uint64
	stop      context.CancelFunc // ends the listener
	running   sync.WaitGroup     // the listener
	release   func() error       // gives the lock file back
	closing   sync.Once
	closeErr  error
}

// Open opens the database, creates it if it is not there, and brings its schema up to date. It answers ErrInUse if another
// process has the file open, and ErrSchemaTooNew if a newer Hearth has written it.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	if (cfg.Path == "") == (cfg.URL == "") {
		return nil, errNoDialect
	}
	if cfg.Readers <= 0 {
		cfg.Readers = max(4, 2*runtime.GOMAXPROCS(0))
	}
	if cfg.BusyTimeout <= 0 {
		cfg.BusyTimeout = 10 * time.Second
	}
	s := &Store{cfg: cfg, log: log, release: func() error { return nil }, stop: func() {},
		words: newWords(cfg.Memory.Share(budget.Words)), roomIDs: newWords(cfg.Memory.Share(budget.Rooms)),
		events: newEventCache(cfg.Memory.Share(budget.Events)), members: newReadCache[id.UserID, cachedMemberships](cfg.Memory.Share(budget.Memberships)),
		unread: newReadCache[unreadKey, []Unread](cfg.Memory.Share(budget.Unread)), rooms: newReadCache[id.RoomID, Room](cfg.Memory.Share(budget.Heads)),
		pages: cfg.Memory.Share(budget.Pages)}
	open := s.openPostgres
	if cfg.Path != "" {
		s.dialect, open = sqliteDialect(), s.openSQLite
		unlock, err := lockFile(cfg.Path + ".lock")
		if err != nil {
			return nil, err
		}
		s.release = unlock
		if err := createPrivate(cfg.Path); err != nil {
			return nil, errors.Join(err, s.release())
		}
	} else {
		s.dialect = postgresDialect()
	}
	wc, err := open(ctx, true)
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	if err := migrate(ctx, wc, s.dialect, log); err != nil {
		return nil, errors.Join(err, wc.close(), s.release())
	}
	at, err := readEnds(ctx, wc, "select pos, backfill from stream_position")
	if err != nil {
		return nil, errors.Join(err, wc.close(), s.release())
	}
	s.advance(at.pos)
	s.states, s.gaps, s.personal = newMarks[int64](at.pos), newMarks[int64](at.pos), newMarks[id.UserID](at.pos)
	s.tails = newTails()
	s.watchers, s.keyCounts, s.inbox = newMarks[id.UserID](at.pos), newKeyCounts(at.pos), newInbox(at.pos)
	s.readers = newPool(cfg.Readers, func(ctx context.Context) (conn, error) { return open(ctx, false) })
	s.writer = newWriter(s, wc, at, func(ctx context.Context) (conn, error) { return open(ctx, true) })
	if s.dialect.kind == PostgreSQL {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		s.stop = cancel
		s.running.Go(func() { s.listen(ctx) })
	}
	return s, nil
}

// Kind says which database is behind the Store.
func (s *Store) Kind() Kind { return s.dialect.kind }

// View runs fn over one consistent snapshot of the database. It waits for a free reader, so fn must not call View or Update.
// When ctx ends, the running statement is interrupted.
func (s *Store) View(ctx context.Context, fn func(tx *ReadTx) error) error {
	r, err := s.readers.get(ctx)
	if err != nil {
		return err
	}
	s.views.Add(1)
	defer s.readers.put(r)
	if ctx.Done() != nil {
		// The interrupt must not hit the next user of the connection, so one that has begun is waited for.
		interrupted := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			r.interrupt()
			close(interrupted)
		})
		defer func() {
			if !stop() {
				<-interrupted
			}
		}()
	}
	if err := s.beginView(ctx, r); err != nil {
		return ctxOr(ctx, err)
	}
	tx := &ReadTx{store: s, conn: r, ctx: ctx, moment: &r.moment}
	succeeded := false
	defer func() {
		tx.end()
		s.endView(r, succeeded)
	}()
	if err := fn(tx); err != nil {
		return ctxOr(ctx, err)
	}
	succeeded = tx.err == nil && tx.open == nil
	return nil
}

// ctxOr prefers the context's error once ctx has ended, because err is then only its consequence.
func ctxOr(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil && !errors.Is(err, cerr) {
		return fmt.Errorf("%w: %w", cerr, err)
	}
	return err
}

// Close waits for the running transactions and closes the database. View and Update answer ErrClosed afterwards.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.running.Wait()
		s.closeErr = errors.Join(s.readers.close(), s.writer.close(), s.release())
	})
	return s.closeErr
}

// Stats are counters since Open, for metrics and tests.
type Stats struct {
	Views         uint64        // snapshots opened
	Updates       uint64        // functions given to Update that succeeded
	Failures      uint64        // functions given to Update that failed, or whose commit did
	Commits       uint64        // outer commits; Updates/Commits is the mean group
	LargestGroup  uint64        // most Updates in one commit
	CommitTime    time.Duration // spent in outer commits, which is mostly waiting for the disk
	WriterTime    time.Duration // spent in outer transactions including their commits
	QueuedUpdates int           // waiting for the writer right now
}

// Stats reads the counters.
func (s *Store) Stats() Stats {
	w := s.writer
	return Stats{
		Views:         s.views.Load(),
		Updates:       w.updates.Load(),
		Failures:      w.failures.Load(),
		Commits:       w.commits.Load(),
		LargestGroup:  w.largest.Load(),
		CommitTime:    time.Duration(w.commitNanos.Load()),
		WriterTime:    time.Duration(w.writeNanos.Load()),
		QueuedUpdates: w.waiting(),
	}
}
