package storage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// setPusher sets a pusher of an app, with its name as pushkey.
func setPusher(t *testing.T, s *storage.Store, user id.UserID, device id.DeviceID, app string, ts int64) (pusher int64) {
	t.Helper()
	updating(t, s, func(tx *storage.Tx) (err error) {
		pusher, err = tx.SetPusher(storage.Pusher{Kind: "http", User: user, AppID: app, Pushkey: app, Device: device, AppName: "App", DeviceName: "Phone", Lang: "en",
			Data: json.RawMessage(`{}`), SetTS: ts})
		return err
	})
	return pusher
}

// appsOf is the apps for which a user has pushers.
func appsOf(t *testing.T, s *storage.Store, user id.UserID) (out []string) {
	t.Helper()
	for _, p := range found(t, s, func(tx *storage.ReadTx) ([]storage.Pusher, error) { return tx.PushersOf(user) }) {
		out = append(out, p.AppID)
	}
	return out
}

// waiting is what waits for a pusher.
func waiting(t *testing.T, s *storage.Store, pusher int64) (out []string) {
	t.Helper()
	last := int64(0)
	for _, p := range found(t, s, func(tx *storage.ReadTx) ([]storage.Push, error) { return tx.PushQueue(pusher, 100) }) {
		if p.Pos <= last {
			t.Errorf("row %d comes after %d", p.Pos, last)
		}
		last = p.Pos
		out = append(out, fmt.Sprint(p.Event, string(p.Actions)))
	}
	return out
}

func TestPushersAreKeptByAppAndPushkey(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		want := storage.Pusher{Kind: "http", User: alice, AppID: "app", Pushkey: "key", Device: "D", AppName: "App", DeviceName: "Phone", ProfileTag: "tag", Lang: "de",
			Data: json.RawMessage(`{"url":"https://push.hs/_matrix/push/v1/notify","x":1}`), SetTS: 7}
		updating(t, s, func(tx *storage.Tx) (err error) { want.ID, err = tx.SetPusher(want); return err })
		check := func(what string) {
			t.Helper()
			same(t, what, want, found(t, s, func(tx *storage.ReadTx) (storage.Pusher, error) { return tx.Pusher(want.ID) }))
			same(t, what+", in the list", []storage.Pusher{want}, found(t, s, func(tx *storage.ReadTx) ([]storage.Pusher, error) { return tx.PushersOf(alice) }))
		}
		check("a new pusher")
		was := want.ID
		want.Device, want.AppName, want.DeviceName, want.ProfileTag, want.Lang, want.Data, want.SetTS = "", "B", "C", "", "en", json.RawMessage(`{}`), 9
		updating(t, s, func(tx *storage.Tx) (err error) { want.ID, err = tx.SetPusher(want); return err })
		if want.ID != was {
			t.Errorf("the same pusher is %d and %d", was, want.ID)
		}
		check("the pusher, set again by a session without a device")
		setPusher(t, s, bob, "D", "app", 1)
		same(t, "owners", 2, len(found(t, s, (*storage.ReadTx).PusherOwners)))
		updating(t, s, func(tx *storage.Tx) error { return tx.DeletePusher(alice, "app", "other") })
		check("after another one was deleted")
		updating(t, s, func(tx *storage.Tx) error { return tx.DeletePusher(alice, "app", "key") })
		same(t, "alice's, deleted", []string(nil), appsOf(t, s, alice))
		same(t, "bob's", []string{"app"}, appsOf(t, s, bob))
	})
}

