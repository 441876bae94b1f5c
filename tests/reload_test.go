package tests

import (
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestTheDefaultRoomVersionIsReloaded(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	for _, version := range []string{"10", "12"} {
		a.Reload(func(c *config.Config) { c.Rooms.DefaultVersion = version })
		equal(t, "version of a new room", alice.State(alice.CreateRoom(), "m.room.create", "").Get("room_version").Str, version)
		equal(t, "version clients are told of", alice.Get("capabilities").At("capabilities", "m.room_versions", "default").Str, version)
	}
}
