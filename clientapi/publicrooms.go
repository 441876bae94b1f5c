package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) publicRoomRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/publicRooms", web.Optional, web.RateRead, a.publicRooms},
		{"POST", "/_matrix/client/v3/publicRooms", web.Guest | web.WhileSuspended, web.RateRead, a.searchPublicRooms},
	}
}

// Spec: client-server-api#get_matrixclientv3publicrooms
func (a *API) publicRooms(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", 0, 0, maxPage)
	if err != nil {
		return nil, err
	}
	return a.published(ctx, r, directory.Query{Limit: limit, Since: r.Query().Get("since")})
}

// Spec: client-server-api#post_matrixclientv3publicrooms
func (a *API) searchPublicRooms(ctx context.Context, r *web.Request) (any, error) {
	var body directory.Search
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	return a.published(ctx, r, body.Query())
}

func (a *API) published(ctx context.Context, r *web.Request, q directory.Query) (any, error) {
	var server id.ServerName
	if text := r.Query().Get("server"); text != "" {
		var err error
		if server, err = id.ParseServerName(text); err != nil {
			return nil, merr.Newf(merr.InvalidParam, "server: %v", err)
		}
		if !a.isLocal(server) {
			if err := mayAskOthers(r); err != nil {
				return nil, err
			}
		}
	}
	return a.directory.Published(ctx, server, q)
}
