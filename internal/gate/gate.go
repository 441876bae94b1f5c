// Package gate bounds what each of many parties may have done at the same time, so that one that asks for much waits for itself and nobody else
// does. It refuses to know what is done behind it.
package gate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
)

// ErrBusy says that a party has too much in hand and in line already.
var ErrBusy = errors.New("gate: too much is being done already")

// Gate lets a number of each party in at a time. The next ones wait in line for a while, and further ones are refused. What it remembers is bounded
// by who is there. It is safe for concurrent use.
type Gate[K comparable] struct {
	clock    clock.Clock
	inside   int // of one party
	waiting  int // of one party
	patience time.Duration

	mu    sync.Mutex
	lines map[K]*line
}

// line is a party that has somebody inside.
type line struct {
	inside  int
	waiting []chan struct{} // closed for who may come in
}

// New returns a gate that lets so many of each party inside, and lets so many more wait, no longer than patience.
func New[K comparable](c clock.Clock, inside, waiting int, patience time.Duration) *Gate[K] {
	return &Gate[K]{clock: c, inside: inside, waiting: waiting, patience: patience, lines: map[K]*line{}}
}

// Enter returns when there is a place inside; leave gives it up. The error is ErrBusy, or that of ctx.
func (g *Gate[K]) Enter(ctx context.Context, party K) (leave func(), err error) {
	turn, err := g.queue(party)
	if err != nil {
		return nil, err
	}
	leave = func() { g.leave(party) }
	if turn == nil {
		return leave, nil
	}
	timer := g.clock.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case <-turn:
		return leave, nil
	case <-timer.C():
		err = ErrBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !g.giveUp(party, turn) {
		leave() // its turn came at the same moment
	}
	return nil, err
}

// queue takes a place inside, in which case there is no turn to wait for, or in line.
func (g *Gate[K]) queue(party K) (turn chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[party]
	if l == nil {
		l = &line{}
		g.lines[party] = l
	}
	switch {
	case l.inside < g.inside:
		l.inside++
	case len(l.waiting) >= g.waiting:
		return nil, ErrBusy
	default:
		turn = make(chan struct{})
		l.waiting = append(l.waiting, turn)
	}
	return turn, nil
}

// giveUp leaves the line; it reports false for who is not in it any more.
func (g *Gate[K]) giveUp(party K, turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[party]
	if l == nil {
		return false
	}
	i := slices.Index(l.waiting, turn)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return i >= 0
}

// leave gives the place to the next in line.
func (g *Gate[K]) leave(party K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[party]
	if len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = slices.Delete(l.waiting, 0, 1)
		return
	}
	if l.inside--; l.inside == 0 {
		delete(g.lines, party)
	}
}

// Parties is the number of parties that have somebody inside.
func (g *Gate[K]) Parties() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lines)
}
