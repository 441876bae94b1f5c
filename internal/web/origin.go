package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/gate"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// ServerAuthenticator knows the keys of other servers. It is joined in internal/app.
type ServerAuthenticator interface {
	// AuthenticateServer finds out which server has signed a request with this body, nil for none. For a request that nobody has signed, or
	// that is for somebody else, the error is M_UNAUTHORIZED. It must not read the request's own body.
	AuthenticateServer(ctx context.Context, r *http.Request, body []byte) (id.ServerName, error)
}

type noServers struct{}

func (noServers) AuthenticateServer(context.Context, *http.Request, []byte) (id.ServerName, error) {
	return "", merr.New(merr.Unauthorized, "This server does not federate")
}

// longBody is the limit of the body, in bytes, of routes with the flag LongBody: a transaction of 50 events and 100 other messages, each with
// what servers say about it beside it. Hardly one is that long, so only few at a time may be longer than shortBody, and those must come quickly:
// whoever wants to fill the memory comes to nothing.
const (
	longBody       = 13 << 20
	shortBody      = 256 << 10
	longBodies     = 16
	longPerAddress = 4
	longPatience   = time.Minute
)

// What servers may make this one do at the same time. Before a request is verified, its address is all that is known of who sent it; the name
// that it gives may be that of a victim.
const (
	strangersInside, strangersWaiting = 64, 256
	peersInside, peersWaiting         = 20, 100
	peerPatience                      = 30 * time.Second
)

// peers is the bounds of the Server-Server API.
type peers struct {
	auth      ServerAuthenticator
	strangers *gate.Gate[netip.Addr]
	known     *gate.Gate[id.ServerName]
	long      *gate.Gate[struct{}]   // bodies longer than shortBody
	longFrom  *gate.Gate[netip.Addr] // such bodies of one address
}

func newPeers(auth ServerAuthenticator, c clock.Clock) peers {
	if auth == nil {
		auth = noServers{}
	}
	return peers{
		auth:      auth,
		strangers: gate.New[netip.Addr](c, strangersInside, strangersWaiting, peerPatience),
		known:     gate.New[id.ServerName](c, peersInside, peersWaiting, peerPatience),
		long:      gate.New[struct{}](c, longBodies, peersWaiting, peerPatience),
		longFrom:  gate.New[netip.Addr](c, longPerAddress, peersWaiting, peerPatience),
	}
}

// admitPeer reads the body of a request and finds out which server has sent it. What the request enters it leaves when it has been answered.
//
// Spec: server-server-api#request-authentication
func (s *Server) admitPeer(r *Request) error {
	// Who does not even try to say who they are need not be listened to.
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "X-Matrix") {
		return merr.New(merr.Unauthorized, "The request is not signed by a server: it has no Authorization header with the scheme X-Matrix")
	}
	ctx := r.http.Context()
	var err error
	if r.Origin, err = s.verifyPeer(ctx, r); err != nil {
		return err
	}
	if err := s.spend(r); err != nil {
		return err
	}
	err = r.places.take(s.peers.known.Enter(ctx, r.Origin))
	if merr.HasCode(err, merr.LimitExceeded) {
		s.metrics.limited.WithLabelValues(RateFederation.String()).Inc()
	}
	return err
}

// Hold has leave called when the request has been answered: what a long answer takes is taken also while the other side hardly reads it.
func (r *Request) Hold(leave func()) { r.places = append(r.places, leave) }

// places is what a request has entered.
type places []func()

func (p *places) take(leave func(), err error) error {
	if err != nil {
		return tooBusy(err)
	}
	*p = append(*p, leave)
	return nil
}

// tooBusy is what a server learns that cannot enter a gate.
func tooBusy(err error) error {
	if errors.Is(err, gate.ErrBusy) {
		return LimitExceeded(time.Second)
	}
	return merr.New(merr.Unknown, "The request was given up").WithStatus(http.StatusServiceUnavailable)
}

func (p *places) leave() {
	for _, leave := range *p {
		leave()
	}
	*p = nil
}

func (s *Server) verifyPeer(ctx context.Context, r *Request) (id.ServerName, error) {
	leave, err := s.peers.strangers.Enter(ctx, network(r.ClientIP()))
	if err != nil {
		return "", tooBusy(err)
	}
	defer leave()
	if r.endpoint.Auth&LongBody != 0 {
		r.LimitBody(longBody)
	}
	if r.http.ContentLength != 0 {
		if r.received, err = s.receive(ctx, r); err != nil {
			return "", err
		}
	}
	// Whoever gives the name of a server makes this one look for it and its keys. Those who turn out to be somebody else, or nobody, have only
	// so many tries.
	deposit := r.stranger(RateFederation)
	if err := r.charge(deposit); err != nil {
		return "", err
	}
	origin, err := s.peers.auth.AuthenticateServer(ctx, r.http, r.received)
	if !merr.HasCode(err, merr.Unauthorized) {
		s.limiter.give(deposit)
	}
	return origin, err
}

// receive reads a body. Beyond shortBody it needs a place among the few long ones, until the request has been answered.
func (s *Server) receive(ctx context.Context, r *Request) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.http.ContentLength, 0), trustedLength)) + bytes.MinRead)
	body := r.Body()
	n, err := buf.ReadFrom(io.LimitReader(body, shortBody))
	if err != nil || n < shortBody {
		return buf.Bytes(), err
	}
	if err := r.places.take(s.peers.longFrom.Enter(ctx, network(r.ClientIP()))); err != nil {
		return nil, err
	}
	if err := r.places.take(s.peers.long.Enter(ctx, struct{}{})); err != nil {
		return nil, err
	}
	for end := time.Now().Add(longPatience); err == nil; { // of the network, as after
		if time.Now().After(end) {
			return nil, merr.New(merr.Unknown, "The body comes too slowly").WithStatus(http.StatusRequestTimeout)
		}
		n, err = buf.ReadFrom(io.LimitReader(body, shortBody))
		if n == 0 {
			break
		}
	}
	return buf.Bytes(), err
}
