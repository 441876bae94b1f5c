package roomserver

import (
	"context"
	"encoding/json"
	"time"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// redeemTime is how long an invite may take that was asked for, until it is here.
const redeemTime = 20 * time.Second

// Redemption is what an identity server has signed for a user whose address was invited.
type Redemption struct {
	Room    id.RoomID
	Inviter id.UserID
	Signed  json.RawMessage
}

// RedeemThirdPartyInvite asks the server of who has invited the address of a local user for a real invite. Whether the signature is one of the
// room's is for that server to check: no other can make the invite. Errors: M_INVALID_PARAM, those of ExchangeThirdPartyInvite, and M_UNKNOWN with 502.
//
// Spec: server-server-api#third-party-invites
func (s *Server) RedeemThirdPartyInvite(ctx context.Context, user id.UserID, r Redemption) error {
	if _, err := id.ParseRoomID(string(r.Room)); err != nil {
		return merr.New(merr.InvalidParam, err.Error())
	}
	if _, err := id.ParseUserID(string(r.Inviter)); err != nil {
		return merr.New(merr.InvalidParam, err.Error())
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
	}{spec.MRoomMember, r.Room, r.Inviter, user, content{spec.Invite, thirdParty{string(user), r.Signed}}})
	if err != nil {
		return err
	}
	if s.local(r.Inviter) {
		return s.ExchangeThirdPartyInvite(ctx, s.cfg.Name, r.Room, event)
	}
	if err := s.peers.Remote.ExchangeThirdPartyInvite(ctx, r.Inviter.Server(), r.Room, event); err != nil {
		_, err = refusal(err)
		return err
	}
	return nil
}

// becomeInvited makes the invite of the address of who wants to join a real one, and returns the server of who has invited. Who is joined
// already needs none.
//
// Spec: client-server-api#post_matrixclientv3joinroomidoralias (third_party_signed)
func (s *Server) becomeInvited(ctx context.Context, r MemberRequest) (id.ServerName, error) {
	signed := gjson.ParseBytes(r.ThirdParty)
	inviter, err := id.ParseUserID(text(signed.Get("sender")))
	switch {
	case len(r.ThirdParty) > maxEvent || !gjson.ValidBytes(r.ThirdParty) || !signed.IsObject():
		return "", merr.New(merr.BadJSON, "third_party_signed is malformed")
	case err != nil || text(signed.Get("token")) == "" || !signed.Get("signatures").IsObject():
		return "", merr.New(merr.InvalidParam, "third_party_signed needs sender, mxid, token and signatures")
	case text(signed.Get("mxid")) != string(r.Sender):
		return "", merr.New(merr.Forbidden, "third_party_signed is for somebody else")
	}
	is, err := s.membership(ctx, r.Room, r.Sender)
	if err != nil || is == spec.Join {
		return inviter.Server(), err
	}
	// An invite that another server has made is finished, whoever goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redeemTime)
	defer cancel()
	if err := s.RedeemThirdPartyInvite(ctx, r.Sender, Redemption{Room: r.Room, Inviter: inviter, Signed: r.ThirdParty}); err != nil {
		return "", err
	}
	return inviter.Server(), s.awaitInvite(ctx, r.Room, r.Sender)
}

// awaitInvite waits for an invite that another server has made. Where this server is in the room, it comes with the other events of that. If it
// never does, joining says why that is not possible.
func (s *Server) awaitInvite(ctx context.Context, room id.RoomID, user id.UserID) error {
	watch := s.hub.Watch(hub.User(user))
	defer watch.Close()
	for {
		is, err := s.membership(ctx, room, user)
		if err != nil || is == spec.Invite || is == spec.Join {
			return err
		}
		select {
		case <-watch.C():
		case <-ctx.Done():
			return nil
		}
	}
}

// membership is a user's membership of a room that need not be known here; empty without one.
func (s *Server) membership(ctx context.Context, room id.RoomID, user id.UserID) (string, error) {
	var out storage.Membership
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err == nil {
			out, err = tx.Membership(nid, user)
		}
		return err
	})
	if isNotFound(err) {
		err = nil
	}
	return out.Membership, err
}
