package storage

import (
	"context"
	"fmt"
)

// reader is a connection for Views. It keeps the snapshot of the last one until something is committed: a View that comes before sees the
// same, and to open and to end a snapshot costs as much as a small question.
type reader struct {
	conn
	moment
	holds bool // the snapshot of moment, between Views
}

// moment is when a snapshot was taken.
type moment struct {
	turn    uint64 // of the store
	epoch   int64  // of the event cache, from before the snapshot
	members int64  // the same of the cache of memberships
	counts  int64  // the same of the cache of unread counts
	pos     int64  // of the stream, once it has been asked for
}

// beginView opens a snapshot, unless r holds one that shows all there is.
func (s *Store) beginView(ctx context.Context, r *reader) error {
	turn := s.turn.Load()
	if r.holds && r.turn == turn {
		return nil
	}
	if err := r.letGo(); err != nil {
		return err
	}
	r.moment = moment{turn: turn, epoch: s.events.current(), members: s.members.current(), counts: s.unread.current()}
	if _, err := r.exec(ctx, s.dialect.beginRead, nil); err != nil {
		return fmt.Errorf("storage: begin a view: %w", err)
	}
	r.holds = true
	return nil
}

// endView ends the snapshot, unless the next View may have it: where other processes commit too, nobody would know for how long.
func (s *Store) endView(r *reader, succeeded bool) {
	if succeeded && !s.dialect.lockPosition && r.turn%2 == 0 && r.turn == s.turn.Load() {
		return
	}
	if err := r.letGo(); err != nil && r.usable() {
		s.log.Error("storage: a view could not be ended", "error", err)
	}
}

// usable is true also while r holds a snapshot, in which no statement has failed.
func (r *reader) usable() bool { return r.holds || r.conn.usable() }

// letGo ends the snapshot. There is nothing to keep; commit and rollback are the same, and rollback also ends a failed transaction.
func (r *reader) letGo() error {
	if !r.holds {
		return nil
	}
	r.holds = false
	_, err := r.exec(context.Background(), "rollback", nil)
	return err
}

// takeTurn is called before a commit and after it: the turn of the store is odd while one is under way. Snapshots from before are let go, so
// that none of a connection that nobody uses keeps SQLite from emptying its log.
func (s *Store) takeTurn() {
	if s.turn.Add(1)%2 == 1 {
		s.readers.letGo()
	}
}
