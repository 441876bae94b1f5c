package federationapi

import (
	"context"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) deviceRoutes() []web.Route {
	return []web.Route{
		get(v1+"/user/devices/{userID}", a.userDevices),
		post(v1+"/user/keys/query", a.queryUserKeys),
		post(v1+"/user/keys/claim", a.claimUserKeys),
	}
}

// Spec: server-server-api#get_matrixfederationv1userdevicesuserid
func (a *API) userDevices(ctx context.Context, r *web.Request) (any, error) {
	user, err := a.localUser(r.Var("userID"))
	if err != nil {
		return nil, err
	}
	return a.keys.DevicesForServer(ctx, r.Origin, user)
}

// Spec: server-server-api#post_matrixfederationv1userkeysquery
func (a *API) queryUserKeys(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Devices map[string][]id.DeviceID `json:"device_keys"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	return a.keys.KeysForServer(ctx, r.Origin, ofThisServer(a, body.Devices))
}

// Spec: server-server-api#post_matrixfederationv1userkeysclaim
func (a *API) claimUserKeys(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Keys map[string]map[id.DeviceID]string `json:"one_time_keys"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	return a.keys.ClaimForServer(ctx, r.Origin, ofThisServer(a, body.Keys))
}

// ofThisServer keeps what is asked of users of this server. The others are the business of their servers.
func ofThisServer[T any](a *API, asked map[string]T) map[id.UserID]T {
	out := make(map[id.UserID]T, len(asked))
	for name, wish := range asked {
		if user, err := a.localUser(name); err == nil {
			out[user] = wish
		}
	}
	return out
}
