package roomserver

import (
	"context"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// entrance is how a room looks to a server that comes into it: what a resident server has answered to send_join, with events whose signatures
// have been checked.
type entrance struct {
	room    id.RoomID
	version gomatrixserverlib.IRoomVersion
	join    *pdu.Event
	state   []*pdu.Event // before the join
	auth    []*pdu.Event
}

// enter makes a room ours to take part in: its state is what a resident server says, as far as the auth rules let it be, and its timeline begins
// with the join. What came before is a gap, to be filled when somebody wants to see it. A room that we were in before and have left gets the new
// state in place of the old one.
//
// Spec: server-server-api#joining-rooms
func (s *Server) enter(ctx context.Context, in entrance) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		room, err := tx.Room(in.room)
		if isNotFound(err) {
			room = &storage.Room{ID: in.room, Version: in.version.Version()}
			err = tx.AddRoom(room)
		}
		if err != nil {
			return err
		}
		if room.Version != in.version.Version() {
			if room.State != 0 {
				return fmt.Errorf("the room %s is of version %s here and %s elsewhere", room.ID, room.Version, in.version.Version())
			}
			if err := tx.SetRoomVersion(room.NID, in.version.Version()); err != nil {
				return err
			}
			room.Version = in.version.Version()
		}
		h, err := s.head(tx, room)
		if err != nil {
			return err
		}
		if err := h.enter(in); err != nil {
			return err
		}
		return h.finish()
	})
}

func (h *head) enter(in entrance) error {
	room := h.room()
	if err := h.outliers(append(append([]*pdu.Event{}, in.auth...), in.state...)); err != nil {
		return err
	}
	state, err := h.admitted(in.state)
	if err != nil {
		return err
	}
	if _, ok := state[storage.StateKey{Type: spec.MRoomCreate}]; !ok {
		return merr.New(merr.Unknown, "The other server gave a state without a create event")
	}
	// Memberships of ours that the room does not know of, as of an invite, are part of the old state.
	old, err := h.stateMap(room.State)
	if err != nil {
		return err
	}
	changes := differing(old, state)
	next, err := h.tx.AddSnapshot(room.NID, room.State, changes)
	if err != nil {
		return err
	}
	if _, err := h.tx.AddGap(room.NID, in.join.Prev()); err != nil {
		return err
	}
	pos, err := h.tx.NextPos()
	if err != nil {
		return err
	}
	if err := h.change(pos, next, changes, nil); err != nil {
		return err
	}
	room.Extremities = nil
	if why, err := refused(h.auth.allowed(in.join)); why != nil || err != nil {
		if err == nil {
			err = fmt.Errorf("the state that the other server gave does not allow the join: %w", why)
		}
		return err
	}
	e := newEvent(room, in.join)
	e.StateBefore = next
	if stored, err := h.tx.Event(e.ID); err == nil {
		e.NID = stored.NID
	} else if !isNotFound(err) {
		return err
	}
	return h.accept(e, &authEvent{id: e.ID, pdu: in.join.PDU}, in.join.Prev(), false)
}

// admitted is the state that some events are, as far as they were stored and not rejected.
func (h *head) admitted(events []*pdu.Event) (map[storage.StateKey]int64, error) {
	claim := map[storage.StateKey]id.EventID{}
	for _, e := range events {
		if typ, key, ok := e.State(); ok {
			claim[storage.StateKey{Type: typ, Key: key}] = e.ID
		}
	}
	return h.claimed(claim)
}
