package roomserver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

func TestZZEnterTime(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "one", "two")
	a, b := w.servers["one"], w.servers["two"]
	alice, bob := a.user("alice"), b.user("bob")
	room := a.create(CreateRequest{Creator: alice, Preset: "public_chat"})
	var users []id.UserID
	for i := range 3000 {
		users = append(users, a.user(fmt.Sprint("u", i)))
	}
	start := time.Now()
	for _, u := range users {
		if err := a.Join(ctx, MemberRequest{Room: room, Sender: u}); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("made", time.Since(start))
	before := b.store.Stats()
	start = time.Now()
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bob, Via: []id.ServerName{"one"}}); err != nil {
		t.Fatal(err)
	}
	after := b.store.Stats()
	t.Log("joined", time.Since(start), "updates", after.Updates-before.Updates, "writer", after.WriterTime-before.WriterTime)
}
