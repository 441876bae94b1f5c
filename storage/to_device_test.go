package storage_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

var cmpEmpty = cmpopts.EquateEmpty()

// post sends messages with these contents to a device of bob, and says whether there is one.
func post(t *testing.T, s *storage.Store, device id.DeviceID, contents ...int) bool {
	t.Helper()
	var found bool
	for _, c := range contents {
		update(t, s, func(tx *storage.Tx) error {
			pos, err := tx.NextPos()
			if err != nil {
				return err
			}
			found, err = tx.SendToDevice(bob, device, storage.DeviceMessage{Pos: pos, Sender: alice, Type: "m.test",
				Content: json.RawMessage(fmt.Sprint(`{"n":`, c, `}`))})
			return err
		})
	}
	return found
}

// fetch is a sync of bob's device: it acknowledges, gets up to three messages, and returns them with the token to go on from.
func fetch(t *testing.T, s *storage.Store, device id.DeviceID, since int64) (got []string, next int64) {
	t.Helper()
	if !s.InboxEmpty(bob, device) && found(t, s, func(tx *storage.ReadTx) (bool, error) { return tx.HasAcknowledged(bob, device, since) }) {
		update(t, s, func(tx *storage.Tx) error { return tx.AckToDevice(bob, device, since) })
	}
	next = position(t, s)
	more := false
	list := found(t, s, func(tx *storage.ReadTx) (out []storage.DeviceMessage, err error) {
		out, more, err = tx.ToDevice(bob, device, since, 3)
		return out, err
	})
	for _, m := range list {
		got = append(got, string(m.Content))
	}
	if more {
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.CutToDevice(bob, device, next, list[len(list)-1].Pos)
			return err
		})
	}
	return got, next
}

func contents(numbers ...int) []string {
	var out []string
	for _, n := range numbers {
		out = append(out, fmt.Sprint(`{"n":`, n, `}`))
	}
	return out
}

func TestToDeviceQueue(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		addUsers(t, s)
		want := func(what string, since int64, numbers ...int) (next int64) {
			t.Helper()
			got, next := fetch(t, s, "D", since)
			if diff := cmp.Diff(contents(numbers...), got, cmpEmpty); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			return next
		}
		start := want("nothing was sent", position(t, s))
		if !post(t, s, "D", 1, 2) {
			t.Error("there is no device")
		}
		first := want("two messages", start, 1, 2)
		want("the answer was lost", start, 1, 2)
		second := want("they are acknowledged", first)
		want("and gone for good", start)

		post(t, s, "D", 3, 4, 5, 6, 7, 8, 9, 10)
		third := want("the first part", second, 3, 4, 5)
		want("the first part once more", second, 3, 4, 5)
		fourth := want("the second part", third, 6, 7, 8)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = storagetest.Reopen(t, cfg)
		want("the second part after a restart", third, 6, 7, 8)
		post(t, s, "D", 11)
		fifth := want("the last part with a new one", fourth, 9, 10, 11)
		sixth := want("all is acknowledged", fifth)
		want("nothing more", sixth)
		if !s.InboxEmpty(bob, "D") {
			t.Error("nobody has seen that the queue is empty")
		}
		post(t, s, "D", 12)
		if s.InboxEmpty(bob, "D") {
			t.Error("a full queue passes for empty")
		}
		want("a new one", sixth, 12)
	})
}

func TestToDeviceReachesTheDevicesThatThereAre(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.InsertDevice(storage.Device{UserID: bob, ID: "E"})
			return err
		})
		if post(t, s, "X", 1) {
			t.Error("there is a device that is not there")
		}
		post(t, s, "D", 2)
		post(t, s, "E", 3)
		for device, want := range map[id.DeviceID][]string{"D": {`{"n":2}`}, "E": {`{"n":3}`}, "X": nil} {
			if got, _ := fetch(t, s, device, 0); !cmp.Equal(want, got, cmpEmpty) {
				t.Errorf("%s got %v", device, got)
			}
		}
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.DeleteDevices(bob, []id.DeviceID{"E"})
			return err
		})
		if n := found(t, s, func(tx *storage.ReadTx) (int, error) {
			n, err := storage.Collect[int](tx, `select count(*) from to_device where device_id = 'E'`)
			return n[0], err
		}); n != 0 {
			t.Errorf("%d messages to a device that is gone", n)
		}
	})
}

func TestSizeOfAnInbox(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		s := storagetest.Reopen(t, cfg)
		addUsers(t, s)
		want := func(what string, messages int64) {
			t.Helper()
			const each = int64(len(`{"n":1}`)) + 256
			for range 2 { // from the database, and from memory
				var got int64
				update(t, s, func(tx *storage.Tx) (err error) {
					got, err = tx.InboxSize(bob, "D")
					return err
				})
				if got != messages*each {
					t.Errorf("%s: %d bytes, not those of %d messages", what, got, messages)
				}
			}
		}
		want("nothing was sent", 0)
		post(t, s, "D", 1, 2, 3)
		want("three messages", 3)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = storagetest.Reopen(t, cfg)
		want("three messages after a restart", 3)
		_, next := fetch(t, s, "D", 0)
		post(t, s, "D", 4)
		want("four messages", 4)
		fetch(t, s, "D", next)
		want("three were acknowledged", 1)
		update(t, s, func(tx *storage.Tx) error {
			if _, err := tx.DeleteDevices(bob, []id.DeviceID{"D"}); err != nil {
				return err
			}
			_, err := tx.InsertDevice(storage.Device{UserID: bob, ID: "D", CreatedTS: 3})
			return err
		})
		want("another device of the same name", 0)
	})
}
