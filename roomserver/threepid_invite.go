package roomserver

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/identity"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/roomserver/authrules"
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
	if err := s.keyStillValid(ctx, room, json.RawMessage(signed.Raw)); err != nil {
		return err
	}
	return s.Invite(ctx, MemberRequest{Room: room, Sender: sender, Target: target, thirdParty: json.RawMessage(signed.Raw)})
}

// IdentityServers are asked whose user an address is. Their errors are for the client.
type IdentityServers interface {
	Lookup(ctx context.Context, a identity.Access, t identity.Threepid) (id.UserID, error)
	StoreInvite(ctx context.Context, a identity.Access, i identity.Invite) (identity.Stored, error)
	KeyValid(ctx context.Context, validityURL, key string) (bool, error)
}

// keyStillValid asks the identity server whether a key that has signed a third-party invite has not been revoked. A key without an address to
// ask at is valid for ever.
//
// Spec: client-server-api#third-party-invites (key_validity_url)
func (s *Server) keyStillValid(ctx context.Context, room id.RoomID, signed json.RawMessage) error {
	var content json.RawMessage
	err := s.update(ctx, room, func(h *head) error {
		invite, err := h.auth.ThirdPartyInvite(text(gjson.GetBytes(signed, "token")))
		if err == nil && invite != nil {
			content = invite.Content()
		}
		return err
	})
	if err != nil {
		return err
	}
	url, found := authrules.SigningKey(content, signed)
	switch {
	case content == nil || !found:
		return merr.New(merr.Forbidden, "There is no such third-party invite in the room, or it was signed with another key")
	case url.URL == "":
		return nil
	}
	valid, err := s.peers.Identity.KeyValid(ctx, url.URL, url.Key)
	if err == nil && !valid {
		err = merr.New(merr.Forbidden, "The key of the third-party invite has been revoked")
	}
	return err
}

// ThirdPartyInvite is an invite by an address outside Matrix.
type ThirdPartyInvite struct {
	Room   id.RoomID
	Sender id.UserID
	Direct bool
	identity.Access
	identity.Threepid
}

// InviteThirdParty invites the user whom an address belongs to. Where the identity server knows none, it is told of the invite, which becomes
// one when somebody proves to own the address. Errors: those of Invite, and of the identity server.
//
// Spec: client-server-api#thirdparty_post_matrixclientv3roomsroomidinvite
func (s *Server) InviteThirdParty(ctx context.Context, i ThirdPartyInvite) error {
	letter := identity.Invite{Threepid: i.Threepid, Room: i.Room, Sender: i.Sender}
	// Who may not invite learns nothing of whose an address is, and writes nobody letters.
	err := s.update(ctx, i.Room, func(h *head) error {
		if err := h.mustBeJoined(i.Sender); err != nil {
			return err
		}
		if err := h.mayAdd(draft{typ: spec.MRoomThirdPartyInvite, stateKey: ptr(""), sender: i.Sender, content: json.RawMessage("{}")}); err != nil {
			return err
		}
		return h.describe(&letter)
	})
	if err != nil {
		return err
	}
	user, err := s.peers.Identity.Lookup(ctx, i.Access, i.Threepid)
	if err != nil {
		return err
	}
	if user != "" {
		return s.Invite(ctx, MemberRequest{Room: i.Room, Sender: i.Sender, Target: user, Direct: i.Direct})
	}
	stored, err := s.peers.Identity.StoreInvite(ctx, i.Access, letter)
	if err != nil {
		return err
	}
	content, err := json.Marshal(map[string]any{
		"display_name": stored.DisplayName, "public_keys": stored.Keys,
		// For those who know only one key.
		"public_key": stored.Keys[0].Public, "key_validity_url": stored.Keys[0].ValidityURL,
	})
	if err != nil {
		return err
	}
	_, err = s.Send(ctx, SendRequest{Room: i.Room, Sender: i.Sender, Type: spec.MRoomThirdPartyInvite, StateKey: &stored.Token, Content: content})
	return err
}

// mayAdd returns why an event may not be added to the room, without adding it.
func (h *head) mayAdd(d draft) error {
	p, err := h.auth.place(d)
	if err != nil {
		return err
	}
	p.ts = h.s.clock.Now().UnixMilli()
	event, raw, err := h.s.build(d, p)
	if err != nil {
		return err
	}
	made, err := p.version.NewEventFromTrustedJSONWithEventID(string(event), raw, false)
	if err != nil {
		return merr.Newf(merr.BadJSON, "The event is malformed: %s", err)
	}
	return h.auth.allowed(made)
}

// describe says in a letter what the room is and who invites.
func (h *head) describe(letter *identity.Invite) error {
	for _, d := range []struct {
		typ, key, member string
		to               *string
	}{
		{spec.MRoomCanonicalAlias, "", "alias", &letter.Alias},
		{spec.MRoomAvatar, "", "url", &letter.Avatar},
		{spec.MRoomJoinRules, "", "join_rule", &letter.JoinRules},
		{spec.MRoomName, "", "name", &letter.Name},
		{spec.MRoomCreate, "", "type", &letter.Type},
		{spec.MRoomMember, string(letter.Sender), "displayname", &letter.SenderName},
		{spec.MRoomMember, string(letter.Sender), "avatar_url", &letter.SenderAvatar},
	} {
		e, err := h.auth.get(storage.StateKey{Type: d.typ, Key: d.key})
		if err != nil {
			return err
		}
		if e != nil {
			*d.to = memberOf(e.pdu.Content(), d.member)
		}
	}
	return nil
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
