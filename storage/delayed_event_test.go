package storage_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestDelayedEvents(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const alice = id.UserID("@alice:hs")
		key := ""
		event := func(name string, room id.RoomID, since, delay int64) storage.DelayedEvent {
			return storage.DelayedEvent{ID: name, User: alice, Room: room, Type: "m.x", StateKey: &key, Content: json.RawMessage(`{}`), Delay: delay, Since: since}
		}
		ids := func(events []storage.DelayedEvent) (out []string) {
			for _, d := range events {
				out = append(out, d.ID)
			}
			return out
		}
		err := s.Update(t.Context(), func(tx *storage.Tx) error {
			if _, err := tx.InsertUser(storage.User{ID: alice}); err != nil {
				return err
			}
			for _, d := range []storage.DelayedEvent{event("c", "!r", 100, 30), event("a", "!r", 100, 10), event("b", "!s", 100, 20)} {
				if err := tx.AddDelayedEvent(d); err != nil {
					return err
				}
			}
			one, err := tx.DelayedEvent("a")
			want := event("a", "!r", 100, 10)
			want.Error = json.RawMessage{}
			if d := cmp.Diff(want, one); err != nil || d != "" {
				t.Errorf("read back: %v %s", err, d)
			}
			all, err := tx.DelayedEvents(2, nil)
			if d := cmp.Diff([]string{"a", "b"}, ids(all)); err != nil || d != "" {
				t.Errorf("the first two: %v %s", err, d)
			}
			all, err = tx.DelayedEvents(2, []id.RoomID{"!s"})
			if d := cmp.Diff([]string{"a", "c"}, ids(all)); err != nil || d != "" {
				t.Errorf("without a room: %v %s", err, d)
			}
			if err := tx.RestartDelayedEvent("a", 200); err != nil {
				return err
			}
			all, err = tx.DelayedEventsOf(alice, 10)
			if d := cmp.Diff([]string{"b", "c", "a"}, ids(all)); err != nil || d != "" {
				t.Errorf("after a restart: %v %s", err, d)
			}
			stale := event("a", "!r", 100, 10)
			stale.Finalised = 300
			if done, err := tx.FinaliseDelayedEvent(stale); done || err != nil {
				t.Errorf("an event that was restarted since it was read: %t %v", done, err)
			}
			for i, d := range []storage.DelayedEvent{event("a", "!r", 200, 10), event("b", "!s", 100, 20)} {
				d.Finalised, d.Event = 300+int64(i), "$e"
				if done, err := tx.FinaliseDelayedEvent(d); !done || err != nil {
					t.Errorf("finalise: %t %v", done, err)
				}
				if done, err := tx.FinaliseDelayedEvent(d); done || err != nil {
					t.Errorf("twice: %t %v", done, err)
				}
			}
			n, first, err := tx.CountDelayedEvents(alice)
			if n != 1 || first != 130 || err != nil {
				t.Errorf("count: %d %d %v", n, first, err)
			}
			if err := tx.LimitFinalisedEvents(alice, 1); err != nil {
				return err
			}
			if _, err := tx.DelayedEvent("a"); err != storage.ErrNotFound {
				t.Errorf("the oldest of too many: %v", err)
			}
			if n, err := tx.ForgetDelayedEvents(302, 10); n != 1 || err != nil {
				t.Errorf("forgotten: %d %v", n, err)
			}
			n, _, err = tx.CountDelayedEvents(alice)
			if n != 1 {
				t.Errorf("what is scheduled is not forgotten: %d", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
