package mediaapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// work owns the goroutines of the service: what several requests wait for, and what outlives the request that began it.
type work struct {
	log    *slog.Logger
	ctx    context.Context // ends with the service
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

var errStopping = errors.New("the media service is stopping")

func newWork(log *slog.Logger) *work {
	w := &work{log: log}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// start runs fn on a goroutine, unless the service is stopping.
func (w *work) start(fn func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errStopping
	}
	w.group.Go(fn)
	return nil
}

// stop cancels what runs and waits for its end.
func (w *work) stop() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.group.Wait()
}

// flight lets callers that want the same at the same time share one execution. The zero value is ready.
type flight[T any] struct {
	mu    sync.Mutex
	calls map[string]*call[T]
}

type call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// do returns what fn returns, or what an execution for the same key that is under way will. The context of fn does not end with any of the
// callers, since others may be waiting: it ends after timeout and with the service. A caller whose ctx ends stops waiting.
func (f *flight[T]) do(ctx context.Context, w *work, key string, timeout time.Duration, fn func(ctx context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	c := f.calls[key]
	if c == nil {
		c = &call[T]{done: make(chan struct{})}
		if f.calls == nil {
			f.calls = make(map[string]*call[T])
		}
		f.calls[key] = c
		if err := w.start(func() { f.run(ctx, w, key, timeout, c, fn) }); err != nil {
			delete(f.calls, key)
			f.mu.Unlock()
			var none T
			return none, err
		}
	}
	f.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (f *flight[T]) run(ctx context.Context, w *work, key string, timeout time.Duration, c *call[T], fn func(ctx context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(w.ctx, cancel)
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("media work panicked", slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
			c.err = errors.New("media work panicked")
		}
		stop()
		cancel()
		f.mu.Lock()
		delete(f.calls, key)
		f.mu.Unlock()
		close(c.done)
	}()
	c.value, c.err = fn(ctx)
}
