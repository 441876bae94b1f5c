package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// inviteTime is how long the server of an invited user may take to answer.
const inviteTime = 60 * time.Second

// Invite invites the target. Inviting who is invited already makes no new event. A user of another server is invited once that server has
// signed the invite. Errors: M_FORBIDDEN, M_INVITE_BLOCKED, M_INCOMPATIBLE_ROOM_VERSION, and M_UNKNOWN with 502 where the target's server
// cannot be reached or does not take invites.
//
// Spec: client-server-api#post_matrixclientv3roomsroomidinvite, server-server-api#inviting-to-a-room
func (s *Server) Invite(ctx context.Context, r MemberRequest) error {
	if s.local(r.Target) {
		return s.update(ctx, r.Room, func(h *head) error { return h.invite(r) })
	}
	_, err := s.inviteAbroad(ctx, r)
	return err
}

// invite invites a user of this server.
func (h *head) invite(r MemberRequest) error {
	content, err := h.inviteContent(r)
	if err != nil || content == nil {
		return err
	}
	if err := h.auth.mayBeInvited(r.Target, r.Sender); err != nil {
		return err
	}
	_, err = h.add(draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Target)), sender: r.Sender, content: content})
	return err
}

// inviteContent is the content of an invite; nil for who is invited already.
func (h *head) inviteContent(r MemberRequest) (json.RawMessage, error) {
	if r.thirdParty == nil { // who has invited by a third-party identifier may have left since
		if err := h.mustBeJoined(r.Sender); err != nil {
			return nil, err
		}
	}
	was, _, err := h.auth.membership(r.Target)
	if err != nil || was == spec.Invite {
		return nil, err
	}
	if was == spec.Join {
		return nil, merr.Newf(merr.Forbidden, "%s is in the room already", r.Target)
	}
	content, err := h.memberContent(r, spec.Invite)
	if err == nil && r.Direct {
		content = withField(content, "is_direct", true)
	}
	if err == nil && r.thirdParty != nil {
		return h.thirdPartyContent(content, r.thirdParty)
	}
	return content, err
}

// mayBeInvited refuses to invite who does not want to be invited by the inviter. Of users of other servers these say so.
//
// Spec: client-server-api#invite-permission
func (a *authState) mayBeInvited(user, by id.UserID) error {
	invites, err := visibility.LoadInvites(a.tx, user)
	if err == nil && invites.From(by) == visibility.Refuse {
		err = merr.Newf(merr.InviteBlocked, "%s does not want to be invited", user)
	}
	return err
}

// errInviteAlone is the answer to invites of a server that does not federate.
var errInviteAlone = merr.New(merr.Forbidden, "This server does not federate, so it cannot invite users of other servers")

// stateInvite reports whether a state event invites a user of another server, which takes more than adding it to the room.
func (s *Server) stateInvite(r SendRequest) (MemberRequest, bool) {
	if r.Type != spec.MRoomMember || r.StateKey == nil || memberOf(r.Content, "membership") != spec.Invite {
		return MemberRequest{}, false
	}
	target, err := id.ParseUserID(*r.StateKey)
	return MemberRequest{Room: r.Room, Sender: r.Sender, Target: target, Content: r.Content}, err == nil && !s.local(target)
}

// inviteLater invites those of the users of other servers to a new room who have not been invited with it. A room is there even if some of them
// cannot be invited.
func (s *Server) inviteLater(ctx context.Context, room id.RoomID, r CreateRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inviteTime)
	defer cancel()
	for _, user := range r.Invite {
		if s.local(user) {
			continue
		}
		if err := s.Invite(ctx, MemberRequest{Room: room, Sender: r.Creator, Target: user, Direct: r.Direct}); err != nil {
			s.log.Info("a user was not invited to a new room", slog.String("room", string(room)), slog.Any("error", err))
		}
	}
}

// abroad is an invite that is on its way through the server of who is invited.
type abroad struct {
	version gomatrixserverlib.IRoomVersion
	event   id.EventID
	raw     []byte
	state   []json.RawMessage // what that server may tell its user of the room
}

