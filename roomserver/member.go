package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// MemberRequest is a change of a membership.
type MemberRequest struct {
	Room    id.RoomID
	Sender  id.UserID
	Target  id.UserID // whose membership changes; Sender, for join, leave and knock
	Reason  string
	Guest   bool            // the sender is a guest
	Direct  bool            // is_direct, of an invite
	Content json.RawMessage // what a client wants to have in the event beside what the server puts there; may be nil
	Via     []id.ServerName // servers through which to reach a room that this server is not in; of join and knock

	thirdParty json.RawMessage // what an identity server has signed for a target that was invited by a third-party identifier
}

// Kick makes the target leave. Errors: M_FORBIDDEN also if the target is not in the room.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidkick
func (s *Server) Kick(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error {
		if err := h.mustBeJoined(r.Sender); err != nil {
			return err
		}
		was, _, err := h.auth.membership(r.Target)
		if err != nil {
			return err
		}
		if was == spec.Leave || was == spec.Ban {
			return merr.Newf(merr.Forbidden, "%s is not in the room", r.Target)
		}
		return h.setMembership(r, spec.Leave)
	})
}

// Ban bans the target.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidban
func (s *Server) Ban(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error {
		if err := h.mustBeJoined(r.Sender); err != nil {
			return err
		}
		was, _, err := h.auth.membership(r.Target)
		if err != nil || was == spec.Ban {
			return err
		}
		return h.setMembership(r, spec.Ban)
	})
}

// Unban lifts a ban.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidunban
func (s *Server) Unban(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error {
		if err := h.mustBeJoined(r.Sender); err != nil {
			return err
		}
		was, _, err := h.auth.membership(r.Target)
		if err != nil {
			return err
		}
		if was != spec.Ban {
			return merr.Newf(merr.Forbidden, "%s is not banned", r.Target)
		}
		return h.setMembership(r, spec.Leave)
	})
}

func (h *head) setMembership(r MemberRequest, membership string) error {
	content, err := h.memberContent(r, membership)
	if err != nil {
		return err
	}
	d := draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Target)), sender: r.Sender, content: content}
	if unchanged, err := h.sameState(d); err != nil || unchanged != "" {
		return err
	}
	_, err = h.add(d)
	return err
}

// memberContent is the content of a membership event: what the client wants, the membership, the reason and, for join, knock and invite, the
// profile of the target.
//
// Spec: client-server-api#mroommember
func (s *Server) memberContent(tx *storage.ReadTx, r MemberRequest, membership string) (json.RawMessage, error) {
	content := map[string]json.RawMessage{}
	if len(r.Content) > 0 {
		if err := json.Unmarshal(r.Content, &content); err != nil {
			return nil, merr.New(merr.BadJSON, "The content of an event must be an object")
		}
		if content == nil { // null, which stands for nothing
			content = map[string]json.RawMessage{}
		}
	}
	delete(content, "join_authorised_via_users_server")
	content["membership"] = must(membership)
	if r.Reason != "" {
		content["reason"] = must(r.Reason)
	}
	target := r.Target
	if membership == spec.Join || membership == spec.Knock {
		target = r.Sender
	}
	if membership != spec.Leave && membership != spec.Ban && s.local(target) {
		profile, err := tx.MemberProfile(target)
		if err != nil {
			return nil, err
		}
		if _, set := content["displayname"]; !set && profile.DisplayName != "" {
			content["displayname"] = must(profile.DisplayName)
		}
		if _, set := content["avatar_url"]; !set && profile.AvatarURL != "" {
			content["avatar_url"] = must(profile.AvatarURL)
		}
	}
	return must(content), nil
}

func (h *head) memberContent(r MemberRequest, membership string) (json.RawMessage, error) {
	return h.s.memberContent(&h.tx.ReadTx, r, membership)
}

// Forget hides a room that the user has left from the user's history.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidforget
func (s *Server) Forget(ctx context.Context, room id.RoomID, user id.UserID) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		nid, err := tx.RoomNID(room)
		if err == nil {
			var m storage.Membership
			if m, err = tx.Membership(nid, user); err == nil {
				if m.Membership != spec.Leave && m.Membership != spec.Ban {
					return merr.New(merr.Unknown, "Leave the room before you forget it").WithStatus(400)
				}
				return tx.ForgetRoom(nid, user)
			}
		}
		if isNotFound(err) {
			return merr.New(merr.Unknown, "You were never in this room").WithStatus(400)
		}
		return err
	})
}

// LeaveAll makes a user leave all rooms and reject all invites, room by room: for the deactivation of an account. A room where that fails does
// not keep it from the others.
func (s *Server) LeaveAll(ctx context.Context, user id.UserID) error {
	var rooms []storage.Membership
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		rooms, err = tx.MembershipsOf(user)
		return err
	})
	if err != nil {
		return err
	}
	for _, m := range rooms {
		if m.Membership != spec.Join && m.Membership != spec.Invite && m.Membership != spec.Knock {
			continue
		}
		if lerr := s.leave(ctx, MemberRequest{Room: m.RoomID, Sender: user}); lerr != nil {
			err = errors.Join(err, fmt.Errorf("leave %s: %w", m.RoomID, lerr))
		}
	}
	return err
}

// ProfileChanged writes a user's new display name or avatar into the membership events of all rooms that the user is in. A room where that
// fails does not keep it from the others.
//
// Spec: client-server-api#events-on-change-of-profile-information
func (s *Server) ProfileChanged(ctx context.Context, user id.UserID) error {
	var rooms []storage.Membership
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		rooms, err = tx.MembershipsOf(user)
		return err
	})
	for _, m := range rooms {
		if m.Membership == spec.Join {
			err = errors.Join(err, s.update(ctx, m.RoomID, func(h *head) error { return h.refreshProfile(user) }))
		}
	}
	return err
}

func (h *head) refreshProfile(user id.UserID) error {
	was, old, err := h.auth.membership(user)
	if err != nil || was != spec.Join {
		return err
	}
	profile, err := h.tx.MemberProfile(user)
	if err != nil || text(old.Get("displayname")) == profile.DisplayName && text(old.Get("avatar_url")) == profile.AvatarURL {
		return err
	}
	content := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(old.Raw), &content); err != nil {
		return err
	}
	for name, value := range map[string]string{"displayname": profile.DisplayName, "avatar_url": profile.AvatarURL} {
		delete(content, name)
		if value != "" {
			content[name] = must(value)
		}
	}
	delete(content, "reason")
	delete(content, "join_authorised_via_users_server")
	_, err = h.add(draft{typ: spec.MRoomMember, stateKey: ptr(string(user)), sender: user, content: must(content)})
	return err
}

func ptr[T any](v T) *T { return &v }
