package storage_test

import (
	"errors"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestBoundThreepids(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: alice, CreatedTS: 1})
			return err
		})
		one := storage.BoundThreepid{Medium: "email", Address: "a@b", Server: "one"}
		two := storage.BoundThreepid{Medium: "email", Address: "a@b", Server: "two"}
		list := func() []storage.BoundThreepid {
			return found(t, s, func(tx *storage.ReadTx) ([]storage.BoundThreepid, error) { return tx.BoundThreepids(alice) })
		}
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(tx.InsertBoundThreepid(alice, two), tx.InsertBoundThreepid(alice, one), tx.InsertBoundThreepid(alice, one))
		})
		same(t, "bound", []storage.BoundThreepid{one, two}, list())
		update(t, s, func(tx *storage.Tx) error { return tx.DeleteBoundThreepid(alice, one) })
		same(t, "bound", []storage.BoundThreepid{two}, list())
		update(t, s, func(tx *storage.Tx) error { return tx.DeactivateUser(alice, 5, false) })
		same(t, "bound for who is gone", 0, len(list()))
	})
}
