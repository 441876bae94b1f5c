package web

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Rate is a class of routes that draw from the same bucket of a caller: the user, the server, or the address where there is neither.
type Rate uint8

// The classes.
const (
	RateNone         Rate = iota // never limited
	RateLogin                    // attempts to log in and to prove who one is
	RateRegister                 // new accounts, and requests that send mail
	RateMessage                  // sending events
	RateJoin                     // joining, knocking, making rooms
	RateInvite                   // what reaches people who did not ask
	RateRead                     // reading that costs something
	RateWrite                    // changes of one's own data
	RateMedia                    // uploads and downloads
	RateFederation               // what other servers ask for
	RateEmail                    // letters that somebody has sent
	RateEmailAddress             // letters that somebody gets

	numRates
)

// String returns the name of the class, as used in configuration and metrics.
func (r Rate) String() string {
	names := [...]string{"none", "login", "register", "message", "join", "invite", "read", "write", "media", "federation", "email", "email_address"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("rate(%d)", uint8(r))
}

// Rates returns all classes that can be limited.
func Rates() []Rate {
	out := make([]Rate, 0, numRates-1)
	for r := RateNone + 1; r < numRates; r++ {
		out = append(out, r)
	}
	return out
}

// Limit is a token bucket: so many requests at once, so many per second in the long run. A PerSecond of 0 or less is no limit.
type Limit struct {
	PerSecond float64
	Burst     int
}

// Limits is who may do how much.
type Limits struct {
	Classes map[Rate]Limit // classes that are absent are not limited
	Exempt  []id.UserID    // not limited at all
}

// DefaultLimits are limits that people do not notice and that scripts do.
func DefaultLimits() Limits {
	return Limits{Classes: map[Rate]Limit{
		RateLogin:        {PerSecond: 0.2, Burst: 10},
		RateRegister:     {PerSecond: 0.1, Burst: 5},
		RateMessage:      {PerSecond: 5, Burst: 50},
		RateJoin:         {PerSecond: 0.5, Burst: 20},
		RateInvite:       {PerSecond: 0.5, Burst: 20},
		RateRead:         {PerSecond: 50, Burst: 300},
		RateWrite:        {PerSecond: 10, Burst: 100},
		RateMedia:        {PerSecond: 20, Burst: 300},
		RateFederation:   {PerSecond: 100, Burst: 1000},
		RateEmail:        {PerSecond: 0.0055, Burst: 20},
		RateEmailAddress: {PerSecond: 0.0014, Burst: 5},
	}}
}

// maxBuckets is the number of callers that a limiter remembers.
const maxBuckets = 1 << 17

type limiter struct {
	clock clock.Clock
	rules atomic.Pointer[rules]

	mu sync.Mutex
	// Two generations bound the memory: when the young one is full it becomes the old one. A bucket that is forgotten is a full one.
	young, old map[bucketID]tokens
	half       int
}

// rules are Limits made quick to look up.
type rules struct {
	limits [numRates]Limit
	exempt map[id.UserID]bool
}

type bucketID struct {
	rate Rate
	addr netip.Addr // where there is no name
	name string
}

type tokens struct {
	left float64
	at   time.Time
}

func newLimiter(c clock.Clock, limits Limits) *limiter {
	l := &limiter{clock: c, young: make(map[bucketID]tokens), half: maxBuckets / 2}
	l.set(limits)
	return l
}

func (l *limiter) set(limits Limits) {
	r := &rules{exempt: make(map[id.UserID]bool, len(limits.Exempt))}
	for rate, limit := range limits.Classes {
		if rate < numRates {
			r.limits[rate] = limit
		}
	}
	for _, u := range limits.Exempt {
		r.exempt[u] = true
	}
	l.rules.Store(r)
}

// take takes one token. Without one it returns how long it takes until there is one again.
func (l *limiter) take(b bucketID, limit Limit) (wait time.Duration, ok bool) {
	burst := float64(max(limit.Burst, 1))
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t, known := l.young[b]
	if !known {
		if t, known = l.old[b]; !known {
			t = tokens{left: burst, at: now}
		}
		if len(l.young) >= l.half {
			l.young, l.old = make(map[bucketID]tokens), l.young
		}
	}
	t.left = math.Min(burst, t.left+max(now.Sub(t.at).Seconds(), 0)*limit.PerSecond)
	t.at = now
	if ok = t.left >= 1; ok {
		t.left--
	} else {
		wait = time.Duration(math.Ceil((1 - t.left) / limit.PerSecond * float64(time.Second)))
	}
	l.young[b] = t
	return wait, ok
}

// give returns a token that was taken.
func (l *limiter) give(b bucketID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, buckets := range []map[bucketID]tokens{l.young, l.old} {
		if t, known := buckets[b]; known {
			t.left++
			buckets[b] = t
			return
		}
	}
}

// SetLimits replaces the limits, as when the configuration is read again. What callers have used up stays.
func (s *Server) SetLimits(limits Limits) { s.limiter.set(limits) }

// spend charges the caller for the route.
func (s *Server) spend(r *Request) error { return r.SpendAs(r.endpoint.Rate) }

// SpendAs charges the caller as a route of a class does, for routes whose class depends on what is asked of them.
func (r *Request) SpendAs(rate Rate) error {
	if rate == RateNone {
		return nil
	}
	if r.Caller.User != "" {
		return r.charge(bucketID{rate: rate, name: string(r.Caller.User)})
	}
	if r.Origin != "" {
		return r.charge(bucketID{rate: rate, name: string(r.Origin)}) // has no @ and no colon at its start
	}
	return r.charge(r.stranger(rate))
}

// stranger is the bucket of whoever has no name.
func (r *Request) stranger(rate Rate) bucketID {
	return bucketID{rate: rate, addr: network(r.ClientIP())}
}

// Spend charges something else than the caller, such as the account that a login is tried for, and returns M_LIMIT_EXCEEDED when it has
// had enough.
func (r *Request) Spend(rate Rate, name string) error {
	// The colon keeps it apart from callers, whose names are user ids.
	return r.charge(bucketID{rate: rate, name: ":" + name})
}

// SpendFrom is Spend for what everybody may cause, without a name: it charges the network that the request comes from.
func (r *Request) SpendFrom(rate Rate, what string) error {
	b := r.stranger(rate)
	b.name = ":" + what
	return r.charge(b)
}

func (r *Request) charge(b bucketID) error {
	now := r.server.limiter.rules.Load()
	if b.rate == RateNone || b.rate >= numRates || r.Caller.Unlimited || now.exempt[r.Caller.User] {
		return nil
	}
	limit := now.limits[b.rate]
	if limit.PerSecond <= 0 {
		return nil
	}
	wait, ok := r.server.limiter.take(b, limit)
	if ok {
		return nil
	}
	r.server.metrics.limited.WithLabelValues(b.rate.String()).Inc()
	return LimitExceeded(wait)
}

// LimitExceeded is the refusal of one request too many, with the time after which to try again.
//
// Spec: client-server-api#rate-limiting
func LimitExceeded(wait time.Duration) *merr.Error {
	return merr.New(merr.LimitExceeded, "Too many requests").With(retryAfterMS, max(wait.Milliseconds(), 1))
}

// retryAfterMS is the member that the answer also gives as the header Retry-After.
const retryAfterMS = "retry_after_ms"
