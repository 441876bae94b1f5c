package tests

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// TestNothingIsLostOrToldTwice lets several people talk at the same time while another follows with a timeline that is far too short,
// fills the gaps from the history, and must in the end have every message once, in the order of the server.
func TestNothingIsLostOrToldTwice(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	reader := a.User("reader")
	room := reader.CreateRoom()
	const talkers, each = 4, 40
	since := reader.Sync().Next()
	var talking sync.WaitGroup
	for i := range talkers {
		u := a.User(fmt.Sprint("talker", i))
		u.Join(room)
		talking.Go(func() {
			for n := range each {
				say := path("rooms", room, "send", "m.room.message", fmt.Sprint(n))
				r, err := u.Try("PUT", say, fields{"msgtype": "m.text", "body": fmt.Sprintf("%d.%d", i, n)})
				if err != nil || r.Status != 200 {
					t.Errorf("%s: %v %s", say, err, r.Body)
					return
				}
			}
		})
	}
	var got []string
	for len(got) < talkers*each {
		r := reader.Sync("since", since, "timeout", "10000", "filter", `{"room":{"timeline":{"limit":3,"types":["m.room.message"]}}}`)
		if !r.At("rooms", "join", room).Exists() && r.Next() == since {
			break // nothing has come for the whole timeout
		}
		var gap []string
		if from := r.At("rooms", "join", room, "timeline", "prev_batch").Str; r.At("rooms", "join", room, "timeline", "limited").Bool() {
			gap = historyBetween(reader, room, from, since)
		}
		for _, e := range r.Timeline(room) {
			gap = append(gap, e.Body())
		}
		got = append(got, gap...)
		since = r.Next()
	}
	talking.Wait()
	equal(t, "what the reader got", got, historyBetween(reader, room, "", ""))
}

// historyBetween reads backwards from one token to another and returns the texts of the messages, oldest first.
func historyBetween(u *hearthtest.User, room id.RoomID, from, to string) []string {
	var out []string
	for {
		query := url.Values{"dir": {"b"}, "limit": {"10"}}
		if from != "" {
			query.Set("from", from)
		}
		if to != "" {
			query.Set("to", to)
		}
		page := messages(u, room, query.Encode())
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if e.Type() == "m.room.message" {
				out = append(out, e.Body())
			}
		}
		if from = page.Get("end").Str; from == "" {
			slices.Reverse(out)
			return out
		}
	}
}

// TestTheStateAClientKeepsIsThatOfTheServer does random things to some rooms while two clients follow, one with the state before the
// timeline and one with the state after it, both with a timeline that is often too short. What they make of it is compared with what
// the server says.
func TestTheStateAClientKeepsIsThatOfTheServer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			a := hearthtest.Start(t)
			alice := a.User("alice")
			others := []*hearthtest.User{a.User("bob"), a.User("carol"), a.User("dave")}
			rooms := []id.RoomID{alice.CreateRoom(), alice.CreateRoom(fields{"room_version": "12"})}
			followers := []*follower{
				{user: others[0], query: []string{}},
				{user: others[0], query: []string{"use_state_after", "true"}},
			}
			for step := range 60 {
				somethingHappens(random, alice, others, rooms[random.IntN(len(rooms))], step)
				for _, f := range followers {
					if random.IntN(4) == 0 {
						f.follow()
					}
				}
			}
			for _, f := range followers {
				f.follow()
				for _, room := range rooms {
					r := others[0].Do("GET", path("rooms", room, "state"), nil)
					if alice.Membership(room, others[0]) != "join" {
						equal(t, "room that was left", f.state[room], nil)
						continue
					}
					want := map[string]string{}
					for key, e := range stateOf(r.Result) {
						want[key] = e.ID()
					}
					equal(t, fmt.Sprintf("state with %v", f.query), f.state[room], want)
				}
			}
		})
	}
}

// somethingHappens does one thing that somebody may or may not be allowed to do.
func somethingHappens(random *rand.Rand, alice *hearthtest.User, others []*hearthtest.User, room id.RoomID, step int) {
	u := others[random.IntN(len(others))]
	switch random.IntN(10) {
	case 0, 1:
		u.Do("POST", path("join", room), fields{})
	case 2:
		u.Do("POST", path("rooms", room, "leave"), fields{})
	case 3:
		alice.Do("POST", path("rooms", room, "kick"), fields{"user_id": u.ID})
	case 4:
		alice.Do("POST", path("rooms", room, "invite"), fields{"user_id": u.ID})
	case 5:
		alice.SetState(room, "m.room.topic", "", fields{"topic": fmt.Sprint("step ", step)})
	case 6:
		alice.SetState(room, "example.thing", fmt.Sprint(random.IntN(3)), fields{"step": step})
	case 7:
		u.Do("PUT", path("profile", u.ID, "displayname"), fields{"displayname": fmt.Sprint("name ", step)})
	default:
		for n := range random.IntN(8) {
			alice.Say(room, fmt.Sprint("step ", step, " message ", n))
		}
	}
}

// follower is a client that keeps the state of rooms as the specification says.
//
// Spec: client-server-api#syncing
type follower struct {
	user  *hearthtest.User
	query []string
	since string
	state map[id.RoomID]map[string]string // by room and "type|key": the event id
}

func (f *follower) follow() {
	query := append([]string{"filter", `{"room":{"timeline":{"limit":4}}}`}, f.query...)
	if f.since == "" {
		f.state = map[id.RoomID]map[string]string{}
	} else {
		query = append(query, "since", f.since)
	}
	r := f.user.Sync(query...)
	f.since = r.Next()
	for room := range r.Get("rooms.leave").Map() {
		delete(f.state, id.RoomID(room))
	}
	for name, in := range r.Get("rooms.join").Map() {
		room := id.RoomID(name)
		if f.state[room] == nil {
			f.state[room] = map[string]string{}
		}
		for key, e := range stateOf(in.Get("state.events")) {
			f.state[room][key] = e.ID()
		}
		if !slices.Contains(f.query, "use_state_after") {
			for _, e := range hearthtest.Events(in.Get("timeline.events")) {
				if e.Get("state_key").Exists() {
					f.state[room][e.Type()+"|"+e.Get("state_key").Str] = e.ID()
				}
			}
		}
		for key, e := range stateOf(in.Get("state_after.events")) {
			f.state[room][key] = e.ID()
		}
	}
}

// TestCountsAreThoseOfTheSummary follows the number of members through sync while people come and go.
func TestCountsAreThoseOfTheSummary(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	others := map[string]*hearthtest.User{}
	for _, name := range []string{"bob", "carol", "dave"} {
		others[name] = a.User(name)
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		others[name].Join(room)
	}
	others["carol"].Leave(room)
	alice.Kick(room, others["dave"])
	alice.Invite(room, others["dave"])
	summary := alice.Sync().At("rooms", "join", room, "summary")
	equal(t, "summary", []string{
		summary.Get(`m\.joined_member_count`).Raw, summary.Get(`m\.invited_member_count`).Raw, strings.Join(texts(summary.Get(`m\.heroes`)), " "),
	}, []string{"2", "1", string(others["bob"].ID) + " " + string(others["dave"].ID)})
}
