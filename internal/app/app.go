// Package app builds one Hearth: everything once, top to bottom, and closes it bottom to top. Nothing in it is global, so several
// servers fit into one process.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/clientapi"
	"github.com/hearthd/hearth/federationapi"
	"github.com/hearthd/hearth/federationapi/fedclient"
	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/delayed"
	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/keyfile"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/notices"
	"github.com/hearthd/hearth/internal/obs"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/pusher"
	"github.com/hearthd/hearth/internal/reports"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/internal/sso"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/threads"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/mediaapi"
	"github.com/hearthd/hearth/mediaapi/remotemedia"
	"github.com/hearthd/hearth/mediaapi/thumbnail"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/blob"
)

// App is one server.
type App struct {
	live        *config.Live
	log         *slog.Logger
	metrics     *prometheus.Registry
	store       *storage.Store
	key         keyfile.Key
	doorbell    *hub.Hub
	peers       *federation
	inbound     *federationapi.API
	accounts    *account.Service
	edus        *edu.Service
	e2ee        *e2ee.Service
	pushers     *pusher.Service
	mail        *mail.Sender
	appservices *appservice.Service
	rooms       *roomserver.Server
	delayed     *delayed.Service
	notices     *notices.Service
	media       *mediaapi.Service
	web         *web.Server
	handler     http.Handler // web, and what is around it
	cert        *certificate
	ready       chan struct{}
	setup       string
	// addresses are those of the listeners by their settings; written before ready is closed, and never after.
	addresses map[string]net.Addr
}

// Options are what is not configuration.
type Options struct {
	// Version is the release, shown on / and to other servers.
	Version string
	// LogTo receives the log; nil: nobody.
	LogTo io.Writer
	// Clock is the source of time; nil: the machine's.
	Clock clock.Clock
	// Resolver looks up other servers; nil: as the machine does.
	Resolver fedclient.Resolver
	// Dial connects to other servers, at an address that may be connected to; nil: as usual.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Wrap goes around what answers clients and servers; nil: nothing.
	Wrap func(http.Handler) http.Handler
}

