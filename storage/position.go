package storage

import (
	"context"
	"fmt"
)

// The stream is one sequence of integers. Positions count up from 1 for what is new and down from -1 for history that was
// fetched afterwards. The writer hands them out in memory and writes the two ends once per outer commit, with the changes
// that took them: a position is used if and only if it is committed, and no committed position is ever handed out again.
type ends struct {
	pos      int64 // the last position handed out
	backfill int64 // the lowest backfill position handed out
}

// readEnds reads the committed ends; on PostgreSQL, for update, which makes this transaction the only writer.
func readEnds(ctx context.Context, c conn, sql string) (ends, error) {
	var e ends
	cur, err := c.query(ctx, sql, nil)
	if err != nil {
		return e, fmt.Errorf("read the stream position: %w", err)
	}
	more, err := cur.next()
	if err == nil && !more {
		err = ErrNotFound
	}
	if err == nil {
		err = cur.scan([]any{&e.pos, &e.backfill})
	}
	if cerr := cur.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return e, fmt.Errorf("read the stream position: %w", err)
	}
	return e, nil
}

// Position is the stream position of this snapshot: everything up to it is visible, nothing after it. Inside an Update it is
// the last position handed out.
func (tx *ReadTx) Position() (int64, error) {
	if tx.writer != nil {
		return tx.writer.ends.pos, nil
	}
	if tx.pos == 0 {
		if err := tx.queryRow("select pos from stream_position").Scan(&tx.pos); err != nil {
			return 0, err
		}
	}
	return tx.pos, nil
}

// NextPos takes the next position of the stream. It grows with every call and is never handed out again once committed.
func (tx *Tx) NextPos() (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	tx.writer.ends.pos++
	return tx.writer.ends.pos, nil
}

// NextBackfillPos takes the next position for history that is older than everything known: -1, -2, and so on.
func (tx *Tx) NextBackfillPos() (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	tx.writer.ends.backfill--
	return tx.writer.ends.backfill, nil
}

// CommittedPos is the last position known to be durable, without asking the database. A View that starts afterwards sees at
// least this position.
func (s *Store) CommittedPos() int64 { return s.committed.Load() }

// advance raises CommittedPos to pos; it never goes back.
func (s *Store) advance(pos int64) {
	for {
		old := s.committed.Load()
		if pos <= old || s.committed.CompareAndSwap(old, pos) {
			return
		}
	}
}
