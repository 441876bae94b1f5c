package fedclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/flight"
	"github.com/hearthd/hearth/internal/id"
)

const (
	discoveryTimeout = 30 * time.Second
	// routeLifetime is for routes with a part from the DNS, whose own lifetimes one is not told.
	routeLifetime = 15 * time.Minute
	// srvTimeout bounds the look-up of service records: many networks have no answer to it.
	srvTimeout = 4 * time.Second
	maxSRV     = 8
	// maxKnown is the number of servers in each cache.
	maxKnown = 20_000
	// suspectAge is how old a look for a .well-known file has to be for a server that is not where it should be to make us look again.
	suspectAge = 10 * time.Minute
)

// discovery finds where servers are and keeps that for a while.
type discovery struct {
	net     *network
	plain   *http.Client
	work    *flight.Owner
	clock   clock.Clock
	looking flight.Group[*route]

	mu     sync.Mutex
	routes map[id.ServerName]knownRoute
	files  map[string]wellKnown // by host
}

type knownRoute struct {
	route *route
	until time.Time
}

func newDiscovery(n *network, plain *http.Client, work *flight.Owner, c clock.Clock) *discovery {
	return &discovery{
		net: n, plain: plain, work: work, clock: c, routes: map[id.ServerName]knownRoute{}, files: map[string]wellKnown{},
	}
}

// route returns where the requests to a server go.
func (d *discovery) route(ctx context.Context, server id.ServerName) (*route, error) {
	if isDirect(server) {
		return direct(server), nil
	}
	d.mu.Lock()
	known, ok := d.routes[server]
	d.mu.Unlock()
	if ok && d.clock.Now().Before(known.until) {
		return known.route, nil
	}
	return d.looking.Do(ctx, d.work, string(server), discoveryTimeout, func(ctx context.Context) (*route, error) {
		found, until, err := d.find(ctx, server, func(Step) {})
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.routes[server] = knownRoute{found, until}
		trim(d.routes)
		return found, nil
	})
}

// trim drops any one entry of a map that has become too large. That is enough where at most one was added.
func trim[K comparable, V any](m map[K]V) {
	if len(m) <= maxKnown {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

// lost notes that no connection could be made to a server: it may have moved.
func (d *discovery) lost(server id.ServerName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.routes, server)
	host := server.Host()
	file, ok := d.files[host]
	if now := d.clock.Now(); ok && now.Sub(file.looked) > suspectAge {
		file.until = now
		d.files[host] = file
	}
}

// Step is one thing that finding a server came to, in plain words.
type Step struct {
	// Text says what was looked at and what was found there.
	Text string
	// Problem says that it should have been otherwise.
	Problem bool
}

// find goes through the steps of the specification for a name without a port that is no address, and tells of each.
//
// Spec: server-server-api#resolving-server-names
func (d *discovery) find(ctx context.Context, server id.ServerName, tell func(Step)) (*route, time.Time, error) {
	file := d.wellKnown(ctx, server.Host(), tell)
	now := d.clock.Now()
	until := file.until
	if most := now.Add(routeLifetime); until.After(most) {
		until = most
	}
	name := server
	if file.delegate != "" {
		name = file.delegate
		if isDirect(name) { // steps 3.1 and 3.2
			return direct(name), file.until, nil
		}
	}
	targets, err := d.services(ctx, name.Host(), tell) // steps 3.3 and 3.4, or 4 and 5
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(targets) > 0 {
		return newRoute(string(name), name.Host(), targets...), until, nil
	}
	tell(Step{Text: fmt.Sprintf("So %s itself is asked, on port %d.", name, defaultPort)})
	return direct(name), until, nil // step 3.5 or 6
}

// wellKnown returns what is known of a host's file, after looking if that is due.
func (d *discovery) wellKnown(ctx context.Context, host string, tell func(Step)) wellKnown {
	d.mu.Lock()
	before, ok := d.files[host]
	d.mu.Unlock()
	if ok && d.clock.Now().Before(before.until) {
		return before
	}
	delegate, life, err := d.fetchWellKnown(ctx, host)
	now := d.clock.Now()
	file := wellKnown{delegate: delegate, until: now.Add(life), looked: now, fetched: now}
	if err != nil {
		file = before.failed(now, errors.Is(err, errNoWellKnown))
		tell(Step{Text: fmt.Sprintf("https://%s/.well-known/matrix/server does not delegate: %s.", host, plainly(err))})
	} else {
		tell(Step{Text: fmt.Sprintf("https://%s/.well-known/matrix/server delegates to %s (good for %s).", host, delegate, life)})
	}
	if ctx.Err() == nil {
		d.mu.Lock()
		d.files[host] = file
		trim(d.files)
		d.mu.Unlock()
	}
	return file
}

// failed is what is known after looking has failed. Where the file was good lately and its host only fails to answer, it still counts: else a
// short trouble there would send requests to where the server is not.
func (w wellKnown) failed(now time.Time, answered bool) wellKnown {
	wait := wellKnownMin << min(w.failures, 4)
	next := wellKnown{until: now.Add(min(wait, wellKnownError)), looked: now, failures: w.failures + 1}
	if w.delegate != "" && !answered && now.Sub(w.fetched) < wellKnownMax {
		next.delegate, next.fetched = w.delegate, w.fetched
	}
	return next
}

var errNoService = errors.New("its service record says that it serves no Matrix")

// services returns the targets of the service records of a host, most preferred first.
func (d *discovery) services(ctx context.Context, host string, tell func(Step)) ([]target, error) {
	ctx, cancel := context.WithTimeout(ctx, srvTimeout)
	defer cancel()
	// Both are asked at once, as the second is nearly always needed. Where the first knows an answer, the second does not count.
	names := []string{"matrix-fed", "matrix"}
	var found [2][]*net.SRV
	var failed [2]error
	var both sync.WaitGroup
	for i, service := range names {
		both.Go(func() { _, found[i], failed[i] = d.net.resolver.LookupSRV(ctx, service, "tcp", host) })
	}
	both.Wait()
	for i, service := range names {
		record := fmt.Sprintf("_%s._tcp.%s", service, host)
		if len(found[i]) == 0 {
			var missing *net.DNSError
			if errors.As(failed[i], &missing) && missing.IsNotFound || failed[i] == nil {
				tell(Step{Text: fmt.Sprintf("The DNS has no SRV record %s.", record)})
			} else {
				tell(Step{Text: fmt.Sprintf("The DNS did not say whether there is an SRV record %s: %s.", record, plainly(failed[i]))})
			}
			continue
		}
		var targets []target
		for _, srv := range found[i][:min(len(found[i]), maxSRV)] {
			if name := trimDot(srv.Target); name != "" {
				targets = append(targets, target{name, srv.Port})
			}
		}
		if len(targets) == 0 { // RFC 2782: a target of "." says that the service is decidedly not there
			return nil, fmt.Errorf("%s: %w", host, errNoService)
		}
		tell(Step{Text: fmt.Sprintf("The SRV record %s points to %v.", record, targets)})
		return targets, nil
	}
	return nil, nil
}

func trimDot(name string) string {
	if n := len(name); n > 0 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}
