package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// canJoin is the guest_access of a room that guests may join.
const canJoin = "can_join"

// Join joins the sender to a room; who is joined already stays so without a new event. A room that this server is not in it enters through a
// server that is. Errors: M_FORBIDDEN, M_GUEST_ACCESS_FORBIDDEN, M_NOT_FOUND where nobody knows the room, M_INCOMPATIBLE_ROOM_VERSION,
// M_UNABLE_TO_AUTHORISE_JOIN, M_UNABLE_TO_GRANT_JOIN, and M_UNKNOWN with 502 where no server that might know the room can be reached.
//
// Spec: client-server-api#joining-rooms, server-server-api#joining-rooms
func (s *Server) Join(ctx context.Context, r MemberRequest) error {
	r.Target = r.Sender
	if r.ThirdParty != nil {
		inviter, err := s.becomeInvited(ctx, r)
		if err != nil {
			return err
		}
		r.Via = append(slices.Clip(r.Via), inviter)
	}
	err := s.joinHere(ctx, r)
	var away *elsewhere
	if !errors.As(err, &away) {
		return err
	}
	if r.Guest {
		// Whether it lets guests in is part of the state of the room, which one sees from inside.
		return merr.New(merr.GuestAccessForbidden, "Guests may join only rooms that this server is in")
	}
	leave, err := s.doors.enter(ctx, r.Room)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.joinHere(ctx, r); !errors.As(err, &away) { // somebody has gone through the door before us
		return err
	}
	// Whoever asked may go away; a join that another server has accepted is finished all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handshakeTime)
	defer cancel()
	p, err := s.plan(ctx, r, spec.Join)
	if err != nil {
		return err
	}
	err = s.tryEach(ctx, "join", p, away.why, func(ctx context.Context, to id.ServerName) error { return s.joinThrough(ctx, to, r, p.content) })
	if err != nil {
		return err
	}
	return s.update(ctx, r.Room, func(h *head) error { return h.carryOver(r.Sender) })
}

// joinHere joins without the help of other servers.
func (s *Server) joinHere(ctx context.Context, r MemberRequest) error {
	err := s.update(ctx, r.Room, func(h *head) error {
		if err := h.mustBeResident(); err != nil {
			return err
		}
		err := h.join(r)
		if merr.HasCode(err, merr.Forbidden) {
			return h.unlessOutside(r.Sender, err)
		}
		return err
	})
	return knownElsewhere(err)
}

// joinThrough joins a room with the help of a server that is in it.
func (s *Server) joinThrough(ctx context.Context, to id.ServerName, r MemberRequest, content json.RawMessage) error {
	t, err := func() (fedtypes.Template, error) {
		ctx, cancel := context.WithTimeout(ctx, makeTime)
		defer cancel()
		return s.peers.Remote.MakeJoin(ctx, to, r.Room, r.Sender, s.offered())
	}()
	if err != nil {
		return fmt.Errorf("make_join: %w", err)
	}
	p, err := s.readTemplate(t, "", to, r, spec.Join)
	if err != nil {
		return err
	}
	if p.authoriser != "" {
		content = withField(content, "join_authorised_via_users_server", string(p.authoriser))
	}
	event, raw, err := s.complete(p, r, content)
	if err != nil {
		return err
	}
	answer, err := s.peers.Remote.SendJoin(ctx, to, r.Room, event, raw)
	if err != nil {
		return fmt.Errorf("send_join: %w", err)
	}
	if raw, err = s.cosigned(ctx, p.version, raw, answer.Event, to); err != nil && p.authoriser != "" {
		return fmt.Errorf("send_join: the join is not authorised: %w", err)
	}
	in, err := s.entrance(ctx, p.version, r.Room, raw, answer)
	if err != nil {
		return fmt.Errorf("send_join: %w", err)
	}
	return s.enter(ctx, in)
}

// entrance checks what a resident server has answered to a join of ours. Events that cannot be verified are left out: what depends on them will
// be as well.
//
// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
func (s *Server) entrance(
	ctx context.Context, version gomatrixserverlib.IRoomVersion, room id.RoomID, join []byte, answer fedtypes.JoinAnswer,
) (entrance, error) {
	if answer.MembersOmitted {
		return entrance{}, errors.New("members are left out of the state, though nobody asked for that")
	}
	in := entrance{room: room, version: version}
	var err error
	if in.join, err = pdu.Parse(version, join); err != nil {
		return in, fmt.Errorf("read a join of ours: %w", err)
	}
	seen := map[id.EventID]bool{in.join.ID: true}
	read := func(list []json.RawMessage) (out []*pdu.Event) {
		for _, raw := range list {
			e, err := pdu.Parse(version, raw)
			if err == nil && e.RoomID().String() == string(room) && !seen[e.ID] {
				seen[e.ID] = true
				out = append(out, e)
			}
		}
		return out
	}
	state := read(answer.State)
	auth := read(answer.AuthChain)
	for i, err := range s.verify(ctx, version, append(slices.Clip(state), auth...)) {
		switch {
		case err != nil:
			s.log.Debug("event of a joined room cannot be verified", slog.String("room", string(room)), slog.Any("error", err))
		case i < len(state):
			in.state = append(in.state, state[i])
		default:
			in.auth = append(in.auth, auth[i-len(state)])
		}
	}
	i := slices.IndexFunc(in.state, func(e *pdu.Event) bool { return e.Type() == spec.MRoomCreate && e.StateKeyEquals("") })
	if i < 0 {
		return in, errors.New("the state has no create event that can be verified")
	}
	create := in.state[i]
	said := gomatrixserverlib.RoomVersion(memberOf(create.Content(), "room_version"))
	if said == "" {
		said = gomatrixserverlib.RoomVersionV1
	}
	if said != version.Version() {
		return in, errors.New("the create event is that of another room version")
	}
	if named, ok := room.CreateEvent(); ok && version.DomainlessRoomIDs() && named != create.ID {
		return in, errors.New("the create event is that of another room")
	}
	return in, nil
}

