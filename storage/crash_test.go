package storage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// crashEnv makes this test binary the child of the crash test; its value is a crashPlan.
const crashEnv = "HEARTH_CRASH_CHILD"

// crashPlan tells the child where to write and where each worker goes on.
type crashPlan struct {
	Path, URL string
	Next      []int // per worker, the number of its next transaction
}

func TestMain(m *testing.M) {
	if plan := os.Getenv(crashEnv); plan != "" {
		fmt.Fprintln(os.Stderr, crashChild(plan))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild writes, one line on stdout per acknowledged Update, until it is killed.
func crashChild(encoded string) error {
	var plan crashPlan
	if err := json.Unmarshal([]byte(encoded), &plan); err != nil {
		return err
	}
	s, err := storage.Open(context.Background(), storage.Config{Path: plan.Path, URL: plan.URL}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	errs := make(chan error)
	for worker, next := range plan.Next {
		go func() { errs <- crashWorker(s, worker, next) }()
	}
	return <-errs
}

func crashWorker(s *storage.Store, worker, next int) error {
	ctx := context.Background()
	for ; ; next++ {
		txn := fmt.Sprintf("%d-%d", worker, next)
		var pos int64
		err := s.Update(ctx, func(tx *storage.Tx) (err error) {
			pos, err = crashWrite(tx, txn)
			return err
		})
		if errors.Is(err, errRefused) { // some fail, so that savepoints are rolled back as well
			continue
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Printf("%s %d\n", txn, pos); err != nil {
			return err
		}
		err = s.View(ctx, func(tx *storage.ReadTx) error {
			return tx.QueryRow("select pos from crash_event where txn = $1", txn).Scan(&pos)
		})
		if err != nil {
			return err
		}
	}
}

// crashWrite does what a send does: a known transaction id gives its first answer, a new one an event and its answer.
func crashWrite(tx *storage.Tx, txn string) (int64, error) {
	var pos int64
	err := tx.QueryRow("select pos from crash_txn where txn = $1", txn).Scan(&pos)
	if !errors.Is(err, storage.ErrNotFound) {
		return pos, err
	}
	if pos, err = tx.NextPos(); err != nil {
		return 0, err
	}
	if _, err := tx.Exec("insert into crash_event (pos, txn, body) values ($1, $2, $3)", pos, txn, strings.Repeat("x", 400)); err != nil {
		return 0, err
	}
	if strings.HasSuffix(txn, "3") && pos%2 == 0 {
		return 0, errRefused
	}
	_, err = tx.Exec("insert into crash_txn (txn, pos) values ($1, $2)", txn, pos)
	return pos, err
}

func TestEveryAcknowledgedWriteSurvivesAKill(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		rounds, workers := 20, 8
		if cfg.URL != "" { // there it is the client that crashes, which can do less harm
			rounds = 4
		}
		s := storagetest.Reopen(t, cfg)
		must(t, s.Update(t.Context(), func(tx *storage.Tx) error {
			_, err1 := tx.Exec("create table crash_event (pos bigint primary key, txn text not null, body text not null)")
			_, err2 := tx.Exec("create table crash_txn (txn text primary key, pos bigint not null unique references crash_event (pos))")
			return errors.Join(err1, err2)
		}))
		must(t, s.Close())
		plan := crashPlan{Path: cfg.Path, URL: cfg.URL, Next: make([]int, workers)}
		acked := map[string]int64{}
		for range rounds {
			for txn, pos := range runUntilKilled(t, plan, 1+rand.IntN(150)) {
				if first, ok := acked[txn]; ok && first != pos {
					t.Errorf("transaction %s was answered with %d and later with %d", txn, first, pos)
				}
				acked[txn] = pos
				var worker, n int
				if _, err := fmt.Sscanf(txn, "%d-%d", &worker, &n); err != nil {
					t.Fatal(err)
				}
				plan.Next[worker] = max(plan.Next[worker], n) // the last one is sent again
			}
			checkAfterCrash(t, cfg, acked)
		}
		t.Logf("%d acknowledged writes", len(acked))
	})
}

// runUntilKilled starts a child, kills it after some acknowledged writes and gives all that it acknowledged.
func runUntilKilled(t *testing.T, plan crashPlan, enough int) map[string]int64 {
	t.Helper()
	encoded, err := json.Marshal(plan)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	child := exec.Command(exe)
	child.Env = append(os.Environ(), crashEnv+"="+string(encoded))
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	var kill sync.Once
	acked := map[string]int64{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var txn string
		var pos int64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &txn, &pos); err != nil {
			t.Fatalf("the child says %q: %v", lines.Text(), err)
		}
		acked[txn] = pos
		if len(acked) >= enough {
			kill.Do(func() { _ = child.Process.Kill() }) // SIGKILL; what is in the pipe is still read
		}
	}
	_ = child.Wait() // it was killed
	if len(acked) < enough {
		t.Fatalf("the child ended by itself: %s", stderr.String())
	}
	return acked
}

func checkAfterCrash(t *testing.T, cfg storage.Config, acked map[string]int64) {
	t.Helper()
	s := storagetest.Reopen(t, cfg)
	must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
		if s.Kind() == storage.SQLite {
			got, err := storage.Collect[string](tx, "pragma integrity_check")
			if diff := cmp.Diff([]string{"ok"}, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
		}
		rows, err := tx.Query("select t.txn, t.pos, e.txn from crash_txn t join crash_event e on e.pos = t.pos")
		if err != nil {
			return err
		}
		defer rows.Close()
		stored := map[string]int64{}
		for rows.Next() {
			var txn, event string
			var pos int64
			if err := rows.Scan(&txn, &pos, &event); err != nil {
				return err
			}
			if event != txn {
				t.Errorf("position %d was used by %s and %s", pos, txn, event)
			}
			stored[txn] = pos
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for txn, pos := range acked {
			if stored[txn] != pos {
				t.Errorf("transaction %s was acknowledged at %d, stored is %d", txn, pos, stored[txn])
			}
		}
		var events, last int64
		if err := tx.QueryRow("select count(*), max(pos) from crash_event").Scan(&events, &last); err != nil {
			return err
		}
		pos, err := tx.Position()
		if events != int64(len(stored)) || pos < last {
			t.Errorf("%d events for %d transactions, position %d after %d", events, len(stored), pos, last)
		}
		return err
	}))
	must(t, s.Close())
}
