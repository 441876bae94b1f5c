package clock

import (
	"slices"
	"sync"
	"time"
)

// Fake is a clock that moves only when told to. It is safe for concurrent use.
type Fake struct {
	mu      sync.Mutex
	changed *sync.Cond // the set of timers changed
	now     time.Time
	timers  []*fakeTimer
}

// NewFake returns a clock that stands at t.
func NewFake(t time.Time) *Fake {
	f := &Fake{now: t}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// Now returns the instant the clock stands at.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// NewTimer returns a timer that fires when the clock is advanced by d or more.
func (f *Fake) NewTimer(d time.Duration) Timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newTimer(f.now.Add(d))
}

// NewTimerAt returns a timer that fires when the clock is advanced to an instant.
func (f *Fake) NewTimerAt(at time.Time) Timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newTimer(at)
}

func (f *Fake) newTimer(at time.Time) Timer {
	t := &fakeTimer{clock: f, at: at, c: make(chan time.Time, 1)}
	if !at.After(f.now) {
		t.c <- f.now
		return t
	}
	f.timers = append(f.timers, t)
	f.changed.Broadcast()
	return t
}

// Advance moves the clock forward by d and fires, in the order of their instants, the timers that are due.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	var due []*fakeTimer
	f.timers = slices.DeleteFunc(f.timers, func(t *fakeTimer) bool {
		if t.at.After(f.now) {
			return false
		}
		due = append(due, t)
		return true
	})
	slices.SortStableFunc(due, func(a, b *fakeTimer) int { return a.at.Compare(b.at) })
	for _, t := range due {
		t.c <- t.at
	}
	f.changed.Broadcast()
}

// BlockUntil returns when at least n timers are waiting: when the code under test has gone to sleep.
func (f *Fake) BlockUntil(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.timers) < n {
		f.changed.Wait()
	}
}

// BlockUntilDue returns when a timer is waiting that fires in exactly d from the clock's instant: when that one sleeper among others has gone
// to sleep. A d that nobody else sleeps for names it.
func (f *Fake) BlockUntilDue(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !slices.ContainsFunc(f.timers, func(t *fakeTimer) bool { return t.at.Equal(f.now.Add(d)) }) {
		f.changed.Wait()
	}
}

// Waiters returns the number of timers that have neither fired nor been stopped.
func (f *Fake) Waiters() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers)
}

type fakeTimer struct {
	clock *Fake
	at    time.Time
	c     chan time.Time
}

func (t *fakeTimer) C() <-chan time.Time { return t.c }

func (t *fakeTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	i := slices.Index(t.clock.timers, t)
	if i < 0 {
		return false
	}
	t.clock.timers = slices.Delete(t.clock.timers, i, i+1)
	t.clock.changed.Broadcast()
	return true
}