func TestAPusherGoesWithItsSession(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		updating(t, s, func(tx *storage.Tx) error {
			_, err := tx.InsertDevice(storage.Device{UserID: alice, ID: "E"})
			return err
		})
		lost := setPusher(t, s, alice, "D", "d", 1)
		setPusher(t, s, alice, "E", "e", 1)
		setPusher(t, s, bob, "D", "d", 1)
		setPusher(t, s, alice, "", "bridge", 1)
		updating(t, s, func(tx *storage.Tx) error {
			if _, err := tx.QueueBadge(alice, 1); err != nil {
				return err
			}
			_, err := tx.DeleteDevicesExcept(alice, "E")
			return err
		})
		same(t, "alice's", []string{"e", "bridge"}, appsOf(t, s, alice))
		same(t, "bob's", []string{"d"}, appsOf(t, s, bob))
		same(t, "what waits for the lost one", []string(nil), waiting(t, s, lost))
		updating(t, s, func(tx *storage.Tx) error { return tx.DeactivateUser(alice, 5, false) })
		same(t, "alice's, once she has gone", []string(nil), appsOf(t, s, alice))
		same(t, "rows", int64(0), found(t, s, (*storage.ReadTx).PushRows))
	})
}

func TestSomePushersMakeRoomForOthers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		for i := range 5 {
			setPusher(t, s, alice, "D", fmt.Sprint("app", i), int64(10+i%4))
		}
		setPusher(t, s, bob, "D", "app1", 1)
		updating(t, s, func(tx *storage.Tx) error { return tx.LimitPushers(alice, 3) })
		same(t, "those set last", []string{"app1", "app2", "app3"}, appsOf(t, s, alice))
		updating(t, s, func(tx *storage.Tx) error { return tx.DeletePushersOfOthers(bob, "app1", "app1") })
		same(t, "what bob has not taken", []string{"app2", "app3"}, appsOf(t, s, alice))
		same(t, "bob's", []string{"app1"}, appsOf(t, s, bob))
		updating(t, s, func(tx *storage.Tx) error {
			p, err := tx.PushersOf(bob)
			if err != nil {
				return err
			}
			p[0].SetTS--
			if gone, err := tx.DeleteRejectedPusher(p[0]); gone || err != nil {
				t.Errorf("a pusher that was set again is rejected: %v, %v", gone, err)
			}
			p[0].SetTS++
			if gone, err := tx.DeleteRejectedPusher(p[0]); !gone || err != nil {
				t.Errorf("a pusher is rejected: %v, %v", gone, err)
			}
			return nil
		})
		same(t, "bob's, rejected", []string(nil), appsOf(t, s, bob))
	})
}

func TestPushesWaitInOrder(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		a, b, c := setPusher(t, s, alice, "D", "a", 1), setPusher(t, s, alice, "D", "b", 1), setPusher(t, s, bob, "D", "c", 1)
		queue := func(event int64, actions string, users ...id.UserID) (out []int64) {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) (err error) {
				if event == 0 {
					out, err = tx.QueueBadge(users[0], 5)
				} else {
					out, err = tx.QueuePush(event, json.RawMessage(actions), users, 5)
				}
				return err
			})
			return out
		}
		same(t, "alice's pushers", []int64{a, b}, queue(30, `["notify"]`, alice))
		same(t, "alice's pushers, again", []int64{a, b}, queue(0, "", alice))
		same(t, "everybody's", 3, len(queue(20, `["x"]`, alice, bob, "@nobody:hs")))
		same(t, "nobody's", []int64{}, queue(21, `["x"]`, "@nobody:hs"))
		same(t, "nobody's either", []int64{}, queue(0, "", "@nobody:hs"))
		same(t, "a's", []string{`30["notify"]`, "0", `20["x"]`}, waiting(t, s, a))
		queue(0, "", alice)
		same(t, "a's, with the number at the end", []string{`30["notify"]`, `20["x"]`, "0"}, waiting(t, s, a))
		same(t, "c's", []string{`20["x"]`}, waiting(t, s, c))
		same(t, "pushers", []int64{a, b, c}, found(t, s, (*storage.ReadTx).WaitingPushers))
		same(t, "rows", int64(7), found(t, s, (*storage.ReadTx).PushRows))
		updating(t, s, func(tx *storage.Tx) error {
			rows, err := tx.PushQueue(a, 1)
			if err != nil {
				return err
			}
			if len(rows) != 1 || rows[0].TS != 5 {
				t.Errorf("the first row is %+v", rows)
			}
			return tx.Pushed(a, rows[0].Pos)
		})
		updating(t, s, func(tx *storage.Tx) error { return tx.Pushed(c, 1<<60) })
		same(t, "the rest of a's", []string{`20["x"]`, "0"}, waiting(t, s, a))
		same(t, "all of b's", []string{`30["notify"]`, `20["x"]`, "0"}, waiting(t, s, b))
		same(t, "pushers that are left", []int64{a, b}, found(t, s, (*storage.ReadTx).WaitingPushers))
		for i := range 5 {
			queue(int64(40+i), "", alice)
		}
		updating(t, s, func(tx *storage.Tx) error {
			n, err := tx.ShortenPushQueue(a, 2)
			if n != 4 {
				t.Errorf("%d rows were removed", n)
			}
			return err
		})
		same(t, "a's, shortened", []string{"0", "43", "44"}, waiting(t, s, a))
		updating(t, s, func(tx *storage.Tx) error {
			n, err := tx.ShortenPushQueue(a, 2)
			if n != 0 {
				t.Errorf("%d more rows were removed", n)
			}
			return err
		})
	})
}

