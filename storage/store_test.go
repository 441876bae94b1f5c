package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

var errRefused = errors.New("refused")

// withNotes gives the store a table to write to.
func withNotes(t *testing.T, s *storage.Store) *storage.Store {
	t.Helper()
	must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
		_, err := tx.Exec("create table note (id bigint primary key, body text not null unique)")
		return err
	}))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addNote(tx *storage.Tx, id int64, body string) error {
	_, err := tx.Exec("insert into note (id, body) values ($1, $2)", id, body)
	return err
}

func notes(t *testing.T, s *storage.Store) []string {
	t.Helper()
	var out []string
	must(t, s.View(t.Context(), func(tx *storage.ReadTx) (err error) {
		out, err = storage.Collect[string](tx, "select body from note order by id")
		return err
	}))
	return out
}

func TestUpdate(t *testing.T) {
	for _, test := range []struct {
		name string
		fn   func(tx *storage.Tx) error
		fail string // part of the error
		want []string
	}{
		{"a change is there once Update returns", func(tx *storage.Tx) error { return addNote(tx, 1, "a") }, "", []string{"a"}},
		{"an error undoes the change", func(tx *storage.Tx) error {
			return errors.Join(addNote(tx, 1, "a"), errRefused)
		}, "refused", []string{}},
		{"a panic undoes the change and becomes an error", func(tx *storage.Tx) error {
			if err := addNote(tx, 1, "a"); err != nil {
				return err
			}
			panic("oh no")
		}, "oh no", []string{}},
		{"a failed statement cannot be ignored", func(tx *storage.Tx) error {
			if err := addNote(tx, 1, "a"); err != nil {
				return err
			}
			if err := addNote(tx, 1, "b"); !storage.IsUniqueViolation(err) {
				return fmt.Errorf("not a unique violation: %w", err)
			}
			return nil
		}, "an ignored statement failed", []string{}},
		{"nothing can be done after a failed statement", func(tx *storage.Tx) error {
			_, _ = tx.Exec("insert into nowhere values (1)")
			return addNote(tx, 1, "a")
		}, "an earlier statement failed", []string{}},
		{"a second statement has to wait until the rows of the first are read", func(tx *storage.Tx) error {
			rows, err := tx.Query("select id from note")
			if err != nil {
				return err
			}
			defer rows.Close()
			return addNote(tx, 1, "a")
		}, "still open", []string{}},
		{"rows must not be left open", func(tx *storage.Tx) error {
			_, err := tx.Query("select id from note")
			return err
		}, "left open", []string{}},
		{"absence is no failure", func(tx *storage.Tx) error {
			var id int64
			if err := tx.QueryRow("select id from note where id = 7").Scan(&id); !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("wanted ErrNotFound: %w", err)
			}
			return addNote(tx, 1, "a")
		}, "", []string{"a"}},
		{"an insert may return what it made", func(tx *storage.Tx) error {
			var body string
			err := tx.QueryRow("insert into note (id, body) values ($1, $2), (2, 'b') returning body", 1, "a").Scan(&body)
			if err == nil && body != "a" {
				err = fmt.Errorf("returned %q", body)
			}
			return err
		}, "", []string{"a", "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				withNotes(t, s)
				err := s.Update(t.Context(), test.fn)
				if got := fmt.Sprint(err); test.fail == "" && err != nil || !strings.Contains(got, test.fail) {
					t.Errorf("error %q, want %q", got, test.fail)
				}
				if diff := cmp.Diff(test.want, notes(t, s)); diff != "" {
					t.Error(diff)
				}
				must(t, s.Update(t.Context(), func(tx *storage.Tx) error { return addNote(tx, 99, "z") }))
			})
		})
	}
}

// gate is an Update that keeps the writer until leave is closed, so that what is started meanwhile forms one group with it.
type gate struct {
	leave chan struct{}
	done  chan error
}

