package pusher

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/obs"
	"github.com/hearthd/hearth/storage"
)

type metrics struct {
	requests *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	panics   prometheus.Counter
	seconds  prometheus.Histogram
}

// The results of a request to a push gateway.
const (
	resultTold     = "told"
	resultRejected = "rejected"
	resultFailed   = "failed"
)

func newMetrics(reg prometheus.Registerer, s *Service) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_push_requests_total",
			Help: "Requests to push gateways, by result: told, rejected (the pusher is removed) or failed (it is tried again).",
		}, []string{"result"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_push_dropped_total",
			Help: "Notifications that are not sent any more, by reason: moot (read or redacted meanwhile), expired, overflow, or refused for good.",
		}, []string{"reason"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_push_panics_total",
			Help: "Workers that panicked.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "hearth_push_lag_seconds",
			Help:    "The time from an event to the push gateway's having been told.",
			Buckets: obs.LagBuckets(),
		}),
	}
	return m, obs.Register(reg,
		m.requests, m.dropped, m.panics, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_push_rows",
			Help: "What waits to be told to push gateways.",
		}, s.rows),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_push_workers",
			Help: "Pushers that are being told something, or rest after a failure.",
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.workers))
		}),
	)
}

// told counts a notification that has arrived.
func (m *metrics) told(j *job, now time.Time) {
	m.requests.WithLabelValues(resultTold).Inc()
	if j.event {
		m.seconds.Observe(max(now.Sub(j.since).Seconds(), 0))
	}
}

// rows is the number of rows that wait, -1 if the database does not say.
func (s *Service) rows() float64 {
	return obs.Count(func(ctx context.Context) (n int64, err error) {
		err = s.store.View(ctx, func(tx *storage.ReadTx) error {
			n, err = tx.PushRows()
			return err
		})
		return n, err
	})
}