// New builds the server. It opens the database and reads keys, but listens on nothing.
func New(ctx context.Context, cfg config.Config, opts Options) (*App, error) {
	if opts.Clock == nil {
		opts.Clock = clock.Real()
	}
	log, err := newLog(&cfg, opts.LogTo)
	if err != nil {
		return nil, err
	}
	a := &App{live: config.NewLive(cfg), log: log, metrics: obs.NewRegistry(), ready: make(chan struct{})}
	if err := a.build(ctx, &cfg, opts); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) build(ctx context.Context, cfg *config.Config, opts Options) error {
	var err error
	if a.cert, err = loadCertificate(cfg); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Server.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	memory := budget.New(int64(cfg.Memory.Limit))
	if a.store, err = storage.Open(ctx, storeConfig(cfg, memory), a.log); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if a.key, err = openKey(cfg, a.store.CommittedPos() == 0); err != nil {
		return err
	}
	if a.key.Exposed {
		a.log.Warn("other users of this machine can read the signing key", "path", cfg.File(cfg.Server.SigningKeyPath))
	}
	a.doorbell = hub.NewAt(a.store.CommittedPos(), opts.Clock.Now().UnixMilli(), hub.DefaultLimit)
	if a.peers, err = a.openFederation(cfg, opts); err != nil {
		return err
	}
	notifier := account.NewNotifier(push.NewBook(push.Options{LegacyMentions: cfg.Push.LegacyMentions, Polls: true, Threads: true}), memory)
	registry, err := appservice.Load(id.ServerName(cfg.Server.Name), cfg.Files(cfg.Appservices))
	if err != nil {
		return err
	}
	a.e2ee = e2ee.New(e2ee.Deps{
		Server: id.ServerName(cfg.Server.Name), Store: a.store, Hub: a.doorbell, Clock: opts.Clock, Log: a.log,
		Remote: a.peers.client, Outbound: a.peers.sender, DeviceNames: cfg.Federation.DeviceNames,
		Bridges: appservice.NewKeys(registry, opts.Clock, a.log),
	})
	if a.mail, err = mail.New(a.live, a.metrics); err != nil {
		return err
	}
	if a.pushers, err = a.openPushers(ctx, cfg, opts); err != nil {
		return fmt.Errorf("open pushers: %w", err)
	}
	a.rooms = roomserver.New(roomserver.Config{
		Name: id.ServerName(cfg.Server.Name), DefaultVersion: gomatrixserverlib.RoomVersion(cfg.Rooms.DefaultVersion),
		KeyID: gomatrixserverlib.KeyID(a.key.ID), Key: a.key.Private, Memory: memory,
	}, a.peers.rooms(a.e2ee, a.pushers), a.store, a.doorbell, notifier, opts.Clock, a.log)
	providers, err := sso.New(cfg.SSO, cfg.Outbound.DenyNetworks, cfg.Outbound.AllowNetworks, "Hearth/"+opts.Version, opts.Clock)
	if err != nil {
		return fmt.Errorf("sso.providers: %w", err)
	}
	a.accounts, err = account.New(account.Deps{
		Mail: a.mail, Appservices: registry, Providers: providers, Memory: memory, Identity: a.peers.identity,
		Notifier: notifier, Store: a.store, E2EE: a.e2ee, Hub: a.doorbell, Config: a.live, Clock: opts.Clock, Log: a.log, Rooms: a.rooms, Profiles: a.rooms,
	})
	if err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	if err := a.accounts.AddSenders(ctx); err != nil {
		return fmt.Errorf("make the users of application services: %w", err)
	}
	a.edus = edu.New(a.store, a.doorbell, notifier, opts.Clock, edu.Options{
		Quiet: !cfg.Presence.Enabled, Federation: a.peers.sender, Pushers: a.pushers, FederatePresence: cfg.Presence.Enabled && cfg.Presence.Federated,
		Followed: registry.WantsNews(),
	})
	a.appservices, err = appservice.New(appservice.Parts{
		Server: id.ServerName(cfg.Server.Name), Registry: registry, Store: a.store, Hub: a.doorbell, EDUs: a.edus, Clock: opts.Clock, Log: a.log,
		Metrics: a.metrics,
	})
	if err != nil {
		return fmt.Errorf("open application services: %w", err)
	}
	a.notices = notices.New(a.live, a.store, a.accounts, a.rooms)
	a.delayed = delayed.New(a.live, a.store, a.rooms, opts.Clock, a.log)
	if a.setup, err = a.accounts.BootstrapToken(ctx); err != nil {
		return fmt.Errorf("make setup token: %w", err)
	}
	welcome, err := clientapi.Welcome(cfg, opts.Version)
	if err != nil {
		return err
	}
	if a.media, err = a.openMedia(cfg, opts.Clock); err != nil {
		return err
	}
	api := clientapi.New(clientapi.Deps{
		Config: a.live, Accounts: a.accounts, Directory: a.openDirectory(cfg, opts.Clock), Store: a.store, Rooms: a.rooms, Clock: opts.Clock, EDUs: a.edus,
		Appservices: a.appservices,
		Syncer:      syncer.New(a.store, a.doorbell, a.edus, a.accounts, opts.Clock, memory),
		E2EE:        a.e2ee, Pushers: a.pushers, Delayed: a.delayed, Notices: a.notices, Reports: reports.New(a.store),
		Threads: threads.New(a.store, a.doorbell, notifier.Forget),
	})
	if err := a.metrics.Register(memory); err != nil {
		return fmt.Errorf("register metrics of the caches: %w", err)
	}
	a.inbound = a.openInbound(opts)
	a.web, err = web.New(web.Options{
		Auth: a.accounts, Servers: a.peers, Clock: opts.Clock, Log: a.log, Metrics: a.metrics, Limits: limits(cfg), TrustedProxies: cfg.Server.TrustedProxies,
	}, welcome, clientapi.WellKnown(a.live), api.Routes(), a.inbound.Routes(), a.media.Routes(), a.health())
	if a.handler = a.web; err == nil && opts.Wrap != nil {
		a.handler = opts.Wrap(a.web)
	}
	return err
}

// openDirectory builds what finds rooms and people.
func (a *App) openDirectory(cfg *config.Config, c clock.Clock) *directory.Service {
	return directory.New(directory.Parts{
		Server: id.ServerName(cfg.Server.Name), Store: a.store, Remote: a.peers.client, Bridges: a.appservices, Clock: c, Log: a.log,
	})
}

// openMedia builds the media repository.
func (a *App) openMedia(cfg *config.Config, c clock.Clock) (*mediaapi.Service, error) {
	blobs, err := blob.OpenDir(cfg.File(cfg.Media.Dir))
	if err != nil {
		return nil, fmt.Errorf("open media directory: %w", err)
	}
	limits := thumbnail.Limits{
		MaxBytes: int64(cfg.Media.MaxUpload), MaxPixels: cfg.Media.MaxPixels, MaxFrames: cfg.Media.MaxFrames, MaxTotalPixels: cfg.Media.MaxPixels,
	}
	guard := safehttp.NewGuard(cfg.Outbound.DenyNetworks, cfg.Outbound.AllowNetworks)
	return mediaapi.New(mediaapi.Parts{
		Server: id.ServerName(cfg.Server.Name), Store: a.store, Blobs: blobs, Hub: a.doorbell, Clock: c, Config: cfg.Media,
		Thumbnails: thumbnail.New(limits, cfg.Media.ThumbnailWorkers), Web: safehttp.New(guard, "Mozilla/5.0 (compatible; Hearth link preview; bot)"),
		Remote: remotemedia.New(a.peers.client), Log: a.log, Metrics: a.metrics,
	})
}

// storeConfig says where the store is, and what memory its caches share.
func storeConfig(cfg *config.Config, memory *budget.Memory) storage.Config {
	out := storage.Config{
		URL: cfg.Database.URL, Readers: cfg.Database.MaxConnections, Memory: memory,
	}
	if out.URL == "" {
		out.Path = cfg.File(cfg.Database.Path)
	}
	return out
}

