// Package clock is the injected source of time. Code that waits or stamps takes a Clock, so that tests decide what time it is and
// never sleep. It offers no tickers and no global: a worker makes a new timer for each wait.
package clock

import "time"

// Clock tells the time and makes timers.
type Clock interface {
	// Now returns the current instant.
	Now() time.Time
	// NewTimer returns a timer that fires once, after d has passed. A d of zero or less fires at once.
	NewTimer(d time.Duration) Timer
	// NewTimerAt returns a timer that fires once, at an instant, or at once when that has passed. Who knows the instant need not ask for the time,
	// which may move on before the timer is made.
	NewTimerAt(at time.Time) Timer
}

// Timer fires once on its channel unless stopped before.
type Timer interface {
	// C is the channel, of capacity one, that receives the instant at which the timer fired.
	C() <-chan time.Time
	// Stop prevents the timer from firing and reports whether it did so, false meaning it has fired or was stopped already.
	Stop() bool
}

// Real returns the clock of the machine.
func Real() Clock { return system{} }

type system struct{}

func (system) Now() time.Time { return time.Now() }

func (system) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

func (system) NewTimerAt(at time.Time) Timer { return systemTimer{time.NewTimer(time.Until(at))} }

type systemTimer struct{ t *time.Timer }

func (t systemTimer) C() <-chan time.Time { return t.t.C }

func (t systemTimer) Stop() bool { return t.t.Stop() }
