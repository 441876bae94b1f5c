package storage_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func outbox(t *testing.T, s *storage.Store, to id.ServerName, upTo int64, limit int) (out []string) {
	t.Helper()
	viewing(t, s, func(tx *storage.ReadTx) error {
		rows, err := tx.Outbox(to, 0, upTo, limit)
		for i, r := range rows {
			if i > 0 && r.Pos <= rows[i-1].Pos {
				t.Errorf("row %d is out of order", i)
			}
			if r.Event != 0 {
				out = append(out, fmt.Sprint("event ", r.Event))
			} else {
				out = append(out, r.Type+string(r.Content))
			}
		}
		return err
	})
	return out
}

func TestOutboxesAreInOrderOfQueueing(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		all := []id.ServerName{"b", "a", "c"}
		edu := func(tx *storage.Tx, to []id.ServerName, key string, n int) error {
			return tx.QueueEDU(to, "m.x", key, json.RawMessage(fmt.Sprint(n)))
		}
		var middle int64
		updating(t, s, func(tx *storage.Tx) (err error) {
			for _, step := range []func() error{
				func() error { return tx.QueueEvent(9, all) },
				func() error { return edu(tx, all, "k", 1) },
				func() error { return tx.QueueEvent(3, []id.ServerName{"a", "a"}) },
				func() error { return edu(tx, all, "", 2) },
				func() error { middle, err = tx.Position(); return err },
				func() error { return edu(tx, all, "", 2) },
				func() error { return edu(tx, []id.ServerName{"a"}, "k", 3) },
				func() error { return edu(tx, []id.ServerName{"a"}, "other", 4) },
				func() error { return tx.QueueEvent(4, nil) },
			} {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		})
		check := func(what string, want []string, got []string) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		check("a", []string{"event 9", "event 3", "m.x2", "m.x2", "m.x3", "m.x4"}, outbox(t, s, "a", 1<<60, 100))
		check("b", []string{"event 9", "m.x1", "m.x2", "m.x2"}, outbox(t, s, "b", 1<<60, 100))
		check("the start of a", []string{"event 9", "event 3"}, outbox(t, s, "a", 1<<60, 2))
		check("a up to a row", []string{"event 9", "event 3", "m.x2"}, outbox(t, s, "a", middle, 100))
		check("nobody", nil, outbox(t, s, "d", 1<<60, 100))
		updating(t, s, func(tx *storage.Tx) error { return tx.Delivered("a", middle) })
		updating(t, s, func(tx *storage.Tx) error { return tx.Delivered("c", 1<<60) })
		check("the rest of a", []string{"m.x2", "m.x3", "m.x4"}, outbox(t, s, "a", 1<<60, 100))
		viewing(t, s, func(tx *storage.ReadTx) error {
			servers, err := tx.Outboxes()
			if diff := cmp.Diff([]id.ServerName{"a", "b"}, servers); diff != "" {
				t.Error(diff)
			}
			if err != nil {
				return err
			}
			n, err := tx.OutboxRows()
			if n != 7 {
				t.Errorf("there are %d rows", n)
			}
			return err
		})
	})
}

func TestNobodyHasAnOutboxAtFirst(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		viewing(t, s, func(tx *storage.ReadTx) error {
			servers, err := tx.Outboxes()
			if len(servers) != 0 {
				t.Errorf("there are outboxes of %s", servers)
			}
			return err
		})
	})
}

// Each room keeps its newest event, through which the others are found.
func TestAnOutboxIsShortenedWithoutLosingARoom(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		rooms := []*storagetest.Room{storagetest.NewRoom(t, s, "!a:one", aliceOne), storagetest.NewRoom(t, s, "!b:one", aliceOne)}
		to := []id.ServerName{"a", "b"}
		var newest [2]string
		for i := range 30 {
			ev := rooms[i/20].Message(aliceOne, "hi")
			newest[i/20] = fmt.Sprint("event ", ev.NID)
			updating(t, s, func(tx *storage.Tx) error {
				if err := tx.QueueEDU(to, "m.x", fmt.Sprint("key", i%3), json.RawMessage(fmt.Sprint(i))); err != nil {
					return err
				}
				if err := tx.QueueEDU(to, "m.y", "", json.RawMessage(fmt.Sprint(i))); err != nil {
					return err
				}
				return tx.QueueEvent(ev.NID, to)
			})
		}
		shorten := func(events, edus int) (over storage.OutboxOverflow) {
			updating(t, s, func(tx *storage.Tx) (err error) {
				over, err = tx.ShortenOutbox("a", events, edus)
				return err
			})
			return over
		}
		if over := shorten(30, 30); over != (storage.OutboxOverflow{}) {
			t.Errorf("of what is within the bounds is lost %+v", over)
		}
		if over := shorten(29, 28); over != (storage.OutboxOverflow{Events: 28, EDUs: 2}) {
			t.Errorf("lost is %+v", over)
		}
		got := outbox(t, s, "a", 1<<60, 1000)
		want := []string{}
		for i := range 30 {
			if i >= 27 {
				want = append(want, fmt.Sprintf("m.x%d", i))
			}
			if i >= 2 {
				want = append(want, fmt.Sprintf("m.y%d", i))
			}
			if i == 19 || i == 29 {
				want = append(want, newest[i/20])
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if n := len(outbox(t, s, "b", 1<<60, 1000)); n != 63 {
			t.Errorf("the other outbox has %d rows", n)
		}
	})
}
