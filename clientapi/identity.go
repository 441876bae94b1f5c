package clientapi

import (
	"context"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
)

func (a *API) identityRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/account/3pid/bind", web.User, web.RateLogin, a.bindThreepid},
		{"POST", "/_matrix/client/v3/account/3pid/unbind", web.User, web.RateWrite, a.unbindThreepid},
	}
}

// Spec: client-server-api#post_matrixclientv3account3pidbind
func (a *API) bindThreepid(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Server  string `json:"id_server"`
		Token   string `json:"id_access_token"`
		Session string `json:"sid"`
		Secret  string `json:"client_secret"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Session == "" || body.Secret == "" {
		return nil, merr.New(merr.MissingParam, "sid and client_secret are needed")
	}
	access, err := identityAccess(body.Server, body.Token)
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.BindThreepid(ctx, r.Caller.User, access, body.Session, body.Secret)
}

// boundThreepid is an address, and the identity server to unbind it from, in the bodies of requests.
type boundThreepid struct {
	Server  string `json:"id_server"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// server is empty where none is named.
func (b boundThreepid) server() (id.ServerName, error) {
	server, err := id.ParseServerName(b.Server)
	if b.Server != "" && err != nil {
		return "", errIdentityServer
	}
	return server, nil
}

// Spec: client-server-api#post_matrixclientv3account3pidunbind
func (a *API) unbindThreepid(ctx context.Context, r *web.Request) (any, error) {
	var body boundThreepid
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	server, err := body.server()
	if err != nil {
		return nil, err
	}
	address, err := identity.ParseThreepid(body.Medium, body.Address)
	if err != nil {
		return nil, err
	}
	unbound, err := a.accounts.UnbindThreepid(ctx, r.Caller.User, address, server)
	return unbindAnswer(unbound), err
}

// unbindAnswer tells a client what identity servers have done.
func unbindAnswer(unbound bool) any {
	result := "no-support"
	if unbound {
		result = "success"
	}
	return struct {
		Unbound string `json:"id_server_unbind_result"`
	}{result}
}

// thirdParty is an invite by an address outside Matrix, in the bodies of requests.
//
// Spec: client-server-api#thirdparty_post_matrixclientv3roomsroomidinvite
type thirdParty struct {
	Server  string `json:"id_server"`
	Token   string `json:"id_access_token"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

// invite is what is asked for, M_MISSING_PARAM or M_INVALID_PARAM.
func (t thirdParty) invite(room id.RoomID, sender id.UserID) (roomserver.ThirdPartyInvite, error) {
	access, err := identityAccess(t.Server, t.Token)
	if err != nil {
		return roomserver.ThirdPartyInvite{}, err
	}
	address, err := identity.ParseThreepid(t.Medium, t.Address)
	return roomserver.ThirdPartyInvite{Room: room, Sender: sender, Access: access, Threepid: address}, err
}

var errIdentityServer = merr.New(merr.InvalidParam, "id_server is not the name of a server")

// identityAccess reads which identity server is to be asked.
func identityAccess(server, token string) (identity.Access, error) {
	if server == "" || token == "" {
		return identity.Access{}, merr.New(merr.MissingParam, "id_server and id_access_token are needed")
	}
	name, err := id.ParseServerName(server)
	if err != nil {
		return identity.Access{}, errIdentityServer
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return identity.Access{}, merr.New(merr.InvalidParam, "id_access_token is no token")
	}
	return identity.Access{Server: name, Token: token}, nil
}

// inviteThirdParty invites by an address.
func (a *API) inviteThirdParty(ctx context.Context, r *web.Request, asked thirdParty) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	if r.Caller.Suspended {
		return nil, web.Suspended()
	}
	invite, err := asked.invite(room, r.Caller.User)
	if err != nil {
		return nil, err
	}
	return nil, a.rooms.InviteThirdParty(ctx, invite)
}
