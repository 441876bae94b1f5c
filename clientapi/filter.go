package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) filterRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/user/{userID}/filter", web.Guest | web.WhileSuspended, web.RateWrite, a.addFilter},
		{"GET", "/_matrix/client/v3/user/{userID}/filter/{filterID}", web.Guest, web.RateNone, a.filter},
	}
}

// Spec: client-server-api#post_matrixclientv3useruseridfilter
func (a *API) addFilter(ctx context.Context, r *web.Request) (any, error) {
	user, err := ownUserID(r)
	if err != nil {
		return nil, err
	}
	definition, err := r.Object()
	if err != nil {
		return nil, err
	}
	if _, err := filter.Parse(definition); err != nil {
		return nil, err
	}
	name, err := a.accounts.AddFilter(ctx, user, definition)
	return struct {
		FilterID string `json:"filter_id"`
	}{name}, err
}

// Spec: client-server-api#get_matrixclientv3useruseridfilterfilterid
func (a *API) filter(ctx context.Context, r *web.Request) (any, error) {
	user, err := ownUserID(r)
	if err != nil {
		return nil, err
	}
	return a.accounts.Filter(ctx, user, r.Var("filterID"))
}
