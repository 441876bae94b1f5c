package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// What this server does as a resident of a room for servers that are not: it proposes membership events to them, and takes what they make of
// them into the room. The room's list of servers that it lets in has been asked before.

// maxAuthChain bounds the auth chain in the answer to a join.
const maxAuthChain = 50_000

// MakeJoin proposes a join to the server of a user. Errors: M_NOT_FOUND, M_FORBIDDEN, M_INCOMPATIBLE_ROOM_VERSION, M_UNABLE_TO_AUTHORISE_JOIN
// and M_UNABLE_TO_GRANT_JOIN.
//
// Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
func (s *Server) MakeJoin(
	ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion,
) (fedtypes.Template, error) {
	return s.propose(ctx, origin, room, user, spec.Join, func(a *authState) error { return a.mustKnow(versions) })
}

// MakeKnock proposes a knock to the server of a user. Errors: M_NOT_FOUND, M_FORBIDDEN and M_INCOMPATIBLE_ROOM_VERSION.
//
// Spec: server-server-api#get_matrixfederationv1make_knockroomiduserid
func (s *Server) MakeKnock(
	ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, versions []gomatrixserverlib.RoomVersion,
) (fedtypes.Template, error) {
	return s.propose(ctx, origin, room, user, spec.Knock, func(a *authState) error { return a.mustKnow(versions) })
}

// MakeLeave proposes to the server of a user who is not in the room to reject an invite or retract a knock. Errors: M_NOT_FOUND and
// M_FORBIDDEN.
//
// Spec: server-server-api#get_matrixfederationv1make_leaveroomiduserid
func (s *Server) MakeLeave(ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID) (fedtypes.Template, error) {
	return s.propose(ctx, origin, room, user, spec.Leave, func(*authState) error { return nil })
}

// mustKnow refuses a server that does not know the room's version.
func (a *authState) mustKnow(versions []gomatrixserverlib.RoomVersion) error {
	if len(versions) == 0 {
		versions = []gomatrixserverlib.RoomVersion{gomatrixserverlib.RoomVersionV1}
	}
	if slices.Contains(versions, a.room.Version) {
		return nil
	}
	return merr.New(merr.IncompatibleRoomVersion, "Your server does not support the version of the room").With("room_version", a.room.Version)
}

func (s *Server) propose(
	ctx context.Context, origin id.ServerName, room id.RoomID, user id.UserID, membership string, check func(a *authState) error,
) (out fedtypes.Template, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.resident(tx, room)
		if err != nil {
			return err
		}
		if user.Server() != origin {
			return merr.New(merr.Forbidden, "The user is not one of your server")
		}
		if err := check(a); err != nil {
			return err
		}
		content := must(map[string]string{"membership": membership})
		if membership == spec.Join {
			if content, err = s.joinContent(a, user, content); err != nil {
				return err
			}
		}
		out.Version = a.room.Version
		out.Event, err = a.template(s, draft{typ: spec.MRoomMember, stateKey: ptr(string(user)), sender: user, content: content})
		return err
	})
	return out, err
}

// resident is state for a room that this server knows what is going on in.
func (s *Server) resident(tx *storage.ReadTx, room id.RoomID) (*authState, error) {
	a, err := s.state(tx, room)
	if err != nil {
		return nil, err
	}
	resident, err := a.resident()
	if err == nil && !resident {
		err = errUnknownRoom
	}
	return a, err
}

// joinContent adds to the content of a join who of this server vouches for it, where the join rule wants that.
func (s *Server) joinContent(a *authState, user id.UserID, content json.RawMessage) (json.RawMessage, error) {
	vouched, err := a.needsVoucher(user)
	if err != nil || !vouched {
		return content, err
	}
	rule, err := a.joinRule()
	if err != nil {
		return nil, err
	}
	authoriser, err := a.authoriser(s, rule, user)
	return withField(content, "join_authorised_via_users_server", string(authoriser)), err
}

// needsVoucher reports whether a user may join only if somebody in the room vouches for them.
func (a *authState) needsVoucher(user id.UserID) (bool, error) {
	rule, err := a.joinRule()
	if err != nil || !isRestricted(rule) {
		return false, err
	}
	was, _, err := a.membership(user)
	return was == spec.Leave || was == spec.Knock, err
}

// Joined is the answer to a join: what a server has to know that comes into a room.
type Joined struct {
	Version          gomatrixserverlib.RoomVersion
	Event            json.RawMessage // the join, with our signature if one of our users vouches for it
	State, AuthChain []json.RawMessage
	MembersOmitted   bool
	Servers          []id.ServerName // with members who were joined before
}

