package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) openIDRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/user/{userID}/openid/request_token", web.User | web.WhileSuspended, web.RateWrite, a.requestOpenID},
	}
}

// Spec: client-server-api#post_matrixclientv3useruseridopenidrequest_token
func (a *API) requestOpenID(ctx context.Context, r *web.Request) (any, error) {
	user, err := ownUserID(r)
	if err != nil {
		return nil, err
	}
	return a.accounts.NewOpenID(ctx, user)
}
