package roomserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// newEvent is the row of an event that came from another server.
func newEvent(room *storage.Room, e *pdu.Event) *storage.Event {
	return &storage.Event{
		ID: e.ID, Room: room.NID, RoomID: room.ID, Type: e.Type(), StateKey: e.StateKey(), Sender: id.UserID(e.SenderID()),
		Depth: clampDepth(e.Depth()), TS: int64(e.OriginServerTS()), JSON: e.Raw,
	}
}

// clampDepth keeps what a server says of the depth of its event from spoiling those of others.
func clampDepth(d int64) int64 { return min(max(d, 0), maxDepth) }

// number gives an event that has no place a number.
func (h *head) number(e *storage.Event) (err error) {
	if e.NID == 0 {
		e.NID, err = h.tx.NextBackfillPos()
	}
	return err
}

// keep stores an event without a place in the timeline.
func (h *head) keep(e *storage.Event) error {
	stored := e.NID != 0
	if err := h.number(e); err != nil {
		return err
	}
	return h.keepAs(e, stored)
}

func (h *head) keepAs(e *storage.Event, stored bool) error {
	if stored {
		return h.tx.JudgeEvent(e.NID, e)
	}
	return h.tx.AddEvent(e)
}

// claimed turns the ids of a claimed state into numbers. Events that are not here, or were rejected, are left out.
func (h *head) claimed(claim map[storage.StateKey]id.EventID) (map[storage.StateKey]int64, error) {
	if claim == nil {
		return nil, nil //nolint:nilnil // nothing is claimed
	}
	ids := make([]id.EventID, 0, len(claim))
	for _, e := range claim {
		ids = append(ids, e)
	}
	slices.Sort(ids)
	events, err := h.tx.EventsByID(ids)
	if err != nil {
		return nil, err
	}
	out := make(map[storage.StateKey]int64, len(claim))
	for _, e := range events {
		if e == nil || e.Room != h.room().NID || e.Status == storage.Rejected {
			continue
		}
		if key, ok := stateKeyOf(e); ok && claim[key] == e.ID {
			out[key] = e.NID
		}
	}
	return out, nil
}

// maxSupport bounds the events that support others and are stored in one Update.
const maxSupport = 100

// support is outliers for any number of events, of a room that may have no state here: others who want to write go between.
func (s *Server) support(ctx context.Context, room id.RoomID, events []*pdu.Event) error {
	for some := range slices.Chunk(inAuthOrder(events), maxSupport) {
		if err := s.atDoor(ctx, room, func(h *head) error { return h.outliers(some) }); err != nil {
			return fmt.Errorf("store what supports an event: %w", err)
		}
	}
	return nil
}

// outliers stores events that others refer to, those first that others of them refer to. What cannot be judged, because events are missing
// that it refers to, is not stored.
func (h *head) outliers(events []*pdu.Event) error {
	lacking := 0
	for _, e := range inAuthOrder(events) {
		done, err := h.outlier(e)
		if err != nil {
			return err
		}
		if !done {
			lacking++
		}
	}
	if lacking > 0 {
		h.s.log.Debug("outliers lack auth events", slog.Int("count", lacking), slog.String("room", string(h.room().ID)))
	}
	return nil
}

// outlier stores one event that others refer to, and reports whether all was there to judge it by.
func (h *head) outlier(in *pdu.Event) (bool, error) {
	if _, err := h.tx.Event(in.ID); err == nil || !isNotFound(err) {
		return err == nil, err
	}
	why, err := h.byAuthEvents(in)
	if err != nil || errors.Is(why, errNoAuth) {
		return false, err
	}
	e := newEvent(h.room(), in)
	e.Status = storage.Outlier
	if why != nil {
		e.Status = storage.Rejected
	}
	return true, h.keep(e)
}
