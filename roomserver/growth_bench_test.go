package roomserver

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage/storagetest"
)

var growthMembers = flag.Int("growth.members", 5000, "the members of the largest room of BenchmarkGrowth")

// BenchmarkGrowth is what a message, a change of state and a join cost in rooms with more and more members of this server. docs/performance.md
// has the curves; -growth.members=50000 continues them.
func BenchmarkGrowth(b *testing.B) {
	ctx := context.Background()
	for _, members := range []int{10, 1000, *growthMembers} {
		s := newServer(storagetest.Open(b))
		s.accounts = account.NewNotifier(push.NewBook(push.Options{LegacyMentions: true}), nil)
		room, err := s.Create(ctx, CreateRequest{Creator: alice, Preset: "public_chat"})
		if err != nil {
			b.Fatal(err)
		}
		next, topics := 0, 0
		join := func(b *testing.B) {
			next++
			if err := s.Join(ctx, MemberRequest{Room: room, Sender: id.UserID(fmt.Sprintf("@user%d:hearth.test", next))}); err != nil {
				b.Fatal(err)
			}
		}
		for next < members-1 {
			join(b)
		}
		run := func(what string, do func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/members=%d", what, members), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					do(b)
				}
			})
		}
		content := json.RawMessage(`{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog"}`)
		run("message", func(b *testing.B) {
			if _, err := s.Send(ctx, SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: content}); err != nil {
				b.Fatal(err)
			}
		})
		run("topic", func(b *testing.B) {
			topics++
			key, topic := "", json.RawMessage(fmt.Sprintf(`{"topic":"%d"}`, topics))
			if _, err := s.Send(ctx, SendRequest{Room: room, Sender: alice, Type: "m.room.topic", StateKey: &key, Content: topic}); err != nil {
				b.Fatal(err)
			}
		})
		run("join", join)
	}
}
