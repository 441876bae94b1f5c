package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkReceive is what a message of another server costs, one in each transaction and many: signature, judgement, commit.
func BenchmarkReceive(b *testing.B) {
	for _, together := range []int{1, 50} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			c := newTown(b, CreateRequest{})
			events := make([]json.RawMessage, b.N)
			for i := range events {
				events[i] = c.a.event(c.a.say(c.room, c.alice, "The quick brown fox jumps over the lazy dog")).JSON
			}
			b.ReportAllocs()
			before := c.b.store.Stats()
			b.ResetTimer()
			for i := 0; i < b.N; i += together {
				for event, err := range c.b.Receive(context.Background(), "one", c.room, events[i:min(i+together, b.N)]) {
					if err != nil {
						b.Fatal(event, err)
					}
				}
			}
			b.StopTimer()
			after := c.b.store.Stats()
			b.ReportMetric(float64(after.Views-before.Views)/float64(b.N), "views/op")
			b.ReportMetric(float64(after.Updates-before.Updates)/float64(b.N), "updates/op")
		})
	}
}
