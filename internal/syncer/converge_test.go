package syncer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// model is what a client makes of its answers: the state of the rooms that it is in.
type model struct {
	*client
	rooms map[string]map[string]string // state events by room and key
}

// apply syncs and does with the answer what the specification tells clients to do.
func (m *model) apply() {
	m.r.t.Helper()
	got := m.sync()
	set := func(room string, events gjson.Result) {
		for _, ev := range events.Array() {
			if key := ev.Get("state_key"); key.Exists() {
				if m.rooms[room] == nil {
					m.rooms[room] = map[string]string{}
				}
				m.rooms[room][ev.Get("type").Str+"|"+key.Str] = ev.Get("event_id").Str
			}
		}
	}
	got.Get("rooms.join").ForEach(func(room, j gjson.Result) bool {
		if m.useStateAfter {
			set(room.Str, j.Get("state_after.events"))
		} else {
			set(room.Str, j.Get("state.events"))
			set(room.Str, j.Get("timeline.events"))
		}
		return true
	})
	for _, section := range []string{"leave", "invite"} {
		got.Get("rooms." + section).ForEach(func(room, _ gjson.Result) bool {
			delete(m.rooms, room.Str)
			return true
		})
	}
}

// check compares what the client believes with what is so. Members may be missing where they are loaded lazily, but not be wrong.
func (m *model) check(step string, rooms []*storagetest.Room, lazy bool) {
	m.r.t.Helper()
	err := m.r.store.View(context.Background(), func(tx *storage.ReadTx) error {
		for _, room := range rooms {
			member, err := tx.Membership(room.Row.NID, m.user)
			believed := m.rooms[string(room.Row.ID)]
			if err != nil || member.Membership != "join" {
				if len(believed) > 0 {
					m.r.t.Errorf("%s: %s believes to be in %s", step, m.user, room.Row.ID)
				}
				continue
			}
			events, err := tx.CurrentState(room.Row.NID, true)
			if err != nil {
				return err
			}
			for _, ev := range events {
				key := ev.Type + "|" + *ev.StateKey
				if got, ok := believed[key]; got != string(ev.ID) && (ok || !lazy || ev.Type != memberType) {
					m.r.t.Errorf("%s: %s believes of %s in %s that it is %q; it is %q", step, m.user, key, room.Row.ID, got, ev.ID)
				}
			}
		}
		return nil
	})
	if err != nil {
		m.r.t.Fatal(err)
	}
}

// TestClientsConverge plays random histories: whenever a client looks, and however little of the timeline it gets, it knows the state of its
// rooms afterwards.
func TestClientsConverge(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("history ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t)
			rooms := []*storagetest.Room{r.room("a"), r.room("b"), r.room("c")}
			users := []id.UserID{alice, bob, eve}
			for i := range fewRooms * int(seed%2) { // so that not all rooms are looked at each
				quiet := r.room(fmt.Sprint("quiet", i))
				quiet.Member(bob, bob, "join")
				quiet.Member(eve, eve, "join")
			}
			filters := []string{`{"room":{"timeline":{"limit":%d}}}`, `{"room":{"timeline":{"limit":%d},"state":{"lazy_load_members":true}}}`,
				`{"room":{"timeline":{"limit":%d,"not_types":["m.room.topic"]}}}`}
			var clients []*model
			for i, u := range users {
				for after := range 2 {
					c := r.client(u)
					c.filter = fmt.Sprintf(filters[(int(seed)+i+after)%len(filters)], 1+rnd.IntN(5))
					c.useStateAfter = after == 1
					clients = append(clients, &model{c, map[string]map[string]string{}})
				}
			}
			for step := range 120 {
				room, u := rooms[rnd.IntN(len(rooms))], users[rnd.IntN(len(users))]
				switch n := rnd.IntN(10); {
				case n < 3:
					room.Message(alice, fmt.Sprint("message ", step))
				case n < 5:
					room.State(alice, "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, step))
				case n < 6:
					room.State(alice, "m.room.history_visibility", "",
						fmt.Sprintf(`{"history_visibility":%q}`, []string{"joined", "shared", "invited", "world_readable"}[rnd.IntN(4)]))
				case u != alice:
					room.Member(u, u, []string{"join", "leave", "join", "invite"}[rnd.IntN(4)])
				}
				if rnd.IntN(4) == 0 {
					i := rnd.IntN(len(clients))
					clients[i].apply()
					clients[i].check(fmt.Sprint("step ", step, ", client ", i, " ", clients[i].filter, clients[i].useStateAfter), rooms,
						(int(seed)+i/2+i%2)%len(filters) == 1)
				}
			}
		})
	}
}

// TestNothingIsLostUnderLoad has clients that wait while several writers send: every client gets every message once and in order.
func TestNothingIsLostUnderLoad(t *testing.T) {
	r := newRig(t)
	const writers, messages = fewRooms + 2, 60
	rooms := make([]*storagetest.Room, writers)
	for i := range rooms {
		rooms[i] = r.room(fmt.Sprint("r", i))
		rooms[i].Member(bob, bob, "join")
	}
	var clients sync.WaitGroup
	for _, u := range []id.UserID{alice, bob} {
		c := r.client(u)
		c.filter = `{"room":{"timeline":{"limit":500}}}`
		c.sync()
		c.timeout = time.Hour
		clients.Go(func() {
			got := make([][]string, writers)
			for n := 0; n < writers*messages; {
				answer := c.sync()
				for i, room := range rooms {
					list := told(joined(answer, room).Get("timeline.events"))
					got[i] = append(got[i], list...)
					n += len(list)
				}
			}
			for i := range rooms {
				for j, body := range got[i] {
					if body != fmt.Sprint("message ", j) {
						t.Errorf("%s got %q as message %d of room %d", u, body, j, i)
						return
					}
				}
			}
		})
	}
	var senders sync.WaitGroup
	for _, room := range rooms {
		senders.Go(func() {
			for j := range messages {
				room.Message(alice, fmt.Sprint("message ", j))
			}
		})
	}
	senders.Wait()
	clients.Wait()
}
