package storage_test

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// BenchmarkAnnotated asks, as every reaction does, whether its sender has annotated an event that many have annotated.
func BenchmarkAnnotated(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n, " annotations"), func(b *testing.B) {
			s := storagetest.Open(b)
			err := s.Update(b.Context(), func(tx *storage.Tx) error {
				for i := range n {
					err := tx.AddRelation(storage.Relation{
						Parent: "$parent", RelType: "m.annotation", Child: int64(i + 1), Room: 1, Type: "m.reaction", Sender: id.UserID(fmt.Sprintf("@u%d:one", i)), Key: "+1",
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			err = s.View(b.Context(), func(tx *storage.ReadTx) error {
				for b.Loop() {
					if found, err := tx.Annotated("$parent", "m.reaction", "-1", "@u7:one"); err != nil || found {
						return fmt.Errorf("found %t: %w", found, err)
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
