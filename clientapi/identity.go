package clientapi

import (
	"context"
	"errors"
	"net/mail"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
)

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
	address, err := canonicalAddress(t.Medium, t.Address)
	return roomserver.ThirdPartyInvite{Room: room, Sender: sender, Access: access, Threepid: address}, err
}

// identityAccess reads which identity server is to be asked.
func identityAccess(server, token string) (identity.Access, error) {
	if server == "" || token == "" {
		return identity.Access{}, merr.New(merr.MissingParam, "id_server and id_access_token are needed")
	}
	name, err := id.ParseServerName(server)
	if err != nil {
		return identity.Access{}, merr.New(merr.InvalidParam, "id_server is not the name of a server")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return identity.Access{}, merr.New(merr.InvalidParam, "id_access_token is no token")
	}
	return identity.Access{Server: name, Token: token}, nil
}

// maxAddress is the length of an address, in bytes.
const maxAddress = 500

// canonicalAddress gives an address the one form in which it is hashed.
//
// Spec: appendices#3pid-types
func canonicalAddress(medium, address string) (identity.Threepid, error) {
	bad := func() (identity.Threepid, error) {
		return identity.Threepid{}, merr.New(merr.InvalidParam, "The address is none")
	}
	if medium == "" || address == "" {
		return identity.Threepid{}, merr.New(merr.MissingParam, "medium and address are needed")
	}
	if len(address) > maxAddress {
		return bad()
	}
	switch medium {
	case "email":
		parsed, err := mail.ParseAddress(address)
		if err != nil || parsed.Address != address {
			return bad()
		}
		return identity.Threepid{Medium: medium, Address: strings.ToLower(address)}, nil
	case "msisdn":
		if strings.Trim(address, "0123456789") != "" {
			return bad()
		}
		return identity.Threepid{Medium: medium, Address: address}, nil
	}
	return identity.Threepid{}, merr.New(merr.InvalidParam, "The medium must be email or msisdn")
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

// inviteAllByAddress invites to a new room. A room is there even if somebody cannot be invited.
func (a *API) inviteAllByAddress(ctx context.Context, invites []roomserver.ThirdPartyInvite, room id.RoomID) error {
	for _, invite := range invites {
		invite.Room = room
		if err := a.rooms.InviteThirdParty(ctx, invite); err != nil {
			var known *merr.Error
			if !errors.As(err, &known) {
				return err
			}
		}
	}
	return nil
}
