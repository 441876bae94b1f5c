package authrules

import (
	"fmt"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"
)

func BenchmarkAllowed(b *testing.B) {
	for _, users := range []int{2, 1000} {
		b.Run(fmt.Sprintf("message under levels of %d users", users), func(b *testing.B) {
			r := newRoom(b, 11)
			levels := fields{}
			for i := range users {
				levels[fmt.Sprintf("@user%d:a", i)] = i
			}
			state := NewEvents([]Event{
				r.create, r.state(spec.MRoomMember, string(mod), mod, fields{"membership": "join"}),
				ReadLevels(r.version, r.state(spec.MRoomPowerLevels, "", alice, fields{"users": levels, "events": fields{"m.room.topic": 50}})),
			})
			e := r.event("$e", fields{"type": "m.room.message", "sender": mod, "content": fields{"body": "hi"}})
			b.ReportAllocs()
			for b.Loop() {
				if err := Allowed(r.version, e, state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
