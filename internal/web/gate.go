package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/merr"
)

// gate lets a number of requests of each party in at a time. The next ones wait in line for a while, and further ones are refused. So a party
// that asks for much waits for itself, and nobody else does. What it remembers is bounded by the requests there are.
type gate[K comparable] struct {
	clock    clock.Clock
	inside   int // of one party
	waiting  int // of one party
	patience time.Duration

	mu    sync.Mutex
	lines map[K]*line
}

// line is a party that has requests inside.
type line struct {
	inside  int
	waiting []chan struct{} // closed for who may come in
}

func newGate[K comparable](c clock.Clock, inside, waiting int, patience time.Duration) *gate[K] {
	return &gate[K]{clock: c, inside: inside, waiting: waiting, patience: patience, lines: map[K]*line{}}
}

// enter returns when the party may come in; leave must be called when it has done what it came for. The error is M_LIMIT_EXCEEDED.
func (g *gate[K]) enter(ctx context.Context, party K) (leave func(), err error) {
	g.mu.Lock()
	l := g.lines[party]
	if l == nil {
		l = &line{}
		g.lines[party] = l
	}
	if l.inside < g.inside {
		l.inside++
		g.mu.Unlock()
		return func() { g.leave(party) }, nil
	}
	if len(l.waiting) >= g.waiting {
		g.mu.Unlock()
		return nil, LimitExceeded(time.Second)
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	g.mu.Unlock()

	timer := g.clock.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case <-turn:
		return func() { g.leave(party) }, nil
	case <-timer.C():
		err = LimitExceeded(time.Second)
	case <-ctx.Done():
		err = merr.New(merr.Unknown, "The request was given up").WithStatus(http.StatusServiceUnavailable)
	}
	g.mu.Lock()
	for i, other := range l.waiting {
		if other == turn {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			g.mu.Unlock()
			return nil, err
		}
	}
	g.mu.Unlock()
	g.leave(party) // its turn came at the same moment
	return nil, err
}

// leave gives the place to the next in line.
func (g *gate[K]) leave(party K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[party]
	if len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		return
	}
	if l.inside--; l.inside == 0 {
		delete(g.lines, party)
	}
}
