package roomserver

import (
	"context"
	"encoding/json"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// AcceptInvite takes an invite of a user of another server for one of ours, and returns it with our signature. state is what the user may be told
// of the room. In a room that this server is in, the invite counts when it comes as an event of the room. Errors: M_INVALID_PARAM for what is
// not the invite that it should be, M_INCOMPATIBLE_ROOM_VERSION, M_NOT_FOUND for a user who does not exist, M_FORBIDDEN and M_INVITE_BLOCKED.
//
// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
func (s *Server) AcceptInvite(
	ctx context.Context, origin id.ServerName, room id.RoomID, event id.EventID, roomVersion gomatrixserverlib.RoomVersion, raw json.RawMessage,
	state []json.RawMessage,
) (json.RawMessage, error) {
	version, ok := s.versions[roomVersion]
	if !ok {
		return nil, merr.New(merr.IncompatibleRoomVersion, "This server does not support the version of the room").With("room_version", roomVersion)
	}
	if version.DomainlessRoomIDs() != (room.Server() == "") {
		return nil, merr.New(merr.InvalidParam, "The room id is none of the room version")
	}
	e, err := readMember(version, origin, room, event, raw, spec.Invite)
	if err != nil {
		return nil, err
	}
	target := id.UserID(*e.StateKey())
	if !s.local(target) {
		return nil, merr.New(merr.InvalidParam, "The event does not invite a user of this server")
	}
	var resident bool
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		resident, err = s.mayTakeInvite(tx, room, version, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.verifyMember(ctx, version, e); err != nil {
		return nil, err
	}
	shown := ""
	if !resident {
		if shown, err = s.previews(ctx, version, e, state, true); err != nil {
			return nil, err
		}
	}
	signed, err := s.cosign(e)
	if err != nil {
		return nil, err
	}
	if e, err = pdu.Parse(version, signed); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		// Since then, the user may have joined by another way.
		resident, err := s.mayTakeInvite(&tx.ReadTx, room, version, e)
		if err != nil || resident {
			return err
		}
		return s.keepOutside(tx, version, e, shown)
	})
	return signed, err
}

// mayTakeInvite refuses invites for users who are not there, or do not want any. It reports whether this server is in the room, where it also
// refuses what the room does not allow.
func (s *Server) mayTakeInvite(tx *storage.ReadTx, room id.RoomID, version gomatrixserverlib.IRoomVersion, e *pdu.Event) (resident bool, err error) {
	target := id.UserID(*e.StateKey())
	user, err := tx.User(target)
	if isNotFound(err) || err == nil && user.Deactivated() {
		return false, merr.New(merr.NotFound, "There is no such user here")
	}
	if err != nil {
		return false, err
	}
	if err := (&authState{tx: tx}).mayBeInvited(target, id.UserID(e.SenderID())); err != nil {
		return false, err
	}
	a, err := s.state(tx, room)
	if merr.HasCode(err, merr.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !sameVersion(a.version, version) {
		return false, merr.New(merr.InvalidParam, "The room has another version")
	}
	joined, err := a.joined()
	if err != nil || len(joined) == 0 {
		return false, err
	}
	was, _, err := a.membership(target)
	if err == nil && (was == spec.Join || was == spec.Ban) {
		err = merr.New(merr.Forbidden, "The user cannot be invited to the room")
	}
	return true, err
}
