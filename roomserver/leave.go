package roomserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// leaveTime is how long other servers may take to let a user leave, who has left after that in any case.
const leaveTime = 30 * time.Second

// Leave makes the sender leave, reject an invite or retract a knock. Who is not in the room is not told of an error, unless they never were. A
// room that this server is not in it leaves with the help of one that is, or else without.
//
// Spec: client-server-api#leaving-rooms, server-server-api#leaving-rooms-rejecting-invites
func (s *Server) Leave(ctx context.Context, r MemberRequest) error {
	err := s.store.View(ctx, func(tx *storage.ReadTx) error { return mayReject(tx, r.Room, r.Sender) })
	if err != nil {
		return err
	}
	return s.leave(ctx, r)
}

// mayReject refuses that a user rejects an invite to the room of their server notices.
//
// Spec: client-server-api#server-notices
func mayReject(tx *storage.ReadTx, room id.RoomID, user id.UserID) error {
	notices, err := tx.NoticeRoom(user)
	if isNotFound(err) || err == nil && notices != room {
		return nil
	}
	if err != nil {
		return err
	}
	nid, err := tx.RoomNID(room)
	if err != nil {
		return err
	}
	m, err := tx.Membership(nid, user)
	if err == nil && m.Membership == spec.Invite {
		err = merr.New(merr.CannotLeaveServerNoticeRoom, "You cannot reject this invite")
	}
	return err
}

// leave is Leave without asking whether the user may go.
func (s *Server) leave(ctx context.Context, r MemberRequest) error {
	r.Target = r.Sender
	err := s.leaveHere(ctx, r)
	var away *elsewhere
	if !errors.As(err, &away) {
		return err
	}
	leave, err := s.doors.enter(ctx, r.Room)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.leaveHere(ctx, r); !errors.As(err, &away) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return s.leaveOutside(ctx, r)
}

// leaveHere leaves without the help of other servers.
func (s *Server) leaveHere(ctx context.Context, r MemberRequest) error {
	return s.atDoor(ctx, r.Room, func(h *head) error {
		outside, err := h.outside(r.Sender)
		if err != nil {
			return err
		}
		if outside != nil {
			switch outside.Membership {
			case spec.Invite, spec.Knock:
				return &elsewhere{merr.New(merr.Forbidden, "You are not in the room")}
			case spec.Leave:
				return nil
			}
			return merr.New(merr.Forbidden, "You are banned from the room")
		}
		if h.room().State == 0 {
			return errUnknownRoom
		}
		old, err := h.auth.get(storage.StateKey{Type: spec.MRoomMember, Key: string(r.Sender)})
		if err != nil {
			return err
		}
		if old == nil {
			return merr.New(merr.Forbidden, "You are not in the room")
		}
		switch memberOf(old.pdu.Content(), "membership") {
		case spec.Leave:
			return nil
		case spec.Ban:
			return merr.New(merr.Forbidden, "You are banned from the room")
		}
		if err := h.mustBeResident(); err != nil {
			return err
		}
		return h.setMembership(r, spec.Leave)
	})
}

// leaveOutside rejects an invite to a room that this server is not in, or retracts a knock. Servers in the room that cannot be reached, or do
// not let the user go, keep nobody: then it is only here that the user has left.
func (s *Server) leaveOutside(ctx context.Context, r MemberRequest) error {
	out, err := s.plan(ctx, r, spec.Leave)
	if err != nil {
		return err
	}
	var version gomatrixserverlib.RoomVersion
	if err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(r.Room)
		if err == nil {
			version = row.Version
		}
		return err
	}); err != nil {
		return err
	}
	err = s.tryEach(ctx, "leave", out, errUnreachable, func(ctx context.Context, to id.ServerName) error {
		t, err := func() (fedtypes.Template, error) {
			ctx, cancel := context.WithTimeout(ctx, makeTime)
			defer cancel()
			return s.peers.Remote.MakeLeave(ctx, to, r.Room, r.Sender)
		}()
		if err != nil {
			return fmt.Errorf("make_leave: %w", err)
		}
		p, err := s.readTemplate(t, version, to, r, spec.Leave)
		if err != nil {
			return err
		}
		event, raw, err := s.complete(p, r, out.content)
		if err != nil {
			return err
		}
		if err := s.peers.Remote.SendLeave(ctx, to, r.Room, event, raw); err != nil {
			return fmt.Errorf("send_leave: %w", err)
		}
		e, err := pdu.Parse(p.version, raw)
		if err != nil {
			return fmt.Errorf("read a leave of ours: %w", err)
		}
		return s.store.Update(ctx, func(tx *storage.Tx) error { return s.keepOutside(tx, p.version, e, "") })
	})
	if err == nil {
		return nil
	}
	s.log.Info("a user leaves a room without its servers", slog.String("room", string(r.Room)), slog.Any("error", err))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return s.store.Update(ctx, func(tx *storage.Tx) error { return s.leaveAlone(tx, r) })
}

// leaveAlone notes for the clients of a user that they have left a room, of which nobody else hears: the event follows the invite or knock that
// it takes back.
func (s *Server) leaveAlone(tx *storage.Tx, r MemberRequest) error {
	row, err := tx.Room(r.Room)
	if err != nil {
		return err
	}
	version, ok := s.versions[row.Version]
	if !ok {
		return fmt.Errorf("room %s has the unknown version %q", row.ID, row.Version)
	}
	m, err := tx.Membership(row.NID, r.Sender)
	if err != nil {
		return err
	}
	if m.Membership != spec.Invite && m.Membership != spec.Knock {
		return nil // something has come between
	}
	last, err := tx.EventAt(m.Event)
	if err != nil {
		return fmt.Errorf("find the %s of %s: %w", m.Membership, r.Sender, err)
	}
	content, err := s.memberContent(&tx.ReadTx, r, spec.Leave)
	if err != nil {
		return err
	}
	auth := append([]id.EventID{last.ID}, last.AuthEventIDs()...)
	_, raw, err := s.complete(proposal{
		version: version, prev: []id.EventID{last.ID}, auth: auth[:min(len(auth), maxEdges)], depth: min(last.Depth+1, maxDepth),
	}, r, content)
	if err != nil {
		return err
	}
	e, err := pdu.Parse(version, raw)
	if err != nil {
		return fmt.Errorf("read a leave of ours: %w", err)
	}
	return s.keepOutside(tx, version, e, "")
}
