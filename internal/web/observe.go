package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/obs"
)

type metrics struct {
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	limited  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "hearth_http_seconds",
			Help:    "How long requests took, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hearth_http_in_flight",
			Help: "Requests that are being answered, among them the syncs that wait.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hearth_http_panics_total",
			Help: "Requests whose handler panicked.",
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_http_rate_limited_total",
			Help: "Requests refused because there were too many, by class.",
		}, []string{"class"}),
	}
	return m, obs.Register(reg, m.seconds, m.inFlight, m.panics, m.limited)
}

// noRoute is the label of requests that matched none. Their paths must not become labels: anyone could make up any number of them.
const noRoute = "none"

func (s *Server) observe(r *Request, took time.Duration) {
	route, code := noRoute, r.recorder.status
	if r.endpoint != nil {
		route = r.endpoint.label
	}
	s.metrics.seconds.WithLabelValues(route, strconv.Itoa(code)).Observe(took.Seconds())

	ctx := r.http.Context()
	if code >= http.StatusInternalServerError && r.failure != nil && !deliberate(r.failure) {
		s.log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request", s.requestID(r)), slog.String("route", route),
			slog.String("user", string(r.Caller.User)), slog.Any("error", r.failure))
	}
	if !s.log.Enabled(ctx, s.accessLog) {
		return
	}
	path := r.http.URL.EscapedPath() // without the query: it may hold a token
	if r.endpoint != nil && r.endpoint.Auth&SecretPath != 0 {
		path = r.endpoint.Path
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("request", s.requestID(r)), slog.String("method", r.Method),
		slog.String("path", path), slog.Int("status", code), slog.Int64("bytes", r.recorder.size), slog.Duration("took", took),
		slog.String("ip", r.ClientIP().String()))
	if r.Caller.User != "" {
		attrs = append(attrs, slog.String("user", string(r.Caller.User)))
	}
	if r.Caller.AppserviceID != "" {
		attrs = append(attrs, slog.String("appservice", r.Caller.AppserviceID))
	}
	if r.Origin != "" {
		attrs = append(attrs, slog.String("origin", string(r.Origin)))
	}
	if r.failure != nil && code < http.StatusInternalServerError {
		attrs = append(attrs, slog.String("errcode", string(merr.From(r.failure).Code)))
	}
	s.log.LogAttrs(ctx, s.accessLog, "http", attrs...)
}

// deliberate reports whether a handler chose the answer, so that a status of 5xx is no fault of ours: a gateway timeout, for instance.
func deliberate(err error) bool {
	var e *merr.Error
	return errors.As(err, &e)
}

func (s *Server) logPanic(r *Request, p any) {
	route := noRoute
	if r.endpoint != nil {
		route = r.endpoint.label
	}
	s.log.LogAttrs(r.http.Context(), slog.LevelError, "handler panicked", slog.String("request", s.requestID(r)),
		slog.String("route", route), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
}

// requestIDs names requests, so that what a client reports can be found in the log.
type requestIDs struct {
	prefix string
	last   *atomic.Uint64
}

func newRequestIDs() requestIDs {
	return requestIDs{prefix: rand.Text()[:6] + "-", last: new(atomic.Uint64)}
}

func (s *Server) requestID(r *Request) string {
	if r.id == "" {
		r.id = s.requests.prefix + strconv.FormatUint(s.requests.last.Add(1), 36)
	}
	return r.id
}
