package syncer

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/storage/storagetest"
)

// slidingRooms is alice with all of her rooms on a connection.
func slidingRooms(b *testing.B, n int) (*rig, *slider, []*storagetest.Room) {
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

// BenchmarkSlidingNothing is the answer without anything new: known to be so, and found to be so by a look.
func BenchmarkSlidingNothing(b *testing.B) {
	for _, n := range []int{40, 1000} {
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
	for _, n := range []int{40, 1000} {
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

// BenchmarkSlidingFirst is the first answer on a connection, with what Element X asks for: 20 of the rooms.
func BenchmarkSlidingFirst(b *testing.B) {
	for _, n := range []int{40, 1000} {
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
