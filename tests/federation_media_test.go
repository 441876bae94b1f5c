package tests

import (
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestMediaOfOtherServers(t *testing.T) {
	t.Parallel()
	net, alice, bob := pair(t)
	file := alice.Upload([]byte("recipe"), "text/plain")
	got := bob.Download(file)
	equal(t, "file", string(got.Body), "recipe")
	equal(t, "its type", strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain"), true)
	net.Cut(home(alice), home(bob))
	equal(t, "file that is known", string(bob.Download(file).Body), "recipe")
	other := alice.Upload([]byte("another"), "text/plain")
	if r := bob.Download(other); r.Status != 502 && r.Status != 504 && r.Status != 404 {
		t.Errorf("a file that cannot be reached: %d %s", r.Status, r.Body)
	}
	net.Heal(home(alice), home(bob))
	equal(t, "file that can be reached again", string(bob.Download(other).Body), "another")
	if r := bob.Download(id.MXC{Server: home(alice), MediaID: "nothing"}); !r.Refused(404, "M_NOT_FOUND") {
		t.Errorf("a file that does not exist: %d %s", r.Status, r.Body)
	}
}

func TestMediaOfAnOldServer(t *testing.T) {
	t.Parallel()
	net := hearthtest.NewNetwork(t)
	a, old := net.Start(), net.Remote()
	alice := a.User("alice")
	old.On("download", func(*hearthtest.Request) hearthtest.Reply { return hearthtest.Fails(404, "M_UNRECOGNIZED") })
	old.On("old_download", func(q *hearthtest.Request) hearthtest.Reply {
		return hearthtest.Reply{Status: 200, Body: "an old recipe"}
	})
	got := alice.Download(id.MXC{Server: old.Name, MediaID: "recipe"})
	equal(t, "file", string(got.Body), "an old recipe")
}
