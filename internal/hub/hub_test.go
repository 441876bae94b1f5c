package hub

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hearthd/hearth/internal/id"
)

const (
	alice = id.UserID("@alice:hs")
	bob   = id.UserID("@bob:hs")
)

// rung reports whether a watch has been rung, and takes the ring.
func rung(w *Watch) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestRingWakesWhoWatches(t *testing.T) {
	h := New(0)
	w := h.Watch(User(alice), Room("!a:hs"))
	other := h.Watch(User(bob))
	if rung(w) {
		t.Error("it was rung before anything happened")
	}
	h.Ring(1, Room("!a:hs"), User(alice))
	h.Ring(2, User(alice))
	if !rung(w) {
		t.Error("it was not rung")
	}
	if rung(w) {
		t.Error("rings before a look are not one")
	}
	if rung(other) {
		t.Error("another key was rung")
	}
	h.RingEphemeral(h.NextEphemeral(), nil, Room("!a:hs"))
	if !rung(w) {
		t.Error("it was not rung for something ephemeral")
	}
	h.Wake(User(bob))
	if !rung(other) {
		t.Error("it was not woken")
	}
	w.Add(Room("!b:hs"), Room("!b:hs"))
	h.Ring(3, Room("!b:hs"))
	if !rung(w) {
		t.Error("it was not rung for a key that was added")
	}
	w.Close()
	w.Close()
	h.Ring(4, User(alice), Room("!a:hs"), Room("!b:hs"))
	if rung(w) {
		t.Error("it was rung after it was closed")
	}
	other.Close()
	if n := len(h.watchers); n != 0 {
		t.Errorf("%d keys are still watched", n)
	}
	for u, c := range h.users.cells {
		if len(c.watchers) > 0 {
			t.Errorf("%s is still watched", u)
		}
	}
}

func TestWhoFollowsTheStreamHearsOfEverything(t *testing.T) {
	h := New(0)
	w := h.Watch(Everything())
	defer w.Close()
	h.RingEphemeral(h.NextEphemeral(), nil, Room("!a:hs"))
	if rung(w) {
		t.Error("typing is not part of the stream")
	}
	for _, keys := range [][]Key{{Room("!a:hs")}, {User("@alice:hs")}, nil} {
		h.Ring(1, keys...)
		if !rung(w) {
			t.Errorf("it was not rung for %v", keys)
		}
	}
}

func TestDrainTellsAllWhoWait(t *testing.T) {
	h := New(0)
	draining := func() bool {
		select {
		case <-h.Draining():
			return true
		default:
			return false
		}
	}
	if draining() {
		t.Error("it drains from the start")
	}
	h.Drain()
	h.Drain()
	for range 2 {
		if !draining() {
			t.Error("not everybody was told")
		}
	}
}

func TestKeysAreDistinct(t *testing.T) {
	keys := []Key{User("x"), Room("x"), Device("x", ""), Device("x", "y"), Name('X', "x"), Media(id.MXC{Server: "x", MediaID: "y"})}
	seen := map[Key]bool{}
	for _, k := range keys {
		if seen[k] {
			t.Errorf("%v is there twice", k)
		}
		seen[k] = true
	}
}

