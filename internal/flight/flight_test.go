package flight

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func owner(t *testing.T) *Owner {
	o := NewOwner(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(o.Stop)
	return o
}

func TestCallersShareOneExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := owner(t)
		var g Group[int]
		runs := 0
		release := make(chan struct{})
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				got, err := g.Do(t.Context(), o, "a", time.Minute, func(context.Context) (int, error) {
					runs++
					<-release
					return 7, nil
				})
				if got != 7 || err != nil {
					t.Errorf("%d, %v", got, err)
				}
			})
		}
		synctest.Wait()
		other, err := g.Do(t.Context(), o, "b", time.Minute, func(context.Context) (int, error) { return 8, nil })
		if other != 8 || err != nil {
			t.Errorf("another key: %d, %v", other, err)
		}
		close(release)
		all.Wait()
		if runs != 1 {
			t.Errorf("%d executions", runs)
		}
		if again, err := g.Do(t.Context(), o, "a", time.Minute, func(context.Context) (int, error) { return 9, nil }); again != 9 || err != nil {
			t.Errorf("afterwards: %d, %v", again, err)
		}
	})
}

func TestTheExecutionOutlivesItsCaller(t *testing.T) {
	o := owner(t)
	var g Group[int]
	ctx, cancel := context.WithCancel(t.Context())
	release, done := make(chan struct{}), make(chan error, 1)
	_, err := g.Do(ctx, o, "a", time.Minute, func(ctx context.Context) (int, error) {
		cancel()
		<-release
		done <- ctx.Err()
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("it ended with its caller: %v", err)
	}
}

func TestExecutionsEnd(t *testing.T) {
	wait := func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	var g Group[int]
	o := owner(t)
	if _, err := g.Do(t.Context(), o, "slow", time.Millisecond, wait); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its time: %v", err)
	}
	if _, err := g.Do(t.Context(), o, "panic", time.Minute, func(context.Context) (int, error) { panic("no") }); !errors.Is(err, errPanicked) {
		t.Errorf("after a panic: %v", err)
	}
	if got, err := g.Do(t.Context(), o, "panic", time.Minute, func(context.Context) (int, error) { return 1, nil }); got != 1 || err != nil {
		t.Errorf("a panic stays: %v", err)
	}
	entered := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := g.Do(context.Background(), o, "stop", time.Hour, func(ctx context.Context) (int, error) {
			close(entered)
			return wait(ctx)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("when the owner stops: %v", err)
		}
	})
	<-entered
	o.Stop()
	all.Wait()
	if !o.Stopping() {
		t.Error("it is not stopping")
	}
	if _, err := g.Do(t.Context(), o, "late", time.Minute, wait); !errors.Is(err, ErrStopping) {
		t.Errorf("afterwards: %v", err)
	}
	if len(g.calls) != 0 {
		t.Errorf("%d calls are kept", len(g.calls))
	}
}
