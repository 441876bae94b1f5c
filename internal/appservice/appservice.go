// Package appservice is application services: bridges and bots that act for many users and are told of what happens to them. It reads their
// registrations, says which ids are theirs, sends them what they are interested in, and asks them for what only they know.
//
// What they are sent is the stream itself, from a cursor that is stored for each of them: there are no rows of events that wait, and an
// application service that is away for a week costs nothing. The package refuses to let one of them wait for another, and to write rooms:
// what they do, they do as users through the Client-Server API.
package appservice

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Parts is what a Service works with.
type Parts struct {
	Server   id.ServerName
	Registry *Registry // nil: there are no application services
	Store    *storage.Store
	Hub      *hub.Hub
	EDUs     *edu.Service // keeps News if any of them wants to be told
	Clock    clock.Clock
	Log      *slog.Logger
	Metrics  prometheus.Registerer // nil: none are exported
}

// Service talks to the application services. It is safe for concurrent use; nil is that of a server without any.
type Service struct {
	server   id.ServerName
	registry *Registry
	store    *storage.Store
	hub      *hub.Hub
	edus     *edu.Service
	clock    clock.Clock
	log      *slog.Logger
	client   *client
	workers  map[string]*worker // of those that have a URL, by id
	sent     *prometheus.CounterVec
}

// New makes the service. Nothing is sent until Run runs.
func New(p Parts) (*Service, error) {
	s := &Service{
		server: p.Server, registry: p.Registry, store: p.Store, hub: p.Hub, edus: p.EDUs, clock: p.Clock, log: p.Log, client: newClient(),
		workers: map[string]*worker{},
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_appservice_transactions_total",
			Help: "Transactions sent to application services, by application service and result.",
		}, []string{"appservice", "result"}),
	}
	for _, r := range p.Registry.All() {
		if r.URL != nil {
			s.workers[r.ID] = newWorker(s, r)
		}
	}
	if p.Metrics == nil || len(s.workers) == 0 {
		return s, nil
	}
	return s, p.Metrics.Register(s.sent)
}

// Run sends until ctx ends, and returns when every request under way has ended.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, w := range s.workers {
		running.Go(func() {
			err := w.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		})
	}
	running.Wait()
	s.client.close()
	return errors.Join(failed...)
}
