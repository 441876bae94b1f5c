package federationapi

import (
	"context"

	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) publicRoomRoutes() []web.Route {
	return []web.Route{
		get(v1+"/publicRooms", a.publicRooms),
		post(v1+"/publicRooms", a.searchPublicRooms),
	}
}

// Spec: server-server-api#get_matrixfederationv1publicrooms
func (a *API) publicRooms(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", 0, 0, 1000)
	if err != nil {
		return nil, err
	}
	all, err := r.BoolQuery("include_all_networks", false)
	if err != nil {
		return nil, err
	}
	return a.published(ctx, directory.Query{
		Limit: limit, Since: r.Query().Get("since"), Network: directory.Network{Instance: r.Query().Get("third_party_instance_id"), All: all},
	})
}

// Spec: server-server-api#post_matrixfederationv1publicrooms
func (a *API) searchPublicRooms(ctx context.Context, r *web.Request) (any, error) {
	var body directory.Search
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	return a.published(ctx, body.Query())
}

func (a *API) published(ctx context.Context, q directory.Query) (any, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var out directory.Listing
	err := a.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = directory.Published(tx, q, a.bridges.IDs())
		return err
	})
	return out, err
}
