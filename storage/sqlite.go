package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // sets the library up
	lite "modernc.org/sqlite/lib"
)

// maxStatements bounds how many prepared statements a connection keeps.
const maxStatements = 512

// sqliteConn speaks to SQLite's C interface directly. Going through database/sql and its driver costs a multiple of what the
// small queries of this package need themselves; docs/adr has the numbers.
type sqliteConn struct {
	tls     *libc.TLS
	db      uintptr
	out     uintptr // two words for results of the C interface
	scratch uintptr // holds the text and blob arguments of the statement that is being run
	size    int
	stmts   map[string]*sqliteStmt
	lost    bool
}

// sqliteStmt is a prepared statement; it is kept and used again until its connection closes.
type sqliteStmt struct {
	ptr      uintptr
	params   []int // for each parameter of the statement, which argument it takes
	args     int   // how many arguments are needed
	columns  int
	readonly bool
}

// sqliteError is an error of the database with its extended result code.
type sqliteError struct {
	code int32
	text string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("sqlite: %s (%d)", e.text, e.code) }

func (e *sqliteError) unique() bool {
	return e.code == lite.SQLITE_CONSTRAINT_UNIQUE || e.code == lite.SQLITE_CONSTRAINT_PRIMARYKEY || e.code == lite.SQLITE_CONSTRAINT_ROWID
}

// openSQLite opens the file for the writer or for a reader.
func (s *Store) openSQLite(ctx context.Context, writes bool) (conn, error) {
	c, err := newSQLiteConn(s.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("storage: open %s: %w", s.cfg.Path, err)
	}
	lite.Xsqlite3_busy_timeout(c.tls, c.db, int32(min(s.cfg.BusyTimeout.Milliseconds(), math.MaxInt32)))
	pragmas := fmt.Sprintf("pragma foreign_keys = on; pragma temp_store = memory; pragma cache_size = -%d;", s.cacheKiB(writes))
	if writes {
		pragmas = "pragma page_size = 4096; pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 2000;" +
			"pragma journal_size_limit = 67108864;" + pragmas
	} else {
		pragmas += "pragma query_only = on;"
	}
	if err := c.script(ctx, pragmas); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: open %s: %w", s.cfg.Path, err), c.close())
	}
	return c, nil
}

// cacheKiB is the size of one connection's page cache. The file is not mapped into memory: measured, reading through the
// cache is faster, for the writer too, although each commit empties the readers' caches.
func (s *Store) cacheKiB(writes bool) int64 {
	const writerShare = 4
	kib := s.cfg.CacheBytes >> 10
	if writes {
		return max(1<<10, kib/writerShare)
	}
	return max(1<<10, (kib-kib/writerShare)/int64(s.cfg.Readers))
}

func newSQLiteConn(path string) (*sqliteConn, error) {
	c := &sqliteConn{tls: libc.NewTLS(), stmts: map[string]*sqliteStmt{}}
	c.out = libc.Xmalloc(c.tls, 16)
	name, err := libc.CString(path)
	if err != nil || c.out == 0 {
		c.tls.Close()
		return nil, errors.New("out of memory")
	}
	defer libc.Xfree(c.tls, name)
	rc := lite.Xsqlite3_open_v2(c.tls, name, c.out, lite.SQLITE_OPEN_READWRITE|lite.SQLITE_OPEN_CREATE|lite.SQLITE_OPEN_NOMUTEX, 0)
	c.db = c.word(0)
	if rc != lite.SQLITE_OK {
		err := c.error(rc)
		return nil, errors.Join(err, c.close())
	}
	lite.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	return c, nil
}

// cBytes is n bytes of memory that belongs to SQLite, which the garbage collector neither moves nor knows.
func cBytes(p uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n)
}

func (c *sqliteConn) word(i int) uintptr {
	return *(*uintptr)(unsafe.Pointer(unsafe.SliceData(cBytes(c.out+uintptr(8*i), 8))))
}

func (c *sqliteConn) error(rc int32) error {
	e := &sqliteError{code: rc}
	if c.db != 0 {
		e.code = lite.Xsqlite3_extended_errcode(c.tls, c.db)
		e.text = libc.GoString(lite.Xsqlite3_errmsg(c.tls, c.db))
	} else {
		e.text = libc.GoString(lite.Xsqlite3_errstr(c.tls, rc))
	}
	return e
}

// prepare finds the statement or compiles it.
func (c *sqliteConn) prepare(sql string) (*sqliteStmt, error) {
	if st, ok := c.stmts[sql]; ok {
		return st, nil
	}
	st, tail, err := c.compile(sql)
	if err != nil {
		return nil, err
	}
	if st == nil || tail != "" {
		if st != nil {
			lite.Xsqlite3_finalize(c.tls, st.ptr)
		}
		return nil, errors.New("exactly one statement is needed")
	}
	if len(c.stmts) >= maxStatements { // any will do: a statement in steady use soon comes back
		for text, old := range c.stmts {
			lite.Xsqlite3_finalize(c.tls, old.ptr)
			delete(c.stmts, text)
			break
		}
	}
	c.stmts[sql] = st
	return st, nil
}

