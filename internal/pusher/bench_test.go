package pusher

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// BenchmarkNotify is what pushers add to the transaction of an event that notifies 5000 local users.
func BenchmarkNotify(b *testing.B) {
	const members = 5000
	for _, owners := range []int{0, 1, 50, members} {
		b.Run(fmt.Sprint(owners, " with pushers"), func(b *testing.B) {
			store := storagetest.Open(b)
			room := storagetest.NewRoom(b, store, "!r:one", bob)
			e := room.Message(bob, "hi")
			s, err := New(b.Context(), Options{Store: store, Clock: clock.Real(), Log: storagetest.Log(b), Web: &http.Client{}})
			if err != nil {
				b.Fatal(err)
			}
			update := func(fn func(tx *storage.Tx) error) {
				if err := store.Update(context.Background(), fn); err != nil {
					b.Fatal(err)
				}
			}
			to := make([]storage.Member, members)
			v := push.Verdict{Rest: push.Outcome{Notify: true, Actions: json.RawMessage(`["notify"]`)}}
			update(func(tx *storage.Tx) error {
				for i := range to {
					to[i] = storage.Member{User: id.UserID(fmt.Sprintf("@u%d:one", i))}
					if i >= owners {
						continue
					}
					if _, err := tx.InsertUser(storage.User{ID: to[i].User}); err != nil {
						return err
					}
					if _, err := tx.SetPusher(storage.Pusher{User: to[i].User, AppID: "a", Pushkey: "k", Data: json.RawMessage(`{}`)}); err != nil {
						return err
					}
					s.owners[to[i].User] = true
				}
				return nil
			})
			b.ReportAllocs()
			update(func(tx *storage.Tx) error {
				for b.Loop() {
					if err := s.Notify(tx, e, v, to); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
