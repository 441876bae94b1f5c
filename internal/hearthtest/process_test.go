package hearthtest_test

import (
	"os"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestMain(m *testing.M) { os.Exit(hearthtest.Main(m)) }

func TestAProcessCanBeKilled(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a := net.Start(hearthtest.InProcess())
	remote := net.Remote()
	alice := a.User("alice")
	room := alice.CreateRoom(hearthtest.Fields{"name": "Kitchen"})
	versions := func() error {
		_, err := remote.Raw(t.Context(), "GET", a.Name, "/_matrix/client/versions", nil, nil)
		return err
	}
	if err := versions(); err != nil {
		t.Error(err)
	}
	a.Kill()
	if err := versions(); err == nil {
		t.Error("the server is still there")
	}
	a.Open()
	if err := versions(); err != nil {
		t.Error(err)
	}
	if got := alice.State(room, "m.room.name", "").Get("name").Str; got != "Kitchen" {
		t.Errorf("the room is now named %q", got)
	}
}
