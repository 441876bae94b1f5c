package sender

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/obs"
	"github.com/hearthd/hearth/storage"
)

type metrics struct {
	transactions *prometheus.CounterVec
	units        *prometheus.CounterVec
	dropped      *prometheus.CounterVec
	objections   prometheus.Counter
	panics       prometheus.Counter
	seconds      prometheus.Histogram
}

// The results of sending a transaction.
const (
	delivered   = "delivered"
	unreachable = "unreachable"
	malformed   = "malformed"
)

// lags are the classes of servers that transactions do not get through to, by how long that has been so: a label for each server would be
// too many.
var lags = []struct {
	label    string
	from, to time.Duration
}{
	{"below 1m", 0, time.Minute}, {"below 1h", time.Minute, time.Hour}, {"below 1d", time.Hour, 24 * time.Hour}, {"more", 24 * time.Hour, 1<<63 - 1},
}

func newMetrics(reg prometheus.Registerer, s *Sender) (*metrics, error) {
	m := &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_outbox_transactions_total",
			Help: "Transactions sent to other servers, by result.",
		}, []string{"result"}),
		units: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_outbox_units_total",
			Help: "What delivered transactions held, by kind: pdu or edu.",
		}, []string{"kind"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_outbox_dropped_total",
			Help: "What is not sent any more, by kind: events that the other server will ask for, edus that are lost, and what was refused for good.",
		}, []string{"kind"}),
		objections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_outbox_objections_total",
			Help: "Delivered events that the other server did not accept.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_outbox_panics_total",
			Help: "Workers that panicked.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hearth_outbox_lag_seconds",
			Help:    "The age of the oldest event of a transaction when it was delivered.",
			Buckets: obs.LagBuckets(),
		}),
	}
	all := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_outbox_rows",
			Help: "What waits to be sent to other servers.",
		}, s.rows),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_outbox_workers",
			Help: "Servers that are being sent to.",
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.sending)
		}),
	}
	for _, l := range lags {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "hearth_outbox_failing_servers",
			Help:        "Servers that transactions do not get through to, by how long that has been so.",
			ConstLabels: prometheus.Labels{"since": l.label},
		}, func() float64 { return s.failing(l.from, l.to) }))
	}
	return m, obs.Register(reg, append(all, m.transactions, m.units, m.dropped, m.objections, m.panics, m.seconds)...)
}

// sent counts a delivered transaction.
func (m *metrics) sent(t *transaction, now time.Time) {
	m.transactions.WithLabelValues(delivered).Inc()
	m.units.WithLabelValues("pdu").Add(float64(t.pdus))
	m.units.WithLabelValues("edu").Add(float64(t.edus))
	if t.oldest != 0 {
		m.seconds.Observe(max(now.Sub(time.UnixMilli(t.oldest)).Seconds(), 0))
	}
}

// rows is the number of rows in all outboxes, -1 if the database does not say.
func (s *Sender) rows() float64 {
	return obs.Count(func(ctx context.Context) (n int64, err error) {
		err = s.store.View(ctx, func(tx *storage.ReadTx) error {
			n, err = tx.OutboxRows()
			return err
		})
		return n, err
	})
}

// failing is the number of servers that have not been reached for a time.
func (s *Sender) failing(from, to time.Duration) float64 {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range s.destinations {
		if since := now.Sub(d.since); !d.since.IsZero() && since >= from && since < to {
			n++
		}
	}
	return float64(n)
}
