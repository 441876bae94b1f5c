package storage

import (
	"path/filepath"
	"testing"

	lite "modernc.org/sqlite/lib"
)

func TestAStatementIsCompiledOnce(t *testing.T) {
	c, err := newSQLiteConn(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.close() }()
	err = c.script(t.Context(), `create table t (room integer, pos integer); create index t_room on t (room, pos); create index t_pos on t (pos) where pos > 0`)
	if err != nil {
		t.Fatal(err)
	}
	const sql = `select pos from t where room = $1 and pos > $2`
	for pos := range int64(10) {
		if _, err := c.exec(t.Context(), sql, []any{int64(1), pos}); err != nil {
			t.Fatal(err)
		}
	}
	if n := lite.Xsqlite3_stmt_status(c.tls, c.stmts[sql].ptr, lite.SQLITE_STMTSTATUS_REPREPARE, 0); n > 0 {
		t.Errorf("compiled %d times more", n)
	}
}
