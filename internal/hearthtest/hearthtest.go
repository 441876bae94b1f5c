// Package hearthtest tells conversations with real servers: it starts as many as a test wants in its own process, each on a port of
// the loopback interface with a database of its own, and lets people talk to them over HTTP. It refuses to sleep: whoever waits, waits
// in /sync until something has happened. A server that answers 500 fails the test, whatever the test made of the answer, and so does one
// whose answers are not as the specification's schemas have them (package spec).
//
//	a := hearthtest.Start(t)
//	alice, bob := a.User("alice"), a.User("bob")
//	room := alice.CreateRoom()
//	bob.Join(room)
//	alice.Say(room, "hi")
//	bob.WaitFor(room, "hi")
package hearthtest

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/admin"
	"github.com/hearthd/hearth/internal/app"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/keyfile"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage/storagetest"
)

// Patience is how long, in real time, a client waits for an answer or for something to happen before the test fails.
const Patience = 40 * time.Second

// LogEnv sets how much the servers write into the log of the test: debug, info, or warn, which is the default.
const LogEnv = "HEARTHTEST_LOG"

// Version is what the servers say they are.
const Version = "test"

// Server is a homeserver. Its methods belong to the goroutine of the test; several of its users may make requests at the same time.
type Server struct {
	// Name is the part of ids after the colon, different for each server of a test.
	Name id.ServerName
	// URL is where the client API is, without a slash at its end. It changes with a restart.
	URL string

	t     testing.TB
	net   *Network // nil: the server is alone
	cfg   config.Config
	clock clock.Clock
	http  *http.Client
	app   *app.App
	stop  func() error
	wrap  func(http.Handler) http.Handler
	// process is what the server runs as; nil: in this one.
	process *exec.Cmd
}

// Option changes a server before it starts.
type Option func(*Server)

// WithClock gives the server another source of time than the machine's.
func WithClock(c clock.Clock) Option { return func(s *Server) { s.clock = c } }

// WithConfig edits the configuration, which is the default one with open registration, cheap password hashes, no rate limits, presence over
// federation and no addresses that must not be connected to.
func WithConfig(edit func(*config.Config)) Option { return func(s *Server) { edit(&s.cfg) } }

// Start starts a server, which is closed when the test ends. Its database is SQLite, or PostgreSQL where storagetest.PostgresEnv is
// set.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{t: t, cfg: config.Default(), clock: clock.Real()}
	// The directories of one test are numbered.
	dir := t.TempDir()
	s.cfg.Server.Name = "hs" + filepath.Base(dir)
	s.cfg.Server.Listen = "127.0.0.1:0"
	s.cfg.Server.DataDir = dir
	s.cfg.Server.AdminSocket = ""
	s.cfg.Registration.Mode = config.RegistrationOpen
	s.cfg.Passwords.HashMemory, s.cfg.Passwords.HashIterations = 64*config.KiB, 1
	s.cfg.RateLimits.Enabled = false
	s.cfg.Outbound.DenyNetworks = nil
	s.cfg.Presence.Federated = true
	s.cfg.Log.Level = config.LogWarn
	if level := os.Getenv(LogEnv); level != "" {
		s.cfg.Log.Level = config.LogLevel(level)
	}
	if os.Getenv(storagetest.PostgresEnv) != "" {
		database := storagetest.PostgresConfig(t)
		s.cfg.Database.URL, s.cfg.Database.MaxConnections = database.URL, database.Readers
	} else {
		storagetest.Make(t, s.cfg.File(s.cfg.Database.Path))
	}
	for _, o := range options {
		o(s)
	}
	s.Name = id.ServerName(s.cfg.Server.Name)
	if s.net != nil {
		s.net.enter(s.Name, false)
		s.cfg.Federation.Listen = "127.0.0.1:0"
		s.cfg.Federation.TLSCertificate, s.cfg.Federation.TLSKey, s.cfg.Federation.CAFile = s.net.ca.files(dir, s.Name)
	}
	if err := s.cfg.Validate(); err != nil {
		t.Fatalf("configuration of the server: %v", err)
	}
	s.watch()
	s.start()
	t.Cleanup(s.Close)
	return s
}

func (s *Server) start() {
	s.t.Helper()
	if s.process != nil {
		s.startProcess()
		return
	}
	socket := Socket{s.net, s.Name}
	a, err := app.New(context.Background(), s.cfg, app.Options{
		Version: Version, LogTo: s.t.Output(), Clock: s.clock, Resolver: socket, Dial: socket.DialContext, Wrap: s.wrap,
	})
	if err != nil {
		s.t.Fatalf("start %s: %v", s.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop := func() error {
		// Connections that were opened and never used keep a draining server waiting.
		s.http.CloseIdleConnections()
		cancel()
		return errors.Join(<-ended, a.Close())
	}
	s.http = newClient()
	select {
	case <-a.Ready():
	case err := <-ended:
		s.t.Fatalf("run %s: %v", s.Name, errors.Join(err, a.Close()))
	}
	s.app, s.stop = a, stop
	s.URL = "http://" + a.Addr("server.listen").String()
	if s.net != nil {
		s.net.signsAs(s.signer())
		s.net.open(s.Name, a.Addr("federation.listen").String())
	}
}

func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       Patience,
	}
}

// signer is what the server signs with.
func (s *Server) signer() signer {
	s.t.Helper()
	key, err := keyfile.Load(s.cfg.File(s.cfg.Server.SigningKeyPath))
	if err != nil {
		s.t.Fatal(err)
	}
	return signer{s.Name, key.ID, key.Private}
}

// Restart stops the server as SIGTERM does, letting requests under way finish, and starts it again on the same data. Users stay
// logged in.
func (s *Server) Restart() {
	s.t.Helper()
	s.end()
	s.Open()
}

// Close stops the server at once: connections are cut, requests under way are given up. Open starts it again.
func (s *Server) Close() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	if s.process == nil {
		cfg := s.cfg
		cfg.Server.DrainTimeout = 0
		s.app.Reload(cfg)
	}
	s.end()
}

// Open starts a closed server again on the same data. The others of its network hear of it.
func (s *Server) Open() {
	s.t.Helper()
	s.start()
	if s.net != nil {
		s.net.greetAll(s.Name)
	}
}

func (s *Server) end() {
	s.t.Helper()
	if s.net != nil {
		s.net.open(s.Name, "")
	}
	stop := s.stop
	s.app, s.stop = nil, nil // package testing holds on to what has run as a cleanup, and so to the server
	if err := stop(); err != nil {
		s.t.Errorf("stop %s: %v", s.Name, err)
	}
}

// Reload changes the configuration of the running server, as SIGHUP does after its file was edited. Only settings that can be reloaded
// may be changed.
func (s *Server) Reload(edit func(*config.Config)) {
	s.t.Helper()
	edit(&s.cfg)
	if err := s.cfg.Validate(); err != nil {
		s.t.Fatalf("reload: %v", err)
	}
	s.app.Reload(s.cfg)
}

// SetupToken is the one-time registration token of the first administrator.
func (s *Server) SetupToken() string { return s.app.SetupToken() }

// Console does what the command line can ask for.
func (s *Server) Console() admin.Server { return s.app.Console() }

// Routes is the table of everything the server answers.
func (s *Server) Routes() []web.Route { return s.app.Routes() }
