package federationapi

import (
	"context"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) openIDRoutes() []web.Route {
	return []web.Route{
		{"GET", v1 + "/openid/userinfo", web.None, web.RateFederation, a.openIDUser},
	}
}

// Spec: server-server-api#get_matrixfederationv1openiduserinfo
func (a *API) openIDUser(ctx context.Context, r *web.Request) (any, error) {
	token := r.Query().Get("access_token")
	if token == "" {
		return nil, merr.New(merr.MissingToken, "Query parameter access_token is missing")
	}
	user, err := a.accounts.OpenIDUser(ctx, token)
	return struct {
		Subject id.UserID `json:"sub"`
	}{user}, err
}
