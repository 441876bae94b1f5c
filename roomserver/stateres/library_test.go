package stateres

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// library resolves states with gomatrixserverlib.
func (w *world) library(states []state) state {
	w.Helper()
	var sets [][]gomatrixserverlib.PDU
	var chain []gomatrixserverlib.PDU
	known := set{}
	union := state{}
	for _, s := range states {
		var pdus []gomatrixserverlib.PDU
		for k, e := range s {
			pdus = append(pdus, w.pdus[e])
			if o, ok := union[k]; ok && o != e {
				union[k] = ""
			} else {
				union[k] = e
			}
			for a := range w.authChain(e) {
				if !known[a] {
					known[a] = true
					chain = append(chain, w.pdus[a])
				}
			}
		}
		sets = append(sets, pdus)
	}
	if w.version.StateResAlgorithm() == gomatrixserverlib.StateResV1 {
		chain = nil
		for _, e := range union {
			if e != "" {
				chain = append(chain, w.pdus[e])
			}
		}
	}
	users := func(_ spec.RoomID, s spec.SenderID) (*spec.UserID, error) { return spec.NewUserID(string(s), true) }
	resolved, err := gomatrixserverlib.ResolveConflictsNew(
		w.version.Version(), sets, chain, users, func(e string) bool { return w.rejected[id.EventID(e)] })
	if err != nil {
		w.Fatal(err)
	}
	out := state{}
	for _, e := range resolved {
		out[storage.StateKey{Type: e.Type(), Key: *e.StateKey()}] = id.EventID(e.EventID())
	}
	return out
}

// The library's version 2 differs from the specification in the order of power events, and it forgets the auth events of an event whose
// sender's membership is in conflict. Where neither matters, and in version 1, it is a second opinion.
func TestTheLibraryAgreesWhereItDoesAsSpecified(t *testing.T) {
	for version, least := range map[gomatrixserverlib.RoomVersion]int{"1": 500, "11": 100} {
		t.Run("version "+string(version), func(t *testing.T) {
			t.Parallel()
			compared := 0
			for seed := range uint64(30) {
				w := newWorld(t, version)
				w.grow(rand.New(rand.NewPCG(seed, 7)), 50, true, func(states []state) {
					if len(distinct(states)) < 2 || version != "1" && w.libraryErrs(states) {
						return
					}
					got, err := Resolve(w.version, states, w)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(w.library(states), got); diff != "" {
						t.Fatalf("seed %d, after %d events: %s", seed, len(w.order), diff)
					}
					compared++
				})
			}
			if compared < least {
				t.Errorf("only %d states were compared", compared)
			}
		})
	}
}

func (w *world) libraryErrs(states []state) bool {
	w.Helper()
	c, err := findConflict(w.version, distinct(states), newGraph(w))
	if err != nil {
		w.Fatal(err)
	}
	return slices.ContainsFunc(c.full, func(n *node) bool {
		_, known := c.unconflicted[storage.StateKey{Type: spec.MRoomMember, Key: string(n.pdu.SenderID())}]
		return isPower(n) || !known && n.pdu.Type() != spec.MRoomMember
	})
}
