// Package e2ee keeps what end-to-end encryption needs a server for: the public keys of devices and users with their signatures, messages from
// device to device, and backups of room keys, which are encrypted. It checks who may publish what and tells who follows a user's devices of
// every change. It refuses to know HTTP and SQL, and never sees a secret.
package e2ee

import (
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Service is the keys of one server's users. It is safe for concurrent use.
type Service struct {
	server id.ServerName
	store  *storage.Store
	hub    *hub.Hub
	clock  clock.Clock
}

// New returns a Service for the users of a server.
func New(server id.ServerName, store *storage.Store, h *hub.Hub, c clock.Clock) *Service {
	return &Service{server: server, store: store, hub: h, clock: c}
}

// unreachable is why nothing is known of the users of another server.
var unreachable = merr.New(merr.Unknown, "The server cannot be reached")

// splitLocal keeps the users of this server, and notes the servers of the others as failed. What is no user id is left out.
func (s *Service) splitLocal(users []id.UserID) (local []id.UserID, failures map[id.ServerName]*merr.Error) {
	failures = map[id.ServerName]*merr.Error{}
	for _, u := range users {
		switch _, err := id.ParseUserID(string(u)); {
		case err != nil:
		case u.Server() == s.server:
			local = append(local, u)
		default:
			failures[u.Server()] = unreachable
		}
	}
	return local, failures
}

// announce notes that a user's devices or keys have changed, and tells who follows them.
func (s *Service) announce(tx *storage.Tx, user id.UserID) error {
	pos, followers, err := tx.ChangeDeviceList(user)
	tx.OnCommit(func() { s.hub.Ring(pos, hub.Users(followers)...) })
	return err
}
