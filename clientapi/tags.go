package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) tagRoutes() []web.Route {
	const tags = "/_matrix/client/v3/user/{userID}/rooms/{roomID}/tags"
	const write = web.User | web.WhileSuspended
	return []web.Route{
		{"GET", tags, web.User, web.RateNone, a.tags},
		{"PUT", tags + "/{tag}", write, web.RateWrite, a.setTag},
		{"DELETE", tags + "/{tag}", write, web.RateWrite, a.deleteTag},
	}
}

// Spec: client-server-api#get_matrixclientv3useruseridroomsroomidtags
func (a *API) tags(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	tags, err := a.accounts.Tags(ctx, user, room)
	return struct {
		Tags map[string]json.RawMessage `json:"tags"`
	}{tags}, err
}

// Spec: client-server-api#put_matrixclientv3useruseridroomsroomidtagstag
func (a *API) setTag(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	content, err := r.Object()
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.SetTag(ctx, user, room, r.Var("tag"), content)
}

// Spec: client-server-api#delete_matrixclientv3useruseridroomsroomidtagstag
func (a *API) deleteTag(ctx context.Context, r *web.Request) (any, error) {
	user, room, err := ownUserAndRoom(r)
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.DeleteTag(ctx, user, room, r.Var("tag"))
}
