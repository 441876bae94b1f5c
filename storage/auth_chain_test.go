package storage_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestAuthChain(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const alice id.UserID = "@alice:hs"
		room := storagetest.NewRoom(t, s, "!room:hs", alice) // $e1 create, $e2 alice, $e3 join rules
		first := room.Member("@bob:two", "@bob:two", "join")
		room.Message(alice, "not part of any chain")
		second := room.Member("@bob:two", "@bob:two", "join")
		last := room.Message("@bob:two", "hi")
		chain := func(limit int, events ...*storage.Event) ([]id.EventID, bool) {
			t.Helper()
			var out []id.EventID
			var complete bool
			err := s.View(t.Context(), func(tx *storage.ReadTx) error {
				found, ok, err := tx.AuthChain(events, limit)
				for _, ev := range found {
					out = append(out, ev.ID)
				}
				complete = ok
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return out, complete
		}
		want := []id.EventID{"$e1-room:hs", "$e2-room:hs", "$e3-room:hs", first.ID, second.ID}
		if got, complete := chain(100, last); !complete || !slices.Equal(got, want) {
			t.Errorf("the chain is %v, complete %t", got, complete)
		}
		if got, complete := chain(2, last); complete || len(got) != 2 {
			t.Errorf("the bounded chain is %v, complete %t", got, complete)
		}
		if d := cmp.Diff([]id.EventID{second.ID}, last.PrevEventIDs()); d != "" {
			t.Error(d)
		}
	})
}

func TestReferencesOfOldEvents(t *testing.T) {
	ev := &storage.Event{JSON: []byte(`{"auth_events":[["$a:hs",{"sha256":"x"}],["$b:hs",{}]],"prev_events":[["$c:hs",{}],7,[]]}`)}
	if d := cmp.Diff([]id.EventID{"$a:hs", "$b:hs"}, ev.AuthEventIDs()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]id.EventID{"$c:hs"}, ev.PrevEventIDs()); d != "" {
		t.Error(d)
	}
}
