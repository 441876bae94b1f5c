package syncer

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/storage/storagetest"
)

// slidingRooms is alice with all of her rooms on a connection.
func slidingRooms(b testing.TB, n int) (*rig, *slider, []*storagetest.Room) {
	b.Helper()
	r := newRig(b)
	var rooms []*storagetest.Room
	for i := range n {
		room := r.room(fmt.Sprintf("r%d", i))
		room.Member(bob, bob, "join")
		rooms = append(rooms, room)
	}
	s := r.slider(alice, elementRooms(n, ""))
	s.next()
	s.next()
	return r, s, rooms
}

// What an answer costs must follow what changed: with thirty times the rooms it takes as many steps, as far as allocations tell.
func TestSlidingCostFollowsWhatChanged(t *testing.T) {
	changes := map[string]func(r *rig, room *storagetest.Room){
		"a message":            func(_ *rig, room *storagetest.Room) { room.Message(bob, "m") },
		"account data of room": func(r *rig, room *storagetest.Room) { r.data(alice, room.Row.ID, "m.fully_read", `{}`) },
		"nothing":              func(r *rig, _ *storagetest.Room) { r.hub.Ring(r.store.CommittedPos()+1, hub.User(alice)) },
	}
	allocs := map[string][]float64{}
	for _, n := range []int{10, 300} {
		r, s, rooms := slidingRooms(t, n)
		for name, change := range changes {
			change(r, rooms[0])
			s.next() // what is loaded once
			change(r, rooms[n-1])
			s.lose()
			allocs[name] = append(allocs[name], testing.AllocsPerRun(20, func() { s.lose() }))
			s.next()
		}
	}
	for name, n := range allocs {
		// A step for each room would be 290 more. The race detector has pools forget at random, maps grow and the rest of the process
		// allocates as well: less than half of that is noise.
		if n[1] > n[0]+145 {
			t.Errorf("%s takes %.0f allocations with few rooms, %.0f with many", name, n[0], n[1])
		}
	}
}

// BenchmarkSlidingNothing is the answer without anything new: known to be so, and found to be so by a look.
func BenchmarkSlidingNothing(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		for name, look := range map[string]bool{"known": false, "found": true} {
			b.Run(fmt.Sprintf("%s/%d rooms", name, n), func(b *testing.B) {
				r, s, _ := slidingRooms(b, n)
				b.ReportAllocs()
				for b.Loop() {
					if look {
						r.hub.Ring(r.store.CommittedPos()+1, hub.User(alice))
					}
					s.lose()
				}
			})
		}
	}
}

// BenchmarkSlidingMessage is the answer with one message in one room.
func BenchmarkSlidingMessage(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d rooms", n), func(b *testing.B) {
			_, s, rooms := slidingRooms(b, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				rooms[i%n].Message(bob, "something")
				b.StartTimer()
				s.next()
			}
		})
	}
}

// BenchmarkSlidingRead is the answer after the user has read a room on another device: account data, a receipt and counts.
func BenchmarkSlidingRead(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d rooms", n), func(b *testing.B) {
			r, s, rooms := slidingRooms(b, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				r.data(alice, rooms[i%n].Row.ID, "m.fully_read", `{"event_id":"$x"}`)
				b.StartTimer()
				s.next()
			}
		})
	}
}

// BenchmarkSlidingWindow is the answer with one message to a client that asks for the 20 rooms at the top only.
func BenchmarkSlidingWindow(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d rooms", n), func(b *testing.B) {
			_, s, rooms := slidingRooms(b, n)
			s.body = elementRooms(19, "")
			s.next()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				rooms[i%min(n, 20)].Message(bob, "something")
				b.StartTimer()
				s.next()
			}
		})
	}
}

// BenchmarkSlidingFirst is the first answer on a connection, with what Element X asks for: 20 of the rooms.
func BenchmarkSlidingFirst(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprintf("%d rooms", n), func(b *testing.B) {
			_, s, _ := slidingRooms(b, n)
			s.pos, s.body = "", elementRooms(19, "")
			b.ReportAllocs()
			for b.Loop() {
				s.lose()
			}
		})
	}
}
