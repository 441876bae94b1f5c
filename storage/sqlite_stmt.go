package storage

import (
	"errors"
	"fmt"
	"math"

	"modernc.org/libc"
	lite "modernc.org/sqlite/lib"
)

// bind copies the arguments to where the statement finds them. The memory stays valid until the next call of bind, which is
// after the statement has been reset, because a connection runs one statement at a time.
func (c *sqliteConn) bind(st *sqliteStmt, args []any) error {
	if len(args) != st.args {
		return fmt.Errorf("%d arguments given, %d needed", len(args), st.args)
	}
	var fixed [16]any
	plain, need := fixed[:0], 0
	for i, a := range args {
		v, err := bindable(a)
		if err != nil {
			return fmt.Errorf("argument $%d: %w", i+1, err)
		}
		switch v := v.(type) {
		case string:
			need += len(v) + 1
		case []byte:
			need += len(v) + 1
		}
		plain = append(plain, v)
	}
	if err := c.reserve(need); err != nil {
		return err
	}
	used := 0
	for i, arg := range st.params {
		var rc int32
		switch v := plain[arg].(type) {
		case nil:
			rc = lite.Xsqlite3_bind_null(c.tls, st.ptr, int32(i+1))
		case int64:
			rc = lite.Xsqlite3_bind_int64(c.tls, st.ptr, int32(i+1), v)
		case float64:
			rc = lite.Xsqlite3_bind_double(c.tls, st.ptr, int32(i+1), v)
		case string:
			copy(cBytes(c.scratch+uintptr(used), len(v)), v)
			rc = lite.Xsqlite3_bind_text(c.tls, st.ptr, int32(i+1), c.scratch+uintptr(used), int32(len(v)), 0)
			used += len(v) + 1
		case []byte:
			if v == nil {
				rc = lite.Xsqlite3_bind_null(c.tls, st.ptr, int32(i+1))
				break
			}
			copy(cBytes(c.scratch+uintptr(used), len(v)), v)
			rc = lite.Xsqlite3_bind_blob(c.tls, st.ptr, int32(i+1), c.scratch+uintptr(used), int32(len(v)), 0)
			used += len(v) + 1
		}
		if rc != lite.SQLITE_OK {
			return c.error(rc)
		}
	}
	return nil
}

// reserve makes scratch at least n bytes large, and small again after an unusually large statement.
func (c *sqliteConn) reserve(n int) error {
	if n > math.MaxInt32/2 {
		return errors.New("the arguments are too large")
	}
	if n <= c.size && (c.size <= 1<<20 || n > 1<<18) {
		return nil
	}
	if c.scratch != 0 {
		libc.Xfree(c.tls, c.scratch)
	}
	c.size = max(4096, n)
	c.scratch = libc.Xmalloc(c.tls, libc.Tsize_t(c.size))
	if c.scratch == 0 {
		c.size = 0
		return errors.New("out of memory")
	}
	return nil
}

// sqliteCursor reads the rows of a statement that has been bound.
type sqliteCursor struct {
	c    *sqliteConn
	st   *sqliteStmt
	done bool
}

func (r *sqliteCursor) next() (bool, error) {
	if r.done {
		return false, nil
	}
	switch rc := lite.Xsqlite3_step(r.c.tls, r.st.ptr); rc {
	case lite.SQLITE_ROW:
		return true, nil
	case lite.SQLITE_DONE:
		r.done = true
		return false, nil
	default:
		r.done = true
		return false, r.c.error(rc)
	}
}

func (r *sqliteCursor) close() error {
	if !r.done && !r.st.readonly { // a change with "returning" must run to its end
		r.done = true
		return r.c.drain(r.st)
	}
	lite.Xsqlite3_reset(r.c.tls, r.st.ptr)
	return nil
}

func (r *sqliteCursor) scan(dest []any) error {
	if len(dest) != r.st.columns {
		return fmt.Errorf("%d places for %d columns", len(dest), r.st.columns)
	}
	for i, d := range dest {
		if err := r.column(int32(i), d); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// column copies one column; the usual pairs of types need no boxing.
func (r *sqliteCursor) column(i int32, dest any) error {
	tls, ptr := r.c.tls, r.st.ptr
	switch lite.Xsqlite3_column_type(tls, ptr, i) {
	case lite.SQLITE_INTEGER:
		n := lite.Xsqlite3_column_int64(tls, ptr, i)
		switch d := dest.(type) {
		case *int64:
			*d = n
			return nil
		case *int:
			*d = int(n)
			return nil
		case *bool:
			if n == 0 || n == 1 {
				*d = n == 1
				return nil
			}
		}
		return assign(dest, n)
	case lite.SQLITE_FLOAT:
		return assign(dest, lite.Xsqlite3_column_double(tls, ptr, i))
	case lite.SQLITE_TEXT:
		p := lite.Xsqlite3_column_text(tls, ptr, i)
		b := cBytes(p, int(lite.Xsqlite3_column_bytes(tls, ptr, i)))
		switch d := dest.(type) {
		case *string:
			*d = string(b)
			return nil
		case *[]byte:
			*d = append([]byte{}, b...)
			return nil
		}
		return assign(dest, string(b))
	case lite.SQLITE_BLOB:
		out := []byte{}
		if p := lite.Xsqlite3_column_blob(tls, ptr, i); p != 0 {
			out = append(out, cBytes(p, int(lite.Xsqlite3_column_bytes(tls, ptr, i)))...)
		}
		if d, ok := dest.(*[]byte); ok {
			*d = out
			return nil
		}
		return assign(dest, out)
	}
	return assign(dest, nil)
}
