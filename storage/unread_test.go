package storage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// What memory says of counts is what the database says, whatever has happened to them and however many commits were one.
func TestUnreadCountsFromMemoryAreThoseOfTheDatabase(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		rng := rand.New(rand.NewPCG(5, 6))
		users := []id.UserID{"@a:one", "@b:one", "@c:one"}
		rooms := []*storagetest.Room{storagetest.NewRoom(t, s, "!a:one", "@a:one"), storagetest.NewRoom(t, s, "!b:one", "@a:one")}
		thread := func() id.EventID { return []id.EventID{"", "$one", "$two"}[rng.IntN(3)] }
		for n := range 300 {
			row := rooms[rng.IntN(len(rooms))].Row
			some := users[:1+rng.IntN(len(users))]
			user := users[rng.IntN(len(users))]
			updating(t, s, func(tx *storage.Tx) error {
				switch rng.IntN(8) {
				case 0:
					return tx.SetUnread(user, row, storage.Unread{Thread: thread(), Notify: rng.Int64N(3), Highlight: rng.Int64N(2)})
				case 1:
					_, err := tx.ReadThread(user, row, thread())
					return err
				case 2:
					return tx.CountInThread(row.NID, "$one", some, rng.IntN(2) == 0)
				case 3:
					return tx.ClearUnread(user, row.NID)
				case 4:
					return tx.CountUnread(row.NID, some, 1, 1)
				default: // a message that notifies everybody but its sender
					pos, err := tx.NextPos()
					if err != nil {
						return err
					}
					e := &storage.Event{NID: pos, Pos: pos, ID: id.EventID(fmt.Sprintf("$%d", n)), Room: row.NID, RoomID: row.ID, Type: "m.x", Sender: user, JSON: []byte(`{}`)}
					row.Notified, row.Highlighted = row.Notified+1, row.Highlighted+rng.Int64N(2)
					return errors.Join(tx.AddEvent(e), tx.CountUnread(row.NID, []id.UserID{user}, -1, 0), tx.SaveRoomHead(row))
				}
			})
			for _, room := range rooms {
				for _, user := range users {
					var want, got []storage.Unread
					updating(t, s, func(tx *storage.Tx) (err error) { // which asks the database
						want, err = tx.UnreadOf(user, room.Row.NID)
						return err
					})
					viewing(t, s, func(tx *storage.ReadTx) (err error) {
						got, err = tx.UnreadOf(user, room.Row.NID)
						return err
					})
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("after change %d, %s in %s (-want +got):\n%s", n, user, room.Row.ID, diff)
					}
				}
			}
		}
	})
}

// What is committed while a View runs it shows neither in the counts nor in the places, though memory knows it by then.
func TestAViewCountsAsOfItsMoment(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		room := storagetest.NewRoom(t, s, "!a:one", "@a:one")
		say := func() {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) error {
				pos, err := tx.NextPos()
				if err != nil {
					return err
				}
				room.Row.Notified++
				e := &storage.Event{NID: pos, Pos: pos, ID: id.EventID(fmt.Sprintf("$said-%d", pos)), Room: room.Row.NID, RoomID: room.Row.ID, Type: "m.x", Sender: "@b:one", JSON: []byte(`{}`)}
				return errors.Join(tx.AddEvent(e), tx.SaveRoomHead(room.Row))
			})
		}
		updating(t, s, func(tx *storage.Tx) error { return tx.SetUnread("@a:one", room.Row, storage.Unread{}) })
		say()
		viewing(t, s, func(tx *storage.ReadTx) error {
			pos, err := tx.Position()
			must(t, err)
			say()
			updating(t, s, func(tx *storage.Tx) error { return tx.CountUnread(room.Row.NID, []id.UserID{"@a:one"}, 5, 5) })
			got, err := tx.UnreadOf("@a:one", room.Row.NID)
			must(t, err)
			if diff := cmp.Diff([]storage.Unread{{Room: room.Row.NID, Notify: 1}}, got); diff != "" {
				t.Error(diff)
			}
			places, err := tx.TimelinePlaces(room.Row.NID, storage.Span{UpTo: 1 << 40}, 1, true)
			must(t, err)
			if len(places) != 1 || places[0].Pos != pos {
				t.Errorf("at %d the last place is %v", pos, places)
			}
			return nil
		})
	})
}
