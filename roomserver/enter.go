package roomserver

import (
	"context"
	"fmt"
	"slices"

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
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		_, err := s.outsideRoom(tx, in.room, in.version)
		return err
	})
	if err != nil {
		return err
	}
	// They do no harm if it comes to nothing after that.
	if err := s.support(ctx, in.room, slices.Concat(in.auth, in.state)); err != nil {
		return err
	}
	return s.atDoor(ctx, in.room, func(h *head) error { return h.enter(in) })
}

func (h *head) enter(in entrance) error {
	room := h.room()
	if room.Version != in.version.Version() {
		return fmt.Errorf("the room %s is of version %s here and %s elsewhere", room.ID, room.Version, in.version.Version())
	}
	joined, err := h.auth.joined()
	if err != nil {
		return err
	}
	if len(joined) > 0 {
		return h.enterBeside(in)
	}
	state, err := h.claimed(in.claim())
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
		if stored.Room != room.NID || stored.Status == storage.Accepted {
			return errTaken
		}
		e.NID = stored.NID
	} else if !isNotFound(err) {
		return err
	}
	return h.accept(e, &authEvent{id: e.ID, pdu: in.join.PDU}, in.join.Prev(), false)
}

// enterBeside takes the join of another user of ours into a room that we are in, where only others could authorise it. What they say of the state
// counts for what they know and we do not.
func (h *head) enterBeside(in entrance) error {
	join := incoming{Event: in.join}
	parents, err := h.tx.EventsByID(in.join.Prev())
	if err != nil {
		return err
	}
	known := stock{}
	for _, p := range parents {
		if p != nil && p.Room == h.room().NID {
			known[p.ID] = stocked(p)
		}
	}
	for _, p := range in.join.Prev() {
		if known.judged(p) {
			continue
		}
		if join.claim == nil {
			join.claim = in.claim()
		}
		if known[p] != stateless {
			join.missing = append(join.missing, p)
		}
	}
	_, err = h.admit(join)
	return err
}

// claim is the state before the join as the other server says it is. Of events that are said to be the same piece of state the first counts.
func (in entrance) claim() map[storage.StateKey]id.EventID {
	claim := map[storage.StateKey]id.EventID{}
	for _, e := range in.state {
		if typ, key, ok := e.State(); ok {
			if k := (storage.StateKey{Type: typ, Key: key}); claim[k] == "" {
				claim[k] = e.ID
			}
		}
	}
	return claim
}
