package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// canJoin is the guest_access of a room that guests may join.
const canJoin = "can_join"

// MemberRequest is a change of a membership.
type MemberRequest struct {
	Room    id.RoomID
	Sender  id.UserID
	Target  id.UserID // whose membership changes; Sender, for join, leave and knock
	Reason  string
	Guest   bool            // the sender is a guest
	Direct  bool            // is_direct, of an invite
	Content json.RawMessage // what a client wants to have in the event beside what the server puts there; may be nil
}

// Join joins the sender to a room; who is joined already stays so without a new event.
//
// Spec: client-server-api#joining-rooms
func (s *Server) Join(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error { return h.join(r) })
}

func (h *head) join(r MemberRequest) error {
	was, _, err := h.auth.membership(r.Sender)
	if err != nil || was == spec.Join {
		return err
	}
	rule, err := h.auth.joinRule()
	if err != nil {
		return err
	}
	// Spec: client-server-api#guest-access
	if r.Guest && h.room().Summary.GuestAccess != canJoin {
		return merr.New(merr.GuestAccessForbidden, "Guests may not join this room")
	}
	content, err := h.memberContent(r, spec.Join)
	if err != nil {
		return err
	}
	restricted := rule.rule == spec.Restricted || rule.rule == spec.KnockRestricted
	if restricted && was != spec.Invite {
		authoriser, err := h.authoriser(rule, r.Sender)
		if err != nil {
			return err
		}
		content = withField(content, "join_authorised_via_users_server", string(authoriser))
	}
	if _, err = h.add(draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Sender)), sender: r.Sender, content: content}); err != nil {
		return err
	}
	return h.carryOver(r.Sender)
}

// expelGuests makes guests leave a room that does not allow them any more.
//
// Spec: client-server-api#guest-access
func (h *head) expelGuests() error {
	if h.guests != canJoin || h.room().Summary.GuestAccess == canJoin {
		return nil
	}
	guests, err := h.tx.JoinedGuests(h.room().NID)
	if err != nil {
		return err
	}
	for _, user := range guests {
		if err := h.setMembership(MemberRequest{Sender: user, Target: user}, spec.Leave); err != nil {
			return err
		}
	}
	return nil
}

// authoriser finds a user of this server who may vouch for a restricted join: user is in one of the rooms that the rule names, and the
// authoriser is in this one and may invite.
//
// Spec: client-server-api#restricted-rooms
func (h *head) authoriser(rule joinRule, user id.UserID) (id.UserID, error) {
	allowed := false
	for _, room := range rule.allow {
		nid, err := h.tx.RoomNID(room)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		m, err := h.tx.Membership(nid, user)
		if err == nil && m.Membership == spec.Join {
			allowed = true
			break
		}
		if err != nil && !isNotFound(err) {
			return "", err
		}
	}
	if !allowed {
		return "", merr.New(merr.Forbidden, "You are in none of the rooms whose members may join this one")
	}
	joined, err := h.auth.joined()
	if err != nil {
		return "", err
	}
	p, err := h.auth.power()
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(joined, func(m storage.Member) bool { return p.user(m.User) >= p.Invite }); i >= 0 {
		return joined[i].User, nil
	}
	return "", merr.New(merr.Forbidden, "Nobody on this server may authorise the join")
}

// Invite invites the target. Inviting who is invited already makes no new event.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidinvite
func (s *Server) Invite(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error { return h.invite(r) })
}

func (h *head) invite(r MemberRequest) error {
	if err := h.mustBeJoined(r.Sender); err != nil {
		return err
	}
	if err := h.mayBeInvited(r.Target); err != nil {
		return err
	}
	was, _, err := h.auth.membership(r.Target)
	if err != nil || was == spec.Invite {
		return err
	}
	if was == spec.Join {
		return merr.Newf(merr.Forbidden, "%s is in the room already", r.Target)
	}
	content, err := h.memberContent(r, spec.Invite)
	if err != nil {
		return err
	}
	if r.Direct {
		content = withField(content, "is_direct", true)
	}
	_, err = h.add(draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Target)), sender: r.Sender, content: content})
	return err
}

// mayBeInvited refuses to invite who does not want to be invited, and who would not hear of it.
//
// Spec: client-server-api#invite-permission
func (h *head) mayBeInvited(user id.UserID) error {
	if !h.s.local(user) {
		return merr.New(merr.Forbidden, "This server does not federate, so it cannot invite users of other servers")
	}
	d, err := h.tx.AccountData(user, "", "m.invite_permission_config")
	if isNotFound(err) {
		return nil
	}
	if err == nil && text(gjson.GetBytes(d.Content, "default_action")) == "block" {
		err = merr.Newf(merr.InviteBlocked, "%s does not want to be invited", user)
	}
	return err
}

// Leave makes the sender leave, reject an invite or retract a knock. Who is not in the room is not told of an error, unless they never were.
//
// Spec: client-server-api#leaving-rooms
func (s *Server) Leave(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error {
		key := storage.StateKey{Type: spec.MRoomMember, Key: string(r.Sender)}
		old, err := h.auth.get(key)
		if err != nil {
			return err
		}
		if old == nil {
			return merr.New(merr.Forbidden, "You are not in the room")
		}
		switch gjson.GetBytes(old.pdu.Content(), "membership").String() {
		case spec.Leave:
			return nil
		case spec.Ban:
			return merr.New(merr.Forbidden, "You are banned from the room")
		}
		r.Target = r.Sender
		return h.setMembership(r, spec.Leave)
	})
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

// Knock asks to be invited. Knocking again with the same words while a knock is open changes nothing.
//
// Spec: client-server-api#knocking-on-rooms
func (s *Server) Knock(ctx context.Context, r MemberRequest) error {
	return s.update(ctx, r.Room, func(h *head) error {
		r.Target = r.Sender
		return h.setMembership(r, spec.Knock)
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
func (h *head) memberContent(r MemberRequest, membership string) (json.RawMessage, error) {
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
	if membership != spec.Leave && membership != spec.Ban && h.s.local(target) {
		profile, err := h.tx.MemberProfile(target)
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
		if lerr := s.Leave(ctx, MemberRequest{Room: m.RoomID, Sender: user}); lerr != nil {
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
