package storage_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestUnreadIsCountedByThread(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		count := func(room int64, thread id.EventID, highlight bool, users ...id.UserID) {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) error { return tx.CountUnread(room, thread, users, highlight) })
		}
		want := func(user id.UserID, room int64, want ...storage.Unread) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.UnreadOf(user, room)
				slices.SortFunc(got, func(a, b storage.Unread) int { return strings.Compare(string(a.Thread), string(b.Thread)) })
				same(t, string(user), append([]storage.Unread{}, want...), got)
				return err
			})
		}
		count(1, "", false, aliceOne, bobOne)
		count(1, "", true, aliceOne)
		count(1, "$t", false, aliceOne)
		count(2, "", true, aliceOne)
		main, thread := storage.Unread{Room: 1, Notify: 2, Highlight: 1}, storage.Unread{Room: 1, Thread: "$t", Notify: 1}
		want(aliceOne, 1, main, thread)
		want(aliceOne, 2, storage.Unread{Room: 2, Notify: 1, Highlight: 1})
		want(bobOne, 1, storage.Unread{Room: 1, Notify: 1})
		want(eveOne, 1)
		updating(t, s, func(tx *storage.Tx) error {
			main = storage.Unread{Room: 1, Notify: 7, Highlight: 3}
			if err := tx.SetUnread(aliceOne, main); err != nil {
				return err
			}
			return tx.SetUnread(bobOne, storage.Unread{Room: 1})
		})
		want(aliceOne, 1, main, thread)
		want(bobOne, 1)
		for _, some := range []bool{true, false} {
			updating(t, s, func(tx *storage.Tx) error {
				got, err := tx.ReadThread(aliceOne, 1, "$t")
				same(t, "there was something", some, got)
				return err
			})
		}
		want(aliceOne, 1, main)
		updating(t, s, func(tx *storage.Tx) error { return tx.ClearUnread(aliceOne, 1) })
		want(aliceOne, 1)
		want(aliceOne, 2, storage.Unread{Room: 2, Notify: 1, Highlight: 1})
	})
}
