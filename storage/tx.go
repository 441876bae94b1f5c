package storage

import (
	"context"
	"errors"
	"fmt"
)

// ReadTx is a consistent view of the whole database at one moment. It is valid only until the function it was given to
// returns, and only on that function's goroutine.
type ReadTx struct {
	store   *Store
	conn    conn
	writer  *writer         // nil in a View
	ctx     context.Context // of the View; a ReadTx never outlives the call that brought it
	open    *rows           // of a query that is still being read
	*moment                 // of the snapshot; nil in an Update
	ended   bool
	err     error // the first statement that failed; the transaction cannot succeed any more
}

// Writing reports whether the transaction is an Update: it may see what is not committed yet.
func (tx *ReadTx) Writing() bool { return tx.writer != nil }

// Tx is a ReadTx that can also change things. What it changes becomes visible to others, and durable, all at once.
type Tx struct {
	ReadTx
	onCommit []func()
}

// OnCommit has fn called once this Update is durable, in the order of the commits and, within one Update, of the calls. It
// runs before the next Update: it must be quick (ring a doorbell, drop a cache entry) and must not call Update.
func (tx *Tx) OnCommit(fn func()) {
	tx.onCommit = append(tx.onCommit, fn)
}

// Note keeps a value for the rest of this Update and, if it succeeds, for those that are committed together with it: what a cache may have only
// after the commit. The type of the key says whose it is.
func (tx *Tx) Note(key, value any) { tx.writer.noted[key] = value }

// Noted is the last value that was noted under a key; there is none in a View.
func (tx *ReadTx) Noted(key any) (value any, ok bool) {
	if tx.writer == nil {
		return nil, false
	}
	if value, ok = tx.writer.noted[key]; !ok {
		value, ok = tx.writer.notes[key]
	}
	return value, ok
}

// query runs a statement whose rows the caller reads and closes before the next statement of this transaction. Prefer
// queryRow and collect, which cannot leave rows open.
func (tx *ReadTx) query(sql string, args ...any) (*rows, error) {
	if err := tx.ready(); err != nil {
		return nil, err
	}
	cur, err := tx.conn.query(tx.ctx, sql, args)
	if err != nil {
		return nil, tx.fail(sql, err)
	}
	tx.open = &rows{tx: tx, cur: cur, sql: sql}
	return tx.open, nil
}

// queryRow asks for one row. The statement, which may be an "insert ... returning", runs when Scan is called on the result;
// Scan answers ErrNotFound if there is no row and ignores all rows but the first.
func (tx *ReadTx) queryRow(sql string, args ...any) row {
	return row{tx: tx, sql: sql, args: args}
}

// exec runs a statement that gives no rows and says how many rows it changed.
func (tx *Tx) exec(sql string, args ...any) (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	n, err := tx.conn.exec(tx.ctx, sql, args)
	if err != nil {
		return 0, tx.fail(sql, err)
	}
	return n, nil
}

// collect reads all rows of a query; no rows give an empty slice that is not nil. scan must not use tx.
func collect[T any](tx *ReadTx, scan func(rowScanner) (T, error), sql string, args ...any) ([]T, error) {
	rs, err := tx.query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rs.Close()
	out := []T{}
	for rs.Next() {
		v, err := scan(rs)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rs.Err()
}

// scanOne is the scan function of collect for queries with a single column.
func scanOne[T any](r rowScanner) (T, error) {
	var v T
	err := r.Scan(&v)
	return v, err
}

// rowScanner is what *rows and row have in common, so that one function can read a row type from either.
type rowScanner interface {
	Scan(dest ...any) error
}

// row is one pending row; see ReadTx.queryRow.
type row struct {
	tx   *ReadTx
	sql  string
	args []any
}

// Scan runs the statement and copies the first row's columns into dest.
func (r row) Scan(dest ...any) error {
	rs, err := r.tx.query(r.sql, r.args...)
	if err != nil {
		return err
	}
	defer rs.Close()
	if !rs.Next() {
		if err := rs.Err(); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err := rs.Scan(dest...); err != nil {
		return err
	}
	rs.Close()
	return rs.Err()
}

// rows are read with Next and Scan, like those of database/sql.
type rows struct {
	tx  *ReadTx
	cur cursor
	sql string
	err error
}

// Next moves to the next row; false means that there is none or that Err is not nil.
func (r *rows) Next() bool {
	if r.cur == nil {
		return false
	}
	more, err := r.cur.next()
	if err != nil {
		r.err = r.tx.fail(r.sql, err)
	}
	if !more {
		r.Close()
	}
	return more
}

// Scan copies the columns of the current row into dest. Integers, floats, strings, byte slices, booleans (stored as 0 and
// 1), every type whose underlying type is one of these, sql.Scanner, and pointers to them for columns that can be null.
func (r *rows) Scan(dest ...any) error {
	if r.cur == nil {
		return errors.New("storage: Scan without a row")
	}
	if err := r.cur.scan(dest); err != nil {
		return fmt.Errorf("read the row of %q: %w", brief(r.sql), err)
	}
	return nil
}

// Err is the error that ended the iteration, if any.
func (r *rows) Err() error { return r.err }

// Close ends the reading; closing twice is harmless.
func (r *rows) Close() {
	if r.cur == nil {
		return
	}
	err := r.cur.close()
	r.cur = nil
	r.tx.open = nil
	if err != nil && r.err == nil {
		r.err = r.tx.fail(r.sql, err)
	}
}

// end makes the transaction unusable; the rows of a query that were left open are closed.
func (tx *ReadTx) end() {
	if tx.open != nil {
		tx.open.Close()
	}
	tx.ended = true
}

// ready refuses statements that one of the two databases would refuse, so that both behave alike.
func (tx *ReadTx) ready() error {
	switch {
	case tx.ended:
		return errors.New("storage: the transaction has ended")
	case tx.err != nil:
		return fmt.Errorf("storage: an earlier statement failed: %w", tx.err)
	case tx.open != nil:
		return tx.fail("", errors.New("the rows of another query are still open; close them first"))
	}
	return nil
}

// fail remembers the first failed statement: PostgreSQL refuses everything after it, so SQLite must too, and the Update
// cannot succeed even if its function forgets the error.
func (tx *ReadTx) fail(sql string, err error) error {
	err = fmt.Errorf("storage: %q: %w", brief(sql), err)
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// brief shortens SQL for error messages; arguments are never part of them.
func brief(sql string) string {
	out := make([]byte, 0, 100)
	space := true
	for i := 0; i < len(sql) && len(out) < 96; i++ {
		c := sql[i]
		if c == '\n' || c == '\t' || c == ' ' {
			if !space {
				out = append(out, ' ')
			}
			space = true
			continue
		}
		space = false
		out = append(out, c)
	}
	return string(out)
}
