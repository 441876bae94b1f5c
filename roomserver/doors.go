package roomserver

import (
	"context"
	"sync"
)

// doors lets one at a time do something with each of many things: go through the handshake with which a user of ours enters a room, or fetch what
// is missing of a room from one server. Who has waited looks first whether it is still needed.
type doors[K comparable] struct {
	mu   sync.Mutex
	open map[K]*door
}

type door struct {
	pass  chan struct{} // holds one token, that of who may go
	users int
}

// enter waits for a door; the caller calls leave afterwards.
func (d *doors[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	d.mu.Lock()
	if d.open == nil {
		d.open = map[K]*door{}
	}
	at := d.open[key]
	if at == nil {
		at = &door{pass: make(chan struct{}, 1)}
		d.open[key] = at
	}
	at.users++
	d.mu.Unlock()
	gone := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(d.open, key)
		}
	}
	select {
	case at.pass <- struct{}{}:
		return func() {
			<-at.pass
			gone()
		}, nil
	case <-ctx.Done():
		gone()
		return nil, ctx.Err()
	}
}
