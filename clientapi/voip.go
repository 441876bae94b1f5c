package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) voipRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/voip/turnServer", web.Guest, web.RateRead, a.turnServer},
	}
}

// turnServer answers with an empty object where there is no relay: the specification knows no other way to say so, and clients know this one.
//
// Spec: client-server-api#get_matrixclientv3voipturnserver
func (a *API) turnServer(_ context.Context, r *web.Request) (any, error) {
	turn, ok := a.accounts.TURN(r.Caller.User, r.Caller.Guest)
	if !ok {
		return web.Empty{}, nil
	}
	return turn, nil
}
