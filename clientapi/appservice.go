package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) appserviceRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v1/appservice/{appserviceID}/ping", web.User, web.RateWrite, a.pingAppservice},
	}
}

// Spec: application-service-api#post_matrixclientv1appserviceappserviceidping
func (a *API) pingAppservice(ctx context.Context, r *web.Request) (any, error) {
	if r.Caller.AppserviceID == "" || r.Caller.AppserviceID != r.Var("appserviceID") {
		return nil, merr.New(merr.Forbidden, "The access token is not the as_token of this application service")
	}
	var body struct {
		Txn string `json:"transaction_id"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	took, err := a.appservices.Ping(ctx, r.Caller.AppserviceID, body.Txn)
	return struct {
		DurationMS int64 `json:"duration_ms"`
	}{took.Milliseconds()}, err
}
