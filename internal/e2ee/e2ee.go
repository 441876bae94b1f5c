// Package e2ee keeps what end-to-end encryption needs a server for: the public keys of devices and users with their signatures, messages from
// device to device, and backups of room keys, which are encrypted. It checks who may publish what, tells who follows a user's devices of every
// change, here and on other servers, and follows the devices of those users of other servers that ours share rooms with. It refuses to know
// HTTP and SQL, and never sees a secret.
package e2ee

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/flight"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Remote asks other servers for the keys of their users. Bodies and answers are those of the Server-Server API; answers are bounded in size and
// depth, and nothing else about them is certain.
type Remote interface {
	UserDevices(ctx context.Context, to id.ServerName, user id.UserID) (json.RawMessage, error)
	QueryKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error)
	ClaimKeys(ctx context.Context, to id.ServerName, body json.RawMessage) (json.RawMessage, error)
}

// Outbound sends what is in the outbox. It is told of new rows after their commit.
type Outbound interface {
	Wake(servers []id.ServerName)
}

// Deps is what a Service works with.
type Deps struct {
	Server id.ServerName
	Store  *storage.Store
	Hub    *hub.Hub
	Clock  clock.Clock
	Log    *slog.Logger
	// Remote and Outbound reach other servers; without them, nobody does.
	Remote   Remote
	Outbound Outbound
	// DeviceNames tells other servers what our users call their devices.
	DeviceNames bool
	// Bridges asks application services for keys that they keep to themselves. Nil: there are none.
	Bridges *appservice.Keys
}

// Service is the keys of one server's users. It is safe for concurrent use.
type Service struct {
	server      id.ServerName
	store       *storage.Store
	hub         *hub.Hub
	clock       clock.Clock
	log         *slog.Logger
	remote      Remote
	outbound    Outbound
	deviceNames bool
	bridges     *appservice.Keys
	maxInbox    int64 // see the constant

	work    *flight.Owner
	fetches fetches
}

// New returns a Service for the users of a server. What it does in the background it does while Run runs.
func New(d Deps) *Service {
	return &Service{
		server: d.Server, store: d.Store, hub: d.Hub, clock: d.Clock, log: d.Log, remote: d.Remote, outbound: d.Outbound,
		deviceNames: d.DeviceNames, bridges: d.Bridges, maxInbox: maxInbox, work: flight.NewOwner(d.Log), fetches: newFetches(d.Clock),
	}
}

// unreachable is why nothing is known of the users of another server.
var unreachable = merr.New(merr.Unknown, "The server cannot be reached")

// split sorts users into those of this server and those of others. What is no user id is left out.
func (s *Service) split(users []id.UserID) (local []id.UserID, remote map[id.ServerName][]id.UserID) {
	remote = map[id.ServerName][]id.UserID{}
	for _, u := range users {
		switch _, err := id.ParseUserID(string(u)); {
		case err != nil:
		case u.Server() == s.server:
			local = append(local, u)
		default:
			remote[u.Server()] = append(remote[u.Server()], u)
		}
	}
	return local, remote
}
