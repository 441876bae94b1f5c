// Package fedclient talks to other homeservers: it finds them, signs what it asks them, bounds what they answer, leaves those alone for a while
// that fail, and knows the keys they sign with. It refuses to retry and to judge what an answer means: its callers do.
package fedclient

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/flight"
	"github.com/hearthd/hearth/internal/gate"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/safehttp"
	"github.com/hearthd/hearth/storage"
)

// Resolver looks names up. *net.Resolver is one; tests have another.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Options is what a Client is made of.
type Options struct {
	// Name, KeyID and Key are this server and what it signs with.
	Name  id.ServerName
	KeyID gomatrixserverlib.KeyID
	Key   ed25519.PrivateKey
	// OldKeys are what this server signed with before. Their names differ from KeyID and from each other.
	OldKeys []OldKey
	// Guard judges every address before it is connected to; nil: all are allowed.
	Guard *safehttp.Guard
	// Authorities are trusted beside those of the system; nil for none.
	Authorities *safehttp.Authorities
	// Store keeps failures; nil: they are forgotten with the Client.
	Store *storage.Store
	// Clock is the source of time; nil: the machine's.
	Clock clock.Clock
	// Log is for what an operator may want to know; nil: nobody does.
	Log *slog.Logger
	// Metrics takes the metrics; nil: there are none.
	Metrics prometheus.Registerer
	// UserAgent is how the client names itself; empty: Hearth.
	UserAgent string
	// Resolver looks up names; nil: as the machine does.
	Resolver Resolver
	// Dial connects to an address that the guard allowed; nil: as usual.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client sends requests to other servers. It is safe for concurrent use.
type Client struct {
	name      id.ServerName
	keyID     gomatrixserverlib.KeyID
	key       ed25519.PrivateKey
	ours      *serverKeys
	clock     clock.Clock
	log       *slog.Logger
	agent     string
	metrics   *metrics
	work      *flight.Owner
	net       *network
	discovery *discovery
	backoff   *backoff
	servers   *http.Transport
	plain     *http.Client
	large     chan struct{}
	largeFrom *gate.Gate[id.ServerName]
}

// New returns a Client.
func New(o Options) (*Client, error) {
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.UserAgent == "" {
		o.UserAgent = "Hearth"
	}
	if len(o.Key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("make a federation client: the signing key has %d bytes", len(o.Key))
	}
	ours, err := ourKeys(o)
	if err != nil {
		return nil, fmt.Errorf("make a federation client: %w", err)
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register federation metrics: %w", err)
	}
	c := &Client{
		name: o.Name, keyID: o.KeyID, key: o.Key, ours: ours, clock: o.Clock, log: o.Log, agent: o.UserAgent, metrics: m,
		work: flight.NewOwner(o.Log), net: newNetwork(o), backoff: newBackoff(o.Store, o.Clock, o.Log),
		large: make(chan struct{}, largeReads), largeFrom: gate.New[id.ServerName](o.Clock, 1, maxLarge, longAnswer),
	}
	c.servers = c.net.serverTransport(m)
	c.plain = c.net.plainClient(o.UserAgent)
	c.discovery = newDiscovery(c.net, c.plain, c.work, o.Clock)
	return c, nil
}

// Close ends what runs in the background and closes the connections.
func (c *Client) Close() {
	c.net.close()
	c.work.Stop()
	c.servers.CloseIdleConnections()
	c.plain.CloseIdleConnections()
}
