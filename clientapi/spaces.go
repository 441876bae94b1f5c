package clientapi

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) spaceRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v1/rooms/{roomID}/hierarchy", web.Guest, web.RateRead, a.hierarchy},
		{"GET", "/_matrix/client/v1/room_summary/{roomIDOrAlias}", web.Optional, web.RateRead, a.roomSummary},
	}
}

// Spec: client-server-api#get_matrixclientv1roomsroomidhierarchy
func (a *API) hierarchy(ctx context.Context, r *web.Request) (any, error) {
	q := directory.Tree{From: r.Query().Get("from")}
	var err error
	if q.Root, err = r.RoomID("roomID"); err != nil {
		return nil, err
	}
	if q.SuggestedOnly, err = r.BoolQuery("suggested_only", false); err != nil {
		return nil, err
	}
	if q.Limit, err = r.IntQuery("limit", 50, 1, 100); err != nil {
		return nil, err
	}
	const unlimited = 1 << 20
	if q.MaxDepth, err = r.IntQuery("max_depth", unlimited, 0, unlimited); err != nil {
		return nil, err
	}
	// Where the space is not known here, other servers have to be asked for it. The specification has no parameter for that; clients that know
	// of servers give them as for room_summary.
	if q.Via, err = viaServers(r); err != nil {
		return nil, err
	}
	return a.directory.Hierarchy(ctx, r.Caller.User, q)
}

// Spec: client-server-api#get_matrixclientv1room_summaryroomidoralias
func (a *API) roomSummary(ctx context.Context, r *web.Request) (any, error) {
	room, via, err := a.resolve(ctx, r, r.Var("roomIDOrAlias"))
	if err != nil {
		return nil, err
	}
	out, err := a.directory.Summary(ctx, room, via, r.Caller.User)
	if errors.Is(err, storage.ErrNotFound) {
		err = merr.New(merr.NotFound, "There is no such room, or it is not for you to know")
	}
	return out, err
}
