// Package web turns a table of routes into an http.Handler: matching, authentication, rate limits, decoding, errors, CORS, the access log
// and metrics. Handlers see a Request and return a value or an error. The package refuses to hand them a ResponseWriter, and to know
// anything of accounts and rooms: who a token belongs to it asks its Authenticator.
package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/merr"
)

// DefaultBodyLimit is the size of a request body, in bytes, that a route accepts unless it says something else.
const DefaultBodyLimit = 1 << 20

// Handler answers one kind of request. The value becomes the body of a 200 answer unless it is a Status, Stream, Redirect or WithHeader;
// see Server. The error goes through merr.From.
type Handler func(ctx context.Context, r *Request) (any, error)

// Options is what a Server needs. The zero value works, with nobody able to authenticate.
type Options struct {
	Auth    Authenticator         // nil: every token is unknown
	Servers ServerAuthenticator   // nil: every server is unknown
	Clock   clock.Clock           // nil: the clock of the machine
	Log     *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: metrics are kept but not exported

	Limits         Limits         // zero: none; DefaultLimits is a start
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-For is believed
	BodyLimit      int64          // bytes; 0: DefaultBodyLimit
	Gzip           bool           // compress larger JSON answers for clients that accept it: less traffic for more CPU
	AccessLog      bool           // one line per request at level Info; otherwise at Debug
}

// Server serves a table of routes. It is an http.Handler.
//
// What a handler returns becomes: nil or Empty{}, the object {}; json.RawMessage or RawJSON, those bytes; Status, another status; WithHeader,
// additional headers; Redirect, a redirection; Stream, bytes of any type; anything else, its JSON.
type Server struct {
	auth      Authenticator
	clock     clock.Clock
	log       *slog.Logger
	accessLog slog.Level
	bodyLimit int64
	gzip      bool
	proxies   []netip.Prefix
	table     *table
	limiter   *limiter
	metrics   *metrics
	cors      cors
	requests  requestIDs
	encoders  encoderPool
	peers     peers
}

// New builds a server from tables of routes. It fails for a route that is invalid or there twice.
func New(o Options, routes ...[]Route) (*Server, error) {
	if o.Auth == nil {
		o.Auth = nobody{}
	}
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.BodyLimit <= 0 {
		o.BodyLimit = DefaultBodyLimit
	}
	s := &Server{
		auth: o.Auth, clock: o.Clock, log: o.Log, accessLog: slog.LevelDebug, bodyLimit: o.BodyLimit, gzip: o.Gzip,
		proxies: o.TrustedProxies, limiter: newLimiter(o.Clock, o.Limits), cors: newCORS(), requests: newRequestIDs(),
		peers: newPeers(o.Servers, o.Clock),
	}
	if o.AccessLog {
		s.accessLog = slog.LevelInfo
	}
	var err error
	if s.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("register web metrics: %w", err)
	}
	if s.table, err = newTable(routes); err != nil {
		return nil, err
	}
	return s, nil
}

// Routes returns the table, most specific paths first, for documentation and tests of coverage.
func (s *Server) Routes() []Route { return s.table.routes() }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	started := s.clock.Now()
	rec := &recorder{ResponseWriter: w}
	r := &Request{Header: hr.Header, Method: hr.Method, http: hr, server: s, recorder: rec, limit: s.bodyLimit}
	s.metrics.inFlight.Inc()
	defer s.finish(r, started)
	defer r.places.leave()

	if hr.ContentLength != 0 {
		// Even a body that no handler reads is waited for by net/http, which would do so for ever.
		_ = http.NewResponseController(w).SetReadDeadline(after(bodyPatience))
	}
	s.cors.set(w.Header())
	// Spec: client-server-api#web-browser-clients. No logic of the endpoint is performed, not even looking whether there is one.
	if hr.Method == http.MethodOptions {
		rec.WriteHeader(http.StatusNoContent)
		return
	}
	var body any
	e, vars, err := s.table.match(hr)
	if err == nil {
		r.endpoint = e
		body, err = s.call(r, vars)
	} else if allow := allowed(err); allow != "" {
		w.Header().Set("Allow", allow)
	}
	s.answer(r, body, err)
}

// call does what comes before the handler, and then calls it. The order matters: who is not allowed in learns nothing about paths and
// bodies.
func (s *Server) call(r *Request, vars map[string]string) (any, error) {
	if r.endpoint.Auth.level() == Federation {
		if err := s.admitPeer(r); err != nil {
			return nil, err
		}
	} else {
		if err := s.authenticate(r); err != nil {
			return nil, err
		}
		if err := s.spend(r); err != nil {
			return nil, err
		}
	}
	if err := r.setVars(vars); err != nil {
		return nil, err
	}
	return r.endpoint.Handler(r.http.Context(), r)
}

// finish records what became of a request, and survives a panic of its handler.
func (s *Server) finish(r *Request, started time.Time) {
	defer s.metrics.inFlight.Dec()
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		s.metrics.panics.Inc()
		s.logPanic(r, p)
		if r.recorder.status == 0 {
			s.answerError(r, merr.From(fmt.Errorf("panic: %v", p)))
		}
	}
	s.observe(r, s.clock.Now().Sub(started))
	if p == http.ErrAbortHandler {
		panic(http.ErrAbortHandler) // net/http's own way to drop a connection
	}
}
