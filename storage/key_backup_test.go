package storage_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestBetterRoomKeysReplaceWorse(t *testing.T) {
	key := func(verified bool, first, forwarded int64, data string) storage.RoomKey {
		return storage.RoomKey{Room: "!r:hs", Session: "s", FirstMessage: first, Forwarded: forwarded, Verified: verified,
			Data: json.RawMessage(`{"from":"` + data + `"}`)}
	}
	for _, test := range []struct {
		name     string
		old, new storage.RoomKey
		replaced bool
	}{
		{"verified over unverified, whatever else", key(false, 1, 1, "old"), key(true, 9, 9, "new"), true},
		{"unverified over verified", key(true, 9, 9, "old"), key(false, 1, 1, "new"), false},
		{"from an earlier message on", key(true, 5, 1, "old"), key(true, 4, 9, "new"), true},
		{"from a later message on", key(false, 5, 9, "old"), key(false, 6, 1, "new"), false},
		{"forwarded less often", key(false, 5, 5, "old"), key(false, 5, 4, "new"), true},
		{"forwarded more often", key(false, 5, 5, "old"), key(false, 5, 6, "new"), false},
		{"just as good", key(true, 5, 5, "old"), key(true, 5, 5, "new"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				addUsers(t, s)
				var first, second storage.KeyBackup
				update(t, s, func(tx *storage.Tx) error {
					v, err := tx.AddKeyBackup(alice, "m.test", json.RawMessage(`{}`))
					if err != nil {
						return err
					}
					if first, err = tx.SetRoomKeys(alice, v, []storage.RoomKey{test.old}); err != nil {
						return err
					}
					second, err = tx.SetRoomKeys(alice, v, []storage.RoomKey{test.new})
					return err
				})
				want := test.old
				if test.replaced {
					want = test.new
				}
				got := found(t, s, func(tx *storage.ReadTx) ([]storage.RoomKey, error) { return tx.RoomKeys(alice, 1, "", "") })
				if diff := cmp.Diff([]storage.RoomKey{want}, got); diff != "" {
					t.Error(diff)
				}
				if (first.ETag != second.ETag) != test.replaced || first.Keys != 1 || second.Keys != 1 {
					t.Errorf("first %+v, then %+v", first, second)
				}
			})
		})
	}
}

func TestKeyBackups(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		keys := []storage.RoomKey{}
		for _, name := range [][2]string{{"!a:hs", "1"}, {"!a:hs", "2"}, {"!b:hs", "1"}} {
			keys = append(keys, storage.RoomKey{Room: id.RoomID(name[0]), Session: name[1], Data: json.RawMessage(`{}`)})
		}
		update(t, s, func(tx *storage.Tx) error {
			for _, want := range []int64{1, 2} {
				if v, err := tx.AddKeyBackup(alice, "m.test", json.RawMessage(`{"n":1}`)); v != want || err != nil {
					t.Errorf("version %d, %v", v, err)
				}
				if _, err := tx.SetRoomKeys(alice, want, keys); err != nil {
					return err
				}
			}
			return tx.SetKeyBackupAuthData(alice, 2, json.RawMessage(`{"n":2}`))
		})
		current := func() (storage.KeyBackup, error) {
			return ask(t, s, func(tx *storage.ReadTx) (storage.KeyBackup, error) { return tx.CurrentKeyBackup(alice) })
		}
		got, _ := current()
		want := storage.KeyBackup{Version: 2, Algorithm: "m.test", AuthData: json.RawMessage(`{"n":2}`), Keys: 3, ETag: 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		sessions := func(version int64, room id.RoomID, session string) int {
			return len(found(t, s, func(tx *storage.ReadTx) ([]storage.RoomKey, error) { return tx.RoomKeys(alice, version, room, session) }))
		}
		if a, b, c := sessions(2, "", ""), sessions(2, "!a:hs", ""), sessions(2, "!a:hs", "2"); a != 3 || b != 2 || c != 1 {
			t.Errorf("%d keys, %d of a room, %d of a session", a, b, c)
		}
		for _, step := range []struct {
			room    id.RoomID
			session string
			left    int64
		}{{"!a:hs", "2", 2}, {"!a:hs", "2", 2}, {"!a:hs", "", 1}, {"", "", 0}} {
			update(t, s, func(tx *storage.Tx) error {
				b, err := tx.DeleteRoomKeys(alice, 2, step.room, step.session)
				if b.Keys != step.left {
					t.Errorf("after the removal of %q %q there are %d", step.room, step.session, b.Keys)
				}
				return err
			})
		}
		update(t, s, func(tx *storage.Tx) error { return tx.DeleteKeyBackup(alice, 2) })
		if got, err := current(); got.Version != 1 || got.Keys != 3 || err != nil {
			t.Errorf("after the deletion: %+v, %v", got, err)
		}
		update(t, s, func(tx *storage.Tx) error {
			v, err := tx.AddKeyBackup(alice, "m.test", json.RawMessage(`{}`))
			if v != 3 {
				t.Errorf("the next version is %d", v)
			}
			return err
		})
		update(t, s, func(tx *storage.Tx) error { return tx.DeactivateUser(alice, 5, false) })
		if got, err := current(); err == nil {
			t.Errorf("after the deactivation: %+v", got)
		}
	})
}
