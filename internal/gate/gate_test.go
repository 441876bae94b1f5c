package gate

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
)

func TestEachPartyWaitsForItself(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	g := New[string](fake, 1, 1, time.Minute)
	leave, err := g.Enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.Enter(t.Context(), "b")
	if err != nil {
		t.Fatalf("another party does not come in: %v", err)
	}
	other()
	entered := make(chan func())
	go func() {
		leave, err := g.Enter(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		entered <- leave
	}()
	fake.BlockUntil(1)
	if _, err := g.Enter(t.Context(), "a"); !errors.Is(err, ErrBusy) {
		t.Errorf("the line has no end: %v", err)
	}
	leave()
	(<-entered)()
	if n := g.Parties(); n != 0 {
		t.Errorf("%d parties are remembered", n)
	}
}

func TestWhoGivesUpIsOutOfTheLine(t *testing.T) {
	fake := clock.NewFake(time.Unix(1, 0))
	g := New[string](fake, 1, 9, time.Minute)
	leave, err := g.Enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := g.Enter(ctx, "a")
		result <- err
	}()
	fake.BlockUntil(1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("who was called away: %v", err)
	}
	go func() {
		_, err := g.Enter(t.Context(), "a")
		result <- err
	}()
	fake.BlockUntil(1)
	fake.Advance(time.Minute)
	if err := <-result; !errors.Is(err, ErrBusy) {
		t.Errorf("whose patience ended: %v", err)
	}
	leave()
	if n := g.Parties(); n != 0 {
		t.Errorf("%d parties are remembered", n)
	}
}

func TestNoMoreThanAllowedAreInside(t *testing.T) {
	g := New[int](clock.Real(), 3, 1000, time.Minute)
	var (
		mu           sync.Mutex
		inside, most int
		all          sync.WaitGroup
	)
	for i := range 300 {
		all.Go(func() {
			ctx := t.Context()
			if i%7 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*time.Microsecond)
				defer cancel()
			}
			leave, err := g.Enter(ctx, 1)
			if err != nil {
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			leave()
		})
	}
	all.Wait()
	if most > 3 || g.Parties() != 0 {
		t.Errorf("%d were inside at once, %d parties are remembered", most, g.Parties())
	}
}
