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
// small queries of this package need themselves; docs/adr/0004 has the numbers.
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
// cache is faster, for the writer too, although each commit empties the readers' caches. What SQLite takes for the size of its cache is half
// of what it uses: pages are a little larger than a power of two with what it adds to them, and its allocator hands out powers of two. The
// writer's cache is always full. With 2 MiB of pages a send costs what it costs with 4, also among 150,000 events: what a message changes are
// the ends of tables and one page anywhere of each index of ids, which no cache has.
func (s *Store) cacheKiB(writes bool) int64 {
	const writerShare, used = 8, 2
	kib := int64(s.pages.Limit()) >> 10 / used
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
	if rc := c.keepPlans(); rc != lite.SQLITE_OK {
		err := c.error(rc)
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// keepPlans has statements planned once, without looking at their arguments. Otherwise a statement in which an argument is compared with a
// column that an index has a condition on (pos > $2, and an index where pos > 0) is compiled anew each time it is run.
func (c *sqliteConn) keepPlans() int32 {
	on := libc.NewVaList(int32(1), uintptr(0)) // and nobody is to be told what it was
	if on == 0 {
		return lite.SQLITE_NOMEM
	}
	defer libc.Xfree(c.tls, on)
	return lite.Xsqlite3_db_config(c.tls, c.db, lite.SQLITE_DBCONFIG_ENABLE_QPSG, on)
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
