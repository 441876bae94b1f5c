package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/web"
)

// listener is one address the server listens on.
type listener struct {
	key     string // the setting the address comes from
	network string // "tcp", or "unix" for the admin socket
	address string
	handler http.Handler
	tls     *tls.Config
}

func (l listener) open() (net.Listener, error) {
	if l.network == "unix" {
		return admin.Listen(l.address)
	}
	ln, err := net.Listen(l.network, l.address)
	if err == nil && l.tls != nil {
		ln = tls.NewListener(ln, l.tls)
	}
	return ln, err
}

// serve listens and serves until ctx ends or a listener fails, then drains.
func (a *App) serve(ctx context.Context, listeners ...listener) error {
	// Requests outlive ctx: they may finish while the server drains.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	failed := make(chan error, len(listeners))
	var requests gate
	var unused unusedConns
	var servers []*http.Server
	var opened []net.Listener
	addresses := map[string]net.Addr{}
	for _, l := range listeners {
		ln, err := l.open()
		if err != nil && l.network == "unix" {
			a.log.Warn("no admin socket: hearth user works only while the server is stopped", "path", l.address, "error", err)
			continue
		}
		if err != nil {
			for _, other := range opened {
				other.Close()
			}
			return fmt.Errorf("%s: %w", l.key, err)
		}
		opened = append(opened, ln)
		addresses[l.key] = ln.Addr()
		server := web.NewServer(l.address, requests.wrap(l.handler))
		server.ErrorLog = slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)
		server.ConnState = unused.note
		server.BaseContext = func(net.Listener) context.Context { return work }
		servers = append(servers, server)
		a.log.Info("listening", "for", l.key, "address", ln.Addr().String())
	}
	for i, server := range servers {
		go func() { failed <- server.Serve(opened[i]) }()
	}
	a.addresses = addresses
	close(a.ready)

	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	a.doorbell.Drain() // whoever only waits for something to happen is answered now
	unused.close()
	drain, cancel := context.WithTimeout(work, a.live.Get().Server.DrainTimeout)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(drain) != nil {
			abort()
			server.Close()
		}
	}
	for range running {
		if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	requests.close()
	return err
}

// gate lets requests in until it is closed. An http.Server that is closed does not wait for its handlers, but the database must not be
// closed under them.
type gate struct{ inside sync.RWMutex }

func (g *gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.inside.TryRLock() {
			http.Error(w, "The server is stopping", http.StatusServiceUnavailable)
			return
		}
		defer g.inside.RUnlock()
		next.ServeHTTP(w, r)
	})
}

// close keeps requests out from now on, and returns when the last one has left.
func (g *gate) close() { g.inside.Lock() }

// unusedConns are the connections that have not made a request yet. Browsers and proxies open them in advance, and http.Server.Shutdown waits
// five seconds for each to be used. The zero value is ready.
type unusedConns struct {
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// note is for http.Server.ConnState.
func (u *unusedConns) note(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, c)
	case u.closed:
		c.Close()
	default:
		if u.conns == nil {
			u.conns = map[net.Conn]bool{}
		}
		u.conns[c] = true
	}
}

// close closes those there are, and those to come.
func (u *unusedConns) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for c := range u.conns {
		c.Close()
	}
}

// certificate is the TLS certificate of the federation listener; a reload reads it again, which is how renewed ones get into service.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// loadCertificate returns an empty certificate where there is no federation listener.
func loadCertificate(cfg *config.Config) (*certificate, error) {
	c := &certificate{}
	return c, c.reload(cfg)
}

func (c *certificate) reload(cfg *config.Config) error {
	if cfg.Federation.Listen == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.File(cfg.Federation.TLSCertificate), cfg.File(cfg.Federation.TLSKey))
	if err != nil {
		return fmt.Errorf("federation.tls_certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// tlsConfig serves the certificate now in force.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		NextProtos:     []string{"http/1.1"},
	}
}