// openKey reads the signing key. Only a server that has nothing yet gets a new one: under another key others would not know it again.
func openKey(cfg *config.Config, fresh bool) (keyfile.Key, error) {
	path := cfg.File(cfg.Server.SigningKeyPath)
	key, err := keyfile.Load(path)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return key, err
	case !fresh:
		return key, fmt.Errorf("there is a database but no signing key at %s: restore the key from a backup", path)
	}
	return keyfile.Create(path)
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
		web.RateWrite: web.Limit(r.Write), web.RateMedia: web.Limit(r.Media), web.RateFederation: web.Limit(r.Federation),
		web.RateEmail: web.Limit(r.Email), web.RateEmailAddress: web.Limit(r.EmailAddress),
	}}
	for _, user := range r.ExemptUsers {
		out.Exempt = append(out.Exempt, id.UserID(user)) // Validate has parsed it
	}
	return out
}

// health answers load balancers: the server lives and can read its database.
func (a *App) health() []web.Route {
	return []web.Route{{Method: "GET", Path: "/_hearth/health", Auth: web.None, Rate: web.RateNone,
		Handler: func(ctx context.Context, _ *web.Request) (any, error) {
			if err := a.store.View(ctx, func(tx *storage.ReadTx) error {
				_, err := tx.HasAdmin()
				return err
			}); err != nil {
				return nil, fmt.Errorf("read the database: %w", err)
			}
			return struct {
				Status string `json:"status"`
			}{"ok"}, nil
		}}}
}

// Handler answers HTTP requests of clients and servers.
func (a *App) Handler() http.Handler { return a.handler }

// Log is the server's log.
func (a *App) Log() *slog.Logger { return a.log }

// Store is where the server keeps everything.
func (a *App) Store() *storage.Store { return a.store }

// Ready is closed when all listeners are open.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Addr is what the listener of a setting, for instance server.listen, listens on: with a port of 0 in the setting, that is where one
// learns the port. It is nil where there is no such listener, and until Ready is closed.
func (a *App) Addr(key string) net.Addr {
	select {
	case <-a.ready:
		return a.addresses[key]
	default:
		return nil
	}
}

// Routes is the table of everything the server answers.
func (a *App) Routes() []web.Route { return a.web.Routes() }

// Console does what the command line asks for.
func (a *App) Console() admin.Server {
	return struct {
		admin.Accounts
		admin.Media
		admin.Pushers
		admin.Notices
		admin.Reports
	}{account.Console{Service: a.accounts}, mediaapi.Console{Service: a.media}, pusher.Console{Service: a.pushers, Find: a.accounts.FindLocal},
		notices.Console{Service: a.notices, Find: a.accounts.FindLocal},
		reports.Console{Service: reports.New(a.store)}}
}

// SetupToken is the one-time registration token of the first administrator; empty once there is one.
func (a *App) SetupToken() string { return a.setup }

// Reload puts cfg in force: settings that need a restart must be those of the running server (config.Reload sees to that).
func (a *App) Reload(cfg config.Config) {
	a.live.Set(cfg)
	a.web.SetLimits(limits(&cfg))
	a.media.SetConfig(cfg.Media)
	if err := a.cert.reload(&cfg); err != nil {
		a.log.Error("TLS certificate not reloaded, the old one stays in force", "error", err)
	}
}

// Run serves until ctx ends, lets requests under way finish, and returns when every goroutine has ended.
func (a *App) Run(ctx context.Context) error {
	// Workers outlive the listeners: requests that finish while the server drains may still need them.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var workers sync.WaitGroup
	runs := []func(context.Context) error{a.accounts.Run, a.edus.Run, a.e2ee.Run, a.media.Run, a.rooms.Run, a.peers.sender.Run, a.pushers.Run, a.inbound.Run,
		a.appservices.Run, a.delayed.Run}
	failed := make([]error, len(runs))
	for i, run := range runs {
		workers.Go(func() { failed[i] = run(work) })
	}
	err := a.serve(ctx, a.listeners()...)
	stop()
	workers.Wait()
	a.peers.client.Close()
	return errors.Join(append(failed, err)...)
}

func (a *App) listeners() []listener {
	cfg := a.live.Get()
	out := []listener{{key: "server.listen", network: "tcp", address: cfg.Server.Listen, handler: a.handler}}
	if cfg.Server.MetricsListen != "" {
		out = append(out, listener{key: "server.metrics_listen", network: "tcp", address: cfg.Server.MetricsListen,
			handler: obs.MetricsHandler(a.metrics)})
	}
	if cfg.Federation.Listen != "" {
		out = append(out, listener{key: "federation.listen", network: "tcp", address: cfg.Federation.Listen, handler: a.handler,
			tls: a.cert.tlsConfig()})
	}
	if path := cfg.File(cfg.Server.AdminSocket); path != "" {
		out = append(out, listener{key: "server.admin_socket", network: "unix", address: path, handler: admin.Handler(a.Console())})
	}
	return out
}

// Close releases what New opened. Call it after Run has returned.
func (a *App) Close() error {
	if a.peers != nil {
		a.peers.client.Close()
	}
	if a.store == nil {
		return nil
	}
	return a.store.Close()
}
