package clientapi

import (
	"context"
	"strings"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) appserviceRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v1/appservice/{appserviceID}/ping", web.User, web.RateWrite, a.pingAppservice},
		{"PUT", "/_matrix/client/v3/directory/list/appservice/{networkID}/{roomID}", web.User, web.RateWrite, a.listForNetwork},
	}
}

// maxNetwork is the length of the name of a network in bytes.
const maxNetwork = 255

// Spec: client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid
func (a *API) listForNetwork(ctx context.Context, r *web.Request) (any, error) {
	if r.Caller.AppserviceID == "" {
		return nil, merr.New(merr.Forbidden, "Only application services have a directory for other networks")
	}
	network := r.Var("networkID")
	if len(network) > maxNetwork || strings.ContainsRune(network, 0) {
		return nil, merr.New(merr.InvalidParam, "That is not the name of a network")
	}
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		Visibility string `json:"visibility"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Visibility != "public" && body.Visibility != "private" {
		return nil, merr.New(merr.InvalidParam, "visibility must be public or private")
	}
	return nil, a.directory.List(ctx, appservice.Instance(r.Caller.AppserviceID, network), room, body.Visibility == "public")
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
