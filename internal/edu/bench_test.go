package edu

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// BenchmarkReceipt is a receipt in rooms of so many users.
func BenchmarkReceipt(b *testing.B) {
	for _, members := range []int{10, 2000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			r := newRig(b, storagetest.Open(b))
			for i := range members - 2 {
				user := id.UserID(fmt.Sprintf("@u%d:one", i))
				r.Member(user, user, "join")
			}
			var messages []id.EventID
			for range 2000 {
				messages = append(messages, r.Message(alice, "hi").ID)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i == len(messages) {
					b.Fatal("too few messages: -benchtime=1000x")
				}
				r.mustRead(Receipt{Type: storage.Read, Event: messages[i]})
				i++
			}
		})
	}
}
