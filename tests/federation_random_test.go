package tests

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

var (
	convergenceSeed   = flag.Uint64("convergence.seed", 0, "play only this round of TestServersConverge")
	convergenceRounds = flag.Uint64("convergence.rounds", 3, "how many rounds of TestServersConverge to play")
	convergenceSteps  = flag.Int("convergence.steps", 40, "how many steps a round has")
)

// TestServersConverge lets people on some servers do random things in a room while links break, heal and servers restart. Then everything is
// healed, and all servers must come to the same state and have all events, and what each of them keeps beside its state must fit to that. A
// round is determined by its seed, but for what happens at the same time:
//
//	go test ./tests -run TestServersConverge -convergence.seed 7 -v
func TestServersConverge(t *testing.T) {
	t.Parallel()
	first, last := uint64(1), *convergenceRounds
	if *convergenceSeed != 0 {
		first, last = *convergenceSeed, *convergenceSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWeather(t, seed)
			w.play(*convergenceSteps)
			for _, u := range w.people {
				u.Server().Consistent()
			}
		})
	}
}

// weather is what happens to some servers.
type weather struct {
	t      *testing.T
	random *rand.Rand
	net    *hearthtest.Network
	people []*hearthtest.User // the first is the creator of the room
	room   id.RoomID
	ver    string
	log    []string
}

func newWeather(t *testing.T, seed uint64) *weather {
	t.Helper()
	w := &weather{t: t, random: rand.New(rand.NewPCG(seed, 0)), net: hearthtest.NewNetwork(t)}
	for i := range 2 + w.random.IntN(3) {
		server := w.net.Start()
		w.people = append(w.people, server.User(fmt.Sprint("first", i)), server.User(fmt.Sprint("second", i)))
	}
	w.ver = []string{"2", "6", "10", "11", "12"}[w.random.IntN(5)]
	w.room = w.people[0].CreateRoom(fields{"room_version": w.ver})
	for _, u := range w.people[1:] {
		u.Join(w.room, home(w.people[0]))
	}
	creator := w.people[0]
	for _, u := range w.people {
		creator.WaitForMembership(w.room, u.ID, "join")
	}
	creator.SetState(w.room, "m.room.power_levels", "", w.levels())
	t.Cleanup(func() {
		if t.Failed() {
			for _, u := range w.people {
				if u.Server() != creator.Server() || u == creator {
					t.Log(u.Server().Describe(w.room))
				}
			}
			t.Logf("seed %d, room version %s:\n%s", seed, w.ver, strings.Join(w.log, "\n"))
		}
	})
	return w
}

// note remembers what was done, to be told when the round fails.
func (w *weather) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *weather) anybody() *hearthtest.User { return w.people[w.random.IntN(len(w.people))] }

func (w *weather) play(steps int) {
	hearthtest.Agree(w.t, w.room, w.people...)
	for step := range steps {
		w.happen(step)
	}
	w.note("everything is healed")
	w.net.Mend()
	// A server tells the others where its room has come to with its next event only, and tells it those only that are in the room as it sees it:
	// so people talk, and those who have come to be outside come in again.
	const talks = 6
	for i := range talks {
		w.gather()
		for _, u := range w.joined() {
			w.try(u, "PUT", path("rooms", w.room, "send", "m.room.message", fmt.Sprint("talk", i)), fields{"msgtype": "m.text", "body": fmt.Sprint("talk ", i)})
		}
		difference := hearthtest.Compare(w.room, 3*time.Second, w.joined()...)
		if difference == "" {
			return
		}
		if i == talks-1 {
			w.t.Fatal(difference)
		}
	}
}

// try does something that may well be refused.
func (w *weather) try(u *hearthtest.User, method, path string, body fields) {
	w.t.Helper()
	r := u.Do(method, path, body)
	_, what, _ := strings.Cut(path, string(w.room[1:]))
	w.note("%s %s %s %v: %d %s", u.ID, method, what, body, r.Status, r.Body)
	if r.Status >= 500 && r.Status != 502 && r.Status != 504 {
		w.t.Errorf("%s %s %s: %d %s", u.ID, method, path, r.Status, r.Body)
	}
}

