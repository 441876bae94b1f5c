package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestSlidingConnections(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const user id.UserID = "@a:one"
		update := func(fn func(tx *storage.Tx) error) {
			t.Helper()
			if err := s.Update(context.Background(), fn); err != nil {
				t.Fatal(err)
			}
		}
		view := func(fn func(tx *storage.ReadTx) error) {
			t.Helper()
			if err := s.View(context.Background(), fn); err != nil {
				t.Fatal(err)
			}
		}
		equal := func(what string, want, got any) {
			t.Helper()
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", what, d)
			}
		}
		update(func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: user})
			return err
		})
		open := func(name string, used int64) (c storage.SlidingConnection, err error) {
			c = storage.SlidingConnection{User: user, Device: "D", Name: name, Seq: 1, Extras: "x", Used: used}
			err = s.Update(context.Background(), func(tx *storage.Tx) error { return tx.OpenSlidingConnection(&c, 3) })
			return c, err
		}
		if _, err := open("a", 1); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a connection of no device: %v", err)
		}
		update(func(tx *storage.Tx) error {
			_, err := tx.InsertDevice(storage.Device{UserID: user, ID: "D"})
			return err
		})
		first, err := open("a", 1)
		if err != nil {
			t.Fatal(err)
		}
		first.Seq, first.Confirmed, first.Extras, first.ExtrasBefore = 2, 1, "y", "x"
		update(func(tx *storage.Tx) error {
			return errors.Join(tx.SaveSlidingConnection(first), tx.SaveSlidingRoom(first.NID, storage.SlidingRoom{Room: 7, Seq: 1, Told: "old"}),
				tx.SaveSlidingRoom(first.NID, storage.SlidingRoom{Room: 7, Seq: 2, Told: "new", Before: "old"}),
				tx.SaveSlidingRoom(first.NID, storage.SlidingRoom{Room: 8, Seq: 2, Told: "new"}),
				tx.SaveSlidingRoom(first.NID, storage.SlidingRoom{Room: 8}),
				tx.AddSlidingChoice(first.NID, storage.SlidingChoice{Number: 1, Choice: "b"}),
				tx.AddSlidingChoice(first.NID, storage.SlidingChoice{Number: 0, Choice: "a"}))
		})
		view(func(tx *storage.ReadTx) error {
			got, err := tx.SlidingConnection(user, "D", "a")
			equal("connection", first, got)
			rooms, err2 := tx.SlidingRooms(first.NID)
			equal("rooms", []storage.SlidingRoom{{Room: 7, Seq: 2, Told: "new", Before: "old"}}, rooms)
			choices, err3 := tx.SlidingChoices(first.NID)
			equal("choices", []storage.SlidingChoice{{Number: 0, Choice: "a"}, {Number: 1, Choice: "b"}}, choices)
			return errors.Join(err, err2, err3)
		})
		again, err := open("a", 2)
		if err != nil || again.NID == first.NID {
			t.Fatalf("a connection under the same name: %v %v", again.NID, err)
		}
		for i := range 3 {
			if _, err := open(fmt.Sprint("b", i), int64(10+i)); err != nil {
				t.Fatal(err)
			}
		}
		there := func() (names []string) {
			view(func(tx *storage.ReadTx) error {
				for _, name := range []string{"a", "b0", "b1", "b2"} {
					_, err := tx.SlidingConnection(user, "D", name)
					if err == nil {
						names = append(names, name)
					} else if !errors.Is(err, storage.ErrNotFound) {
						return err
					}
				}
				rooms, err := tx.SlidingRooms(first.NID)
				equal("rooms of a connection that is gone", 0, len(rooms))
				return err
			})
			return names
		}
		equal("the least used goes", []string{"b0", "b1", "b2"}, there())
		err = s.Update(context.Background(), func(tx *storage.Tx) error { return tx.SaveSlidingConnection(first) })
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("saving what is gone: %v", err)
		}
		update(func(tx *storage.Tx) error { return tx.DropIdleConnections(11, 10) })
		equal("the idle go", []string{"b1", "b2"}, there())
		update(func(tx *storage.Tx) error {
			_, err := tx.DeleteDevices(user, []id.DeviceID{"D"})
			return err
		})
		equal("all go with the device", []string(nil), there())
	})
}

func TestListedRooms(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const user id.UserID = "@a:one"
		room := storagetest.NewRoom(t, s, "!r:one", user)
		said := room.Message(user, "hello")
		room.State(user, "m.room.name", "", `{"name":"N"}`)
		err := s.View(context.Background(), func(tx *storage.ReadTx) error {
			want := []storage.ListedRoom{{Room: room.Row.NID, LastPos: room.Row.LastPos, Name: "N"}}
			got, err := tx.ListedRooms(user)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%s %v", d, err)
			}
			got, err = tx.ListedRoomsAt([]int64{room.Row.NID, 99})
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%s %v", d, err)
			}
			for typ, want := range map[string]int64{"m.room.message": said.Pos, "m.room.nothing": 0, "m.room.name": room.Row.LastPos} {
				if pos, err := tx.LastOfTypes(room.Row.NID, room.Row.LastPos, []string{typ}); pos != want || err != nil {
					t.Errorf("last %s: %d, %v", typ, pos, err)
				}
			}
			if pos, err := tx.LastOfTypes(room.Row.NID, said.Pos-1, []string{"m.room.message"}); pos != 0 || err != nil {
				t.Errorf("before the message: %d, %v", pos, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
