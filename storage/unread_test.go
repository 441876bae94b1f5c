package storage_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestUnreadIsCountedByThread(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		members := []id.UserID{aliceOne, bobOne}
		count := func(room int64, thread id.EventID, highlight bool, users ...id.UserID) {
			t.Helper()
			others := slices.DeleteFunc(slices.Clone(members), func(u id.UserID) bool { return slices.Contains(users, u) })
			updating(t, s, func(tx *storage.Tx) error { return tx.CountUnread(room, thread, users, others, highlight) })
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

// An event that concerns nearly everybody takes another way than one for a few.
func TestUnreadIsCountedForNearlyEverybody(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		var users []id.UserID
		for _, name := range "abcdefghij" {
			users = append(users, id.UserID("@"+string(name)+":one"))
		}
		count := func(others ...id.UserID) {
			t.Helper()
			rest := slices.DeleteFunc(slices.Clone(users), func(u id.UserID) bool { return slices.Contains(others, u) })
			updating(t, s, func(tx *storage.Tx) error {
				return errors.Join(tx.CountUnread(1, "", rest, others, false), tx.CountUnread(2, "", users, nil, false))
			})
		}
		want := map[id.UserID]int64{}
		check := func(when string) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got := map[id.UserID]int64{}
				for _, u := range users {
					list, err := tx.UnreadOf(u, 1)
					if err != nil {
						return err
					}
					for _, l := range list {
						got[u] = l.Notify
					}
				}
				same(t, when, want, got)
				return nil
			})
		}
		everybodyBut := func(others ...id.UserID) {
			count(others...)
			for _, u := range users {
				if !slices.Contains(others, u) {
					want[u]++
				}
			}
		}
		everybodyBut(users[3])
		check("when nobody had anything unread")
		everybodyBut(users[0])
		check("when one had not")
		updating(t, s, func(tx *storage.Tx) error {
			return errors.Join(tx.SetUnread(users[5], storage.Unread{Room: 1}), tx.ClearUnread(users[6], 1))
		})
		delete(want, users[5])
		delete(want, users[6])
		check("after one has read everything and one has left")
		users = slices.Delete(users, 6, 7)
		everybodyBut()
		check("of those who are left")
	})
}
