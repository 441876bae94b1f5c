package fedclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
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
	maxAddresses = 8 // of one name
	// Connections that nobody uses stay open for this long, so that a conversation costs one handshake.
	idleTimeout    = 2 * time.Minute
	maxIdle        = 512
	maxIdlePerHost = 8
	maxPerHost     = 32
	maxHeader      = 64 * kib
	sessions       = 1024 // TLS sessions that can be resumed
	maxPlainHops   = 5
)

// network connects to addresses that the guard allows.
type network struct {
	guard    *safehttp.Guard
	resolver Resolver
	connect  func(ctx context.Context, network, address string) (net.Conn, error)
	roots    *x509.CertPool
	sessions tls.ClientSessionCache
}

func newNetwork(o Options) *network {
	n := &network{guard: o.Guard, resolver: o.Resolver, connect: o.Dial, roots: o.RootCAs, sessions: tls.NewLRUClientSessionCache(sessions)}
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

// RootCAs returns the authorities of the system and those in a file; nil, which means the system's, without a file.
func RootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is how crypto/x509 calls the system's authorities
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read certificate authorities: there is no certificate in %s", file)
	}
	return pool, nil
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
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
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
	return &tls.Config{
		ServerName: name, RootCAs: n.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, ClientSessionCache: n.sessions,
	}
}

// secure makes the TLS connection: the certificate has to be good for name, which is a DNS name or an address.
func (n *network) secure(ctx context.Context, conn net.Conn, name string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secured := tls.Client(conn, n.tlsConfig(name))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // err says what is wrong
		return nil, fmt.Errorf("make a TLS connection to %s: %w", name, err)
	}
	return secured, nil
}

// routeKey is where a request carries its route to the dialler, which gets nothing but a context and an address.
type routeKey struct{}

// serverTransport keeps connections to servers. The host in the URL of a request is the key of its route, so that connections are shared by
// what goes to the same place under the same name and by nothing else.
func (n *network) serverTransport(m *metrics) *http.Transport {
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			r, ok := ctx.Value(routeKey{}).(*route)
			if !ok {
				return nil, errNoRoute
			}
			conn, err := n.dialRoute(ctx, r)
			m.dialed(err)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		MaxConnsPerHost:        maxPerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second},
	}
}

var errNoRoute = errors.New("the request has no route")

func (n *network) dialRoute(ctx context.Context, r *route) (*tls.Conn, error) {
	conn, err := n.dial(ctx, r.targets...)
	if err != nil {
		return nil, &dialError{err}
	}
	secured, err := n.secure(ctx, conn, r.certificate)
	if err != nil {
		return nil, &dialError{err}
	}
	return secured, nil
}

// dialError says that no connection could be made: perhaps the server has moved.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// plainClient is for URLs: .well-known files, and files that servers point to. It sends nothing that says who asks.
func (n *network) plainClient(agent string) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, err
			}
			return n.dial(ctx, target{host, uint16(number)})
		},
		TLSClientConfig:        n.tlsConfig(""),
		TLSHandshakeTimeout:    handshakeTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           32,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        8,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	return &http.Client{Transport: stranger{transport, agent}, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxPlainHops {
			return errRedirects
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errInsecure
		}
		return safehttp.CheckURL(req.URL)
	}}
}

var (
	errRedirects = fmt.Errorf("more than %d redirects", maxPlainHops)
	errInsecure  = errors.New("a redirect leads away from HTTPS")
)

// stranger gives requests the headers of somebody unknown.
type stranger struct {
	next  *http.Transport
	agent string
}

func (s stranger) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := safehttp.CheckURL(req.URL); err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	for _, h := range []string{"Referer", "Cookie", "Authorization"} {
		out.Header.Del(h)
	}
	out.Header.Set("User-Agent", s.agent)
	return s.next.RoundTrip(out)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (s stranger) CloseIdleConnections() { s.next.CloseIdleConnections() }
