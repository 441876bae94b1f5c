// Package roomserver is the only writer of room events: it makes, judges and stores them, and keeps everything that follows from them (state,
// memberships, summaries, relations, unread counts) in the same transaction. It refuses to format events for clients and to read history for
// them: that is the work of internal/clientevent and the handlers.
//
// Every exported method that changes something is one storage.Update, or a few with requests to other servers between them. Updates run one
// after the other, so what a method reads of a room inside its Update (extremities, state) cannot change before it writes: the writer is the
// lock of all rooms. What a method has read before its Update it checks again inside.
package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// Config is what an operator decides about rooms.
type Config struct {
	Name           id.ServerName
	DefaultVersion gomatrixserverlib.RoomVersion
	KeyID          gomatrixserverlib.KeyID
	Key            ed25519.PrivateKey
	// Memory is what the cache of states gets its share of; nil: of the default.
	Memory *budget.Memory
}

// Accounts is what rooms need to know of users. It is joined in internal/app.
type Accounts interface {
	// Verdict says what an event is to the members of its room who are of this server. It runs inside the event's transaction.
	Verdict(tx *storage.ReadTx, room *storage.Room, event *storage.Event, members []storage.Member) (push.Verdict, error)
	// Outcome says what it is to one user, who need not be in the room.
	Outcome(tx *storage.ReadTx, room *storage.Room, event *storage.Event, member storage.Member) (push.Outcome, error)
	// CarryOver copies what a user has set for one room (tags, push rules) to the room that replaces it.
	CarryOver(tx *storage.Tx, user id.UserID, from, to id.RoomID) error
}

// Peers is how rooms reach other servers, and phones. They are joined in internal/app; the zero Peers reach nobody.
type Peers struct {
	Remote   Remote
	Verifier Verifier
	Outbound Outbound
	Devices  Devices
	Pushers  Pushers
	Identity IdentityServers
}

// Pushers tells the phones of our users. It is told in the transaction of what has happened.
type Pushers interface {
	// Notify is told of an event, and of what it is to members of its room.
	Notify(tx *storage.Tx, event *storage.Event, v push.Verdict, members []storage.Member) error
	// Recounted is told of a user for whom less is unread now.
	Recounted(tx *storage.Tx, user id.UserID) error
}

// Devices tells other servers of the devices of our users. It is told, in the transaction, of each of them who has joined a room.
type Devices interface {
	Joined(tx *storage.Tx, user id.UserID, room int64) error
}

// Outbound sends what is in the outbox. It is told of new rows after their commit.
type Outbound interface {
	Wake(servers []id.ServerName)
	// Flush returns when a server has been told what is in its outbox now, or that has failed, or ctx ends.
	Flush(ctx context.Context, to id.ServerName)
}

// Server writes rooms. It is safe for concurrent use.
type Server struct {
	cfg      Config
	peers    Peers
	store    *storage.Store
	hub      *hub.Hub
	accounts Accounts
	clock    clock.Clock
	log      *slog.Logger
	versions map[gomatrixserverlib.RoomVersion]gomatrixserverlib.IRoomVersion
	cache    *snapshotCache
	doors    doors[id.RoomID] // handshakes under way
	intakes  doors[lane]      // events being received
	backfill doors[id.RoomID]
	indexing chan struct{} // there are events that the search index has yet to see
}

// New returns a Server over a store.
func New(cfg Config, peers Peers, store *storage.Store, h *hub.Hub, accounts Accounts, c clock.Clock, log *slog.Logger) *Server {
	return &Server{
		cfg: cfg, peers: peers.orNobody(), store: store, hub: h, accounts: accounts, clock: c, log: log,
		versions: Versions(),
		cache:    newSnapshotCache(cfg.Memory.Share(budget.States)),
		indexing: make(chan struct{}, 1),
	}
}

// Versions is the room versions that this server supports: all that the specification calls stable.
//
// Spec: rooms#complete-list-of-room-versions
func Versions() map[gomatrixserverlib.RoomVersion]gomatrixserverlib.IRoomVersion {
	out := gomatrixserverlib.StableRoomVersions()
	for v := range out {
		// The library also counts experiments as stable; their names have a dot.
		if strings.Contains(string(v), ".") {
			delete(out, v)
		}
	}
	return out
}

// DefaultVersion is the version of rooms made without a wish.
func (s *Server) DefaultVersion() gomatrixserverlib.RoomVersion { return s.cfg.DefaultVersion }

func (s *Server) local(user id.UserID) bool { return user.Server() == s.cfg.Name }

// update runs fn on the room in one transaction and afterwards wakes who has to hear of it.
func (s *Server) update(ctx context.Context, room id.RoomID, fn func(h *head) error) error {
	return s.recommending(ctx, func(signed []recommended) error {
		return s.store.Update(ctx, func(tx *storage.Tx) error {
			h, err := s.open(tx, room)
			if err != nil {
				return err
			}
			h.signed = slices.Clone(signed)
			if err := fn(h); err != nil {
				return err
			}
			return h.finish()
		})
	})
}

// must marshals a value that always marshals: maps with string keys, strings, numbers and raw JSON that has been checked.
func must(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