func busy(t *testing.T, s *storage.Store) gate {
	t.Helper()
	g, entered := gate{make(chan struct{}), make(chan error)}, make(chan struct{})
	go func() {
		g.done <- s.Update(context.Background(), func(*storage.Tx) error {
			close(entered)
			<-g.leave
			return nil
		})
	}()
	<-entered
	return g
}

func (g gate) open(t *testing.T) {
	t.Helper()
	close(g.leave)
	must(t, <-g.done)
}

// queued waits until n Updates wait for the writer.
func queued(s *storage.Store, n int) {
	for s.Stats().QueuedUpdates < n {
	}
}

func TestUpdatesThatArriveTogetherShareACommitAndFailAlone(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		s.TakeTime()
		before := s.Stats()
		release := busy(t, s)
		const n = 40
		errs := make([]error, n)
		var wg sync.WaitGroup
		var order []int
		for i := range n {
			wg.Go(func() {
				errs[i] = s.Update(t.Context(), func(tx *storage.Tx) error {
					if _, err := tx.NextPos(); err != nil {
						return err
					}
					if err := addNote(tx, int64(i), fmt.Sprint("note ", i)); err != nil {
						return err
					}
					tx.OnCommit(func() { order = append(order, i) })
					switch {
					case i%8 == 3:
						return errRefused
					case i%8 == 5:
						panic("oh no")
					case i%8 == 6:
						_ = addNote(tx, int64(i), "again")
					}
					return nil
				})
			})
		}
		queued(s, n)
		release.open(t)
		wg.Wait()
		var want []string
		for i, err := range errs {
			fails := i%8 == 3 || i%8 == 5 || i%8 == 6
			if fails != (err != nil) {
				t.Errorf("update %d: %v", i, err)
			}
			if !fails {
				want = append(want, fmt.Sprint("note ", i))
			}
		}
		if diff := cmp.Diff(want, notes(t, s)); diff != "" {
			t.Error(diff)
		}
		if len(order) != len(want) {
			t.Errorf("%d functions given to OnCommit ran, want %d", len(order), len(want))
		}
		after := s.Stats()
		if got := after.Commits - before.Commits; got != 1 || after.LargestGroup != uint64(len(want))+1 {
			t.Errorf("%d commits, the largest group is %d", got, after.LargestGroup)
		}
		if got := after.Failures - before.Failures; got != uint64(n-len(want)) {
			t.Errorf("%d failures counted, want %d", got, n-len(want))
		}
	})
}

func TestNotesAreForThoseWhoseChangesAreCommittedTogether(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		type key string
		note := func(value int, result error) func(tx *storage.Tx) error {
			return func(tx *storage.Tx) error {
				tx.Note(key("a"), value)
				if got, _ := tx.Noted(key("a")); got != value {
					return fmt.Errorf("noted %v and not %d", got, value)
				}
				return result
			}
		}
		noted := func(want any) func(tx *storage.Tx) error {
			return func(tx *storage.Tx) error {
				if got, _ := tx.Noted(key("a")); got != want {
					return fmt.Errorf("%v is noted, want %v", got, want)
				}
				if got, ok := tx.Noted("a"); ok {
					return fmt.Errorf("%v is noted under a key of another type", got)
				}
				return nil
			}
		}
		steps := []func(tx *storage.Tx) error{noted(nil), note(1, nil), noted(1), note(2, errRefused), noted(1), note(3, nil), noted(3)}
		errs := make([]error, len(steps))
		s.TakeTime()
		release := busy(t, s)
		var all sync.WaitGroup
		for i, step := range steps {
			all.Go(func() { errs[i] = s.Update(t.Context(), step) })
			queued(s, i+1)
		}
		release.open(t)
		all.Wait()
		for i, err := range errs {
			if err != nil && err != errRefused {
				t.Errorf("step %d: %v", i, err)
			}
		}
		must(t, s.Update(t.Context(), noted(nil)))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			if _, ok := tx.Noted(key("a")); ok {
				t.Error("something is noted in a View")
			}
			return nil
		}))
	})
}

