package fedclient

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/obs"
)

type metrics struct {
	requests *prometheus.HistogramVec
	dials    *prometheus.CounterVec
	keys     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hearth_federation_request_seconds",
			Help:    "Requests to other servers, by what was asked and result: answered, refused, or unreachable.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 120},
		}, []string{"call", "result"}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_federation_connections_total",
			Help: "Connections to other servers, by result: made, or failed.",
		}, []string{"result"}),
		keys: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_federation_key_fetches_total",
			Help: "Fetches of the signing keys of other servers, by result: fetched, or failed.",
		}, []string{"result"}),
	}
	return m, obs.Register(reg, m.requests, m.dials, m.keys)
}

// The results of a request.
const (
	resultAnswered    = "answered"
	resultRefused     = "refused"
	resultUnreachable = "unreachable"
)

func (m *metrics) dialed(err error) {
	result := "made"
	if err != nil {
		result = "failed"
	}
	m.dials.WithLabelValues(result).Inc()
}

func (m *metrics) fetchedKeys(err error) {
	result := "fetched"
	if err != nil {
		result = "failed"
	}
	m.keys.WithLabelValues(result).Inc()
}
