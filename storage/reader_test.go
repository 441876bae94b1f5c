package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// What has been acknowledged is seen by every View that begins afterwards, on whatever connection, and by one that has begun not at all.
func TestViewsSeeAllThatWasCommittedBeforeThem(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		var acknowledged atomic.Int64
		var readers sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for range 4 {
			readers.Go(func() {
				for ctx.Err() == nil {
					least := acknowledged.Load()
					err := s.View(t.Context(), func(tx *storage.ReadTx) error {
						first, err := tx.Position()
						if err != nil {
							return err
						}
						var notes, again int64
						if err := tx.QueryRow("select count(*) from note").Scan(&notes); err != nil {
							return err
						}
						if err := tx.QueryRow("select pos from stream_position").Scan(&again); err != nil {
							return err
						}
						if first < least || notes != first || again != first {
							t.Errorf("after %d: position %d, then %d, with %d notes", least, first, again, notes)
							stop()
						}
						return nil
					})
					must(t, err)
				}
			})
		}
		for n := range int64(300) {
			must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
				_, err := tx.NextPos()
				return errors.Join(err, addNote(tx, n, strconv.FormatInt(n, 10)))
			}))
			acknowledged.Store(n + 1)
		}
		stop()
		readers.Wait()
	})
}

func TestTheLogOfTheDatabaseIsEmptiedWhileViewsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	s := storagetest.Reopen(t, storage.Config{Path: filepath.Join(dir, "test.db")})
	withNotes(t, s)
	text := strings.Repeat("x", 100<<10)
	for n := range int64(400) { // 40 MB
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error { return addNote(tx, n, strconv.FormatInt(n, 10)+text) }))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			_, err := tx.Position()
			return err
		}))
	}
	info, err := os.Stat(filepath.Join(dir, "test.db-wal"))
	must(t, err)
	if info.Size() > 16<<20 {
		t.Errorf("the log has %d MiB", info.Size()>>20)
	}
}
