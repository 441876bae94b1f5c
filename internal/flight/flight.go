// Package flight lets callers that want the same thing at the same time share one execution, on goroutines that have an owner. It refuses to
// keep results: who comes later starts anew.
package flight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// ErrStopping says that the owner is stopping and begins nothing new.
var ErrStopping = errors.New("the service is stopping")

// Owner owns goroutines: those of what several callers wait for, and of what outlives the caller that began it.
type Owner struct {
	log    *slog.Logger
	ctx    context.Context // ends with the service; it is no caller's
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// NewOwner returns an Owner that reports panics to log.
func NewOwner(log *slog.Logger) *Owner {
	o := &Owner{log: log}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// Start runs fn on a goroutine, unless the owner is stopping. The context of fn has the values of ctx, but ends after timeout or with the owner.
func (o *Owner) Start(ctx context.Context, timeout time.Duration, fn func(ctx context.Context)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrStopping
	}
	o.group.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		stop := context.AfterFunc(o.ctx, cancel)
		defer func() {
			if p := recover(); p != nil {
				o.log.Error("shared work panicked", slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
			}
			stop()
			cancel()
		}()
		fn(ctx)
	})
	return nil
}

// Stopping says whether Stop has been called: what fails now says nothing.
func (o *Owner) Stopping() bool { return o.ctx.Err() != nil }

// Stop cancels what runs and waits for its end.
func (o *Owner) Stop() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cancel()
	o.group.Wait()
}

// Group holds the executions that are under way. The zero value is ready.
type Group[T any] struct {
	mu    sync.Mutex
	calls map[string]*call[T]
}

type call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

var errPanicked = errors.New("the shared work panicked")

// Do returns what fn returns, or what an execution for the same key that is under way will. The context of fn does not end with any of the
// callers, since others may be waiting: it ends after timeout and with the owner. A caller whose ctx ends stops waiting.
func (g *Group[T]) Do(ctx context.Context, o *Owner, key string, timeout time.Duration, fn func(ctx context.Context) (T, error)) (T, error) {
	var none T
	g.mu.Lock()
	c := g.calls[key]
	if c == nil {
		c = &call[T]{done: make(chan struct{}), err: errPanicked}
		if g.calls == nil {
			g.calls = make(map[string]*call[T])
		}
		g.calls[key] = c
		err := o.Start(ctx, timeout, func(ctx context.Context) {
			defer func() {
				g.mu.Lock()
				delete(g.calls, key)
				g.mu.Unlock()
				close(c.done)
			}()
			c.value, c.err = fn(ctx)
		})
		if err != nil {
			delete(g.calls, key)
			g.mu.Unlock()
			return none, err
		}
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
