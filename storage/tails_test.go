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

// The places that memory knows are those that are in the database, whatever has come into the rooms: events at their end, some of them in one
// commit, others that were kept without a place until now, history from before everything and from a gap, and what was not accepted.
func TestPlacesFromMemoryAreThoseOfTheDatabase(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		rng := rand.New(rand.NewPCG(3, 4))
		rooms := []*storage.Room{storagetest.NewRoom(t, s, "!a:one", "@alice:one").Row, storagetest.NewRoom(t, s, "!b:one", "@alice:one").Row}
		var gap storage.Gap
		for n := range 150 {
			must(t, s.Update(t.Context(), func(tx *storage.Tx) (err error) {
				for i := range 1 + rng.IntN(4) {
					room := rooms[rng.IntN(len(rooms))]
					e := &storage.Event{ID: id.EventID(fmt.Sprintf("$%d-%d", n, i)), Room: room.NID, RoomID: room.ID, Type: "m.x", Sender: "@alice:one", JSON: []byte(`{}`)}
					switch kind := rng.IntN(12); {
					case kind == 0: // nobody wants it
						e.Status = storage.SoftFailed
						e.NID, err = tx.NextBackfillPos()
					case kind == 1: // of long ago
						e.NID, err = tx.NextBackfillPos()
						e.Pos = e.NID
					case kind == 2 && gap.Room != 0: // of the gap
						e.Room, e.NID, e.Pos = gap.Room, gap.Next, gap.Next
						gap.Next--
					case kind == 3 && room == rooms[0]: // the other's tail grows until it is cut
						gap, err = tx.AddGap(room.NID, []id.EventID{"$missing"})
						e.NID, e.Pos = 0, 0
					default:
						e.NID, err = tx.NextPos()
						e.Pos = e.NID
					}
					if err != nil || e.NID == 0 {
						continue
					}
					if rng.IntN(4) > 0 {
						err = tx.AddEvent(e)
					} else { // it was there before it got its place
						later := *e.Copy()
						if e.NID, err = tx.NextBackfillPos(); err != nil {
							return err
						}
						was := e.NID
						e.Pos, e.Status = 0, storage.Outlier
						err = errors.Join(tx.AddEvent(e), tx.JudgeEvent(was, &later))
					}
					if err != nil {
						return err
					}
				}
				return err
			}))
			must(t, s.View(t.Context(), func(tx *storage.ReadTx) error {
				pos, err := tx.Position()
				must(t, err)
				for _, room := range rooms {
					for range 30 {
						span := storage.Span{After: rng.Int64N(pos+2) - 2, UpTo: rng.Int64N(pos + 100)}
						if rng.IntN(2) == 0 { // as a sync asks
							span.UpTo = pos
							span.After = max(pos-rng.Int64N(200), 0)
						}
						limit := 1 + rng.IntN(80)
						got, err := tx.TimelinePlaces(room.NID, span, limit, true)
						must(t, err)
						want, err := storage.Collect[int64](tx, `select pos from events where room = $1 and pos > $2 and pos <= $3 and status = 0
							order by pos desc limit $4`, room.NID, span.After, span.UpTo, limit)
						must(t, err)
						poses := []int64{}
						for _, p := range got {
							poses = append(poses, p.Pos)
						}
						if d := cmp.Diff(want, poses); d != "" {
							t.Fatalf("after commit %d, %v of room %d (-want +got):\n%s", n, span, room.NID, d)
						}
					}
				}
				return nil
			}))
		}
	})
}
