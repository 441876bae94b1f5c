package storage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// The rows of rooms that Updates get from memory are those that the database has, whatever Updates do with them, succeed or fail, alone or in groups.
func TestTheRowsOfRoomsInMemoryAreThoseOfTheDatabase(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		var rooms []id.RoomID
		for i := range 3 {
			rooms = append(rooms, storagetest.NewRoom(t, s, id.RoomID(fmt.Sprintf("!r%d:one", i)), aliceOne).Row.ID)
		}
		failed := errors.New("on purpose")
		update := func(rng *rand.Rand) error {
			err := s.Update(t.Context(), func(tx *storage.Tx) error {
				for range rng.IntN(3) + 1 {
					row, err := tx.Room(rooms[rng.IntN(len(rooms))])
					if err != nil {
						return err
					}
					stored, err := tx.RoomByNID(row.NID)
					if err != nil {
						return err
					}
					if diff := cmp.Diff(stored, row); diff != "" {
						return fmt.Errorf("the room (-as stored +as kept):\n%s", diff)
					}
					for range rng.IntN(3) {
						switch rng.IntN(4) {
						case 0:
							err = tx.SetPublished(row.NID, rng.IntN(2) == 0)
						case 1:
							row.Summary.Joined++
							err = errors.Join(tx.SaveRoomHead(row), tx.SaveRoomSummary(row))
						default:
							row.LastPos++
							row.Extremities = []storage.Extremity{{ID: "$x", Pos: row.LastPos, Depth: 1}}
							err = tx.SaveRoomHead(row)
						}
						if err != nil {
							return err
						}
					}
				}
				if rng.IntN(4) == 0 {
					return failed
				}
				return nil
			})
			if errors.Is(err, failed) {
				return nil
			}
			return err
		}
		done := make(chan error)
		for i := range 4 {
			go func() {
				rng := rand.New(rand.NewPCG(uint64(i), 9))
				var err error
				for n := 0; n < 100 && err == nil; n++ {
					err = update(rng)
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
