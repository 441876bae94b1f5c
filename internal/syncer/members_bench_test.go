package syncer

import (
	"flag"
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
)

var growthMembers = flag.Int("growth.members", 2000, "the members of the largest room of BenchmarkMembers")

// BenchmarkMembers is what a user syncs of a room with more and more members: a message, somebody's new name, and the first answer, of the
// members whom it needs. docs/performance.md has the curves.
func BenchmarkMembers(b *testing.B) {
	lazy, err := filter.Parse([]byte(`{"room":{"timeline":{"limit":20},"state":{"lazy_load_members":true}}}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{10, 1000, *growthMembers} {
		r := newRig(b)
		room := r.room("large")
		room.Rung = nil // it asks for all members, every time
		for i := range n - 2 {
			user := id.UserID(fmt.Sprintf("@u%d:one", i))
			room.Member(user, user, "join")
		}
		room.Member(bob, bob, "join")
		for range 20 {
			room.Message(bob, "before")
		}
		ring := func() { r.hub.Ring(r.store.CommittedPos(), hub.Room(room.Row.ID), hub.User(alice), hub.User(bob)) }
		ring()
		c := r.client(alice)
		c.filter = `{"room":{"state":{"lazy_load_members":true}}}`
		c.sync()
		incremental := func(what string, do func(i int)) {
			b.Run(fmt.Sprintf("%s/members=%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					do(i)
					ring()
					b.StartTimer()
					c.sync()
				}
			})
		}
		incremental("message", func(int) { room.Message(bob, "something") })
		incremental("name", func(i int) {
			room.State(bob, "m.room.member", string(bob), fmt.Sprintf(`{"membership":"join","displayname":"Bob %d"}`, i))
		})
		b.Run(fmt.Sprintf("initial/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustSync(b, r, Request{User: alice, Device: "D", Filter: lazy})
			}
		})
	}
}
