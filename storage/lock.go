package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// LockRoom excludes every other holder of the same room's lock, also in other processes over the same PostgreSQL database,
// until unlock is called, once. It is held around "extremities -> state -> append", which takes more than one transaction.
// It is not to be taken inside View or Update, nor while another room's lock is held.
func (s *Store) LockRoom(ctx context.Context, room string) (unlock func(), err error) {
	return s.rooms.lock(ctx, room)
}

// locks are one lock per key; an entry lives only as long as somebody holds it or waits for it.
type locks struct {
	mu      sync.Mutex
	entries map[string]*lockEntry
	shared  *pool // connections that hold advisory locks; nil if this process is alone
}

type lockEntry struct {
	users int           // holder and waiters
	held  chan struct{} // full while the lock is held
}

func newLocks(s *Store) *locks {
	l := &locks{entries: map[string]*lockEntry{}}
	if s.dialect.kind == PostgreSQL {
		l.shared = newPool(s.cfg.Readers, func(ctx context.Context) (conn, error) { return s.openPostgres(ctx, false) })
	}
	return l
}

func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	e := l.entries[key]
	if e == nil {
		e = &lockEntry{held: make(chan struct{}, 1)}
		l.entries[key] = e
	}
	e.users++
	l.mu.Unlock()
	select {
	case e.held <- struct{}{}:
	case <-ctx.Done():
		l.leave(key, e)
		return nil, ctx.Err()
	}
	free := func() {
		<-e.held
		l.leave(key, e)
	}
	if l.shared == nil {
		return free, nil
	}
	c, err := l.shared.get(ctx)
	if err != nil {
		free()
		return nil, err
	}
	const number = "(hashtextextended(current_schema() || ' room ' || $1, 0))"
	if _, err := c.exec(ctx, "select pg_advisory_lock"+number, []any{key}); err != nil {
		l.shared.put(c)
		free()
		return nil, fmt.Errorf("storage: lock a room: %w", err)
	}
	return func() {
		if _, err := c.exec(context.WithoutCancel(ctx), "select pg_advisory_unlock"+number, []any{key}); err != nil {
			_ = c.close() // the database frees the locks of a lost connection
		}
		l.shared.put(c)
		free()
	}, nil
}

func (l *locks) leave(key string, e *lockEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.users--; e.users == 0 {
		delete(l.entries, key)
	}
}

func (l *locks) close() error {
	if l.shared == nil {
		return nil
	}
	return l.shared.close()
}

// lockFile takes an exclusive lock that the operating system frees when the process ends, however it ends. The file itself
// stays: removing it would let two processes lock two different files.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("storage: lock %s: %w", path, err)
		}
		who, _ := os.ReadFile(path) // only makes the message better
		return nil, fmt.Errorf("%w (process %s holds %s)", ErrInUse, strings.TrimSpace(string(who)), path)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // for the message above
	}
	return f.Close, nil
}

// createPrivate makes a database file that only its owner can read, because it holds tokens; SQLite gives its companions the same
// permissions. It must come before SQLite opens the file: closing a file gives back all locks the process has on it.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return f.Close()
}
