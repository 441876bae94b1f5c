package hearthtest_test

import (
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestServersOfATestAreDifferent(t *testing.T) {
	t.Parallel()
	a, b := hearthtest.Start(t), hearthtest.Start(t)
	alice := a.User("alice")
	if a.Name == b.Name || a.URL == b.URL {
		t.Errorf("they are %s at %s and %s at %s", a.Name, a.URL, b.Name, b.URL)
	}
	if alice.ID.Server() != a.Name {
		t.Errorf("alice of %s is %s", a.Name, alice.ID)
	}
	stranger := b.Nobody()
	stranger.Token = alice.Token
	stranger.Refused("GET", "account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
}

func TestDataOutlivesTheServer(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hearthtest.Server){
		"a restart": (*hearthtest.Server).Restart, "an end without notice": func(s *hearthtest.Server) { s.Close(); s.Open() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := hearthtest.Start(t)
			alice := a.User("alice")
			room := alice.CreateRoom(hearthtest.Fields{"name": "Kitchen"})
			file := alice.Upload([]byte("recipe"), "text/plain")
			end(a)
			if got := alice.State(room, "m.room.name", "").Get("name").Str; got != "Kitchen" {
				t.Errorf("the room is now named %q", got)
			}
			if got := alice.Download(file); string(got.Body) != "recipe" {
				t.Errorf("the file is now %d %q", got.Status, got.Body)
			}
		})
	}
}

func TestReloadChangesARunningServer(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	nobody := a.Nobody()
	a.Reload(func(c *config.Config) { c.Registration.Mode = config.RegistrationDisabled })
	nobody.Refused("POST", "register", hearthtest.Fields{"username": "alice"}, 403, "M_FORBIDDEN")
	a.Reload(func(c *config.Config) { c.Registration.Mode = config.RegistrationOpen })
	a.User("alice")
}

func TestTimeIsWhatTheTestSays(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	a := hearthtest.Start(t, hearthtest.WithClock(now))
	alice := a.User("alice")
	room := alice.CreateRoom()
	now.Advance(time.Hour)
	event := alice.Say(room, "hi")
	if got := alice.Event(room, event).Get("origin_server_ts").Int(); got != now.Now().UnixMilli() {
		t.Errorf("the message is of %v", time.UnixMilli(got))
	}
}

func TestWaitingForWhatComesAndForWhatIsThere(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob := a.User("alice"), a.User("bob")
	room := alice.CreateRoom()
	bob.Join(room)
	first := alice.Say(room, "one")
	bob.WaitFor(room, "one")
	alice.Say(room, "two")
	bob.WaitFor(room, "two")
	if got := bob.WaitFor(room, "one").ID(); got != string(first) {
		t.Errorf("what was seen before is now %s", got)
	}
	said := make(chan error, 1)
	go func() {
		_, err := alice.Try("PUT", hearthtest.Path("rooms", room, "send", "m.room.message", "later"), hearthtest.Fields{"body": "three"})
		said <- err
	}()
	bob.WaitFor(room, "three")
	if err := <-said; err != nil {
		t.Error(err)
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	const want = "rooms/%21a:b/state/m%2Froom/"
	if got := hearthtest.Path("rooms", "!a:b", "state", "m/room", ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
