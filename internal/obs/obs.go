// Package obs makes what an operator observes a server by: a structured logger and a registry of metrics. Both belong to one App and are
// passed down; the package refuses to keep them in globals, as several servers run in one test process.
package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// LogOptions says what a logger writes.
type LogOptions struct {
	Level  string // debug, info, warn or error; empty is info
	Format string // text or json; empty is text on a terminal and json elsewhere
}

// NewLogger returns a logger that writes to w.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("log level %q is not one of debug, info, warn, error", o.Level)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(o.Format) {
	case "":
		if isTerminal(w) {
			return slog.New(slog.NewTextHandler(w, options)), nil
		}
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q is not one of text, json", o.Format)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// NewRegistry returns a registry that knows of the Go runtime and of the process already.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Register registers metrics; where reg is nil they are kept but not exported.
func Register(reg prometheus.Registerer, metrics ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	var problems []error
	for _, m := range metrics {
		problems = append(problems, reg.Register(m))
	}
	return errors.Join(problems...)
}

// LagBuckets are those of how late something is done that is done at once when all goes well, in seconds.
func LagBuckets() []float64 {
	return []float64{.01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600, 86400}
}

// Count is the value of a gauge which has to be looked up, -1 if that fails.
func Count(look func(ctx context.Context) (int64, error)) float64 {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience) // the registry has no context to give
	defer cancel()
	n, err := look(ctx)
	if err != nil {
		return -1
	}
	return float64(n)
}

// MetricsHandler serves the metrics of a registry in the formats of Prometheus.
func MetricsHandler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})
}
