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

const (
	maxBackfill   = 100 // events of one request
	backfillTries = 3   // servers that are asked
	backfillNames = 20  // events that are named in a request
	maxMissing    = 500 // events that a gap remembers as the ones to come next
)

// Backfill fetches history into the nearest gap below a place in the timeline of a room, and says whether there is now more than before. What it
// fetches gets places in the gap: it is older than all that is above, and newer than what is below. An error says that no server could be asked;
// without one, and without more, those that were asked have nothing.
//
// Spec: server-server-api#backfilling-and-retrieving-missing-events
func (s *Server) Backfill(ctx context.Context, room id.RoomID, below int64, limit int) (more bool, err error) {
	leave, err := s.backfill.enter(ctx, room)
	if err != nil {
		return false, err
	}
	defer leave()
	limit = min(max(limit, 1), maxBackfill)
	in := &intake{s: s, room: room}
	var gap storage.Gap
	var servers []id.ServerName
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		if gap, err = tx.GapBelow(row.NID, below); err != nil {
			return err
		}
		in.version = s.versions[row.Version]
		servers, err = s.likely(tx, row)
		return err
	})
	if isNotFound(err) || err == nil && in.version == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var unreachable error
	answered := false
	for _, server := range servers[:min(len(servers), backfillTries)] {
		in.origin = server
		raw, err := s.peers.Remote.Backfill(ctx, server, room, gap.Missing[:min(len(gap.Missing), backfillNames)], limit)
		if err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			s.log.Debug("cannot backfill", slog.String("room", string(room)), slog.String("from", string(server)), slog.Any("error", err))
			var refusal RemoteError
			answered = answered || errors.As(err, &refusal)
			unreachable = errors.Join(unreachable, err)
			continue
		}
		answered = true
		events := in.supporting(ctx, raw[:min(len(raw), limit)])
		if len(events) == 0 {
			continue
		}
		missing, err := in.historyAuth(ctx, events)
		if err != nil {
			return false, err
		}
		filled := 0
		err = s.update(ctx, room, func(h *head) (err error) {
			filled, err = h.fill(gap.Floor, events, missing)
			return err
		})
		if err != nil {
			return false, err
		}
		if filled > 0 {
			return true, nil
		}
	}
	if !answered && unreachable != nil {
		return false, fmt.Errorf("backfill %s: %w", room, unreachable)
	}
	if answered && len(gap.Missing) > backfillNames {
		return false, s.update(ctx, room, func(h *head) error { return h.passOver(gap.Floor) })
	}
	return false, nil
}

// passOver has others of the events that are missing in a gap named the next time: anybody can make an event that comes after any number of
// those that do not exist.
func (h *head) passOver(floor int64) error {
	gap, err := h.tx.Gap(h.room().NID, floor)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n := min(len(gap.Missing), backfillNames)
	gap.Missing = slices.Concat(gap.Missing[n:], gap.Missing[:n])
	return h.tx.SaveGap(gap)
}

// likely is the servers that may have the history of a room, in the order in which to ask them: those of who has power in it, who have been there
// for long, and then the others.
func (s *Server) likely(tx *storage.ReadTx, room *storage.Room) ([]id.ServerName, error) {
	servers, err := tx.ServersInRoom(room.NID)
	if err != nil {
		return nil, err
	}
	longest, err := tx.FirstMembers(room.NID, "join", 50)
	if err != nil {
		return nil, err
	}
	var out []id.ServerName
	add := func(server id.ServerName) {
		if server != s.cfg.Name && slices.Contains(servers, server) && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	add(room.ID.Server())
	for _, m := range longest {
		add(m.User.Server())
	}
	for _, server := range servers {
		add(server)
	}
	return out, nil
}

// historyAuth fetches the auth events of history that are not here.
func (in *intake) historyAuth(ctx context.Context, events []*pdu.Event) ([]*pdu.Event, error) {
	known, err := in.look(ctx, events)
	if err != nil {
		return nil, err
	}
	among := map[id.EventID]bool{}
	for _, e := range events {
		among[e.ID] = true
	}
	var missing []id.EventID
	for _, e := range events {
		for _, a := range e.Auth() {
			if _, here := known[a]; !here && !among[a] && !slices.Contains(missing, a) {
				missing = append(missing, a)
			}
		}
	}
	if len(missing) > maxOneByOne {
		missing = missing[:maxOneByOne]
	}
	return in.each(ctx, missing), nil
}

// fill puts history into a gap, newest first, and notes what is missing then. Of history the state is not known that it was sent in: it is judged
// by its auth events.
func (h *head) fill(floor int64, events, support []*pdu.Event) (filled int, err error) {
	gap, err := h.tx.Gap(h.room().NID, floor)
	if err != nil {
		if isNotFound(err) {
			err = nil
		}
		return 0, err
	}
	// The history itself is support as well: auth events of its later events may be among it.
	if err := h.outliers(append(slices.Clone(support), events...)); err != nil {
		return 0, err
	}
	ordered := inGraphOrder(slices.Clone(events))
	slices.Reverse(ordered)
	placed := map[id.EventID]bool{}
	for _, in := range ordered {
		if !slices.Contains(gap.Missing, in.ID) || gap.Next < gap.Floor {
			continue // nobody above it refers to it
		}
		stored, err := h.tx.Event(in.ID)
		if isNotFound(err) || err == nil && stored.Room != gap.Room {
			continue
		}
		if err != nil {
			return 0, err
		}
		gap.Missing = slices.DeleteFunc(gap.Missing, func(m id.EventID) bool { return m == in.ID })
		for _, p := range in.Prev() {
			known, err := h.tx.Event(p)
			if err != nil && !isNotFound(err) {
				return 0, err
			}
			here := err == nil && known.Room == gap.Room && (known.Pos != 0 || known.StateAfter != 0) // or judged, in its place in the graph
			if !here && !placed[p] && !slices.Contains(gap.Missing, p) && len(gap.Missing) < maxMissing {
				gap.Missing = append(gap.Missing, p)
			}
		}
		if stored.Status != storage.Outlier {
			continue
		}
		if err := h.recall(stored, gap.Next); err != nil {
			return 0, err
		}
		placed[in.ID] = true
		gap.Next--
		filled++
	}
	return filled, h.tx.SaveGap(gap)
}

// recall gives an event of the past a place in the timeline.
func (h *head) recall(outlier *storage.Event, pos int64) error {
	e := outlier.Copy()
	was := e.NID
	e.Status, e.Pos = storage.Accepted, pos
	if e.StateKey == nil {
		e.NID = pos
	}
	if err := h.tx.JudgeEvent(was, e); err != nil {
		return err
	}
	return h.index(e, e.Get("content"))
}
