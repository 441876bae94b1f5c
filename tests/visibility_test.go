package tests

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// TestAllEndpointsAgreeOnWhatIsVisible changes the visibility of the history and the memberships at random, and then asks in every way
// there is which events somebody may see.
func TestAllEndpointsAgreeOnWhatIsVisible(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			a := hearthtest.Start(t)
			alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
			room := alice.CreateRoom()
			visibilities := []string{"invited", "joined", "shared", "world_readable"}
			for step := range 40 {
				u := []*hearthtest.User{bob, carol}[random.IntN(2)]
				switch random.IntN(7) {
				case 0:
					alice.SetState(room, "m.room.history_visibility", "", fields{"history_visibility": visibilities[random.IntN(4)]})
				case 1, 2:
					u.Do("POST", path("join", room), fields{})
				case 3:
					u.Do("POST", path("rooms", room, "leave"), fields{})
				case 4:
					alice.Do("POST", path("rooms", room, "invite"), fields{"user_id": u.ID})
				default:
					alice.Say(room, fmt.Sprint("soup ", step))
				}
			}
			all := everything(alice, room, "f")
			for _, u := range []*hearthtest.User{bob, carol} {
				agree(t, u, room, all, alice.Membership(room, u))
			}
		})
	}
}

// agree compares what the endpoints let u see of all events of a room.
func agree(t *testing.T, u *hearthtest.User, room id.RoomID, all []string, membership string) {
	t.Helper()
	var single, context []string
	for _, event := range all {
		if u.Do("GET", path("rooms", room, "event", event), nil).Status == 200 {
			single = append(single, event)
		}
		if u.Do("GET", path("rooms", room, "context", event)+"?limit=0", nil).Status == 200 {
			context = append(context, event)
		}
	}
	who := fmt.Sprintf("%s (%s): ", u.ID.Localpart(), membership)
	equal(t, who+"context against event", context, single)
	if membership != "join" {
		return // those who have left have their own idea of where the history ends
	}
	forwards, backwards := everything(u, room, "f"), everything(u, room, "b")
	slices.Reverse(backwards)
	equal(t, who+"messages forwards against event", forwards, single)
	equal(t, who+"messages backwards against event", backwards, single)
	timeline := ids(u.Sync("filter", `{"room":{"timeline":{"limit":1000}}}`).Timeline(room))
	equal(t, who+"the timeline against event", timeline, single)
	var found []string
	results := u.Must("POST", "search", fields{"search_categories": fields{"room_events": fields{
		"search_term": "soup", "order_by": "recent", "filter": fields{"limit": 100},
	}}}).Get("search_categories.room_events.results.#.result.event_id")
	for _, event := range texts(results) {
		if !slices.Contains(single, event) {
			t.Errorf("%sa search finds %s, which %s may not see", who, event, u.ID)
		}
		found = append(found, event)
	}
	if len(found) == 0 && len(single) == len(all) {
		t.Errorf("%sa search finds nothing", who)
	}
}

// everything is the ids of all events that /messages gives in a direction.
func everything(u *hearthtest.User, room id.RoomID, dir string) []string {
	var out []string
	query := url.Values{"dir": {dir}, "limit": {"7"}}
	for {
		page := messages(u, room, query.Encode())
		out = append(out, ids(hearthtest.Events(page.Get("chunk")))...)
		if !page.Get("end").Exists() {
			return out
		}
		query.Set("from", page.Get("end").Str)
	}
}
