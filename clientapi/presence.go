package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) presenceRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/presence/{userID}/status", web.User, web.RateNone, a.presence},
		{"PUT", "/_matrix/client/v3/presence/{userID}/status", web.User, web.RateWrite, a.setPresence},
	}
}

// Spec: client-server-api#get_matrixclientv3presenceuseridstatus
func (a *API) presence(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.UserID("userID")
	if err != nil {
		return nil, err
	}
	p, err := a.edus.Presence(ctx, r.Caller.User, user)
	if err != nil {
		return nil, err
	}
	return p.Content(a.clock.Now().UnixMilli()), nil
}

// Spec: client-server-api#put_matrixclientv3presenceuseridstatus
func (a *API) setPresence(ctx context.Context, r *web.Request) (any, error) {
	user, err := ownUserID(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Presence string  `json:"presence"`
		Message  *string `json:"status_msg"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Presence == "" {
		return nil, merr.New(merr.MissingParam, "presence is missing")
	}
	return nil, a.edus.SetPresence(ctx, user, body.Presence, body.Message)
}
