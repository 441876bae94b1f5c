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

func TestDehydratedDeviceGoesWithItsDevice(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		want := func(what string, want storage.DehydratedDevice) {
			t.Helper()
			got, err := ask(t, s, func(tx *storage.ReadTx) (storage.DehydratedDevice, error) { return tx.DehydratedDevice(alice) })
			if (want.Device == "") != errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		want("nothing", storage.DehydratedDevice{})
		first := storage.DehydratedDevice{Device: "D", Data: json.RawMessage(`{"n":1}`)}
		second := storage.DehydratedDevice{Device: "E", Data: json.RawMessage(`{"n":2}`)}
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.InsertDevice(storage.Device{UserID: alice, ID: "E"})
			return errors.Join(err, tx.SetDehydratedDevice(alice, first))
		})
		want("the first", first)
		update(t, s, func(tx *storage.Tx) error { return tx.SetDehydratedDevice(alice, second) })
		want("the second instead", second)
		remove := func(device id.DeviceID) {
			update(t, s, func(tx *storage.Tx) error {
				_, err := tx.DeleteDevices(alice, []id.DeviceID{device})
				return err
			})
		}
		remove("D")
		want("after another device has gone", second)
		remove("E")
		want("after its device has gone", storage.DehydratedDevice{})
	})
}
