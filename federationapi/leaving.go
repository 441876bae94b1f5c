package federationapi

import (
	"context"

	"github.com/hearthd/hearth/internal/web"
)

func (a *API) leaveRoutes() []web.Route {
	return []web.Route{
		get(v1+"/make_leave/{roomID}/{userID}", a.makeLeave),
		put(v2+"/send_leave/{roomID}/{eventID}", a.sendLeave),
	}
}

// Spec: server-server-api#get_matrixfederationv1make_leaveroomiduserid
func (a *API) makeLeave(ctx context.Context, r *web.Request) (any, error) {
	room, user, err := a.ownUser(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := a.rooms.MakeLeave(ctx, r.Origin, room, user)
	return template(t), err
}

// Spec: server-server-api#put_matrixfederationv2send_leaveroomideventid
func (a *API) sendLeave(ctx context.Context, r *web.Request) (any, error) {
	room, event, pdu, err := a.membershipEvent(ctx, r)
	if err != nil {
		return nil, err
	}
	return nil, a.rooms.SendLeave(ctx, r.Origin, room, event, pdu)
}