func TestChangedSince(t *testing.T) {
	h := New(10)
	a, b := Room("!a:hs"), Room("!b:hs")
	h.Ring(20, a)
	h.Ring(15, a) // a commit of the same group that rings late
	tests := map[string]struct {
		key  Key
		pos  int64
		want bool
	}{
		"rung after":                     {a, 19, true},
		"rung at the position itself":    {a, 20, false},
		"rung before":                    {a, 21, false},
		"never rung since the start":     {b, 10, false},
		"older than the process":         {b, 9, true},
		"rung, and older than the start": {a, 5, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := h.ChangedSince(tt.key, tt.pos); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMemoryIsBoundedAndNeverSaysNoWrongly(t *testing.T) {
	const limit = 20
	for name, key := range map[string]func(i int) Key{
		"rooms": func(i int) Key { return Room(id.RoomID(fmt.Sprint("!", i))) },
		"users": func(i int) Key { return User(id.UserID(fmt.Sprint("@", i))) },
	} {
		t.Run(name, func(t *testing.T) {
			h := NewAt(0, 0, limit)
			watched := h.Watch(User("@7"))
			crowd := h.Crowd("@3", "@7")
			last := map[Key]int64{}
			for pos := int64(1); pos <= 2000; pos++ {
				k := key(int(pos*7919) % 50)
				at := pos
				if pos%10 == 0 {
					at -= 3 // out of order
				}
				h.Ring(at, k)
				last[k] = max(last[k], at)
				if pos%7 == 0 {
					h.RingCrowd(pos, crowd)
					last[User("@3")], last[User("@7")] = pos, pos
				}
				if pos%13 == 0 && !rung(watched) {
					t.Fatalf("at %d: who watched was forgotten", pos)
				}
				if n := len(h.memory[durable].young) + len(h.memory[durable].old); n > limit {
					t.Fatalf("%d keys are remembered", n)
				}
				if n := len(h.users.cells); n > limit {
					t.Fatalf("%d users are remembered", n)
				}
				for k, at := range last {
					for _, since := range []int64{0, pos - 30, pos - 5, pos} {
						if at > since && !h.ChangedSince(k, since) {
							t.Fatalf("at %d: %v changed at %d, but it is said not to have since %d", pos, k, at, since)
						}
					}
				}
			}
			if !h.ChangedSince(key(99), 1000) {
				t.Error("nothing was ever forgotten")
			}
			if h.ChangedSince(key(99), 2000) {
				t.Error("a key that was never rung is said to have changed since now")
			}
		})
	}
}

func TestCrowd(t *testing.T) {
	h := New(10)
	crowd := h.With(h.Crowd(alice, "@carol:hs"), bob)
	some := crowd.Without(1)
	watches := map[id.UserID]*Watch{}
	for _, u := range []id.UserID{alice, bob, "@carol:hs"} {
		watches[u] = h.Watch(User(u))
	}
	check := func(want ...id.UserID) {
		t.Helper()
		for u, w := range watches {
			if got := rung(w); got != slices.Contains(want, u) {
				t.Errorf("%s: rung is %t", u, got)
			}
		}
	}
	h.RingCrowd(11, crowd)
	check(alice, bob, "@carol:hs")
	h.RingCrowd(12, some, User("@carol:hs"))
	check(alice, bob, "@carol:hs")
	h.RingCrowd(13, some)
	check(alice, bob)
	for u, want := range map[id.UserID]bool{alice: true, bob: true, "@carol:hs": false} {
		if got := h.ChangedSince(User(u), 12); got != want {
			t.Errorf("%s: changed is %t", u, got)
		}
	}
}

func TestEphemeral(t *testing.T) {
	h := NewAt(0, 100, DefaultLimit)
	k := Room("!a:hs")
	if got := h.Ephemeral(); got != 100 {
		t.Errorf("it starts at %d", got)
	}
	if h.EphemeralSince(k, 100) {
		t.Error("something has changed before anything happened")
	}
	n := h.NextEphemeral()
	h.RingEphemeral(n, nil, k)
	if n != 101 || h.Ephemeral() != 101 {
		t.Errorf("the first is %d, the last %d", n, h.Ephemeral())
	}
	if !h.EphemeralSince(k, 100) || h.EphemeralSince(k, 101) {
		t.Error("the change at 101 is not where it was")
	}
	if !h.EphemeralSince(Room("!b:hs"), 99) {
		t.Error("a value of an earlier process does not count as old")
	}
	if !h.EphemeralSince(Room("!b:hs"), 5000) {
		t.Error("a value from the future does not count as old")
	}
	if h.ChangedSince(k, 0) {
		t.Error("what is ephemeral changed the stream")
	}
}

func TestConcurrentUse(t *testing.T) {
	h := NewAt(0, 0, 64)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				k := Room(id.RoomID(fmt.Sprint("!", i%100)))
				w := h.Watch(k, User(alice))
				h.Ring(int64(i+g), k, User(bob))
				if !rung(w) {
					t.Error("its own ring did not wake it")
				}
				h.ChangedSince(k, int64(i))
				h.RingEphemeral(h.NextEphemeral(), nil, k)
				h.EphemeralSince(k, h.Ephemeral())
				w.Close()
			}
		})
	}
	wg.Wait()
	if got := h.Ephemeral(); got != 4000 {
		t.Errorf("the counter is %d", got)
	}
}

// BenchmarkRingCrowd is an event in a room with so many users, of whom every second one waits.
func BenchmarkRingCrowd(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := New(0)
			users := make([]id.UserID, n)
			for i := range users {
				users[i] = id.UserID(fmt.Sprintf("@user%d:hs.example.org", i))
				if i%2 == 0 {
					defer h.Watch(User(users[i])).Close()
				}
			}
			crowd, pos := h.Crowd(users...), int64(0)
			b.ReportAllocs()
			for b.Loop() {
				pos++
				h.RingCrowd(pos, crowd, Room("!r:hs"))
			}
		})
	}
}

func BenchmarkRing100WithReaders(b *testing.B) {
	h := New(0)
	keys := make([]Key, 100)
	for i := range keys {
		keys[i] = Room(id.RoomID(fmt.Sprintf("!room%d:hs.example.org", i)))
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for pos := int64(1); p.Next(); pos++ {
			h.Ring(pos, keys...)
			for _, k := range keys {
				h.ChangedSince(k, pos)
			}
		}
	})
}

func BenchmarkChangedSince(b *testing.B) {
	h := New(0)
	var keys []Key
	for i := range 100_000 {
		keys = append(keys, Room(id.RoomID(fmt.Sprintf("!room%d:hs.example.org", i))))
	}
	h.Ring(1, keys...)
	i := 0
	for b.Loop() {
		h.ChangedSince(keys[i%len(keys)], 1)
		i++
	}
}
