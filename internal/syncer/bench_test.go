package syncer

import (
	"context"
	"fmt"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage/storagetest"
)

// benchRooms is alice's in as many rooms, each with 20 messages.
func benchRooms(b *testing.B, r *rig, n int) []*storagetest.Room {
	b.Helper()
	var rooms []*storagetest.Room
	for i := range n {
		room := r.room(fmt.Sprintf("r%d", i))
		room.Member(bob, bob, "join")
		for j := range 20 {
			room.Message(bob, fmt.Sprintf("message %d of a room, about as long as people write them", j))
		}
		rooms = append(rooms, room)
	}
	return rooms
}

func mustSync(b *testing.B, r *rig, req Request) []byte {
	b.Helper()
	out, err := r.syncer.Sync(context.Background(), req)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// BenchmarkInitialSync is the answer for 40 rooms with 20 messages each.
func BenchmarkInitialSync(b *testing.B) {
	for _, test := range []struct{ name, filter string }{
		{"all members", `{"room":{"timeline":{"limit":20}}}`},
		{"lazy members", `{"room":{"timeline":{"limit":20},"state":{"lazy_load_members":true}}}`},
	} {
		b.Run(test.name, func(b *testing.B) {
			r := newRig(b)
			benchRooms(b, r, 40)
			f, err := filter.Parse([]byte(test.filter))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(int64(len(mustSync(b, r, Request{User: alice, Device: "D", Filter: f}))))
			}
		})
	}
}

// BenchmarkEmptySync is the answer to who asks without anything having happened: once where the hub says so, once where it takes a look.
func BenchmarkEmptySync(b *testing.B) {
	for _, test := range []struct {
		name string
		look bool
	}{{"known to be nothing", false}, {"found to be nothing", true}} {
		b.Run(test.name, func(b *testing.B) {
			r := newRig(b)
			benchRooms(b, r, 40)
			c := r.client(alice)
			c.sync()
			req := c.request()
			b.ReportAllocs()
			for b.Loop() {
				if test.look {
					r.hub.Ring(r.store.CommittedPos()+1, hub.User(alice))
				}
				mustSync(b, r, req)
			}
		})
	}
}

// BenchmarkDeliver is the answers for 100 users in a room in which something is said.
func BenchmarkDeliver(b *testing.B) {
	r := newRig(b)
	benchRooms(b, r, 40)
	room := r.room("busy")
	users := make([]id.UserID, 100)
	for i := range users {
		users[i] = id.UserID(fmt.Sprintf("@u%d:one", i))
		room.Member(users[i], users[i], "join")
	}
	since := make([]string, len(users))
	for i, u := range users {
		c := r.client(u)
		c.sync()
		since[i] = c.since
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % len(users)
		if i == 0 {
			b.StopTimer()
			room.Message(alice, "something")
			b.StartTimer()
		}
		out := mustSync(b, r, Request{User: users[i], Device: "D", Since: since[i]})
		since[i] = gjson.GetBytes(out, "next_batch").Str
	}
}

// BenchmarkOneMessage is the answer to who is in many rooms, in one of which something has been said.
func BenchmarkOneMessage(b *testing.B) {
	for _, n := range []int{40, 1000} {
		b.Run(fmt.Sprint(n, " rooms"), func(b *testing.B) {
			r := newRig(b)
			var rooms []*storagetest.Room
			for i := range n {
				rooms = append(rooms, r.room(fmt.Sprintf("r%d", i)))
			}
			c := r.client(alice)
			c.sync()
			since := c.since
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				rooms[i%n].Message(alice, "something")
				b.StartTimer()
				out := mustSync(b, r, Request{User: alice, Device: "D", Since: since})
				since = gjson.GetBytes(out, "next_batch").Str
			}
		})
	}
}
