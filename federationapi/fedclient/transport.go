package fedclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hearthd/hearth/internal/safehttp"
)

const (
	// Connections that nobody uses stay open for this long, so that a conversation costs one handshake.
	idleTimeout    = 2 * time.Minute
	maxIdle        = 512
	maxIdlePerHost = 8
	maxPerHost     = 32
	maxHeader      = 64 * kib
	maxPlainHops   = 5
)

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
	dial := func(ctx context.Context, address string) (conn net.Conn, host string, err error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, "", err
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, "", err
		}
		conn, err = n.dial(ctx, target{host, uint16(number)})
		return conn, host, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, _, err := dial(ctx, address)
			return conn, err
		},
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, host, err := dial(ctx, address)
			if err != nil {
				return nil, err
			}
			return n.secure(ctx, conn, host)
		},
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
