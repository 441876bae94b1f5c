package tests

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom(fields{"name": "Kitchen", "room_alias_name": "kitchen"})
	bob.Join(room)
	alice.Must("PUT", path("user", alice.ID, "account_data", "example.colour"), fields{"colour": "red"})
	alice.Must("PUT", path("user", alice.ID, "rooms", room, "tags", "m.favourite"), fields{"order": 0.5})
	filter := alice.Must("POST", path("user", alice.ID, "filter"), fields{"room": fields{"timeline": fields{"limit": 1}}}).Get("filter_id").Str
	file := alice.Upload([]byte("recipe"), "text/plain")
	say, tell := path("rooms", room, "send", "m.room.message", "retried"), fields{"msgtype": "m.text", "body": "hello"}
	message := bob.Must("PUT", say, tell).Get("event_id").Str
	alice.WaitFor(room, "hello")
	unread := alice.Sync().At("rooms", "join", room, "unread_notifications").Raw
	since := alice.Sync().Next()
	last := bob.Say(room, "while the server stops")

	a.Restart()

	equal(t, "event of a retry", bob.Must("PUT", say, tell).Get("event_id").Str, message)
	missed := alice.Sync("since", since)
	equal(t, "what was missed", ids(missed.Timeline(room)), []string{string(last)})
	equal(t, "the echo knows its transaction", bob.Event(room, last).At("unsigned", "transaction_id").Exists(), true)
	equal(t, "unread before", unread, `{"highlight_count":0,"notification_count":1}`)
	equal(t, "unread now", missed.At("rooms", "join", room, "unread_notifications").Raw, `{"highlight_count":0,"notification_count":2}`)
	equal(t, "name", alice.State(room, "m.room.name", "").Get("name").Str, "Kitchen")
	equal(t, "alias", alice.Get(path("directory", "room", "#kitchen:"+string(a.Name))).Get("room_id").Str, string(room))
	equal(t, "account data", alice.Get(path("user", alice.ID, "account_data", "example.colour")).Get("colour").Str, "red")
	equal(t, "tags", keys(alice.Get(path("user", alice.ID, "rooms", room, "tags")).Get("tags")), []string{"m.favourite"})
	equal(t, "filter", len(alice.Sync("filter", filter).Timeline(room)), 1)
	equal(t, "file", string(alice.Download(file).Body), "recipe")
	alice.Login()
	alice.Say(room, "here we are again")
	bob.WaitFor(room, "here we are again")
}

func TestCrashUnderLoad(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	talkers := make([]*hearthtest.User, 4)
	for i := range talkers {
		talkers[i] = a.User(fmt.Sprint("talker", i))
		talkers[i].Join(room)
	}
	// Everybody talks until the server is gone. What was acknowledged must be there afterwards, and what is said again is said once.
	acknowledged := make([]map[string]string, len(talkers))
	enough := make(chan struct{}, len(talkers))
	var talking sync.WaitGroup
	for i, u := range talkers {
		acknowledged[i] = map[string]string{}
		talking.Go(func() {
			warm := sync.OnceFunc(func() { enough <- struct{}{} })
			defer warm()
			for n := 0; ; n++ {
				say := path("rooms", room, "send", "m.room.message", fmt.Sprint("crash", n))
				r, err := u.Try("PUT", say, fields{"msgtype": "m.text", "body": say})
				if err != nil || r.Status != 200 {
					return
				}
				acknowledged[i][say] = r.Get("event_id").Str
				if n == 20 {
					warm()
				}
			}
		})
	}
	for range talkers {
		<-enough
	}
	a.Close()
	talking.Wait()
	a.Open()

	for i, u := range talkers {
		for say, event := range acknowledged[i] {
			equal(t, "event of a retry", u.Must("PUT", say, fields{"msgtype": "m.text", "body": say}).Get("event_id").Str, event)
		}
	}
	said := map[string]int{}
	from := ""
	for {
		page := messages(alice, room, "dir=b&limit=500&from="+from)
		for _, e := range hearthtest.Events(page.Get("chunk")) {
			if body := e.Body(); body != "" {
				said[e.Sender()+" "+body]++
			}
		}
		if !page.Get("end").Exists() {
			break
		}
		from = page.Get("end").Str
	}
	for i, u := range talkers {
		for say := range acknowledged[i] {
			if n := said[string(u.ID)+" "+say]; n != 1 {
				t.Errorf("%s said %s %d times", u.ID, say, n)
			}
		}
	}
}
