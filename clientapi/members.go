package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

func (a *API) memberRoutes() []web.Route {
	const (
		room    = "/_matrix/client/v3/rooms/{roomID}"
		leaving = web.Guest | web.WhileSuspended
	)
	return []web.Route{
		{"POST", "/_matrix/client/v3/join/{roomIDOrAlias}", web.Guest, web.RateJoin, a.join},
		{"POST", room + "/join", web.Guest, web.RateJoin, a.join},
		{"POST", room + "/invite", web.User, web.RateInvite, a.invite},
		{"POST", room + "/kick", web.User | web.WhileSuspended, web.RateMessage, a.changeMember((*roomserver.Server).Kick)},
		{"POST", room + "/ban", web.User, web.RateMessage, a.changeMember((*roomserver.Server).Ban)},
		{"POST", room + "/unban", web.User, web.RateMessage, a.changeMember((*roomserver.Server).Unban)},
		{"POST", room + "/leave", leaving, web.RateMessage, a.leave},
		{"POST", room + "/forget", leaving, web.RateMessage, a.forget},
		{"POST", "/_matrix/client/v3/knock/{roomIDOrAlias}", web.User, web.RateJoin, a.knock},
	}
}

type roomIDAnswer struct {
	RoomID id.RoomID `json:"room_id"`
}

func ignoreNotFound(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// resolve turns what a client calls a room into its id, with servers that may be asked about it: those that the client names, then those that
// the server of an alias does.
func (a *API) resolve(ctx context.Context, r *web.Request, name string) (id.RoomID, []id.ServerName, error) {
	via, err := viaServers(r)
	if err != nil {
		return "", nil, err
	}
	if !strings.HasPrefix(name, "#") {
		room, err := id.ParseRoomID(name)
		if err != nil {
			return "", nil, merr.New(merr.InvalidParam, err.Error())
		}
		return room, via, nil
	}
	alias, err := id.ParseRoomAlias(name)
	if err != nil {
		return "", nil, merr.New(merr.InvalidParam, err.Error())
	}
	found, err := a.directory.Resolve(ctx, alias)
	return found.Room, append(via, found.Servers...), err
}

// maxVia is how many servers of a request are used.
const maxVia = 20

// viaServers reads the servers that a client names. Clients that know both parameters give both: then the old one is ignored.
//
// Spec: client-server-api#post_matrixclientv3joinroomidoralias (via, server_name)
func viaServers(r *web.Request) ([]id.ServerName, error) {
	name := "via"
	given := r.Query()[name]
	if len(given) == 0 {
		name = "server_name"
		given = r.Query()[name]
	}
	out := make([]id.ServerName, 0, len(given))
	for _, text := range given[:min(len(given), maxVia)] {
		server, err := id.ParseServerName(text)
		if err != nil {
			return nil, merr.Newf(merr.InvalidParam, "%s: %v", name, err)
		}
		if !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out, nil
}

// Spec: client-server-api#post_matrixclientv3joinroomidoralias, client-server-api#post_matrixclientv3roomsroomidjoin
func (a *API) join(ctx context.Context, r *web.Request) (any, error) {
	name := r.Var("roomIDOrAlias")
	if name == "" {
		name = r.Var("roomID")
	}
	var content map[string]json.RawMessage
	if err := r.JSONOptional(&content); err != nil {
		return nil, err
	}
	// The body of a join may hold fields for the event, but for those of the request itself.
	delete(content, "third_party_signed")
	extra, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	room, via, err := a.resolve(ctx, r, name)
	if err != nil {
		return nil, err
	}
	err = a.rooms.Join(ctx, roomserver.MemberRequest{Room: room, Sender: r.Caller.User, Guest: r.Caller.Guest, Content: extra, Via: via})
	return roomIDAnswer{room}, err
}

// Spec: client-server-api#post_matrixclientv3knockroomidoralias
func (a *API) knock(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	room, via, err := a.resolve(ctx, r, r.Var("roomIDOrAlias"))
	if err != nil {
		return nil, err
	}
	err = a.rooms.Knock(ctx, roomserver.MemberRequest{Room: room, Sender: r.Caller.User, Reason: body.Reason, Via: via})
	return roomIDAnswer{room}, err
}

// invite is changeMember for a user whom an application service may have to make, or who is known by an address only.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidinvite, application-service-api#querying
func (a *API) invite(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		memberChange
		thirdParty
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.UserID == "" && body.thirdParty != (thirdParty{}) {
		return a.inviteThirdParty(ctx, r, body.thirdParty)
	}
	return a.applyChange(ctx, r, body.memberChange, func(s *roomserver.Server, ctx context.Context, m roomserver.MemberRequest) error {
		// The display name is part of the invite.
		a.appservices.MakeUser(ctx, m.Target)
		return s.Invite(ctx, m)
	})
}

// memberChange is the body of invite, kick, ban and unban.
type memberChange struct {
	UserID string `json:"user_id"`
	Reason string `json:"reason"`
}

type changer func(*roomserver.Server, context.Context, roomserver.MemberRequest) error

// changeMember handles invite, kick, ban and unban, which differ in what they call.
func (a *API) changeMember(change changer) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		var body memberChange
		if err := r.JSON(&body); err != nil {
			return nil, err
		}
		return a.applyChange(ctx, r, body, change)
	}
}

func (a *API) applyChange(ctx context.Context, r *web.Request, body memberChange, change changer) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	target, err := userIDField(body.UserID)
	if err != nil {
		return nil, err
	}
	if r.Caller.Suspended && target != r.Caller.User {
		return nil, web.Suspended()
	}
	return nil, change(a.rooms, ctx, roomserver.MemberRequest{Room: room, Sender: r.Caller.User, Target: target, Reason: body.Reason})
}

// Spec: client-server-api#post_matrixclientv3roomsroomidleave
func (a *API) leave(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	return nil, a.rooms.Leave(ctx, roomserver.MemberRequest{Room: room, Sender: r.Caller.User, Reason: body.Reason})
}

// Spec: client-server-api#post_matrixclientv3roomsroomidforget
func (a *API) forget(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	return nil, a.rooms.Forget(ctx, room, r.Caller.User)
}