// inviteAbroad invites a user of another server: the event is made at the end of the room, signed there, and becomes part of the room when it
// comes back. What has happened in the room meanwhile counts. For who is invited already the id is that of the invite.
func (s *Server) inviteAbroad(ctx context.Context, r MemberRequest) (id.EventID, error) {
	var out *abroad
	var already id.EventID
	err := s.update(ctx, r.Room, func(h *head) (err error) {
		if out, err = h.draftAbroad(r); err != nil || out != nil {
			return err
		}
		e, err := h.auth.get(storage.StateKey{Type: spec.MRoomMember, Key: string(r.Target)})
		if err == nil && e != nil {
			already = e.id
		}
		return err
	})
	if err != nil || out == nil {
		return already, err
	}
	// The other server may have told its user already, when whoever asked goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inviteTime)
	defer cancel()
	to := r.Target.Server()
	made, err := pdu.Parse(out.version, out.raw)
	if err != nil {
		return "", fmt.Errorf("read an invite of ours: %w", err)
	}
	if made, err = s.withRecommendation(ctx, r.Room, made); err != nil {
		return "", err
	}
	out.raw = made.Raw
	s.catchUp(ctx, to)
	signed, err := s.peers.Remote.Invite(ctx, to, r.Room, out.event, out.version.Version(), out.raw, out.state)
	if err != nil {
		s.log.Info("another server does not take an invite", slog.String("server", string(to)), slog.Any("error", err))
		return "", inviteRefusal(err)
	}
	raw, err := s.cosigned(ctx, out.version, out.raw, signed, to)
	if err != nil {
		// It has the invite, and its signature means nothing to third servers.
		s.log.Info("another server has not signed an invite", slog.String("server", string(to)), slog.Any("error", err))
	}
	e, err := pdu.Parse(out.version, raw)
	if err != nil {
		return "", fmt.Errorf("read an invite of ours: %w", err)
	}
	_, err = s.admitMember(ctx, r.Room, e)
	return e.ID, err
}

// draftAbroad makes an invite without adding it to the room.
func (h *head) draftAbroad(r MemberRequest) (*abroad, error) {
	content, err := h.inviteContent(r)
	if err != nil || content == nil {
		return nil, err
	}
	d := draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Target)), sender: r.Sender, content: content, handed: true}
	p, err := h.auth.place(d)
	if err != nil {
		return nil, err
	}
	p.ts = h.s.clock.Now().UnixMilli()
	out := &abroad{version: h.auth.version}
	if out.event, out.raw, err = h.s.build(d, p); err != nil {
		return nil, err
	}
	made, err := p.version.NewEventFromTrustedJSONWithEventID(string(out.event), out.raw, false)
	if err != nil {
		return nil, merr.Newf(merr.BadJSON, "The event is malformed: %s", err)
	}
	if err := h.auth.allowed(made); err != nil {
		return nil, err
	}
	out.state, err = h.auth.wholePreview(r.Sender, string(r.Target))
	return out, err
}

// wholePreview is preview as it goes to other servers: whole events.
//
// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
func (a *authState) wholePreview(sender id.UserID, target string) ([]json.RawMessage, error) {
	state, err := a.preview(sender, target)
	out := make([]json.RawMessage, len(state))
	for i, e := range state {
		out[i] = e.pdu.JSON()
	}
	return out, err
}

// inviteRefusal is what a client is told when the target's server does not take an invite.
//
// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
func inviteRefusal(err error) error {
	var remote RemoteError
	switch {
	case errors.Is(err, errAlone):
		return errInviteAlone
	case !errors.As(err, &remote):
		return merr.New(merr.Unknown, "The server of the user cannot be reached").WithStatus(http.StatusBadGateway)
	}
	status, code := remote.MatrixError()
	switch c := merr.Code(code); {
	case c == merr.InviteBlocked:
		return merr.New(c, "The user does not want to be invited")
	case c == merr.IncompatibleRoomVersion || c == merr.UnsupportedRoomVersion:
		return merr.New(merr.IncompatibleRoomVersion, "The server of the user does not support the version of the room")
	case c == merr.NotFound:
		return merr.New(merr.NotFound, "The server of the user does not know them")
	case c == merr.Forbidden || status == http.StatusForbidden:
		return merr.New(merr.Forbidden, "The server of the user does not take the invite")
	}
	return merr.New(merr.Unknown, "The server of the user does not take the invite").WithStatus(http.StatusBadGateway)
}
