package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) accountDataRoutes() []web.Route {
	const (
		global = "/_matrix/client/v3/user/{userID}/account_data/{type}"
		room   = "/_matrix/client/v3/user/{userID}/rooms/{roomID}/account_data/{type}"
		write  = web.User | web.WhileSuspended
		msc    = "/_matrix/client/unstable/org.matrix.msc3391"
	)
	return []web.Route{
		{"GET", global, web.User, web.RateNone, a.accountData},
		{"PUT", global, write, web.RateWrite, a.setAccountData},
		{"GET", room, web.User, web.RateNone, a.accountData},
		{"PUT", room, write, web.RateWrite, a.setAccountData},
		{"DELETE", msc + "/user/{userID}/account_data/{type}", write, web.RateWrite, a.deleteAccountData},
		{"DELETE", msc + "/user/{userID}/rooms/{roomID}/account_data/{type}", write, web.RateWrite, a.deleteAccountData},
	}
}

// accountData serves global account data, and that of a room where the path has one.
//
// Spec: client-server-api#client-config
func (a *API) accountData(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	return a.accounts.Data(ctx, user, room, r.Var("type"))
}

// Spec: client-server-api#client-config
func (a *API) setAccountData(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.SetData(ctx, user, room, r.Var("type"), content)
}

// Spec: MSC3391
func (a *API) deleteAccountData(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.SetData(ctx, user, room, r.Var("type"), json.RawMessage(`{}`))
}

// ownUserAndRoom returns the user of the path, who must be the caller, and the room, if the path has one.
func ownUserAndRoom(r *web.Request) (id.UserID, id.RoomID, error) {
	user, err := ownUserID(r)
	if err != nil || r.Var("roomID") == "" {
		return user, "", err
	}
	room, err := r.RoomID("roomID")
	return user, room, err
}
