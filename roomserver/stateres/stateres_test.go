package stateres

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
)

// rounds is how many rooms of each version are grown.
const rounds = 25

func TestRoomsGrownAtRandomResolveAsSpecified(t *testing.T) {
	for _, version := range []gomatrixserverlib.RoomVersion{"2", "11", "12"} {
		for seed := range uint64(rounds) {
			t.Run(fmt.Sprintf("version %s, seed %d", version, seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, version)
				w.grow(rand.New(rand.NewPCG(seed, 7)), 60, false, func(states []state) {
					got, err := Resolve(w.version, states, w)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(w.referenceV2(states), got); diff != "" {
						t.Fatalf("after %d events: %s", len(w.order), diff)
					}
				})
			})
		}
	}
}

func TestTheOrderOfStatesDoesNotMatter(t *testing.T) {
	for _, version := range []gomatrixserverlib.RoomVersion{"1", "2", "12"} {
		t.Run("version "+string(version), func(t *testing.T) {
			w := newWorld(t, version)
			rnd := rand.New(rand.NewPCG(1, 2))
			w.grow(rnd, 150, false, func(states []state) {
				want, err := Resolve(w.version, states, w)
				if err != nil {
					t.Fatal(err)
				}
				shuffled := slices.Clone(states)
				rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				got, err := Resolve(w.version, append(shuffled, shuffled[0]), w)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatal(diff)
				}
			})
		})
	}
}
