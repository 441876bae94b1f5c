package storage_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func oneTimeKeys(ids ...string) []storage.OneTimeKey {
	var out []storage.OneTimeKey
	for _, k := range ids {
		out = append(out, storage.OneTimeKey{Algorithm: "signed_curve25519", ID: k, Key: json.RawMessage(`{"key":"` + k + `"}`)})
	}
	return out
}

func addOneTimeKeys(t *testing.T, s *storage.Store, ids ...string) {
	t.Helper()
	update(t, s, func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		return tx.AddOneTimeKeys(alice, "D", pos, oneTimeKeys(ids...))
	})
}

func setFallbackKey(t *testing.T, s *storage.Store, keyID string) {
	t.Helper()
	update(t, s, func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		return tx.SetFallbackKey(alice, "D", pos, oneTimeKeys(keyID)[0])
	})
}

// claimKey is the id of the key that is claimed, empty for none.
func claimKey(t *testing.T, s *storage.Store) string {
	t.Helper()
	var k storage.OneTimeKey
	update(t, s, func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		k, err = tx.ClaimKey(alice, "D", "signed_curve25519", pos)
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return err
	})
	return k.ID
}

func TestOneTimeKeysAreGivenOutInTheirOrder(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		counts := func(what string, oneTime int, fallback ...string) {
			t.Helper()
			want := &storage.KeyCounts{OneTime: map[string]int{}, Fallback: fallback}
			if oneTime > 0 {
				want.OneTime["signed_curve25519"] = oneTime
			}
			for range 2 { // from the database, and from memory
				got := found(t, s, func(tx *storage.ReadTx) (*storage.KeyCounts, error) { return tx.KeyCounts(alice, "D") })
				if diff := cmp.Diff(want, got, cmpEmpty); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
			if s.KnownKeyCounts(alice, "D") == nil {
				t.Errorf("%s: the counts were not kept", what)
			}
		}
		claims := func(want string) {
			t.Helper()
			if got := claimKey(t, s); got != want {
				t.Errorf("claimed %q, want %q", got, want)
			}
		}
		counts("nothing", 0)
		claims("")
		addOneTimeKeys(t, s, "z")
		counts("one key", 1)
		addOneTimeKeys(t, s, "a", "b")
		counts("three keys", 3)
		claims("z")
		counts("one was claimed", 2)
		setFallbackKey(t, s, "f")
		counts("a fallback key", 2, "signed_curve25519")
		claims("a")
		claims("b")
		counts("only the fallback key is left", 0, "signed_curve25519")
		claims("f")
		counts("the fallback key was used", 0)
		setFallbackKey(t, s, "f")
		counts("the same fallback key again", 0)
		claims("f")
		setFallbackKey(t, s, "g")
		counts("another fallback key", 0, "signed_curve25519")
		addOneTimeKeys(t, s, "c")
		claims("c")
		claims("g")

		addOneTimeKeys(t, s, "d")
		counts("before the logout", 1)
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.DeleteDevices(alice, []id.DeviceID{"D"})
			return err
		})
		counts("after the logout", 0)
		claims("")
	})
}

func TestKeysGoWithTheirDevice(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(
				tx.SetDeviceKeys(storage.DeviceKeys{User: alice, Device: "D", Keys: json.RawMessage(`{}`), Signatures: json.RawMessage(`{}`)}),
				tx.SetKeySignature(storage.KeySignature{User: alice, KeyID: "D", Signer: alice, SignerKey: "ed25519:s", Signature: "x"}, 1),
				tx.SetKeySignature(storage.KeySignature{User: alice, KeyID: "M", Signer: bob, SignerKey: "ed25519:b", Signature: "y"}, 1),
			)
		})
		signatures := func(viewer id.UserID) []string {
			var out []string
			for _, k := range found(t, s, func(tx *storage.ReadTx) ([]storage.KeySignature, error) {
				return tx.KeySignatures([]id.UserID{alice}, viewer)
			}) {
				out = append(out, k.Signature)
			}
			return out
		}
		for viewer, want := range map[id.UserID][]string{alice: {"x"}, bob: {"x", "y"}, carol: {"x"}} {
			if diff := cmp.Diff(want, signatures(viewer)); diff != "" {
				t.Errorf("%s sees %s", viewer, diff)
			}
		}
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.DeleteDevicesExcept(alice, "")
			return err
		})
		if diff := cmp.Diff([]string{"y"}, signatures(bob)); diff != "" {
			t.Error(diff)
		}
		keys := found(t, s, func(tx *storage.ReadTx) ([]storage.DeviceKeys, error) {
			return tx.DeviceKeysOf([]id.UserID{alice, bob})
		})
		if len(keys) > 0 {
			t.Errorf("keys of devices that are gone: %v", keys)
		}
	})
}
