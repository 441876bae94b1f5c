package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	zoe = id.UserID("@zoe:there")
	yan = id.UserID("@yan:there")
)

func remoteList(t *testing.T, s *storage.Store, user id.UserID) storage.RemoteList {
	t.Helper()
	return *found(t, s, func(tx *storage.ReadTx) (*storage.RemoteList, error) {
		lists, err := tx.RemoteLists([]id.UserID{user, "@nobody:there"})
		return lists[user], err
	})
}

func keepRemoteList(t *testing.T, s *storage.Store, user id.UserID, pos int64) {
	t.Helper()
	update(t, s, func(tx *storage.Tx) error {
		return tx.SetRemoteList(storage.RemoteList{User: user, Version: 5, Fetched: pos}, 1)
	})
}

func TestRemoteListsAreCurrentWhileCompanyLasts(t *testing.T) {
	join := func(users ...id.UserID) func(r *storagetest.Room) {
		return func(r *storagetest.Room) {
			for _, u := range users {
				r.Member(u, u, "join")
			}
		}
	}
	leave := func(u id.UserID) func(r *storagetest.Room) {
		return func(r *storagetest.Room) { r.Member(u, u, "leave") }
	}
	for _, test := range []struct {
		name              string
		before, after     []func(r *storagetest.Room) // of the moment at which the list is asked for
		followed, current bool
	}{
		{name: "nobody shares a room"},
		{name: "a common room", before: []func(*storagetest.Room){join(zoe)}, followed: true, current: true},
		{name: "a common room, but only afterwards", after: []func(*storagetest.Room){join(zoe)}, followed: true},
		{name: "the user has left", before: []func(*storagetest.Room){join(zoe)}, after: []func(*storagetest.Room){leave(zoe)}},
		{name: "ours has left", before: []func(*storagetest.Room){join(zoe)}, after: []func(*storagetest.Room){leave(alice)}},
		{name: "the user has left and come back", before: []func(*storagetest.Room){join(zoe)},
			after: []func(*storagetest.Room){leave(zoe), join(zoe)}, followed: true},
		{name: "ours has left and come back", before: []func(*storagetest.Room){join(zoe)},
			after: []func(*storagetest.Room){leave(alice), join(alice)}, followed: true},
		{name: "another one of ours stays", before: []func(*storagetest.Room){join(zoe, bob)}, after: []func(*storagetest.Room){leave(alice)},
			followed: true, current: true},
		{name: "only users of other servers stay", before: []func(*storagetest.Room){join(zoe, yan)}, after: []func(*storagetest.Room){leave(alice)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				r := storagetest.NewRoom(t, s, "!one:hs", alice)
				r.Message(zoe, "so that all have a number")
				for _, fn := range test.before {
					fn(r)
				}
				keepRemoteList(t, s, zoe, position(t, s))
				for _, fn := range test.after {
					fn(r)
				}
				if l := remoteList(t, s, zoe); l.Followed != test.followed || l.Current != test.current || l.Usable() != test.current {
					t.Errorf("got %+v", l)
				}
				unfollowed := found(t, s, func(tx *storage.ReadTx) ([]id.UserID, error) { return tx.UnfollowedLists(10) })
				if (len(unfollowed) == 0) != test.followed {
					t.Errorf("unfollowed are %v", unfollowed)
				}
			})
		})
	}
}

