package sender

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// sink takes everything at once and counts it.
type sink struct {
	transactions, events atomic.Int64
	taken                chan struct{}
}

func (s *sink) SendTransaction(_ context.Context, _ id.ServerName, _ string, body json.RawMessage) (map[id.EventID]string, error) {
	s.transactions.Add(1)
	s.events.Add(gjson.GetBytes(body, "pdus.#").Int())
	select {
	case s.taken <- struct{}{}:
	default:
	}
	return nil, nil
}

func (s *sink) Backoff(id.ServerName) time.Time { return time.Time{} }

// BenchmarkSend is what the sender adds to a message for one other server: the row in the event's transaction, the transaction, the removal of
// the row. Alone, each message waits for the one before to be delivered; in a burst, they come as fast as they can be stored.
func BenchmarkSend(b *testing.B) {
	for _, bench := range []struct {
		name  string
		alone bool
	}{{"alone", true}, {"burst", false}} {
		b.Run(bench.name, func(b *testing.B) {
			store, to := storagetest.Open(b), []id.ServerName{two}
			room := storagetest.NewRoom(b, store, "!r:one", alice)
			events := make([]*storage.Event, 64)
			for i := range events {
				events[i] = room.Message(alice, "a message as people write them, neither long nor short")
			}
			out := &sink{taken: make(chan struct{}, 1)}
			s, err := New(Options{Name: one, Store: store, Client: out, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			before, stats := cpu(b), store.Stats()
			b.ResetTimer()
			for i := range b.N {
				err := store.Update(ctx, func(tx *storage.Tx) error {
					if err := tx.QueueEvent(events[i%len(events)].NID, to); err != nil {
						return err
					}
					tx.OnCommit(func() { s.Wake(to) })
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				if bench.alone {
					<-out.taken
				}
			}
			for out.events.Load() < int64(b.N) {
				<-out.taken
			}
			b.StopTimer()
			stop()
			<-ended
			n, now := float64(out.transactions.Load()), store.Stats()
			b.ReportMetric((cpu(b)-before).Seconds()*1000/float64(b.N), "cpu-s/1000msg")
			b.ReportMetric(float64(b.N)/n, "msg/txn")
			b.ReportMetric(float64(now.Views-stats.Views)/n, "views/txn")
			b.ReportMetric((float64(now.Updates-stats.Updates)-float64(b.N))/n, "deletes/txn")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