// happen does one thing.
func (w *weather) happen(step int) {
	w.t.Helper()
	u, other := w.anybody(), w.anybody()
	rooms := func(segments ...any) string { return path(append([]any{"rooms", w.room}, segments...)...) }
	switch n := w.random.IntN(100); {
	case n < 35:
		w.try(u, "PUT", rooms("send", "m.room.message", fmt.Sprint("step", step)), fields{"msgtype": "m.text", "body": fmt.Sprint("step ", step)})
	case n < 50:
		w.try(u, "PUT", rooms("state", "m.room.topic", ""), fields{"topic": fmt.Sprint("step ", step)})
	case n < 57:
		w.try(u, "PUT", rooms("state", "example.thing", fmt.Sprint(w.random.IntN(3))), fields{"step": step})
	case n < 65:
		w.try(u, "PUT", rooms("state", "m.room.power_levels", ""), w.levels())
	case n < 70:
		w.try(u, "POST", rooms("ban"), fields{"user_id": other.ID})
	case n < 74:
		w.try(u, "POST", rooms("unban"), fields{"user_id": other.ID})
	case n < 78 && other != w.people[0]: // whom one cannot kick, but by oneself
		w.try(u, "POST", rooms("kick"), fields{"user_id": other.ID})
	case n < 81 && u != w.people[0]:
		w.try(u, "POST", rooms("leave"), fields{})
	case n < 85:
		w.try(u, "POST", hearthtest.Through(path("join", w.room), home(other)), fields{})
	case n < 88:
		w.try(u, "PUT", rooms("state", "m.room.join_rules", ""), fields{"join_rule": []string{"public", "invite"}[w.random.IntN(2)]})
	case n < 94 && home(u) != home(other):
		w.note("cut %s %s", home(u), home(other))
		w.net.Cut(home(u), home(other))
	case n < 98 && home(u) != home(other):
		w.note("heal %s %s", home(u), home(other))
		w.net.Heal(home(u), home(other))
	case n == 99:
		w.note("restart %s", home(u))
		u.Server().Restart()
	}
}

// levels are random power levels, which never take those of the creator.
func (w *weather) levels() fields {
	users := fields{}
	if w.ver != "12" {
		users[string(w.people[0].ID)] = 100
	}
	for _, u := range w.people[1:] {
		if level := []int{0, 50, 60, 90}[w.random.IntN(4)]; level > 0 {
			users[string(u.ID)] = level
		}
	}
	return fields{"users": users, "events_default": []int{0, 0, 50}[w.random.IntN(3)]}
}

// gather lets everybody in and talk, and brings somebody of each server into the room, as the creator sees it, so that there is something to
// compare.
func (w *weather) gather() {
	w.t.Helper()
	creator := w.people[0]
	creator.SetState(w.room, "m.room.join_rules", "", fields{"join_rule": "public"})
	users := fields{}
	if w.ver != "12" {
		users[string(creator.ID)] = 100
	}
	creator.SetState(w.room, "m.room.power_levels", "", fields{"users": users})
	for i := 2; i < len(w.people); i += 2 {
		here := w.people[i : i+2]
		inside := func(u *hearthtest.User) bool { return creator.Membership(w.room, u) == "join" }
		// Those whose servers see it otherwise leave, as far as they can, and come back.
		if slices.ContainsFunc(here, inside) && !slices.ContainsFunc(here, func(u *hearthtest.User) bool { return inside(u) != w.feelsIn(u) }) {
			continue
		}
		for _, u := range here {
			w.try(u, "POST", path("rooms", w.room, "leave"), fields{})
		}
		if creator.Membership(w.room, here[0]) == "ban" {
			creator.Unban(w.room, here[0])
		}
		w.try(here[0], "POST", hearthtest.Through(path("join", w.room), home(creator)), fields{})
	}
}

// feelsIn reports whether somebody is in the room as their own server sees it.
func (w *weather) feelsIn(u *hearthtest.User) bool {
	w.t.Helper()
	return slices.Contains(texts(u.Get("joined_rooms").Get("joined_rooms")), string(w.room))
}

// joined are those in the room, as the creator sees it.
func (w *weather) joined() []*hearthtest.User {
	return slices.DeleteFunc(slices.Clone(w.people), func(u *hearthtest.User) bool { return w.people[0].Membership(w.room, u) != "join" })
}
