package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/pusher"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) pusherRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/pushers", web.User, web.RateNone, a.listPushers},
		{"POST", "/_matrix/client/v3/pushers/set", web.User | web.WhileSuspended, web.RateWrite, a.setPusher},
	}
}

// shownPusher is a pusher as clients see it.
type shownPusher struct {
	AppID      string          `json:"app_id"`
	Pushkey    string          `json:"pushkey"`
	Kind       string          `json:"kind"`
	AppName    string          `json:"app_display_name"`
	DeviceName string          `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag,omitempty"`
	Lang       string          `json:"lang"`
	Data       json.RawMessage `json:"data"`
}

// Spec: client-server-api#get_matrixclientv3pushers
func (a *API) listPushers(ctx context.Context, r *web.Request) (any, error) {
	pushers, err := a.pushers.List(ctx, r.Caller.User)
	if err != nil {
		return nil, err
	}
	out := struct {
		Pushers []shownPusher `json:"pushers"`
	}{make([]shownPusher, len(pushers))}
	for i, p := range pushers {
		out.Pushers[i] = shownPusher{p.AppID, p.Pushkey, p.Kind, p.AppName, p.DeviceName, p.ProfileTag, p.Lang, p.Data}
	}
	return out, nil
}

// Spec: client-server-api#post_matrixclientv3pushersset
func (a *API) setPusher(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	wish, err := pusher.ParseWish(body)
	if err != nil {
		return nil, err
	}
	return nil, a.pushers.Set(ctx, r.Caller.User, r.Caller.Device, wish)
}
