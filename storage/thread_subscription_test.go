package storage_test

import (
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestThreadSubscriptions(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		for _, u := range []id.UserID{aliceOne, bobOne} {
			updating(t, s, func(tx *storage.Tx) error {
				_, err := tx.InsertUser(storage.User{ID: u})
				return err
			})
		}
		room := storagetest.NewRoom(t, s, "!r:one", aliceOne).Row.NID
		say := func(user id.UserID, root id.EventID, subscribed bool) storage.ThreadSubscription {
			t.Helper()
			v := storage.ThreadSubscription{User: user, Room: room, RoomID: "!r:one", Root: root, Subscribed: subscribed}
			updating(t, s, func(tx *storage.Tx) (err error) {
				if v.Pos, err = tx.NextPos(); err != nil {
					return err
				}
				return tx.SetThreadSubscription(v)
			})
			return v
		}
		old := say(aliceOne, "$a", true)
		b := say(aliceOne, "$b", true)
		bobs := say(bobOne, "$a", true)
		a := say(aliceOne, "$a", false)
		viewing(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.ThreadSubscription(aliceOne, room, "$a")
			same(t, "the last word", a, got)
			return err
		})
		since := func(user id.UserID, after, upTo int64, limit int, wantMore bool, want ...storage.ThreadSubscription) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, more, err := tx.ThreadSubscriptionsSince(user, storage.Span{After: after, UpTo: upTo}, limit)
				same(t, "since", append([]storage.ThreadSubscription{}, want...), append([]storage.ThreadSubscription{}, got...))
				same(t, "more", wantMore, more)
				return err
			})
		}
		since(aliceOne, 0, a.Pos, 9, false, a, b)
		since(aliceOne, 0, a.Pos, 1, true, a)
		since(aliceOne, old.Pos, a.Pos-1, 9, false, b)
		since(aliceOne, a.Pos, a.Pos+9, 9, false)
		since(eveOne, 0, a.Pos, 9, false)
		viewing(t, s, func(tx *storage.ReadTx) error {
			list, err := tx.SubscribersOf(room, "$a")
			same(t, "all that say something", 2, len(list))
			for _, v := range list {
				same(t, string(v.User), v.User == bobOne, v.Subscribed)
			}
			return err
		})
		for user, want := range map[id.UserID]bool{aliceOne: true, bobOne: true, eveOne: false} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.HasThreadSubscriptions(user)
				same(t, string(user), want, got)
				return err
			})
		}
		updating(t, s, func(tx *storage.Tx) error { return tx.DeactivateUser(bobOne, 1, false) })
		since(bobOne, 0, bobs.Pos, 9, false)
	})
}