// SendJoin lets a user of another server into a room. With omit, members that are not needed to name the room are left out of the answer.
// Errors: M_INVALID_PARAM for what is not the join that it should be, M_NOT_FOUND, M_FORBIDDEN, M_UNABLE_TO_AUTHORISE_JOIN and
// M_UNABLE_TO_GRANT_JOIN.
//
// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
func (s *Server) SendJoin(
	ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage, omit bool,
) (Joined, error) {
	var out Joined
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.resident(tx, room)
		if err != nil {
			return err
		}
		out.Servers, err = a.tx.ServersInRoom(a.room.NID)
		return err
	})
	if err != nil {
		return Joined{}, err
	}
	out.Servers = append([]id.ServerName{s.cfg.Name}, out.Servers...)
	e, version, err := s.take(ctx, origin, room, event, raw, spec.Join)
	if err != nil {
		return Joined{}, err
	}
	out.Version, out.Event = version, e.JSON
	err = s.store.View(ctx, func(tx *storage.ReadTx) error { return s.welcome(tx, e, omit, &out) })
	return out, err
}

// welcome collects the state before a join and its auth chain.
func (s *Server) welcome(tx *storage.ReadTx, join *storage.Event, omit bool, out *Joined) error {
	state, err := tx.WholeStateAt(join.StateBefore)
	if err != nil {
		return err
	}
	if omit {
		state, out.MembersOmitted = withoutMembers(state, id.UserID(*join.StateKey))
	}
	chain, _, err := tx.AuthChain(append([]*storage.Event{join}, state...), maxAuthChain)
	if err != nil {
		return err
	}
	told := map[id.EventID]bool{}
	for _, e := range state {
		out.State = append(out.State, e.JSON)
		told[e.ID] = omit
	}
	for _, e := range chain {
		if !told[e.ID] {
			out.AuthChain = append(out.AuthChain, e.JSON)
		}
	}
	return nil
}

// maxHeroes is how many members name a room that has no name.
const maxHeroes = 5

// withoutMembers leaves the members out of a state but for those who name the room, where nothing else does.
//
// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid, client-server-api#get_matrixclientv3sync
func withoutMembers(state []*storage.Event, joining id.UserID) (out []*storage.Event, omitted bool) {
	named := false
	for _, e := range state {
		named = named || e.IsState(spec.MRoomName, "") && text(e.Get("content.name")) != "" ||
			e.IsState(spec.MRoomCanonicalAlias, "") && text(e.Get("content.alias")) != ""
	}
	byMembership := map[string][]*storage.Event{}
	for _, e := range state {
		if e.Type != spec.MRoomMember {
			out = append(out, e)
			continue
		}
		omitted = true
		if *e.StateKey != string(joining) {
			m := memberOf(e.Content(), "membership")
			byMembership[m] = append(byMembership[m], e)
		}
	}
	if named {
		return out, omitted
	}
	heroes := append(byMembership[spec.Join], byMembership[spec.Invite]...)
	if len(heroes) == 0 {
		heroes = append(byMembership[spec.Leave], byMembership[spec.Ban]...)
	}
	slices.SortStableFunc(heroes, func(a, b *storage.Event) int { return int(min(max(a.Depth-b.Depth, -1), 1)) })
	return append(out, heroes[:min(len(heroes), maxHeroes)]...), omitted
}

// SendLeave lets a user of another server, who is not in the room, reject an invite or retract a knock. Errors: M_INVALID_PARAM, M_NOT_FOUND
// and M_FORBIDDEN.
//
// Spec: server-server-api#put_matrixfederationv2send_leaveroomideventid
func (s *Server) SendLeave(ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage) error {
	_, _, err := s.take(ctx, origin, room, event, raw, spec.Leave)
	return err
}

// SendKnock lets a user of another server knock, and returns what the user may be told of the room. Errors: M_INVALID_PARAM, M_NOT_FOUND and
// M_FORBIDDEN.
//
// Spec: server-server-api#put_matrixfederationv1send_knockroomideventid
func (s *Server) SendKnock(
	ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage,
) (state []json.RawMessage, err error) {
	e, _, err := s.take(ctx, origin, room, event, raw, spec.Knock)
	if err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.state(tx, room)
		if err == nil {
			state, err = a.wholePreview(e.Sender, *e.StateKey)
		}
		return err
	})
	return state, err
}

