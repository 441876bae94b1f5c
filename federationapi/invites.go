package federationapi

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) inviteRoutes() []web.Route {
	return []web.Route{
		put(v1+"/invite/{roomID}/{eventID}", a.inviteV1),
		put(v2+"/invite/{roomID}/{eventID}", a.invite),
	}
}

// invitation is the body of an invite.
//
// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
type invitation struct {
	Version  gomatrixserverlib.RoomVersion `json:"room_version"`
	Event    json.RawMessage               `json:"event"`
	Stripped []json.RawMessage             `json:"invite_room_state"`
}

// signedInvite is the answer to it.
type signedInvite struct {
	Event json.RawMessage `json:"event"`
}

// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
func (a *API) invite(ctx context.Context, r *web.Request) (any, error) {
	var body invitation
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Version == "" || len(body.Event) == 0 {
		return nil, merr.New(merr.MissingParam, "room_version or event is missing")
	}
	return a.accept(ctx, r, body)
}

// inviteV1 is invite for rooms of version 1 and 2, which do not differ in the form of their events. The answer is an odd pair.
//
// Spec: server-server-api#put_matrixfederationv1inviteroomideventid
func (a *API) inviteV1(ctx context.Context, r *web.Request) (any, error) {
	event, err := r.Object()
	if err != nil {
		return nil, err
	}
	var body struct {
		Unsigned struct {
			Stripped []json.RawMessage `json:"invite_room_state"`
		} `json:"unsigned"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	answer, err := a.accept(ctx, r, invitation{gomatrixserverlib.RoomVersionV1, event, body.Unsigned.Stripped})
	return []any{200, answer}, err
}

func (a *API) accept(ctx context.Context, r *web.Request, i invitation) (signedInvite, error) {
	room, err := a.admitted(ctx, r)
	if err != nil {
		return signedInvite{}, err
	}
	event, err := r.EventID("eventID")
	if err != nil {
		return signedInvite{}, err
	}
	signed, err := a.rooms.AcceptInvite(ctx, r.Origin, room, event, i.Version, i.Event, i.Stripped)
	return signedInvite{signed}, err
}
