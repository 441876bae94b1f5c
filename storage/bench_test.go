package storage_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func benchStore(b *testing.B) *storage.Store {
	b.Helper()
	s := storagetest.Open(b)
	err := s.Update(b.Context(), func(tx *storage.Tx) error {
		for _, sql := range []string{
			"create table event (nid integer primary key, room bigint not null, id text not null unique, json text not null)",
			"create index event_room on event (room, nid)",
			"create table latest (room bigint primary key, nid bigint not null)",
			"create table txn (device text not null, txn text not null, nid bigint not null, primary key (device, txn))",
		} {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

const eventBody = `{"type":"m.room.message","room_id":"!room:example.org","sender":"@alice:example.org","content":{"msgtype":"m.text",` +
	`"body":"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore"},` +
	`"origin_server_ts":1760000000000,"depth":123,"prev_events":["$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],` +
	`"auth_events":["$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","$ccccccccccccccccccccccccccccccccccccccccccc"]}`

// send is four statements, like a small event: look for the transaction id, the event, the room's latest, the transaction id.
func send(tx *storage.Tx, n int64) error {
	txn := fmt.Sprint("m", n)
	var nid int64
	if err := tx.QueryRow("select nid from txn where device = $1 and txn = $2", "DEVICE", txn).Scan(&nid); err != storage.ErrNotFound {
		return fmt.Errorf("transaction id is known: %w", err)
	}
	nid, err := tx.NextPos()
	if err != nil {
		return err
	}
	id := fmt.Sprintf("$%043d", nid)
	if _, err := tx.Exec("insert into event (nid, room, id, json) values ($1, $2, $3, $4)", nid, nid%50, id, eventBody); err != nil {
		return err
	}
	if _, err := tx.Exec("insert into latest (room, nid) values ($1, $2) on conflict (room) do update set nid = excluded.nid", nid%50, nid); err != nil {
		return err
	}
	_, err = tx.Exec("insert into txn (device, txn, nid) values ($1, $2, $3)", "DEVICE", txn, nid)
	return err
}

// One Update at a time: what a single sender waits for.
func BenchmarkUpdateAlone(b *testing.B) {
	s := benchStore(b)
	var n int64
	for b.Loop() {
		n++
		if err := s.Update(b.Context(), func(tx *storage.Tx) error { return send(tx, n) }); err != nil {
			b.Fatal(err)
		}
	}
	group(b, s)
}

// 32 senders at the same time.
func BenchmarkUpdateGroupsOf32(b *testing.B) {
	s := benchStore(b)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 32 {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := s.Update(b.Context(), func(tx *storage.Tx) error { return send(tx, i) }); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	group(b, s)
}

func group(b *testing.B, s *storage.Store) {
	st := s.Stats()
	b.ReportMetric(float64(st.Updates)/float64(st.Commits), "updates/commit")
	b.ReportMetric(float64(st.CommitTime.Microseconds())/float64(st.Commits), "us/commit")
}

func filled(b *testing.B) *storage.Store {
	s := benchStore(b)
	err := s.Update(b.Context(), func(tx *storage.Tx) error {
		for n := range int64(20000) {
			if err := send(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func viewOne(s *storage.Store, b *testing.B, n int64) error {
	return s.View(b.Context(), func(tx *storage.ReadTx) error {
		var json string
		return tx.QueryRow("select json from event where nid = $1", n%20000+1).Scan(&json)
	})
}

// A snapshot and one row by its key.
func BenchmarkViewOneRow(b *testing.B) {
	s := filled(b)
	var n int64
	for b.Loop() {
		n++
		if err := viewOne(s, b, n); err != nil {
			b.Fatal(err)
		}
	}
}

// The same from many goroutines.
func BenchmarkViewOneRowParallel(b *testing.B) {
	s := filled(b)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := viewOne(s, b, n.Add(1)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A snapshot without a question: the cost that every View has.
func BenchmarkViewEmpty(b *testing.B) {
	s := filled(b)
	for b.Loop() {
		if err := s.View(b.Context(), func(tx *storage.ReadTx) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// A page of 50 events of one room.
func BenchmarkViewFiftyRows(b *testing.B) {
	s := filled(b)
	for b.Loop() {
		err := s.View(b.Context(), func(tx *storage.ReadTx) error {
			got, err := storage.Collect[string](tx, "select json from event where room = $1 and nid < $2 order by nid desc limit 50", 7, 15000)
			if err == nil && len(got) != 50 {
				err = fmt.Errorf("%d rows", len(got))
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Each View follows a commit, which empties the reader's page cache.
func BenchmarkViewFiftyRowsAfterCommit(b *testing.B) {
	s := filled(b)
	n := int64(100000)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		n++
		if err := s.Update(b.Context(), func(tx *storage.Tx) error { return send(tx, n) }); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		err := s.View(b.Context(), func(tx *storage.ReadTx) error {
			_, err := storage.Collect[string](tx, "select json from event where room = $1 and nid < $2 order by nid desc limit 50", 7, 15000)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// What every event costs that is shown to a client for the first time.
func BenchmarkClientFields(b *testing.B) {
	json := []byte(strings.TrimSuffix(eventBody, "}") + `,"hashes":{"sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"signatures":` +
		`{"example.org":{"ed25519:auto":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		(&storage.Event{ID: "$ccccccccccccccccccccccccccccccccccccccccccc", Type: "m.room.message", Sender: "@alice:example.org", JSON: json}).ClientFields()
	}
}
