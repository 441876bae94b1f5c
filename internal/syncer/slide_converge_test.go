package syncer

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/storage/storagetest"
)

// slidingView is what a client knows of rooms: what was said last, and the topic.
type slidingView struct {
	events map[string][]string // by room; what comes after a hole replaces what was before it
	topics map[string]string
}

func (v *slidingView) take(t *testing.T, got gjson.Result) {
	t.Helper()
	got.Get("rooms").ForEach(func(name, room gjson.Result) bool {
		id := name.Str
		if room.Get("initial").Bool() {
			delete(v.topics, id)
		}
		if room.Get("initial").Bool() || room.Get("limited").Bool() || room.Get("unstable_expanded_timeline").Bool() {
			v.events[id] = nil
		}
		for _, ev := range room.Get("timeline").Array() {
			event := ev.Get("event_id").Str
			for _, known := range v.events[id] {
				if known == event {
					t.Errorf("%s was told twice", event)
				}
			}
			v.events[id] = append(v.events[id], event)
		}
		for _, ev := range room.Get("required_state").Array() {
			if ev.Get("type").Str == "m.room.topic" {
				v.topics[id] = ev.Get("content.topic").Str
			}
		}
		return true
	})
}

// TestSlidingClientsConverge plays random histories to a client that loses answers, changes its window and meets restarts: in the end it
// knows what a new client is told.
func TestSlidingClientsConverge(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t)
			var rooms []*storagetest.Room
			for i := range 6 {
				room := r.room(fmt.Sprintf("r%d", i))
				room.Member(bob, bob, "join")
				rooms = append(rooms, room)
			}
			body := func(last, limit int) string {
				return fmt.Sprintf(`{"lists":{"l":{"ranges":[[0,%d]],"timeline_limit":%d,"required_state":[["m.room.topic",""]]}},%s}`,
					last, limit, elementExtensions)
			}
			s := r.slider(bob, body(2, 1))
			v := slidingView{map[string][]string{}, map[string]string{}}
			v.take(t, s.next())
			for i := range 60 {
				room := rooms[random.IntN(len(rooms))]
				switch random.IntN(12) {
				case 0, 1, 2, 3:
					room.Message(alice, fmt.Sprint(i))
				case 4:
					room.State(alice, "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, i))
				case 5:
					room.Member(bob, bob, "leave")
					room.Message(alice, "unseen")
					if random.IntN(2) == 0 {
						v.take(t, s.next())
					}
					room.Member(bob, bob, "join")
				case 6:
					s.body = body(random.IntN(7), 1+random.IntN(3))
				case 7:
					s.lose()
				case 8:
					if random.IntN(3) == 0 {
						r.restart()
						for _, room := range rooms {
							r.rings(room)
						}
					}
				default:
					v.take(t, s.next())
				}
			}
			s.body = body(99, 3)
			v.take(t, s.next())
			truth := slidingView{map[string][]string{}, map[string]string{}}
			other := *s
			other.pos = ""
			other.body = `{"conn_id":"other",` + s.body[1:]
			truth.take(t, other.next())
			if d := cmp.Diff(truth.topics, v.topics); d != "" {
				t.Errorf("topics: %s", d)
			}
			for room, want := range truth.events {
				got := v.events[room]
				if len(got) > len(want) {
					got = got[len(got)-len(want):]
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s: %s", room, d)
				}
			}
		})
	}
}
