package storage_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestAnnouncements(t *testing.T) {
	for _, test := range []struct {
		name, payload string
		pos           int64
		ok            bool
	}{
		{"our schema's", "public 17", 17, true},
		{"another schema's", "other 17", 0, false},
		{"no position", "public", 0, false},
		{"a position that is none", "public x", 0, false},
		{"a negative position", "public -3", 0, false},
		{"too much", "public 1 2", 0, false},
		{"nothing", "", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if pos, ok := storage.ParseAnnouncement(test.payload, "public"); ok != test.ok || ok && pos != test.pos {
				t.Errorf("%d, %v", pos, ok)
			}
		})
	}
}

// Two stores in one process stand for two servers over one PostgreSQL database.
func TestTwoServersShareOneStream(t *testing.T) {
	if os.Getenv(storagetest.PostgresEnv) == "" {
		t.Skip("only PostgreSQL can be shared; build/test-postgres.sh provides it")
	}
	cfg := storagetest.PostgresConfig(t)
	rang := make(chan int64, 1000)
	cfg.Doorbell = func(pos int64) { rang <- pos }
	a := storagetest.Reopen(t, cfg)
	cfg.Doorbell = nil
	b := withNotes(t, storagetest.Reopen(t, cfg))
	var mu sync.Mutex
	var taken []int64
	var wg sync.WaitGroup
	for _, s := range []*storage.Store{a, b} {
		for range 4 {
			wg.Go(func() {
				for i := range 25 {
					err := s.Update(t.Context(), func(tx *storage.Tx) error {
						pos, err := tx.NextPos()
						if err != nil || i%5 == 4 {
							return errors.Join(err, errRefused)
						}
						mu.Lock()
						taken = append(taken, pos)
						mu.Unlock()
						return addNote(tx, pos, fmt.Sprint(pos))
					})
					if err != nil && i%5 != 4 {
						t.Error(err)
					}
				}
			})
		}
	}
	// Whoever looks sees no position appear below one that was there already.
	var seen int64
	looked := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for known := map[int64]bool{}; ; {
			err := a.View(t.Context(), func(tx *storage.ReadTx) error {
				got, err := storage.Collect[int64](tx, "select id from note order by id")
				for _, pos := range got {
					if pos <= seen && !known[pos] {
						t.Errorf("position %d appeared after %d", pos, seen)
					}
					known[pos] = true
				}
				if len(got) > 0 {
					seen = got[len(got)-1]
				}
				return err
			})
			select {
			case <-stop:
				looked <- err
				return
			default:
				if err != nil {
					looked <- err
					return
				}
			}
		}
	}()
	wg.Wait()
	close(stop)
	must(t, <-looked)
	if slices.Sort(taken); len(slices.Compact(slices.Clone(taken))) != len(taken) || len(taken) != 160 {
		t.Errorf("positions taken: %v", taken)
	}
	last := taken[len(taken)-1]
	must(t, b.Update(t.Context(), func(tx *storage.Tx) error { _, err := tx.NextPos(); return err }))
	for a.CommittedPos() <= last {
		<-rang // the other server's commit is heard of
	}
	if diff := cmp.Diff(160, len(notes(t, a))); diff != "" {
		t.Error(diff)
	}
}