func TestAGroupWhoseCommitFailsFailsWhole(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			_, err := tx.Exec("create table late (note bigint references note (id) deferrable initially deferred)")
			return err
		}))
		s.TakeTime()
		release := busy(t, s)
		errs := make([]error, 3)
		rang := false
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				errs[i] = s.Update(t.Context(), func(tx *storage.Tx) error {
					tx.OnCommit(func() { rang = true })
					if _, err := tx.NextPos(); err != nil || i != 1 {
						return err
					}
					_, err := tx.Exec("insert into late (note) values (404)") // found out by the commit
					return err
				})
			})
			queued(s, i+1)
		}
		close(release.leave)
		if err := <-release.done; err == nil {
			t.Error("the first update of the group did not fail")
		}
		wg.Wait()
		for i, err := range errs {
			if err == nil {
				t.Errorf("update %d of the group did not fail", i)
			}
		}
		if rang || s.CommittedPos() != 0 {
			t.Errorf("rang %v, position %d", rang, s.CommittedPos())
		}
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			pos, err := tx.NextPos()
			return errors.Join(err, addNote(tx, pos, "a"))
		}))
		if diff := cmp.Diff([]string{"a"}, notes(t, s)); diff != "" || s.CommittedPos() != 4 {
			t.Error(s.CommittedPos(), diff)
		}
	})
}

func TestAnUpdateWhoseCallerGaveUpIsNotRun(t *testing.T) {
	s := storagetest.Open(t)
	release := busy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	ran := false
	go func() { result <- s.Update(ctx, func(*storage.Tx) error { ran = true; return nil }) }()
	queued(s, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	release.open(t)
	must(t, s.Update(t.Context(), func(*storage.Tx) error { return nil }))
	if ran {
		t.Error("it ran")
	}
}

func TestARunningUpdateIsCompleted(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		must(t, s.Update(ctx, func(tx *storage.Tx) error {
			cancel()
			return addNote(tx, 1, "a")
		}))
		if diff := cmp.Diff([]string{"a"}, notes(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOnCommit(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		var got []string
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			tx.OnCommit(func() { got = append(got, fmt.Sprint("first at ", s.CommittedPos())) })
			tx.OnCommit(func() { panic("oh no") })
			tx.OnCommit(func() { got = append(got, "last") })
			_, err := tx.NextPos()
			return err
		}))
		_ = s.Update(t.Context(), func(tx *storage.Tx) error {
			tx.OnCommit(func() { got = append(got, "never") })
			return errRefused
		})
		if diff := cmp.Diff([]string{"first at 1", "last"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheWriterSurvivesAFunctionThatEndsItsGoroutine(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		var callers sync.WaitGroup
		started, meanwhile := make(chan struct{}), make(chan error, 1)
		// The function ends the goroutine that it runs on, which is its caller's where nobody else is writing.
		callers.Go(func() {
			_ = s.Update(t.Context(), func(tx *storage.Tx) error {
				close(started)
				must(t, addNote(tx, 1, "a"))
				runtime.Goexit() // t.FailNow does this
				return nil
			})
		})
		<-started
		callers.Go(func() {
			meanwhile <- s.Update(t.Context(), func(tx *storage.Tx) error { return addNote(tx, 2, "b") })
		})
		callers.Wait()
		must(t, <-meanwhile)
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error { return addNote(tx, 3, "c") }))
		if diff := cmp.Diff([]string{"b", "c"}, notes(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAViewIsOneMoment(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		count := func(tx *storage.ReadTx) (n int64) {
			t.Helper()
			must(t, tx.QueryRow("select count(*) from note").Scan(&n))
			return n
		}
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			n := count(tx)
			pos, err := tx.Position()
			must(t, err)
			must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
				_, err := tx.NextPos()
				return errors.Join(err, addNote(tx, 1, "a"))
			}))
			again, err := tx.Position()
			if count(tx) != n || again != pos {
				t.Error("the view moved on")
			}
			return err
		}))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			pos, err := tx.Position()
			if count(tx) != 1 || pos != 1 || s.CommittedPos() != 1 {
				t.Errorf("a later view is not up to date: %d", pos)
			}
			return err
		}))
	})
}

