package federationapi

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) joinRoutes() []web.Route {
	return []web.Route{
		get(v1+"/make_join/{roomID}/{userID}", a.makeJoin),
		put(v2+"/send_join/{roomID}/{eventID}", inTurn(a.joinsFor, a.sendJoin)),
	}
}

// template is an event that the other server may complete, sign and send back.
//
// Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
type template struct {
	Version gomatrixserverlib.RoomVersion `json:"room_version,omitempty"`
	Event   json.RawMessage               `json:"event"`
}

// ownUser is the room and the user of the path. The user has to be one of the server that asks.
func (a *API) ownUser(ctx context.Context, r *web.Request) (id.RoomID, id.UserID, error) {
	room, err := a.admitted(ctx, r)
	if err != nil {
		return "", "", err
	}
	user, err := r.UserID("userID")
	if err == nil && user.Server() != r.Origin {
		err = merr.Newf(merr.Forbidden, "%s is not a user of %s", user, r.Origin)
	}
	return room, user, err
}

// roomVersions is the versions that the other server says it can do; version 1 if it says nothing.
func roomVersions(r *web.Request) []gomatrixserverlib.RoomVersion {
	texts := r.Query()["ver"]
	if len(texts) == 0 {
		return []gomatrixserverlib.RoomVersion{gomatrixserverlib.RoomVersionV1}
	}
	out := make([]gomatrixserverlib.RoomVersion, len(texts))
	for i, v := range texts {
		out[i] = gomatrixserverlib.RoomVersion(v)
	}
	return out
}

// Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
func (a *API) makeJoin(ctx context.Context, r *web.Request) (any, error) {
	room, user, err := a.ownUser(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := a.rooms.MakeJoin(ctx, r.Origin, room, user, roomVersions(r))
	return template(t), err
}

// membershipEvent is the room and the event of the path, and the event itself.
func (a *API) membershipEvent(ctx context.Context, r *web.Request) (id.RoomID, id.EventID, json.RawMessage, error) {
	room, err := a.admitted(ctx, r)
	if err != nil {
		return "", "", nil, err
	}
	event, err := r.EventID("eventID")
	if err != nil {
		return "", "", nil, err
	}
	pdu, err := r.Object()
	return room, event, pdu, err
}

// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
func (a *API) sendJoin(ctx context.Context, r *web.Request) (any, error) {
	room, event, pdu, err := a.membershipEvent(ctx, r)
	if err != nil {
		return nil, err
	}
	omit, err := r.BoolQuery("omit_members", false)
	if err != nil {
		return nil, err
	}
	answer, err := a.rooms.SendJoin(ctx, r.Origin, room, event, pdu, omit)
	return struct {
		Origin         id.ServerName     `json:"origin"` // older servers want it
		Event          json.RawMessage   `json:"event,omitempty"`
		State          []json.RawMessage `json:"state"`
		AuthChain      []json.RawMessage `json:"auth_chain"`
		MembersOmitted bool              `json:"members_omitted"`
		Servers        []id.ServerName   `json:"servers_in_room,omitempty"`
	}{a.name, answer.Event, list(answer.State), list(answer.AuthChain), answer.MembersOmitted, answer.Servers}, err
}

// list is a list that is written as one even if it is empty.
func list(in []json.RawMessage) []json.RawMessage {
	if in == nil {
		return []json.RawMessage{}
	}
	return in
}
