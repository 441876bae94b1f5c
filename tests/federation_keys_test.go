package tests

import (
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/keyfile"
)

func TestWhatAServerSaidUnderAnOldKeyIsBelieved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		published bool
	}{
		{"if the old key is published", true},
		{"and not if nobody knows it", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			net := hearthtest.NewNetwork(t)
			var cfg *config.Config
			alice := net.Start(hearthtest.WithConfig(func(c *config.Config) { cfg = c })).User("alice")
			bob, carol := net.Start().User("bob"), net.Start().User("carol")
			room := alice.CreateRoom()
			bob.Join(room, home(alice))
			alice.Say(room, "under the old key")
			bob.WaitFor(room, "under the old key")

			alice.Server().Close()
			old := newKey(t, cfg.File(cfg.Server.SigningKeyPath))
			if test.published {
				cfg.Federation.OldVerifyKeys = []config.OldVerifyKey{old}
			}
			bob.Server().Restart() // else it would wait a minute before it asks for the keys of Alice's server again
			alice.Server().Open()
			alice.Say(room, "under the new key")
			bob.WaitFor(room, "under the new key")

			// Carol's server has never met Alice's.
			answer := carol.Do("POST", hearthtest.Through(path("join", room), home(bob)), fields{})
			equal(t, "Carol is in the room", answer.Status == 200, test.published)
			if !test.published {
				return
			}
			said := map[string]bool{}
			for _, e := range carol.PageBack(room) {
				said[e.Get("content.body").Str] = true
			}
			equal(t, "Carol sees", said["under the old key"] && said["under the new key"], true)
			hearthtest.Agree(t, room, alice, bob, carol)
		})
	}
}

// newKey puts a new signing key in the place of the one in a file, and returns the old one as the configuration publishes it.
func newKey(t *testing.T, file string) config.OldVerifyKey {
	t.Helper()
	key, err := keyfile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Create(file); err != nil {
		t.Fatal(err)
	}
	public := base64.RawStdEncoding.EncodeToString(key.Private.Public().(ed25519.PublicKey))
	return config.OldVerifyKey{ID: key.ID, Key: public, Expired: time.Now().UnixMilli()}
}
