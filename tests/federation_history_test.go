package tests

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// history pages back through all of a room and returns the texts of the messages, oldest first.
func history(t *testing.T, u *hearthtest.User, room id.RoomID, limit int) []string {
	t.Helper()
	var out []string
	from := ""
	for range 1000 {
		query := url.Values{"dir": {"b"}, "limit": {fmt.Sprint(limit)}}
		if from != "" {
			query.Set("from", from)
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
	t.Fatalf("%s pages without end", u.ID)
	return nil
}

func TestHistoryBeforeAJoinIsFetched(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	var said []string
	for i := range 30 {
		said = append(said, fmt.Sprint("message ", i))
		alice.Say(room, said[i])
	}
	bob.Join(room, home(alice))
	since := bob.Sync().Next()
	equal(t, "history", history(t, bob, room, 10), said)
	equal(t, "history the second time", history(t, bob, room, 7), said)
	if r := bob.Sync("since", since); len(r.Timeline(room)) > 0 {
		t.Errorf("what was fetched is new in /sync: %s", r.Body)
	}
	alice.Say(room, "now")
	bob.WaitFor(room, "now")
	equal(t, "history with what came", history(t, bob, room, 10), append(said, "now"))
}

func TestHistoryOfAnAbsenceIsFetched(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	room := alice.CreateRoom()
	bob.Join(room, home(alice))
	alice.Say(room, "first")
	bob.WaitFor(room, "first")
	net.Cut(home(alice), home(bob))
	said := []string{"first"}
	for i := range 40 {
		said = append(said, fmt.Sprint("message ", i))
		alice.Say(room, said[i+1])
	}
	net.Heal(home(alice), home(bob))
	bob.WaitFor(room, "message 39")
	equal(t, "history", history(t, bob, room, 10), said)
	hearthtest.Agree(t, room, alice, bob)
}

func TestHistoryVisibilityCountsForOtherServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		visibility string
		want       []string
	}{
		{"shared", []string{"before", "invited", "after"}},
		{"invited", []string{"invited", "after"}},
		{"joined", []string{"after"}},
		{"world_readable", []string{"before", "invited", "after"}},
	} {
		t.Run(test.visibility, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			room := alice.CreateRoom(fields{"initial_state": []fields{
				{"type": "m.room.history_visibility", "content": fields{"history_visibility": test.visibility}},
			}})
			alice.Say(room, "before")
			alice.Invite(room, bob)
			bob.WaitForInvite(room)
			alice.Say(room, "invited")
			bob.Join(room, home(alice))
			alice.Say(room, "after")
			bob.WaitFor(room, "after")
			equal(t, "history", history(t, bob, room, 10), test.want)
		})
	}
}

func TestServersShowOthersOnlyWhatTheyMaySee(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, stranger := net.Start(), net.Remote()
	alice, eve := a.User("alice"), stranger.User("eve")
	room := alice.CreateRoom(fields{"initial_state": []fields{
		{"type": "m.room.history_visibility", "content": fields{"history_visibility": "joined"}},
	}})
	secret := alice.Say(room, "secret")
	other := alice.CreateRoom(fields{"preset": "private_chat"})
	private := alice.Say(other, "private")

	for _, p := range []string{
		"v1/" + path("event", secret), "v1/" + path("state", room) + "?event_id=" + url.QueryEscape(string(secret)),
		"v1/" + path("state_ids", room) + "?event_id=" + url.QueryEscape(string(secret)), "v1/" + path("event_auth", room, secret),
		"v1/" + path("backfill", room) + "?limit=10&v=" + url.QueryEscape(string(secret)),
	} {
		if r := stranger.Do("GET", a.Name, p, nil); r.Status != 403 && r.Status != 404 {
			t.Errorf("a stranger asks %s: %d %s", p, r.Status, r.Body)
		}
	}
	there := stranger.Join(room, eve, a.Name)
	after := alice.Say(room, "hello")
	there.WaitFor(after)
	stranger.Get(a.Name, "v1/"+path("event", after))
	fetched := stranger.Get(a.Name, "v1/"+path("event", secret))
	if got := fetched.Get("pdus.0.content.body"); got.Exists() {
		t.Errorf("what was said before eve came is shown: %s", fetched.Body)
	}
	filled := stranger.Get(a.Name, "v1/"+path("backfill", room)+"?limit=10&v="+url.QueryEscape(string(after)))
	for _, e := range filled.Get("pdus").Array() {
		if e.Get("content.body").Str == "secret" {
			t.Error("what was said before eve came is in the history")
		}
	}
	// An event of another room is not in this one.
	for _, p := range []string{"v1/" + path("state_ids", room) + "?event_id=" + url.QueryEscape(string(private)), "v1/" + path("event_auth", room, private)} {
		if r := stranger.Do("GET", a.Name, p, nil); r.Status != 403 && r.Status != 404 {
			t.Errorf("an event of another room by %s: %d %s", p, r.Status, r.Body)
		}
	}
}

func TestTimestampsFindEventsOfOtherServers(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	room := alice.CreateRoom()
	first := alice.Say(room, "first")
	for i := range 30 {
		alice.Say(room, fmt.Sprint("later ", i))
	}
	bob.Join(room, home(alice))
	ts := alice.Event(room, first).Get("origin_server_ts").Int()
	r := bob.Get("/_matrix/client/v1/" + path("rooms", room, "timestamp_to_event") + fmt.Sprintf("?ts=%d&dir=f", ts))
	if got := r.Get("origin_server_ts").Int(); got < ts || got > ts+5 {
		t.Errorf("the event near %d is %s", ts, r.Body)
	}
}