func TestUnreadIsAddedUpOverRooms(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		updating(t, s, func(tx *storage.Tx) error {
			one, two := &storage.Room{ID: "!one:hs", Version: "11"}, &storage.Room{ID: "!two:hs", Version: "11"}
			return errors.Join(tx.AddRoom(one), tx.AddRoom(two),
				tx.SetUnread(alice, one, storage.Unread{Notify: 2}),
				tx.SetUnread(alice, one, storage.Unread{Thread: "$t", Notify: 3, Highlight: 1}),
				tx.SetUnread(alice, two, storage.Unread{Notify: 4}),
				tx.SetUnread(bob, one, storage.Unread{Notify: 1}))
		})
		for user, want := range map[id.UserID]int64{alice: 9, bob: 1, "@nobody:hs": 0} {
			if diff := cmp.Diff(want, found(t, s, func(tx *storage.ReadTx) (int64, error) { return tx.UnreadTotal(user) })); diff != "" {
				t.Errorf("%s: %s", user, diff)
			}
		}
	})
}

func TestPushersByMail(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		set := func(secret string) (pusher int64) {
			updating(t, s, func(tx *storage.Tx) (err error) {
				pusher, err = tx.SetPusher(storage.Pusher{Kind: storage.PusherEmail, Secret: secret, User: alice, AppID: "m.email", Pushkey: "a@b",
					Lang: "en", Data: json.RawMessage(`{}`), SetTS: 1})
				return err
			})
			return pusher
		}
		p := set("first")
		same(t, "the pusher, set again", p, set("second"))
		got := found(t, s, func(tx *storage.ReadTx) (storage.Pusher, error) { return tx.Pusher(p) })
		same(t, "the secret that letters have told", "email first", got.Kind+" "+got.Secret)
		updating(t, s, func(tx *storage.Tx) error {
			pushers, err := tx.QueueBadge(alice, 1)
			same(t, "who hears of a number alone", 0, len(pushers))
			return err
		})
		told := storage.MailTold{Room: 7, Pos: 1, SentTS: 2, Pause: 3}
		updating(t, s, func(tx *storage.Tx) error { return tx.SetMailTold(p, told) })
		told.Pos, told.SentTS, told.Pause = 4, 5, 6
		updating(t, s, func(tx *storage.Tx) error { return tx.SetMailTold(p, told) })
		letters := func() map[int64]storage.MailTold {
			return found(t, s, func(tx *storage.ReadTx) (map[int64]storage.MailTold, error) { return tx.MailTold(p) })
		}
		same(t, "letters", map[int64]storage.MailTold{7: told}, letters())
		updating(t, s, func(tx *storage.Tx) error { return tx.DeletePusher(alice, "m.email", "a@b") })
		same(t, "letters of a pusher that is gone", map[int64]storage.MailTold{}, letters())
	})
}
