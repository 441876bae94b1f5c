package storage

import (
	"context"
	"errors"
	"sync"
)

// pool lends connections, the one used last first because its caches are warm, and opens them when they are first needed.
type pool struct {
	open   func(ctx context.Context) (conn, error)
	places chan struct{} // one per connection that may be out
	closed chan struct{}
	mu     sync.Mutex
	free   []*reader
}

func newPool(size int, open func(ctx context.Context) (conn, error)) *pool {
	return &pool{open: open, places: make(chan struct{}, size), closed: make(chan struct{})}
}

// get waits for a connection; the caller gives it back with put.
func (p *pool) get(ctx context.Context) (*reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case p.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, ErrClosed
	}
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err != nil {
		<-p.places
		return nil, err
	}
	return &reader{conn: c}, nil
}

// put takes a connection back; a lost one is forgotten and replaced when the next is needed.
func (p *pool) put(c *reader) {
	if c.usable() {
		p.mu.Lock()
		p.free = append(p.free, c)
		p.mu.Unlock()
	} else {
		_ = c.close() // it is broken already; there is nobody to tell
	}
	<-p.places
}

// letGo ends the snapshots of the connections that are not lent. A connection that fails at it is replaced when it is needed.
func (p *pool) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.free {
		_ = r.letGo()
	}
}

// close waits until every connection has come back and closes them.
func (p *pool) close() error {
	close(p.closed)
	for range cap(p.places) {
		p.places <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.free {
		errs = append(errs, c.close())
	}
	p.free = nil
	return errors.Join(errs...)
}
