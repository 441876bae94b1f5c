// Package federationapi is the Server-Server API as other servers see it: each file has the handlers of one section of the specification, which
// parse a request, call a service and shape the answer. It decides which server may see what of a room, for that is asked nowhere else. It
// refuses to hold the rules of rooms, and to make requests of its own.
package federationapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/gate"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

// Rooms is what happens to rooms at the wish of other servers. Every method may refuse with a Matrix error, which goes to the other server. The
// room's access list has been asked before, but for Receive.
type Rooms interface {
	// Receive takes events of one room that a server has sent, in its order, if the room lets the server in. The answer has an entry for every event that has an id; what is
	// not nil is why it was not taken.
	Receive(ctx context.Context, origin id.ServerName, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error

	MakeJoin(ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error)
	SendJoin(ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage, omitMembers bool) (roomserver.Joined, error)
	MakeLeave(ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error)
	SendLeave(ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) error
	MakeKnock(ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion) (fedtypes.Template, error)
	SendKnock(ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, pdu json.RawMessage) (stripped []json.RawMessage, err error)
	// AcceptInvite gives a user of this server an invite, and returns it with the signature of this server.
	AcceptInvite(ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, version gomatrixserverlib.RoomVersion, pdu json.RawMessage,
		stripped []json.RawMessage) (json.RawMessage, error)
	ExchangeThirdPartyInvite(ctx context.Context, origin id.ServerName, room id.RoomID, pdu json.RawMessage) error
	RedeemThirdPartyInvite(ctx context.Context, user id.UserID, r roomserver.Redemption) error
}

// Ephemera is told what users of other servers do beside the events of rooms. That the users are of the origin, and that the room lets the
// origin in, has been looked at; whether they are in the room has not. Errors are only logged.
type Ephemera interface {
	ReceiveTyping(ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, typing bool) error
	// ReceiveReceipts takes the receipts of one room as the EDU has them: by type and user, {"m.read": {"@user:origin": {...}}}.
	ReceiveReceipts(ctx context.Context, origin id.ServerName, room id.RoomID, receipts json.RawMessage) error
	// ReceivePresence takes the content of an m.presence.
	ReceivePresence(ctx context.Context, origin id.ServerName, content json.RawMessage) error
}

// Keys is the keys and devices of users: those of other servers, of which the origin tells us, and ours, of which it asks. Contents are those of
// the EDUs.
type Keys interface {
	ReceiveDeviceList(ctx context.Context, origin id.ServerName, content json.RawMessage) error
	ReceiveSigningKeys(ctx context.Context, origin id.ServerName, content json.RawMessage) error
	// ReceiveToDevice takes a message once, however often it comes.
	ReceiveToDevice(ctx context.Context, origin id.ServerName, content json.RawMessage) error

	// DevicesForServer, KeysForServer and ClaimForServer are asked for users of this server only. The results are the bodies of the answers.
	DevicesForServer(ctx context.Context, origin id.ServerName, user id.UserID) (any, error)
	KeysForServer(ctx context.Context, origin id.ServerName, asked map[id.UserID][]id.DeviceID) (any, error)
	ClaimForServer(ctx context.Context, origin id.ServerName, asked map[id.UserID]map[id.DeviceID]string) (any, error)
}

// KeyServer knows the signing keys of servers.
type KeyServer interface {
	// Own is the signed document with the keys of this server.
	Own() (json.RawMessage, error)
	// Notary is the documents of some servers, countersigned. They have the wanted keys valid for the wanted times, in ms since the epoch, where
	// that can be had; without any key ids all of the server's keys are wanted.
	Notary(ctx context.Context, wanted map[id.ServerName]map[gomatrixserverlib.KeyID]int64) []json.RawMessage
}

// Accounts knows the users of this server.
type Accounts interface {
	// Profile returns the fields of a user's profile, or M_NOT_FOUND for somebody who has no account.
	Profile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error)
	// OpenIDUser returns whom a token stands for, or M_UNKNOWN_TOKEN.
	OpenIDUser(ctx context.Context, token string) (id.UserID, error)
}

// Deps are the services that the handlers call.
type Deps struct {
	Config    *config.Live
	Version   string // of this program
	Store     *storage.Store
	Rooms     Rooms
	Ephemera  Ephemera
	Keys      Keys
	KeyServer KeyServer
	Accounts  Accounts
	Clock     clock.Clock
	Log       *slog.Logger
	Bridges   *appservice.Service // make users and aliases that are asked for; nil: there are no application services
}

