package storage

import (
	"context"
	"log/slog"
	"testing/fstest"
	"time"
)

// The tests are in package storage_test, because storagetest imports storage; these are the inner parts they look at.

func (tx *Tx) Exec(sql string, args ...any) (int64, error)       { return tx.exec(sql, args...) }
func (tx *ReadTx) Query(sql string, args ...any) (*rows, error)  { return tx.query(sql, args...) }
func (tx *ReadTx) QueryRow(sql string, args ...any) row          { return tx.queryRow(sql, args...) }
func (tx *ReadTx) InTexts(col string, n int) string              { return tx.inTexts(col, n) }
func (tx *ReadTx) InInts(col string, n int) string               { return tx.inInts(col, n) }
func (tx *ReadTx) Texts(n int) string                            { return tx.texts(n) }
func (tx *ReadTx) Ints(n int) string                             { return tx.ints(n) }
func List[T ~string | ~int | ~int32 | ~int64](values []T) string { return list(values) }
func IsUniqueViolation(err error) bool                           { return isUniqueViolation(err) }
func Brief(sql string) string                                    { return brief(sql) }
func ParseAnnouncement(payload, schema string) (pos int64, ok bool) {
	return parseAnnouncement(payload, schema)
}

// TakeTime has all Updates that wait join the group, however slow the machine is.
func (s *Store) TakeTime() {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	s.writer.groupTime = time.Hour
}

// Collect reads a query's only column.
func Collect[T any](tx *ReadTx, sql string, args ...any) ([]T, error) {
	return collect(tx, scanOne[T], sql, args...)
}

// Migrate applies migration files, by name, to the writer's connection.
func (s *Store) Migrate(files map[string]string) error {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys["migrations/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	steps, err := migrations(fsys, s.dialect)
	if err != nil {
		return err
	}
	return applyMigrations(context.Background(), s.writer.conn, s.dialect, steps, slog.New(slog.DiscardHandler))
}

// SnapshotCost is the length of the longest chain of snapshots and the number of all delta rows.
func (tx *ReadTx) SnapshotCost() (longest, rows int64, err error) {
	if err = tx.queryRow(`select coalesce(max(depth), 0) from state_snapshots`).Scan(&longest); err != nil {
		return 0, 0, err
	}
	err = tx.queryRow(`select count(*) from state_deltas`).Scan(&rows)
	return longest, rows, err
}