func TestRemoteListsKeepTheirState(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!one:hs", alice)
		r.Member(zoe, zoe, "join")
		r.Member(yan, yan, "join")
		if diff := cmp.Diff(storage.RemoteList{User: zoe, Followed: true}, remoteList(t, s, zoe)); diff != "" {
			t.Errorf("at first: %s", diff)
		}
		pos := position(t, s)
		keepRemoteList(t, s, zoe, pos)
		keepRemoteList(t, s, yan, pos)
		stale := func(now int64, except ...id.ServerName) []id.UserID {
			return found(t, s, func(tx *storage.ReadTx) (out []id.UserID, err error) {
				lists, err := tx.StaleLists(now, except, 10)
				for _, l := range lists {
					out = append(out, l.User)
				}
				return out, err
			})
		}
		if got := stale(1000); len(got) > 0 {
			t.Errorf("stale are %v", got)
		}
		update(t, s, func(tx *storage.Tx) error {
			for range 2 {
				if err := tx.HearOfRemoteList(zoe); err != nil {
					return err
				}
			}
			if err := tx.SetRemoteVersion(zoe, 9); err != nil {
				return err
			}
			if err := tx.PostponeResync(yan, 3, 200); err != nil {
				return err
			}
			return tx.PostponeResync(zoe, 2, 100)
		})
		want := storage.RemoteList{User: zoe, Followed: true, Current: true, Stale: true, Version: 9, Changes: 2, Fetched: pos, Tries: 2}
		if diff := cmp.Diff(want, remoteList(t, s, zoe)); diff != "" {
			t.Error(diff)
		}
		next := found(t, s, func(tx *storage.ReadTx) (int64, error) { return tx.NextResync([]id.ServerName{"elsewhere"}) })
		if got := stale(199); next != 100 || !cmp.Equal(got, []id.UserID{zoe}) {
			t.Errorf("next is at %d, due are %v", next, got)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.HurryResyncs("elsewhere", 50) })
		if got := stale(50); len(got) > 0 {
			t.Errorf("hurried: %v", got)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.HurryResyncs("there", 50) })
		if got := stale(50); len(got) != 2 {
			t.Errorf("due are %v", got)
		}
		if got := stale(50, "elsewhere", "there"); len(got) > 0 {
			t.Errorf("due are %v, whose server is busy", got)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.DropRemoteList(zoe) })
		if diff := cmp.Diff(storage.RemoteList{User: zoe, Followed: true}, remoteList(t, s, zoe)); diff != "" {
			t.Errorf("at last: %s", diff)
		}
	})
}

func TestRemoteDevicesAndKeys(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		name := "phone"
		devices := []storage.DeviceKeys{
			{User: yan, Device: "Y", Keys: json.RawMessage(`{"a":"\u0000"}`), Signatures: json.RawMessage(`{}`)},
			{User: zoe, Device: "Z1", Keys: json.RawMessage(`{"a":1}`), Signatures: json.RawMessage(`{"s":1}`), DisplayName: &name},
			{User: zoe, Device: "Z2", Keys: json.RawMessage(`{}`), Signatures: json.RawMessage(`{}`)},
		}
		keys := []storage.CrossSigningKey{
			{User: zoe, Usage: storage.MasterKey, PublicKey: "m", Keys: json.RawMessage(`{}`), Signatures: json.RawMessage(`{}`)},
			{User: zoe, Usage: storage.SelfSigningKey, PublicKey: "s", Keys: json.RawMessage(`{}`), Signatures: json.RawMessage(`{}`)},
		}
		keepRemoteList(t, s, zoe, 1)
		keepRemoteList(t, s, yan, 1)
		put := func() {
			update(t, s, func(tx *storage.Tx) error {
				for _, d := range devices {
					if err := tx.PutRemoteDevice(d); err != nil {
						return err
					}
				}
				for _, k := range keys {
					if err := tx.PutRemoteCrossSigningKey(k); err != nil {
						return err
					}
				}
				return nil
			})
		}
		check := func(what string) {
			t.Helper()
			users := []id.UserID{zoe, yan, "@nobody:there"}
			gotDevices := found(t, s, func(tx *storage.ReadTx) ([]storage.DeviceKeys, error) { return tx.RemoteDevices(users) })
			gotKeys := found(t, s, func(tx *storage.ReadTx) ([]storage.CrossSigningKey, error) { return tx.RemoteCrossSigningKeys(users) })
			if diff := cmp.Diff(devices, gotDevices, cmpEmpty) + cmp.Diff(keys, gotKeys, cmpEmpty); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		put()
		check("new")
		devices[1].DisplayName, devices[1].Keys, keys[0].PublicKey = nil, json.RawMessage(`{"a":2}`), "m2"
		put()
		check("changed")
		update(t, s, func(tx *storage.Tx) error {
			if err := tx.DeleteRemoteCrossSigningKey(zoe, storage.SelfSigningKey); err != nil {
				return err
			}
			return tx.DeleteRemoteDevice(zoe, "Z2")
		})
		devices, keys = devices[:2], keys[:1]
		check("deleted")
		update(t, s, func(tx *storage.Tx) error { return tx.DropRemoteList(zoe) })
		devices, keys = devices[:1], nil
		check("dropped")
	})
}

