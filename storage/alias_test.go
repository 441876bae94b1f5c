package storage_test

import (
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestAnAliasLeadsToOneRoom(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r, other := storagetest.NewRoom(t, s, "!r:one", aliceOne), storagetest.NewRoom(t, s, "!other:one", aliceOne)
		add := func(alias id.RoomAlias, room int64, creator id.UserID) (free bool) {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) (err error) {
				free, err = tx.AddAlias(storage.Alias{Alias: alias, Room: room, Creator: creator})
				return err
			})
			return free
		}
		if !add("#b:one", r.Row.NID, aliceOne) || !add("#a:one", r.Row.NID, bobOne) {
			t.Error("a free alias is taken")
		}
		if add("#b:one", other.Row.NID, eveOne) {
			t.Error("an alias was given twice")
		}
		want := func(room int64, want ...id.RoomAlias) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.AliasesOf(room)
				same(t, "aliases", append([]id.RoomAlias{}, want...), got)
				return err
			})
		}
		want(r.Row.NID, "#a:one", "#b:one")
		viewing(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.Alias("#b:one")
			same(t, "alias", storage.Alias{Alias: "#b:one", Room: r.Row.NID, Creator: aliceOne}, got)
			return err
		})
		updating(t, s, func(tx *storage.Tx) error { return tx.MoveAliases(r.Row.NID, other.Row.NID) })
		want(r.Row.NID)
		want(other.Row.NID, "#a:one", "#b:one")
		updating(t, s, func(tx *storage.Tx) error { return tx.RemoveAlias("#a:one") })
		want(other.Row.NID, "#b:one")
		viewing(t, s, func(tx *storage.ReadTx) error {
			_, err := tx.Alias("#a:one")
			wantAbsent(t, "a removed alias", err)
			return nil
		})
	})
}
