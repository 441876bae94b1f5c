// Package app builds one Hearth: everything once, top to bottom, and closes it bottom to top. Nothing in it is global, so several
// servers fit into one process.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/clientapi"
	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/obs"
	"github.com/hearthd/hearth/internal/web"
)

// App is one server.
type App struct {
	live    *config.Live
	log     *slog.Logger
	metrics *prometheus.Registry
	web     *web.Server
	ready   chan struct{}
	cert    *certificate
}

// Options are what is not configuration.
type Options struct {
	// Version is the release, shown on / and to other servers.
	Version string
	// LogTo receives the log; nil: nobody.
	LogTo io.Writer
}

// New builds the server. It opens the database and reads keys, but listens on nothing.
func New(_ context.Context, cfg config.Config, opts Options) (*App, error) {
	log, err := newLog(&cfg, opts.LogTo)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Server.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	a := &App{live: config.NewLive(cfg), log: log, metrics: obs.NewRegistry(), ready: make(chan struct{})}
	if a.cert, err = loadCertificate(&cfg); err != nil {
		return nil, err
	}
	welcome, err := clientapi.Welcome(&cfg, opts.Version)
	if err != nil {
		return nil, err
	}
	a.web, err = web.New(web.Options{
		Log: log, Metrics: a.metrics, Limits: limits(&cfg), TrustedProxies: cfg.Server.TrustedProxies,
	}, welcome, clientapi.WellKnown(a.live), a.health())
	if err != nil {
		return nil, err
	}
	return a, nil
}

func newLog(cfg *config.Config, to io.Writer) (*slog.Logger, error) {
	if to == nil {
		return slog.New(slog.DiscardHandler), nil
	}
	o := obs.LogOptions{Level: string(cfg.Log.Level), Format: string(cfg.Log.Format)}
	if cfg.Log.Format == config.LogAuto {
		o.Format = ""
	}
	return obs.NewLogger(to, o)
}

// limits translates the configuration.
func limits(cfg *config.Config) web.Limits {
	r := cfg.RateLimits
	if !r.Enabled {
		return web.Limits{}
	}
	out := web.Limits{Classes: map[web.Rate]web.Limit{
		web.RateLogin: web.Limit(r.Login), web.RateRegister: web.Limit(r.Register), web.RateMessage: web.Limit(r.Message),
		web.RateJoin: web.Limit(r.Join), web.RateInvite: web.Limit(r.Invite), web.RateRead: web.Limit(r.Read),
		web.RateWrite: web.Limit(r.Write), web.RateMedia: web.Limit(r.Media),
	}}
	for _, user := range r.ExemptUsers {
		out.Exempt = append(out.Exempt, id.UserID(user)) // Validate has parsed it
	}
	return out
}

// health answers load balancers.
func (a *App) health() []web.Route {
	return []web.Route{{Method: "GET", Path: "/_hearth/health", Auth: web.None, Rate: web.RateNone,
		Handler: func(context.Context, *web.Request) (any, error) {
			return struct {
				Status string `json:"status"`
			}{"ok"}, nil
		}}}
}

// Handler answers HTTP requests of clients and servers.
func (a *App) Handler() http.Handler { return a.web }

// Log is the server's log.
func (a *App) Log() *slog.Logger { return a.log }

// Ready is closed when all listeners are open.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Accounts does what `hearth user` asks for.
func (a *App) Accounts() admin.Accounts { return nil }

// SetupToken is the one-time registration token of the first account; empty once there are accounts.
func (a *App) SetupToken() string { return "" }

// Reload puts cfg in force: settings that need a restart must be those of the running server (config.Reload sees to that).
func (a *App) Reload(cfg config.Config) {
	a.live.Set(cfg)
	a.web.SetLimits(limits(&cfg))
	if err := a.cert.reload(&cfg); err != nil {
		a.log.Error("TLS certificate not reloaded, the old one stays in force", "error", err)
	}
}

// Run serves until ctx ends, lets requests under way finish, and returns when every goroutine has ended.
func (a *App) Run(ctx context.Context) error {
	cfg := a.live.Get()
	listeners := []listener{{key: "server.listen", network: "tcp", address: cfg.Server.Listen, handler: a.web}}
	if cfg.Server.MetricsListen != "" {
		listeners = append(listeners, listener{key: "server.metrics_listen", network: "tcp", address: cfg.Server.MetricsListen,
			handler: obs.MetricsHandler(a.metrics)})
	}
	if cfg.Federation.Listen != "" {
		listeners = append(listeners, listener{key: "federation.listen", network: "tcp", address: cfg.Federation.Listen, handler: a.web,
			tls: a.cert.tlsConfig()})
	}
	if path := cfg.File(cfg.Server.AdminSocket); path != "" {
		listeners = append(listeners, listener{key: "server.admin_socket", network: "unix", address: path,
			handler: admin.Handler(a.Accounts())})
	}
	return a.serve(ctx, listeners...)
}

// Close releases what New opened. Call it after Run has returned.
func (a *App) Close() error { return errors.Join() }