func TestDeviceListVersionsAndServersMet(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		version := func() int64 {
			return found(t, s, func(tx *storage.ReadTx) (int64, error) { return tx.DeviceListVersion(alice) })
		}
		if v := version(); v != 0 {
			t.Errorf("at first: %d", v)
		}
		for _, v := range []int64{4, 7} {
			update(t, s, func(tx *storage.Tx) error { return tx.SetDeviceListVersion(alice, v) })
			if got := version(); got != v {
				t.Errorf("got %d and not %d", got, v)
			}
		}
		one, two := storagetest.NewRoom(t, s, "!one:hs", alice), storagetest.NewRoom(t, s, "!two:hs", bob)
		one.Member(zoe, zoe, "join")
		two.Member(zoe, zoe, "join")
		two.Member("@x:elsewhere", "@x:elsewhere", "join")
		met := func(user id.UserID) []id.ServerName {
			return found(t, s, func(tx *storage.ReadTx) ([]id.ServerName, error) { return tx.ServersMet(user, two.Row.NID) })
		}
		for user, want := range map[id.UserID][]id.ServerName{alice: {"elsewhere"}, bob: {"elsewhere", "there"}, "@new:hs": {"elsewhere", "there"}} {
			if got := met(user); !cmp.Equal(got, want) {
				t.Errorf("%s meets %v", user, got)
			}
		}
	})
}

func TestReceivedMessagesAreRememberedForAWhile(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		receive := func(origin id.ServerName, message string, ts int64) (fresh bool) {
			update(t, s, func(tx *storage.Tx) (err error) {
				fresh, err = tx.ReceiveMessage(origin, message, ts)
				return err
			})
			return fresh
		}
		for i := range 10 {
			if !receive("there", fmt.Sprint(i), int64(i)) {
				t.Errorf("%d is not fresh", i)
			}
		}
		if receive("there", "5", 100) || !receive("elsewhere", "5", 100) {
			t.Error("a message is told by its server and its id")
		}
		forget := func(ts int64, keep int) {
			update(t, s, func(tx *storage.Tx) error { return tx.ForgetMessages(ts, keep) })
		}
		forget(3, 100) // 0 to 2 are too old
		forget(0, 5)   // 3 and 4 are too many
		for i := range 10 {
			if got := receive("there", fmt.Sprint(i), 200); got != (i < 5) {
				t.Errorf("%d is fresh: %v", i, got)
			}
		}
	})
}

func TestOwnJoiningOfARoomWithOtherServers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!one:hs", bob)
		r.Member(zoe, zoe, "join")
		since := position(t, s)
		r.Member(alice, alice, "join")
		if diff := cmp.Diff(lists{Changed: []id.UserID{alice, bob, zoe}}, deviceLists(t, s, alice, since), cmpEmpty); diff != "" {
			t.Error(diff)
		}
		since = position(t, s)
		r.Member(zoe, zoe, "leave")
		if diff := cmp.Diff(lists{Left: []id.UserID{zoe}}, deviceLists(t, s, alice, since), cmpEmpty); diff != "" {
			t.Error(diff)
		}
		if err := s.Update(context.Background(), func(tx *storage.Tx) error {
			_, followers, err := tx.ChangeDeviceList(zoe)
			if !cmp.Equal(followers, []id.UserID{zoe}) {
				t.Errorf("followed by %v", followers)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}
