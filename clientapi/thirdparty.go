package clientapi

import (
	"context"
	"maps"
	"net/url"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) thirdPartyRoutes() []web.Route {
	const path = "/_matrix/client/v3/thirdparty/"
	return []web.Route{
		{"GET", path + "protocols", web.User, web.RateRead, a.protocols},
		{"GET", path + "protocol/{protocol}", web.User, web.RateRead, a.protocol},
		{"GET", path + "location", web.User, web.RateRead, a.locationsByAlias},
		{"GET", path + "location/{protocol}", web.User, web.RateRead, a.locations},
		{"GET", path + "user", web.User, web.RateRead, a.thirdUsersByID},
		{"GET", path + "user/{protocol}", web.User, web.RateRead, a.thirdUsers},
	}
}

// Spec: client-server-api#get_matrixclientv3thirdpartyprotocols
func (a *API) protocols(ctx context.Context, _ *web.Request) (any, error) {
	return a.appservices.Protocols(ctx), nil
}

// Spec: client-server-api#get_matrixclientv3thirdpartyprotocolprotocol
func (a *API) protocol(ctx context.Context, r *web.Request) (any, error) {
	return a.appservices.Protocol(ctx, r.Var("protocol"))
}

// Spec: client-server-api#get_matrixclientv3thirdpartylocationprotocol
func (a *API) locations(ctx context.Context, r *web.Request) (any, error) {
	return found(a.appservices.Locations(ctx, r.Var("protocol"), fieldsOf(r)))
}

// Spec: client-server-api#get_matrixclientv3thirdpartylocation
func (a *API) locationsByAlias(ctx context.Context, r *web.Request) (any, error) {
	alias, err := r.RequiredQuery("alias")
	if err != nil {
		return nil, err
	}
	return found(a.appservices.Locations(ctx, "", url.Values{"alias": {alias}}))
}

// Spec: client-server-api#get_matrixclientv3thirdpartyuserprotocol
func (a *API) thirdUsers(ctx context.Context, r *web.Request) (any, error) {
	return found(a.appservices.Users(ctx, r.Var("protocol"), fieldsOf(r)))
}

// Spec: client-server-api#get_matrixclientv3thirdpartyuser
func (a *API) thirdUsersByID(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.RequiredQuery("userid")
	if err != nil {
		return nil, err
	}
	return found(a.appservices.Users(ctx, "", url.Values{"userid": {user}}))
}

// fieldsOf is what a client asks for. Its token, and whom it wants to be, are nobody else's business.
func fieldsOf(r *web.Request) url.Values {
	fields := maps.Clone(r.Query())
	delete(fields, "access_token")
	if r.Caller.AppserviceID != "" {
		delete(fields, "user_id")
		delete(fields, "device_id")
	}
	return fields
}

// found makes an empty list the error that it is here.
func found[T any](list []T) (any, error) {
	if len(list) == 0 {
		return nil, merr.New(merr.NotFound, "No application service knows of such a thing")
	}
	return list, nil
}
