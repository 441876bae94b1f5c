package roomserver

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/hearthd/hearth/storage"
)

// The events of many snapshots, each made of another one, are compared with maps that share nothing.
func TestStateEventsOfOneSnapshotDoNotChangeThoseOfAnother(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	snapshots := []*stateEvents{newStateEvents()}
	want := []map[storage.StateKey]*authEvent{{}}
	for range 20_000 {
		i := random.IntN(len(snapshots))
		key := storage.StateKey{Type: "m.room.member", Key: strconv.Itoa(random.IntN(300))}
		switch random.IntN(8) {
		case 0:
			snapshots[i].forget(key)
			delete(want[i], key)
		case 1:
			copied, same := snapshots[i].copy(), maps.Clone(want[i])
			if len(snapshots) < 50 {
				snapshots, want = append(snapshots, copied), append(want, same)
			} else {
				j := random.IntN(len(snapshots))
				snapshots[j], want[j] = copied, same
			}
		default:
			e := &authEvent{nid: random.Int64()}
			snapshots[i].set(key, e)
			want[i][key] = e
		}
		got, ok := snapshots[i].find(key)
		if e, known := want[i][key]; got != e || ok != known {
			t.Fatalf("%v is %v %t, want %v %t", key, got, ok, e, known)
		}
	}
	for i, w := range want {
		for n := range 300 {
			key := storage.StateKey{Type: "m.room.member", Key: strconv.Itoa(n)}
			if got, _ := snapshots[i].find(key); got != w[key] {
				t.Errorf("%v of %d is %v, want %v", key, i, got, w[key])
			}
		}
	}
}

func TestRememberedEventsAreBounded(t *testing.T) {
	s := newStateEvents()
	for i := range 10 * maxAuthEvents {
		s.set(storage.StateKey{Type: "m.room.member", Key: strconv.Itoa(i)}, nil)
		if i%10 == 0 {
			s = s.copy()
		}
		if n := s.len(); n > maxAuthEvents {
			t.Fatalf("%d events", n)
		}
	}
}
