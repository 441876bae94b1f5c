package fedclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	lookupTimeout    = 5 * time.Second
	dialTimeout      = 5 * time.Second
	connectTimeout   = 20 * time.Second // all targets and addresses of a server
	handshakeTimeout = 10 * time.Second
	// dialDelay is after how long without success the next address is tried beside those before.
	dialDelay    = 300 * time.Millisecond
	maxAddresses = 8    // of one name
	sessions     = 1024 // TLS sessions that can be resumed
)

// network connects to addresses that the guard allows.
type network struct {
	guard    *safehttp.Guard
	resolver Resolver
	connect  func(ctx context.Context, network, address string) (net.Conn, error)
	trusted  *safehttp.Authorities
	sessions tls.ClientSessionCache
	open     context.Context // ends when the client is closed; it is no caller's
	close    context.CancelFunc
}

func newNetwork(o Options) *network {
	n := &network{guard: o.Guard, resolver: o.Resolver, connect: o.Dial, trusted: o.Authorities, sessions: tls.NewLRUClientSessionCache(sessions)}
	n.open, n.close = context.WithCancel(context.Background())
	if n.guard == nil {
		n.guard = safehttp.NewGuard(nil, nil)
	}
	if n.resolver == nil {
		n.resolver = net.DefaultResolver
	}
	if n.connect == nil {
		dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: n.guard.Control}
		n.connect = dialer.DialContext
	}
	return n
}

// within is the context of making a connection. When nobody waits for it any more, net/http goes on with that, but not when the client is closed.
func (n *network) within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	stop := context.AfterFunc(n.open, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// target is a host to connect to, a name or an address, and the port.
type target struct {
	host string
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// addresses are those of a host, without the ones that the guard denies.
func (n *network) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	found := []netip.Addr{}
	if addr, err := netip.ParseAddr(host); err == nil {
		found = append(found, addr)
	} else {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		if found, err = n.resolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, fmt.Errorf("look up the addresses of %s: %w", host, err)
		}
	}
	allowed := make([]netip.Addr, 0, len(found))
	denied := fmt.Errorf("look up the addresses of %s: there are none", host)
	for _, addr := range found {
		if addr = addr.Unmap(); len(allowed) == maxAddresses {
			break
		}
		if err := n.guard.Check(addr); err != nil {
			denied = err
			continue
		}
		allowed = append(allowed, addr)
	}
	if len(allowed) == 0 {
		return nil, denied
	}
	return allowed, nil
}

// dial connects to the first of the targets that can be.
func (n *network) dial(ctx context.Context, targets ...target) (net.Conn, error) {
	ctx, cancel := n.within(ctx, connectTimeout)
	defer cancel()
	var failed []error
	for _, t := range targets {
		addrs, err := n.addresses(ctx, t.host)
		if err == nil {
			var conn net.Conn
			if conn, err = n.race(ctx, addrs, t.port); err == nil {
				return conn, nil
			}
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

type dialed struct {
	conn net.Conn
	err  error
}

// race connects to several addresses of one host: each gets a little time before the next is tried as well, and the first that answers wins.
func (n *network) race(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialed)
	// Each ends soon after ctx does, which is when race returns: a connection that came too late has nobody to take it.
	start := func(addr netip.Addr) {
		dialing, stop := context.WithTimeout(ctx, dialTimeout)
		defer stop()
		conn, err := n.connect(dialing, "tcp", netip.AddrPortFrom(addr, port).String())
		select {
		case results <- dialed{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	delay := time.NewTimer(0)
	defer delay.Stop()
	var failed []error
	for running := 0; ; {
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			failed = append(failed, r.err)
			if running--; running == 0 && len(addrs) == 0 {
				return nil, errors.Join(failed...)
			}
			delay.Reset(0)
		case <-delay.C:
			if len(addrs) > 0 {
				running++
				go start(addrs[0])
				addrs = addrs[1:]
				delay.Reset(dialDelay)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *network) tlsConfig(name string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, ClientSessionCache: n.sessions}
	n.trusted.Require(c, name)
	return c
}

// secure makes the TLS connection: the certificate has to be good for name, which is a DNS name or an address.
func (n *network) secure(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error) {
	ctx, cancel := n.within(ctx, handshakeTimeout)
	defer cancel()
	secured := tls.Client(conn, n.tlsConfig(name))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // err says what is wrong
		return nil, fmt.Errorf("make a TLS connection to %s: %w", name, err)
	}
	return secured, nil
}