func TestAViewCannotWrite(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		withNotes(t, s)
		err := s.View(t.Context(), func(tx *storage.ReadTx) error {
			var id int64
			return tx.QueryRow("insert into note (id, body) values (1, 'a') returning id").Scan(&id)
		})
		if err == nil {
			t.Error("it could")
		}
		if diff := cmp.Diff([]string{}, notes(t, s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAViewEndsWithItsContext(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.View(ctx, func(tx *storage.ReadTx) error {
			rows, err := tx.Query("with recursive c(n) as (select cast(1 as bigint) union all select n + 1 from c) select n from c")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				cancel()
			}
			return rows.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			_, err := tx.Position()
			return err
		}))
	})
}

func TestATransactionIsOverWhenItsFunctionReturns(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		var kept *storage.ReadTx
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error { kept = tx; return nil }))
		if _, err := kept.Position(); err == nil {
			t.Error("a view could be used afterwards")
		}
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error { kept = &tx.ReadTx; return nil }))
		if _, err := kept.Query("select 1"); err == nil {
			t.Error("an update could be used afterwards")
		}
	})
}

func TestPositions(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		var got []int64
		take := func(fail error) {
			_ = s.Update(t.Context(), func(tx *storage.Tx) error {
				a, err1 := tx.NextPos()
				b, err2 := tx.NextBackfillPos()
				at, err3 := tx.Position()
				if at != a {
					t.Errorf("position %d inside the update, want %d", at, a)
				}
				if fail == nil {
					got = append(got, a, b)
				}
				return errors.Join(err1, err2, err3, fail)
			})
		}
		take(nil)
		take(errRefused)
		take(nil)
		must(t, s.Close())
		s = storagetest.Reopen(t, cfg)
		if s.CommittedPos() != 3 {
			t.Errorf("position %d after reopening", s.CommittedPos())
		}
		take(nil)
		take(errRefused)
		must(t, s.Update(t.Context(), func(*storage.Tx) error { return nil }))
		must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
			if pos, err := tx.Position(); err != nil || pos < s.CommittedPos() {
				t.Errorf("a view sees position %d after %d was committed: %v", pos, s.CommittedPos(), err)
			}
			return nil
		}))
		if diff := cmp.Diff([]int64{1, -1, 3, -3, 4, -4}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAClosedStoreSaysSo(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		must(t, s.Close())
		must(t, s.Close())
		view := s.View(t.Context(), func(*storage.ReadTx) error { return nil })
		update := s.Update(t.Context(), func(*storage.Tx) error { return nil })
		if !errors.Is(view, storage.ErrClosed) || !errors.Is(update, storage.ErrClosed) {
			t.Errorf("view: %v, update: %v", view, update)
		}
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name string
		cfg  storage.Config
		want string
	}{
		{"neither file nor URL is refused", storage.Config{}, "either"},
		{"both file and URL are refused", storage.Config{Path: "x", URL: "y"}, "either"},
		{"a missing directory is named", storage.Config{Path: filepath.Join(dir, "no", "hearth.db")}, "no/hearth.db"},
		{"a URL that is none is refused", storage.Config{URL: "postgres://%%%"}, "storage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := storage.Open(t.Context(), test.cfg, storagetest.Log(t))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTwoStoresNeverShareAFile(t *testing.T) {
	cfg := storagetest.SQLiteConfig(t)
	s := storagetest.Reopen(t, cfg)
	_, err := storage.Open(t.Context(), cfg, storagetest.Log(t))
	if !errors.Is(err, storage.ErrInUse) {
		t.Errorf("error %v", err)
	}
	must(t, s.Close())
	must(t, storagetest.Reopen(t, cfg).Close())
}

func TestOnlyTheOwnerCanReadTheFiles(t *testing.T) {
	cfg := storagetest.SQLiteConfig(t)
	withNotes(t, storagetest.Reopen(t, cfg))
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(cfg.Path + suffix)
		must(t, err)
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("hearth.db%s has the mode %o", suffix, mode)
		}
	}
}
