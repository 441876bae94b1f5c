package web

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/clock"
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
// what servers say about it beside it.
const longBody = 13 << 20

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
	strangers *gate[netip.Addr]
	known     *gate[id.ServerName]
}

func newPeers(auth ServerAuthenticator, c clock.Clock) peers {
	if auth == nil {
		auth = noServers{}
	}
	return peers{
		auth:      auth,
		strangers: newGate[netip.Addr](c, strangersInside, strangersWaiting, peerPatience),
		known:     newGate[id.ServerName](c, peersInside, peersWaiting, peerPatience),
	}
}

// admitPeer reads the body of a request and finds out which server has sent it. The handler may work until leave is called.
//
// Spec: server-server-api#request-authentication
func (s *Server) admitPeer(r *Request) (leave func(), err error) {
	// Who does not even try to say who they are need not be listened to.
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "X-Matrix") {
		return nil, merr.New(merr.Unauthorized, "The request is not signed by a server: it has no Authorization header with the scheme X-Matrix")
	}
	ctx := r.http.Context()
	if r.Origin, err = s.verifyPeer(ctx, r); err != nil {
		return nil, err
	}
	if err := s.spend(r); err != nil {
		return nil, err
	}
	leave, err = s.peers.known.enter(ctx, r.Origin)
	if merr.HasCode(err, merr.LimitExceeded) {
		s.metrics.limited.WithLabelValues(RateFederation.String()).Inc()
	}
	return leave, err
}

func (s *Server) verifyPeer(ctx context.Context, r *Request) (id.ServerName, error) {
	leave, err := s.peers.strangers.enter(ctx, network(r.ClientIP()))
	if err != nil {
		return "", err
	}
	defer leave()
	if r.endpoint.Auth&LongBody != 0 {
		r.LimitBody(longBody)
	}
	if r.http.ContentLength != 0 {
		var buf bytes.Buffer
		buf.Grow(int(min(max(r.http.ContentLength, 0), trustedLength)) + bytes.MinRead)
		if _, err := buf.ReadFrom(r.Body()); err != nil {
			return "", err
		}
		r.received = buf.Bytes()
	}
	return s.peers.auth.AuthenticateServer(ctx, r.http, r.received)
}
