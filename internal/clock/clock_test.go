package clock

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fired returns when a timer fired, zero if it has not.
func fired(t Timer) time.Time {
	select {
	case at := <-t.C():
		return at
	default:
		return time.Time{}
	}
}

func TestFakeStandsStill(t *testing.T) {
	f := NewFake(start)
	if got := f.Now(); !got.Equal(start) {
		t.Errorf("it is %v", got)
	}
	f.Advance(time.Minute)
	if got := f.Now(); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("after a minute it is %v", got)
	}
}

func TestFakeTimersFireWhenDue(t *testing.T) {
	f := NewFake(start)
	late, soon, now, stopped := f.NewTimer(time.Hour), f.NewTimer(time.Second), f.NewTimer(0), f.NewTimer(time.Second)
	if f.Waiters() != 3 {
		t.Errorf("%d timers wait", f.Waiters())
	}
	if !stopped.Stop() || stopped.Stop() {
		t.Error("a timer can be stopped once")
	}
	if !fired(now).Equal(start) {
		t.Error("a timer of no time did not fire at once")
	}
	f.Advance(time.Second - 1)
	if !fired(soon).IsZero() {
		t.Error("a timer fired too early")
	}
	f.Advance(1)
	got := []time.Time{fired(soon), fired(stopped), fired(late)}
	if d := cmp.Diff([]time.Time{start.Add(time.Second), {}, {}}, got); d != "" {
		t.Error(d)
	}
	if soon.Stop() {
		t.Error("a timer that fired could be stopped")
	}
	f.Advance(2 * time.Hour)
	if got := fired(late); !got.Equal(start.Add(time.Hour)) {
		t.Errorf("a timer that was passed says %v", got)
	}
	if f.Waiters() != 0 {
		t.Errorf("%d timers wait", f.Waiters())
	}
}

func TestBlockUntilWaitsForSleepers(t *testing.T) {
	f := NewFake(start)
	woken := make(chan time.Time, 2)
	for range 2 {
		go func() { woken <- <-f.NewTimer(time.Second).C() }()
	}
	f.BlockUntil(2)
	f.Advance(time.Second)
	for range 2 {
		if got := <-woken; !got.Equal(start.Add(time.Second)) {
			t.Errorf("it was woken at %v", got)
		}
	}
	f.BlockUntil(0)
}

func TestBlockUntilDueWaitsForOneSleeper(t *testing.T) {
	f := NewFake(start)
	f.NewTimer(time.Minute)
	f.Advance(time.Second)
	woken := make(chan time.Time)
	go func() { woken <- <-f.NewTimer(time.Second).C() }()
	f.BlockUntilDue(time.Second)
	f.Advance(time.Second)
	if got := <-woken; !got.Equal(start.Add(2 * time.Second)) {
		t.Errorf("it was woken at %v", got)
	}
	f.BlockUntilDue(time.Minute - 2*time.Second)
}

func TestTimersOfAnInstant(t *testing.T) {
	f := NewFake(start)
	due := f.NewTimerAt(start.Add(time.Minute))
	f.Advance(time.Hour)
	if got := fired(due); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("it fired at %v", got)
	}
	if got := fired(f.NewTimerAt(start.Add(time.Minute))); !got.Equal(start.Add(time.Hour)) {
		t.Errorf("one for an instant that has passed fired at %v", got)
	}
	past := Real().NewTimerAt(time.Now())
	<-past.C()
	if late := Real().NewTimerAt(time.Now().Add(time.Hour)); !late.Stop() {
		t.Error("it fired an hour early")
	}
}

func TestRealMoves(t *testing.T) {
	c := Real()
	before := c.Now()
	timer := c.NewTimer(time.Nanosecond)
	if at := <-timer.C(); at.Before(before) {
		t.Errorf("it fired at %v, before %v", at, before)
	}
	if timer.Stop() {
		t.Error("a timer that fired could be stopped")
	}
	if other := c.NewTimer(time.Hour); !other.Stop() {
		t.Error("a timer could not be stopped")
	}
}