// complete makes the event that a template is for.
func (s *Server) complete(p proposal, r MemberRequest, content json.RawMessage) (id.EventID, []byte, error) {
	d := draft{typ: spec.MRoomMember, stateKey: ptr(string(r.Sender)), sender: r.Sender, content: content, handed: true}
	return s.build(d, place{
		version: p.version, room: r.Room, prev: p.prev, auth: p.auth, depth: p.depth, ts: s.clock.Now().UnixMilli(),
	})
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
	if isRestricted(rule) && was != spec.Invite {
		authoriser, err := h.auth.authoriser(h.s, rule, r.Sender)
		if merr.HasCode(err, merr.UnableToGrantJoin) {
			// Spec: server-server-api#restricted-rooms
			return &elsewhere{merr.New(merr.Forbidden, "Nobody on this server may authorise the join")}
		}
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

func isRestricted(rule authrules.JoinRule) bool {
	return rule.Rule == spec.Restricted || rule.Rule == spec.KnockRestricted
}

// authoriser finds a user of this server who may vouch for a restricted join: user is in one of the rooms that the rule names, and the
// authoriser is in this one and may invite. Errors: M_FORBIDDEN, if the user is in none of the rooms; M_UNABLE_TO_AUTHORISE_JOIN, if others may
// know that better; M_UNABLE_TO_GRANT_JOIN, if others may have somebody who vouches.
//
// Spec: client-server-api#restricted-rooms, server-server-api#restricted-rooms
func (a *authState) authoriser(s *Server, rule authrules.JoinRule, user id.UserID) (id.UserID, error) {
	if err := a.meets(s, rule, user); err != nil {
		return "", err
	}
	joined, err := a.joined()
	if err != nil {
		return "", err
	}
	p, err := a.power()
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(joined, func(m storage.Member) bool { return p.User(m.User) >= p.Invite }); i >= 0 {
		return joined[i].User, nil
	}
	return "", merr.New(merr.UnableToGrantJoin, "Nobody on this server may authorise the join")
}

// meets reports with a nil error that a user is in one of the rooms that a restricted join rule names.
func (a *authState) meets(s *Server, rule authrules.JoinRule, user id.UserID) error {
	unknown := false
	for _, room := range rule.Allow {
		other, err := s.state(a.tx, room)
		if merr.HasCode(err, merr.NotFound) {
			unknown = true
			continue
		}
		if err != nil {
			return err
		}
		// Of users of ours we know where they are, of others only in rooms that we are in.
		if !s.local(user) {
			resident, err := other.resident()
			if err != nil {
				return err
			}
			if !resident {
				unknown = true
				continue
			}
		}
		m, err := a.tx.Membership(other.room.NID, user)
		if err == nil && m.Membership == spec.Join {
			return nil
		}
		if err != nil && !isNotFound(err) {
			return err
		}
	}
	if unknown && !s.local(user) {
		return merr.New(merr.UnableToAuthoriseJoin, "This server does not know all of the rooms whose members may join this one")
	}
	return merr.New(merr.Forbidden, "You are in none of the rooms whose members may join this one")
}

// maxInviters bounds the users with power whose memberships are looked at.
const maxInviters = 100

// inviters is the servers of those with the power to invite, the most powerful first: who may authorise restricted joins.
func (a *authState) inviters() ([]id.ServerName, error) {
	p, err := a.power()
	if isNotFound(err) || merr.HasCode(err, merr.Forbidden) { // power levels that say nothing
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var users []id.UserID
	for u, level := range p.Users() {
		if level >= p.Invite {
			users = append(users, id.UserID(u))
		}
	}
	slices.SortFunc(users, func(x, y id.UserID) int {
		return cmp.Or(-cmp.Compare(p.User(x), p.User(y)), cmp.Compare(x, y))
	})
	creators := make([]id.UserID, len(p.Creators))
	for i, c := range p.Creators {
		creators[i] = id.UserID(c)
	}
	users = append(creators, users...)
	var out []id.ServerName
	for _, u := range users[:min(len(users), maxInviters)] {
		membership, _, err := a.membership(u)
		if err != nil {
			return nil, err
		}
		if membership == spec.Join {
			out = append(out, u.Server())
		}
	}
	return out, nil
}

// expelGuests makes guests leave a room that does not allow them any more.
//
// Spec: client-server-api#guest-access
func (h *head) expelGuests() error {
	if h.was.GuestAccess != canJoin || h.room().Summary.GuestAccess == canJoin {
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