// API is the handlers of the Server-Server API. Its Run must run until nobody calls them any more.
type API struct {
	name      id.ServerName
	version   string
	store     *storage.Store
	rooms     Rooms
	ephemera  Ephemera
	keys      Keys
	keyServer KeyServer
	accounts  Accounts
	bridges   *appservice.Service
	clock     clock.Clock
	log       *slog.Logger
	inbox     *inbox
	heavy     *gate.Gate[struct{}]
	heavyFor  *gate.Gate[id.ServerName]
	joinsFor  *gate.Gate[id.ServerName]
}

// New makes the handlers.
func New(d Deps) *API {
	a := &API{
		name:      id.ServerName(d.Config.Get().Server.Name),
		version:   d.Version,
		store:     d.Store,
		rooms:     d.Rooms,
		ephemera:  d.Ephemera,
		keys:      d.Keys,
		keyServer: d.KeyServer,
		accounts:  d.Accounts,
		bridges:   d.Bridges,
		clock:     d.Clock,
		log:       d.Log,
		heavy:     gate.New[struct{}](d.Clock, maxHeavy, maxHeavyWaiting, heavyPatience),
		heavyFor:  gate.New[id.ServerName](d.Clock, 1, maxHeavyWaiting, heavyPatience),
		joinsFor:  gate.New[id.ServerName](d.Clock, maxJoins, maxHeavyWaiting, heavyPatience),
	}
	a.inbox = newInbox(a.process)
	return a
}

// Run returns when ctx has ended, and the work on transactions with it.
func (a *API) Run(ctx context.Context) error {
	a.inbox.run(ctx)
	return nil
}

// Routes is the table of the whole API.
func (a *API) Routes() []web.Route {
	return slices.Concat(
		a.backfillRoutes(),
		a.deviceRoutes(),
		a.eventAuthRoutes(),
		a.eventRoutes(),
		a.inviteRoutes(),
		a.joinRoutes(),
		a.keyRoutes(),
		a.knockRoutes(),
		a.leaveRoutes(),
		a.openIDRoutes(),
		a.publicRoomRoutes(),
		a.queryRoutes(),
		a.spaceRoutes(),
		a.thirdPartyInviteRoutes(),
		a.transactionRoutes(),
		a.versionRoutes(),
	)
}

// The prefixes of the paths.
const (
	v1 = "/_matrix/federation/v1"
	v2 = "/_matrix/federation/v2"
)

// get and put are rows of the table for what servers ask and for what they bring.
func get(path string, h web.Handler) web.Route {
	return web.Route{Method: "GET", Path: path, Auth: web.Federation, Rate: web.RateFederation, Handler: h}
}

func put(path string, h web.Handler) web.Route {
	return web.Route{Method: "PUT", Path: path, Auth: web.Federation, Rate: web.RateFederation, Handler: h}
}

func post(path string, h web.Handler) web.Route {
	return web.Route{Method: "POST", Path: path, Auth: web.Federation, Rate: web.RateFederation, Handler: h}
}

// What has the whole state of a room in its answer takes memory by the tens of megabytes, for large rooms: only few such requests are answered at
// a time, and one of each server. Of joins, which may have to wait for other servers, a server can make a few.
const (
	maxHeavy        = 4
	maxJoins        = 4
	maxHeavyWaiting = 100
	heavyPatience   = 30 * time.Second
)

// heavily is a handler that waits until there is a place for it. The place of its server it has until that has read the answer.
func (a *API) heavily(handle web.Handler) web.Handler {
	return inTurn(a.heavyFor, func(ctx context.Context, r *web.Request) (any, error) {
		leave, err := a.heavy.Enter(ctx, struct{}{})
		if err != nil {
			return nil, web.LimitExceeded(time.Second)
		}
		defer leave()
		return handle(ctx, r)
	})
}

// inTurn is a handler that only so many requests of each server are in at a time, until they have been answered.
func inTurn(turns *gate.Gate[id.ServerName], handle web.Handler) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		leave, err := turns.Enter(ctx, r.Origin)
		if err != nil {
			return nil, web.LimitExceeded(time.Second)
		}
		r.Hold(leave)
		return handle(ctx, r)
	}
}