// compile prepares the first statement of sql; it is nil if there is only white space. The tail is what follows it.
func (c *sqliteConn) compile(sql string) (*sqliteStmt, string, error) {
	text, err := libc.CString(sql)
	if err != nil {
		return nil, "", err
	}
	defer libc.Xfree(c.tls, text)
	rc := lite.Xsqlite3_prepare_v3(c.tls, c.db, text, int32(len(sql)+1), lite.SQLITE_PREPARE_PERSISTENT, c.out, c.out+8)
	if rc != lite.SQLITE_OK {
		return nil, "", c.error(rc)
	}
	st := &sqliteStmt{ptr: c.word(0)}
	tail := trimSQL(sql[int(c.word(1)-text):])
	if st.ptr == 0 {
		return nil, tail, nil
	}
	st.columns = int(lite.Xsqlite3_column_count(c.tls, st.ptr))
	st.readonly = lite.Xsqlite3_stmt_readonly(c.tls, st.ptr) != 0
	n := int(lite.Xsqlite3_bind_parameter_count(c.tls, st.ptr))
	for i := 1; i <= n; i++ {
		name := libc.GoString(lite.Xsqlite3_bind_parameter_name(c.tls, st.ptr, int32(i)))
		var number int
		if _, err := fmt.Sscanf(name, "$%d", &number); err != nil || number < 1 {
			lite.Xsqlite3_finalize(c.tls, st.ptr)
			return nil, "", fmt.Errorf("the placeholder %q is not of the form $1", name)
		}
		st.params = append(st.params, number-1)
		st.args = max(st.args, number)
	}
	return st, tail, nil
}

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

func (c *sqliteConn) exec(ctx context.Context, sql string, args []any) (int64, error) {
	st, err := c.start(ctx, sql, args)
	if err != nil {
		return 0, err
	}
	if err := c.drain(st); err != nil {
		return 0, err
	}
	return int64(lite.Xsqlite3_changes64(c.tls, c.db)), nil
}

// start prepares and binds a statement.
func (c *sqliteConn) start(ctx context.Context, sql string, args []any) (*sqliteStmt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	return st, c.bind(st, args)
}

// drain runs a statement to its end and makes it ready for the next use.
func (c *sqliteConn) drain(st *sqliteStmt) error {
	for {
		switch rc := lite.Xsqlite3_step(c.tls, st.ptr); rc {
		case lite.SQLITE_ROW:
		case lite.SQLITE_DONE:
			lite.Xsqlite3_reset(c.tls, st.ptr)
			return nil
		default:
			err := c.error(rc)
			lite.Xsqlite3_reset(c.tls, st.ptr)
			return err
		}
	}
}

func (c *sqliteConn) query(ctx context.Context, sql string, args []any) (cursor, error) {
	st, err := c.start(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return &sqliteCursor{c: c, st: st}, nil
}

func (c *sqliteConn) script(ctx context.Context, sql string) error {
	for sql != "" {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, tail, err := c.compile(sql)
		if err != nil {
			return err
		}
		if st != nil {
			err = c.drain(st)
			lite.Xsqlite3_finalize(c.tls, st.ptr)
			if err != nil {
				return err
			}
		}
		sql = tail
	}
	return nil
}

func (c *sqliteConn) usable() bool { return !c.lost && lite.Xsqlite3_get_autocommit(c.tls, c.db) != 0 }

func (c *sqliteConn) interrupt() { lite.Xsqlite3_interrupt(nil, c.db) }

func (c *sqliteConn) close() error {
	if c.lost {
		return nil
	}
	for _, st := range c.stmts {
		lite.Xsqlite3_finalize(c.tls, st.ptr)
	}
	c.stmts, c.lost = nil, true
	var err error
	if c.db != 0 {
		if rc := lite.Xsqlite3_close_v2(c.tls, c.db); rc != lite.SQLITE_OK {
			err = c.error(rc)
		}
	}
	libc.Xfree(c.tls, c.out)
	if c.scratch != 0 {
		libc.Xfree(c.tls, c.scratch)
	}
	c.tls.Close()
	return err
}

// trimSQL cuts white space and semicolons off the front, so that an empty tail means that nothing follows.
func trimSQL(sql string) string {
	for sql != "" && (sql[0] == ' ' || sql[0] == '\n' || sql[0] == '\t' || sql[0] == '\r' || sql[0] == ';') {
		sql = sql[1:]
	}
	return sql
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
