package federationapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) thirdPartyInviteRoutes() []web.Route {
	return []web.Route{
		put(v1+"/exchange_third_party_invite/{roomID}", a.exchangeThirdPartyInvite),
		// Identity servers have no signatures that we could ask for.
		{"PUT", v1 + "/3pid/onbind", web.None, web.RateFederation, a.onBind},
	}
}

// Spec: server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
func (a *API) exchangeThirdPartyInvite(ctx context.Context, r *web.Request) (any, error) {
	room, err := a.admitted(ctx, r)
	if err != nil {
		return nil, err
	}
	event, err := r.Object()
	if err != nil {
		return nil, err
	}
	return nil, a.rooms.ExchangeThirdPartyInvite(ctx, r.Origin, room, event)
}

// maxBoundInvites bounds the invites that one notification redeems.
const maxBoundInvites = 20

// boundInvite is an invite of an address that turns out to be that of a user.
type boundInvite struct {
	Room   id.RoomID       `json:"room_id"`
	Sender id.UserID       `json:"sender"`
	Signed json.RawMessage `json:"signed"`
}

// onBind redeems the invites of an address that an identity server has found to belong to a user of this server: the server of whoever
// invited is asked to make real invites of them. Whether the identity server may say so is for that server to check, as the room names the key.
//
// Spec: server-server-api#put_matrixfederationv13pidonbind
func (a *API) onBind(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		User    string        `json:"mxid"`
		Invites []boundInvite `json:"invites"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	user, err := id.ParseUserID(body.User)
	if err != nil || user.Server() != a.name {
		return nil, merr.New(merr.InvalidParam, "mxid must be a user of this server")
	}
	if len(body.Invites) > maxBoundInvites {
		return nil, merr.Newf(merr.InvalidParam, "There are more than %d invites", maxBoundInvites)
	}
	if _, err := a.accounts.Profile(ctx, user); err != nil {
		return nil, err
	}
	// Everybody may cause these requests, and to any server.
	for range body.Invites {
		if err := r.SpendFrom(web.RateInvite, "onbind"); err != nil {
			return nil, err
		}
	}
	for _, i := range body.Invites {
		if err := a.redeem(ctx, user, i); err != nil {
			a.log.InfoContext(ctx, "third-party invite not redeemed", "room", i.Room, "inviter", i.Sender.Server(), "error", err)
		}
	}
	return nil, nil
}

// redeem asks the inviter's server for a real invite.
func (a *API) redeem(ctx context.Context, user id.UserID, i boundInvite) error {
	if _, err := id.ParseRoomID(string(i.Room)); err != nil {
		return err
	}
	if _, err := id.ParseUserID(string(i.Sender)); err != nil {
		return err
	}
	type thirdParty struct {
		// It has to be there, but only the inviter's server knows it, from the room.
		DisplayName string          `json:"display_name"`
		Signed      json.RawMessage `json:"signed"`
	}
	type content struct {
		Membership string     `json:"membership"`
		ThirdParty thirdParty `json:"third_party_invite"`
	}
	event, err := json.Marshal(struct {
		Type     string    `json:"type"`
		Room     id.RoomID `json:"room_id"`
		Sender   id.UserID `json:"sender"`
		StateKey id.UserID `json:"state_key"`
		Content  content   `json:"content"`
	}{"m.room.member", i.Room, i.Sender, user, content{"invite", thirdParty{string(user), i.Signed}}})
	if err != nil {
		return err
	}
	if to := i.Sender.Server(); to != a.name {
		return a.remote.ExchangeThirdPartyInvite(ctx, to, i.Room, event)
	}
	return a.rooms.ExchangeThirdPartyInvite(ctx, a.name, i.Room, event)
}
