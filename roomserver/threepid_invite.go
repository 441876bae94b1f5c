package roomserver

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// ExchangeThirdPartyInvite invites a user of the server origin, whom a user of ours has invited to a room by a third-party identifier. event is
// the part of the invite that origin knows. Errors: M_INVALID_PARAM, M_NOT_FOUND, M_FORBIDDEN and those of Invite.
//
// Spec: server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
func (s *Server) ExchangeThirdPartyInvite(ctx context.Context, origin id.ServerName, room id.RoomID, event json.RawMessage) error {
	bad := func(what string) error { return merr.Newf(merr.InvalidParam, "The event %s", what) }
	if len(event) > maxEvent || !gjson.ValidBytes(event) {
		return bad("is malformed")
	}
	e := gjson.ParseBytes(event)
	sender, err := id.ParseUserID(text(e.Get("sender")))
	if err != nil || !s.local(sender) {
		return bad("is not one of a user of this server")
	}
	target, err := id.ParseUserID(text(e.Get("state_key")))
	switch {
	case err != nil || target.Server() != origin:
		return bad("does not invite a user of your server")
	case text(e.Get("type")) != spec.MRoomMember || text(e.Get("content.membership")) != spec.Invite:
		return bad("is not an invite")
	case text(e.Get("room_id")) != string(room):
		return bad("is not one of the room")
	}
	// Whether the signatures hold is one of the auth rules.
	signed := e.Get("content.third_party_invite.signed")
	if text(signed.Get("mxid")) != string(target) || text(signed.Get("token")) == "" || !signed.Get("signatures").IsObject() {
		return bad("is not signed for the user")
	}
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		_, err := s.resident(tx, room)
		return err
	})
	if err != nil {
		return err
	}
	return s.Invite(ctx, MemberRequest{Room: room, Sender: sender, Target: target, thirdParty: json.RawMessage(signed.Raw)})
}

// thirdPartyContent adds to the content of an invite what says that its target is whom the sender has invited by a third-party identifier.
func (h *head) thirdPartyContent(content, signed json.RawMessage) (json.RawMessage, error) {
	token := text(gjson.GetBytes(signed, "token"))
	invite, err := h.auth.ThirdPartyInvite(token)
	if err != nil {
		return nil, err
	}
	if invite == nil {
		return nil, merr.New(merr.Forbidden, "There is no such third-party invite in the room")
	}
	return withField(content, "third_party_invite", map[string]any{
		"display_name": memberOf(invite.Content(), "display_name"), "signed": signed,
	}), nil
}