// take checks the membership event that another server has made of one of our templates, and takes it into the room. What was true when the
// template was made may not be any more: all is judged anew.
func (s *Server) take(
	ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage, membership string,
) (*storage.Event, gomatrixserverlib.RoomVersion, error) {
	var version gomatrixserverlib.IRoomVersion
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.resident(tx, room)
		if err == nil {
			version = a.version
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	e, err := readMember(version, origin, room, event, raw, membership)
	if err != nil {
		return nil, "", err
	}
	if *e.StateKey() != string(e.SenderID()) {
		return nil, "", merr.New(merr.InvalidParam, "The event changes the membership of somebody else")
	}
	var vouch bool
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		a, err := s.resident(tx, room)
		if err != nil {
			return err
		}
		if err := a.allowed(e.PDU); err != nil {
			return err
		}
		vouch, err = s.vouches(a, e)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if vouch {
		signed, err := s.cosign(e)
		if err != nil {
			return nil, "", err
		}
		if e, err = pdu.Parse(version, signed); err != nil {
			return nil, "", err
		}
	}
	if err := s.verifyMember(ctx, version, e); err != nil {
		return nil, "", err
	}
	if e, err = s.withRecommendation(ctx, room, e); err != nil {
		return nil, "", err
	}
	stored, err := s.admitMember(ctx, room, e)
	return stored, version.Version(), err
}

// admitMember takes a membership event into the room whose signatures are known to hold, and sends it to the other servers in the room. Unlike
// Receive it refuses what the room does not allow any more. Errors: M_NOT_FOUND and M_FORBIDDEN.
func (s *Server) admitMember(ctx context.Context, room id.RoomID, e *pdu.Event) (stored *storage.Event, err error) {
	err = s.update(ctx, room, func(h *head) error {
		if resident, err := h.auth.resident(); err != nil || !resident {
			return errors.Join(err, errUnknownRoom)
		}
		// The join rule may be another one than when the event was signed. Spec: server-server-api#restricted-rooms
		if _, err := h.s.vouches(h.auth, e); err != nil {
			return err
		}
		stored, err = h.admit(incoming{Event: e, spread: true})
		return err
	})
	return stored, err
}

// admit is receive for an event that has to be accepted. Errors: M_FORBIDDEN.
func (h *head) admit(in incoming) (*storage.Event, error) {
	why, err := h.receive(in)
	if err == nil {
		err = why
	}
	if err != nil {
		return nil, err
	}
	stored, err := h.tx.Event(in.ID)
	if err == nil && stored.Status != storage.Accepted {
		err = merr.New(merr.Forbidden, "The room does not allow this any more")
	}
	return stored, err
}

// vouches reports whether this server has to sign a join for it to be allowed, having checked that it may: that the user is in one of the rooms
// that the join rule names. That who vouches may invite is one of the auth rules.
func (s *Server) vouches(a *authState, e *pdu.Event) (bool, error) {
	user := id.UserID(e.SenderID())
	needed, err := a.needsVoucher(user)
	if err != nil || !needed || memberOf(e.Content(), "membership") != spec.Join {
		return false, err
	}
	voucher := id.UserID(memberOf(e.Content(), "join_authorised_via_users_server"))
	if !s.local(voucher) {
		return false, nil // whose server must have signed
	}
	rule, err := a.joinRule()
	if err != nil {
		return false, err
	}
	return true, a.meets(s, rule, user)
}

// readMember reads a membership event of another server's user, for which it must have the right form.
//
// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid and its siblings
func readMember(
	version gomatrixserverlib.IRoomVersion, origin id.ServerName, room id.RoomID, event id.EventID, raw json.RawMessage, membership string,
) (*pdu.Event, error) {
	bad := func(what string) (*pdu.Event, error) { return nil, merr.Newf(merr.InvalidParam, "The event %s", what) }
	e, err := pdu.Parse(version, raw)
	if err != nil {
		return bad("is malformed")
	}
	switch {
	case e.Tampered:
		return bad("does not match its content hash")
	case e.ID != event:
		return bad("is not the one that the path names")
	case e.Type() != spec.MRoomMember || e.StateKey() == nil:
		return bad("is not a membership")
	case text(gjson.GetBytes(e.Raw, "room_id")) != string(room):
		return bad("is not one of the room")
	case memberOf(e.Content(), "membership") != membership:
		return bad("has another membership")
	case id.UserID(e.SenderID()).Server() != origin:
		return bad("is not sent by a user of your server")
	}
	if _, err := id.ParseUserID(*e.StateKey()); err != nil {
		return bad("does not name a user")
	}
	return e, nil
}

// verifyMember checks the signatures that a membership event must have: those of any event, and that of who sends it also where a third-party
// invite makes up for it.
func (s *Server) verifyMember(ctx context.Context, version gomatrixserverlib.IRoomVersion, e *pdu.Event) error {
	servers := e.Signers(version)
	if from := id.UserID(e.SenderID()).Server(); !slices.Contains(servers, from) {
		servers = append(servers, from)
	}
	signed := fedtypes.Signed{Raw: e.Raw, Message: e.Signed, Servers: servers, TS: int64(e.OriginServerTS())}
	if err := s.peers.Verifier.VerifyEvents(ctx, version, []fedtypes.Signed{signed})[0]; err != nil {
		s.log.Debug("membership event without a valid signature", slog.String("event", string(e.ID)), slog.Any("error", err))
		return merr.New(merr.InvalidParam, "The event lacks a valid signature")
	}
	return nil
}
