package tests

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

const simplified = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"

func slidingBody(last int) fields {
	return fields{"conn_id": "room-list", "lists": fields{"all_rooms": fields{"ranges": [][]int{{0, last}}, "timeline_limit": 2,
		"required_state": [][]string{{"m.room.name", ""}, {"m.room.member", "$LAZY"}}}}, "extensions": fields{"to_device": fields{"enabled": true}}}
}

// slidingBodyWith asks for all rooms, and for an extension.
func slidingBodyWith(extension string) fields {
	return fields{"conn_id": extension, "lists": fields{"l": fields{"ranges": [][]int{{0, 99}}, "timeline_limit": 1, "required_state": [][]string{}}},
		"extensions": fields{extension: fields{"enabled": true}}}
}

func TestSlidingSync(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{"name": "Kitchen"})
	for i := range 3 {
		alice.CreateRoom(fields{"name": fmt.Sprint(i)})
	}
	bob.Join(room)
	bob.Say(room, "one")
	equal(t, "advertised", alice.Get("/_matrix/client/versions").Get(`unstable_features.org\.matrix\.simplified_msc3575`).Bool(), true)

	first := alice.Must("POST", simplified+"?timeout=0", slidingBody(1))
	equal(t, "count", first.Get("lists.all_rooms.count").Int(), 4)
	equal(t, "two rooms", len(keys(first.Get("rooms"))), 2)
	equal(t, "name", first.At("rooms", room, "name").Str, "Kitchen")
	equal(t, "timeline", len(first.At("rooms", room, "timeline").Array()), 2)
	pos := func(r hearthtest.Response) string { return url.QueryEscape(r.Get("pos").Str) }
	second := alice.Must("POST", simplified+"?timeout=0&pos="+pos(first), slidingBody(99))
	equal(t, "the others", len(keys(second.Get("rooms"))), 2)
	equal(t, "history from a position", alice.Get(path("rooms", room, "messages")+"?dir=b&from="+pos(first)).Status, 200)

	last := bob.Say(room, "two")
	a.Restart()
	third := alice.Must("POST", simplified+"?timeout=30000&pos="+pos(second), slidingBody(99))
	equal(t, "what was missed", third.At("rooms", room, "timeline").Get("0.event_id").Str, string(last))
	equal(t, "live", third.At("rooms", room, "num_live").Int(), 1)
	equal(t, "the same again", alice.Must("POST", simplified+"?timeout=0&pos="+pos(second), slidingBody(99)).At("rooms", room, "timeline").Get("0.event_id").Str, string(last))

	stable := alice.Must("POST", "/_matrix/client/v4/sync", fields{"lists": fields{"l": fields{"range": []int{0, 9}, "timeline_limit": 1,
		"required_state": fields{"include": []fields{{"type": "m.room.name"}}}}}})
	equal(t, "in the words of the proposal", stable.At("rooms", room, "membership").Str, "join")
	again := slidingBody(9)
	again["conn_id"], again["pos"] = "", "s1_1_77_1_1"
	for what, r := range map[string]hearthtest.Response{
		"a connection that is not":      alice.Do("POST", "/_matrix/client/v4/sync", again),
		"a position of somebody else":   bob.Do("POST", simplified+"?pos="+pos(third), slidingBody(99)),
		"a position of another session": alice.Login().Do("POST", simplified+"?pos="+pos(third), slidingBody(99)),
	} {
		if !r.Refused(400, "M_UNKNOWN_POS") {
			t.Errorf("%s: %d %s", what, r.Status, r.Body)
		}
	}
	if r := alice.Do("POST", simplified, fields{"lists": fields{"l": fields{"ranges": [][]int{{5, 1}}}}}); !r.Refused(400, "M_INVALID_PARAM") {
		t.Errorf("a range that goes back: %d %s", r.Status, r.Body)
	}
}
