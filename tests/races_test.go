package tests

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

// atOnce makes requests at the same time and returns the answers.
func atOnce(t *testing.T, n int, request func(i int) (hearthtest.Response, error)) []hearthtest.Response {
	t.Helper()
	out := make([]hearthtest.Response, n)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			r, err := request(i)
			if err != nil {
				t.Error(err)
			}
			out[i] = r
		})
	}
	close(start)
	all.Wait()
	return out
}

// successes counts the answers of a status.
func successes(answers []hearthtest.Response) int {
	n := 0
	for _, r := range answers {
		if r.Status == http.StatusOK {
			n++
		}
	}
	return n
}

func TestWhatHappensOnceThoughAskedForAtTheSameTime(t *testing.T) {
	t.Parallel()
	const n = 8
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	message := alice.Say(room, "soup?")

	said := map[string]bool{}
	for _, r := range atOnce(t, n, func(int) (hearthtest.Response, error) {
		return alice.Try("PUT", path("rooms", room, "send", "m.room.message", "same"), fields{"body": "once"})
	}) {
		said[r.Get("event_id").Str] = true
	}
	equal(t, "events of one transaction", len(said), 1)

	equal(t, "accounts of one name", successes(atOnce(t, n, func(int) (hearthtest.Response, error) {
		return a.Nobody().Try("POST", "register", fields{"username": "carol", "password": hearthtest.Password, "auth": fields{"type": "m.login.dummy"}})
	})), 1)
	equal(t, "rooms of one alias", successes(atOnce(t, n, func(int) (hearthtest.Response, error) {
		return alice.Try("POST", "createRoom", fields{"room_alias_name": "kitchen"})
	})), 1)
	equal(t, "reactions with one key", successes(atOnce(t, n, func(i int) (hearthtest.Response, error) {
		return alice.Try("PUT", path("rooms", room, "send", "m.reaction", fmt.Sprint("react", i)),
			fields{"m.relates_to": fields{"rel_type": "m.annotation", "event_id": message, "key": "👍"}})
	})), 1)

	file, err := id.ParseMXC(alice.Must("POST", "/_matrix/media/v1/create", fields{}).Get("content_uri").Str)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "uploads to one id", successes(atOnce(t, n, func(i int) (hearthtest.Response, error) {
		return alice.Try("PUT", "/_matrix/media/v3/"+path("upload", file.Server, file.MediaID), fmt.Sprint("content ", i))
	})), 1)

	joins := atOnce(t, n, func(int) (hearthtest.Response, error) { return bob.Try("POST", path("join", room), fields{}) })
	equal(t, "joins that succeed", successes(joins), n)
	joined := 0
	for _, e := range hearthtest.Events(messages(alice, room, "dir=b&limit=100").Get("chunk")) {
		if e.Type() == "m.room.member" && e.Sender() == string(bob.ID) {
			joined++
		}
	}
	equal(t, "joins in the history", joined, 1)
}
