package federationapi

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
		get(v1+"/hierarchy/{roomID}", a.hierarchy),
	}
}

// Spec: server-server-api#get_matrixfederationv1hierarchyroomid
func (a *API) hierarchy(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	suggested, err := r.BoolQuery("suggested_only", false)
	if err != nil {
		return nil, err
	}
	var out directory.Children
	err = a.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = directory.ForServer(tx, r.Origin, room, suggested)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = merr.New(merr.NotFound, "There is no such room, or it is not for you to know")
	}
	return out, err
}
