package mediaapi

import (
	"context"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
)

const (
	// maxFetchesPerHost is how many fetches from one server may be under way at the same time; further ones wait. A server that sends a byte
	// now and then holds no more than these.
	maxFetchesPerHost = 8
	// maxHosts and maxFailures bound what is remembered of other servers and of media that was not to be had.
	maxHosts    = 2000
	maxFailures = 10000
	// failureAge is how long media that its server does not have is not asked for again.
	failureAge = time.Minute
	// A server that failed patientFor times in a row is left alone for minBackoff, then for twice as long each time, up to maxBackoff.
	patientFor = 3
	minBackoff = 15 * time.Second
	maxBackoff = 5 * time.Minute
)

// hosts remembers which servers do not give media at the moment, and which media was not to be had. It is memory only: after a restart
// everything is tried once more.
type hosts struct {
	clock clock.Clock

	mu       sync.Mutex
	hosts    map[id.ServerName]*host
	failures map[string]failure // by key of the fetch
}

// host is what is known of one server.
type host struct {
	slots  chan struct{}
	users  int       // fetches that have or want a slot
	failed int       // times in a row
	until  time.Time // it is left alone
}

type failure struct {
	err   error
	until time.Time
}

func newHosts(c clock.Clock) *hosts {
	return &hosts{clock: c, hosts: map[id.ServerName]*host{}, failures: map[string]failure{}}
}

// known returns the error of a fetch that would fail now, without trying: it failed a moment ago, or its server does.
func (h *hosts) known(server id.ServerName, key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	if f, ok := h.failures[key]; ok {
		if now.Before(f.until) {
			return f.err
		}
		delete(h.failures, key)
	}
	if s := h.hosts[server]; s != nil && now.Before(s.until) {
		return errUnreachable()
	}
	return nil
}

// enter waits until a fetch from a server may begin; leave ends it.
func (h *hosts) enter(ctx context.Context, server id.ServerName) (leave func(), err error) {
	h.mu.Lock()
	s := h.host(server)
	s.users++
	h.mu.Unlock()
	done := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.users--
		h.forget(server, s)
	}
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// succeeded notes that a server gave media.
func (h *hosts) succeeded(server id.ServerName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.hosts[server]; s != nil {
		s.failed, s.until = 0, time.Time{}
		h.forget(server, s)
	}
}

// absent notes what a server answered in place of media: there is no use in asking for the same again, but for other media.
func (h *hosts) absent(key string, answer error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	if len(h.failures) >= maxFailures {
		prune(h.failures, func(f failure) bool { return now.Before(f.until) })
	}
	h.failures[key] = failure{answer, now.Add(failureAge)}
}

// failed notes that a server did not give a proper answer.
func (h *hosts) failed(server id.ServerName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.host(server)
	if s.failed++; s.failed >= patientFor {
		s.until = h.clock.Now().Add(min(minBackoff<<min(s.failed-patientFor, 10), maxBackoff))
	}
}

// host is the entry of a server, which is made if it is not there.
func (h *hosts) host(server id.ServerName) *host {
	s := h.hosts[server]
	if s == nil {
		if len(h.hosts) >= maxHosts {
			now := h.clock.Now()
			prune(h.hosts, func(s *host) bool { return s.users > 0 || now.Before(s.until) })
		}
		s = &host{slots: make(chan struct{}, maxFetchesPerHost)}
		h.hosts[server] = s
	}
	return s
}

// forget drops an entry that says nothing.
func (h *hosts) forget(server id.ServerName, s *host) {
	if s.users == 0 && s.failed == 0 && h.hosts[server] == s {
		delete(h.hosts, server)
	}
}

// prune drops the entries that are not to be kept, and any others until half of the room is free again.
func prune[K comparable, V any](m map[K]V, keep func(V) bool) {
	full := len(m)
	for k, v := range m {
		if !keep(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) <= full/2 {
			return
		}
		delete(m, k)
	}
}
