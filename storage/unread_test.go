package storage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestUnread(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		one, two := &storage.Room{ID: "!one:one", Version: "11"}, &storage.Room{ID: "!two:one", Version: "11"}
		update := func(fn func(tx *storage.Tx) error) {
			t.Helper()
			updating(t, s, fn)
		}
		// said has an event that notifies everybody in the room but some.
		said := func(room *storage.Room, highlight int64, but ...id.UserID) {
			t.Helper()
			update(func(tx *storage.Tx) error {
				room.Notified, room.Highlighted = room.Notified+1, room.Highlighted+highlight
				if err := tx.CountUnread(room.NID, but, -1, -highlight); err != nil {
					return err
				}
				return tx.SaveRoomHead(room)
			})
		}
		come := func(user id.UserID, room *storage.Room) {
			t.Helper()
			update(func(tx *storage.Tx) error { return tx.SetUnread(user, room, storage.Unread{}) })
		}
		want := func(when string, user id.UserID, want ...storage.Unread) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				var got, all []storage.Unread
				total := int64(0)
				for _, room := range []*storage.Room{one, two} {
					some, err := tx.UnreadOf(user, room.NID)
					if err != nil {
						return err
					}
					got = append(got, some...)
				}
				rooms, err := tx.UnreadRooms(user)
				for _, some := range rooms {
					all = append(all, some...)
				}
				for _, u := range want {
					total += u.Notify
				}
				anyOrder := cmpopts.SortSlices(func(a, b storage.Unread) bool { return a.Room < b.Room || a.Room == b.Room && a.Thread < b.Thread })
				for _, list := range [][]storage.Unread{got, all} {
					if diff := cmp.Diff(want, list, anyOrder, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s, of %s: %s", when, user, diff)
					}
				}
				sum, terr := tx.UnreadTotal(user)
				same(t, when+", together", total, sum)
				if err == nil {
					err = terr
				}
				return err
			})
		}
		update(func(tx *storage.Tx) error {
			if err := tx.AddRoom(one); err != nil {
				return err
			}
			return tx.AddRoom(two)
		})
		come(aliceOne, one)
		come(aliceOne, two)
		want("at first", aliceOne)
		said(one, 0)
		said(one, 1)
		come(bobOne, one)
		want("of what all should see", aliceOne, storage.Unread{Room: one.NID, Notify: 2, Highlight: 1})
		want("before having come", bobOne)
		said(one, 0, aliceOne)
		want("of what is not for them", aliceOne, storage.Unread{Room: one.NID, Notify: 2, Highlight: 1})
		want("having come", bobOne, storage.Unread{Room: one.NID, Notify: 1})
		want("never having been there", eveOne)
		update(func(tx *storage.Tx) error {
			if err := tx.CountInThread(one.NID, "$t", []id.UserID{aliceOne, bobOne}, false); err != nil {
				return err
			}
			return tx.CountInThread(one.NID, "$t", []id.UserID{aliceOne}, true)
		})
		said(two, 0)
		main := storage.Unread{Room: one.NID, Notify: 2, Highlight: 1}
		thread, other := storage.Unread{Room: one.NID, Thread: "$t", Notify: 2, Highlight: 1}, storage.Unread{Room: two.NID, Notify: 1}
		want("in a thread and another room", aliceOne, main, thread, other)
		want("in a thread", bobOne, storage.Unread{Room: one.NID, Notify: 1}, storage.Unread{Room: one.NID, Thread: "$t", Notify: 1})
		update(func(tx *storage.Tx) error { return tx.SetUnread(aliceOne, one, storage.Unread{Notify: 1}) })
		want("having read some", aliceOne, storage.Unread{Room: one.NID, Notify: 1}, thread, other)
		for _, thread := range []id.EventID{"", "$t"} {
			for _, some := range []bool{true, false} {
				update(func(tx *storage.Tx) error {
					got, err := tx.ReadThread(aliceOne, one, thread)
					same(t, "there was something in "+string(thread), some, got)
					return err
				})
			}
		}
		want("having read all", aliceOne, other)
		said(one, 1)
		want("after that", aliceOne, storage.Unread{Room: one.NID, Notify: 1, Highlight: 1}, other)
		update(func(tx *storage.Tx) error { return tx.ClearUnread(aliceOne, one.NID) })
		said(one, 0)
		want("having left", aliceOne, other)
		want("who stayed", bobOne, storage.Unread{Room: one.NID, Notify: 3, Highlight: 1}, storage.Unread{Room: one.NID, Thread: "$t", Notify: 1})
	})
}
