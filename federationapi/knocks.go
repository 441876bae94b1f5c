package federationapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) knockRoutes() []web.Route {
	return []web.Route{
		get(v1+"/make_knock/{roomID}/{userID}", a.makeKnock),
		put(v1+"/send_knock/{roomID}/{eventID}", a.sendKnock),
	}
}

// Spec: server-server-api#get_matrixfederationv1make_knockroomiduserid
func (a *API) makeKnock(ctx context.Context, r *web.Request) (any, error) {
	room, user, err := a.ownUser(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := a.rooms.MakeKnock(ctx, r.Origin, room, user, roomVersions(r))
	return template(t), err
}

// Spec: server-server-api#put_matrixfederationv1send_knockroomideventid
func (a *API) sendKnock(ctx context.Context, r *web.Request) (any, error) {
	room, event, pdu, err := a.membershipEvent(ctx, r)
	if err != nil {
		return nil, err
	}
	stripped, err := a.rooms.SendKnock(ctx, r.Origin, room, event, pdu)
	return struct {
		State []json.RawMessage `json:"knock_room_state"`
	}{list(stripped)}, err
}
