package storage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// A thousand changes of a few keys, each checked against a map, and the chains they leave behind.
func TestSnapshotsHoldEveryStateThatThereWas(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		rng := rand.New(rand.NewPCG(1, 2))
		model := map[storage.StateKey]int64{}
		states := map[int64]map[storage.StateKey]int64{}
		snapshot := int64(0)
		const changes = 600
		for range changes / 20 {
			err := s.Update(ctx, func(tx *storage.Tx) error {
				for range 20 {
					c := storage.StateChange{StateKey: storage.StateKey{Type: "m.room.member", Key: fmt.Sprint(rng.IntN(200))}, Event: rng.Int64N(1_000_000) + 1}
					if rng.IntN(10) == 0 {
						c.Event = 0
					}
					next, err := tx.AddSnapshot(1, snapshot, []storage.StateChange{c})
					if err != nil {
						return err
					}
					if c.Event == 0 {
						delete(model, c.StateKey)
					} else {
						model[c.StateKey] = c.Event
					}
					snapshot = next
					states[next] = map[storage.StateKey]int64{}
					for k, v := range model {
						states[next][k] = v
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		err := s.View(ctx, func(tx *storage.ReadTx) error {
			for n, want := range states {
				got, err := tx.StateAt(n)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("snapshot %d (-want +got):\n%s", n, diff)
				}
			}
			for k, want := range states[snapshot] {
				got, err := tx.StateKeyAt(snapshot, k)
				if err != nil || got != want {
					t.Fatalf("%v is %d, %v; want %d", k, got, err, want)
				}
			}
			longest, rows, err := tx.SnapshotCost()
			if err != nil {
				return err
			}
			// 8 in a row on each of the three levels that 200 keys need, and each delta copied once a level.
			if longest > 32 {
				t.Errorf("a chain of %d snapshots", longest)
			}
			if rows > 5*changes {
				t.Errorf("%d delta rows for %d changes", rows, changes)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestCurrentStateAndItsChanges(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		name := storage.StateKey{Type: "m.room.name"}
		err := s.Update(ctx, func(tx *storage.Tx) error {
			for pos, event := range []int64{10, 20, 0, 30} {
				if err := tx.SetCurrentState(7, int64(pos+1), []storage.StateChange{{StateKey: name, Event: event}}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(ctx, func(tx *storage.ReadTx) error {
			for span, want := range map[storage.Span]map[storage.StateKey]int64{
				{After: 0, UpTo: 2}: {name: 20},
				{After: 2, UpTo: 3}: {name: 0},
				{After: 4, UpTo: 9}: {},
			} {
				got, err := tx.StateChanges(7, span)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", span, diff)
				}
			}
			all, err := tx.StateHistories([]int64{7}, name)
			got := all[7]
			if diff := cmp.Diff([]storage.StateVersion{{1, 10}, {2, 20}, {3, 0}, {4, 30}}, got); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
