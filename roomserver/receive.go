package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// intake is the receiving of events of one room from one server. What has to be asked of that server is asked between Updates.
type intake struct {
	s       *Server
	origin  id.ServerName
	room    id.RoomID
	version gomatrixserverlib.IRoomVersion
	ends    []id.EventID // of the room's graph, when last looked at
}

// lane is what one server has to say of one room.
type lane struct {
	room   id.RoomID
	origin id.ServerName
}

// fetchTime is how long the fetching of what one event lacks may take.
const fetchTime = 2 * time.Minute

// maxTogether bounds the events that are judged in one Update.
const maxTogether = 50

// Receive judges events of one room that the server origin has sent, in their order, and stores what is to be stored of them. What their judgement
// needs and is not here is fetched from origin, within bounds. The error of an event is why it was not accepted; it is nil for those that were,
// now or earlier, and for those that are kept from clients only because the room has moved on.
//
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
func (s *Server) Receive(ctx context.Context, origin id.ServerName, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error {
	out := map[id.EventID]error{}
	in, err := s.intake(ctx, origin, room)
	if err != nil {
		if isNotFound(err) {
			return s.receiveOutside(ctx, origin, room, pdus)
		}
		s.log.Error("cannot receive events", slog.String("room", string(room)), slog.Any("error", err))
		return out
	}
	events := in.read(pdus, out)
	// One after the other, so that what is fetched for one transaction the next one has; but a server that is slow to give what is missing holds up
	// nobody else.
	leave, err := s.intakes.enter(ctx, lane{room, origin})
	if err != nil {
		fail(out, events, err)
		return out
	}
	defer leave()
	known, err := in.look(ctx, events)
	if err != nil {
		fail(out, events, err)
		return out
	}
	events = slices.DeleteFunc(events, func(e *pdu.Event) bool { return known.settled(e.ID) })
	events = in.verified(ctx, events, out)
	in.receive(ctx, events, known, out)
	return out
}

// intake opens a room that users of this server are in. The error for any other is storage.ErrNotFound.
func (s *Server) intake(ctx context.Context, origin id.ServerName, room id.RoomID) (*intake, error) {
	in := &intake{s: s, origin: origin, room: room}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		joined, err := tx.AnyLocalJoined(row.NID)
		if err != nil {
			return err
		}
		version, ok := s.versions[row.Version]
		if row.State == 0 || !joined || !ok {
			return storage.ErrNotFound
		}
		in.version = version
		return nil
	})
	return in, err
}

// fail gives events that have no error yet one.
func fail(out map[id.EventID]error, events []*pdu.Event, err error) {
	for _, e := range events {
		if out[e.ID] == nil {
			out[e.ID] = err
		}
	}
}

// read parses events, each of them once. Those that are none have no id under which their error could be told.
func (in *intake) read(raw []json.RawMessage, out map[id.EventID]error) []*pdu.Event {
	var events []*pdu.Event
	seen := map[id.EventID]bool{}
	for _, r := range raw {
		e, err := pdu.Parse(in.version, r)
		if err != nil {
			in.s.log.Debug("malformed event", slog.String("room", string(in.room)), slog.String("from", string(in.origin)), slog.Any("error", err))
			continue
		}
		switch {
		case e.RoomID().String() != string(in.room):
			out[e.ID] = merr.New(merr.Forbidden, "The event is from another room")
		case !seen[e.ID]:
			seen[e.ID] = true
			out[e.ID] = nil
			events = append(events, e)
		}
	}
	return events
}

// verified is the events whose signatures hold.
func (in *intake) verified(ctx context.Context, events []*pdu.Event, out map[id.EventID]error) []*pdu.Event {
	errs := in.s.verify(ctx, in.version, events)
	good := events[:0:0]
	for i, e := range events {
		if errs[i] == nil {
			good = append(good, e)
		} else if out != nil {
			out[e.ID] = merr.Newf(merr.Forbidden, "The signatures of the event do not hold: %s", errs[i])
		}
	}
	return good
}

// verify checks the signatures of events. Ours are checked like those of others.
func (s *Server) verify(ctx context.Context, version gomatrixserverlib.IRoomVersion, events []*pdu.Event) []error {
	if len(events) == 0 {
		return nil
	}
	signed := make([]fedtypes.Signed, len(events))
	for i, e := range events {
		signed[i] = fedtypes.Signed{Raw: e.Raw, Message: e.Signed, Servers: e.Signers(version), TS: int64(e.OriginServerTS())}
	}
	return s.peers.Verifier.VerifyEvents(ctx, version, signed)
}

// stock is what is known here of events, their parents and their auth events.
type stock map[id.EventID]storage.EventStatus

// stateless is history that was accepted, but of which the state that it was sent in is not known.
const stateless storage.EventStatus = -1

// stocked is what an event of the room counts as.
func stocked(e *storage.Event) storage.EventStatus {
	switch {
	case e.StateAfter != 0:
	case e.Status == storage.Accepted:
		return stateless
	case e.Status == storage.Rejected:
		return storage.Outlier
	}
	return e.Status
}

// settled reports whether there is nothing more to find out about an event.
func (k stock) settled(event id.EventID) bool {
	status, known := k[event]
	return known && (status == storage.Accepted || status == storage.SoftFailed || status == stateless)
}

// judged reports whether an event can be a parent: the state after it is known.
func (k stock) judged(event id.EventID) bool {
	status, known := k[event]
	return known && status != storage.Outlier && status != stateless
}

// look finds out what is here of events and of what they refer to, and where the room ends.
func (in *intake) look(ctx context.Context, events []*pdu.Event) (stock, error) {
	var ids []id.EventID
	for _, e := range events {
		ids = append(append(append(ids, e.ID), e.Prev()...), e.Auth()...)
	}
	known := stock{}
	err := in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(in.room)
		if err != nil {
			return err
		}
		in.ends = in.ends[:0]
		for _, x := range row.Extremities {
			in.ends = append(in.ends, x.ID)
		}
		found, err := tx.EventsByID(ids)
		for _, e := range found {
			if e != nil && e.Room == row.NID {
				known[e.ID] = stocked(e)
			}
		}
		return err
	})
	return known, err
}

// receive judges events in order, as many as possible in one Update: those that lack nothing.
func (in *intake) receive(ctx context.Context, events []*pdu.Event, known stock, out map[id.EventID]error) {
	var ready batch
	flush := func() {
		in.store(ctx, ready, out)
		ready = batch{}
	}
	for _, e := range events {
		lacks := false
		for _, p := range e.Prev() {
			lacks = lacks || !known.judged(p)
		}
		for _, a := range e.Auth() {
			_, here := known[a]
			lacks = lacks || !here
		}
		if lacks {
			flush()
			b, err := in.completeSoon(ctx, e)
			if err != nil {
				in.s.log.Debug("event lacks what it needs", slog.String("event", string(e.ID)), slog.String("from", string(in.origin)),
					slog.Any("error", err))
				continue // it may be in order, and will be looked at again when somebody refers to it
			}
			in.store(ctx, b, out)
			if again, err := in.look(ctx, events); err == nil {
				known = again
			}
			continue
		}
		ready.events = append(ready.events, incoming{Event: e})
		known[e.ID] = storage.Accepted // if it is not, its children are judged all the same
		if len(ready.events) >= maxTogether {
			flush()
		}
	}
	flush()
}

// batch is what goes into one Update: events that only support others, and events to be judged, in order.
type batch struct {
	outliers []*pdu.Event
	events   []incoming
}

// incoming is an event to be judged.
type incoming struct {
	*pdu.Event
	missing  []id.EventID                    // the parents that are not here
	claim    map[storage.StateKey]id.EventID // what origin says that the state after those is
	unwanted bool                            // the policy server of the room does not recommend it
	spread   bool                            // it is for us to send it to the other servers in the room
}

// store judges a batch and stores it.
func (in *intake) store(ctx context.Context, b batch, out map[id.EventID]error) {
	if len(b.events) == 0 {
		return
	}
	in.recommendations(ctx, b.events)
	verdicts := map[id.EventID]error{}
	err := in.s.update(ctx, in.room, func(h *head) error {
		clear(verdicts)
		if err := h.outliers(b.outliers); err != nil {
			return err
		}
		for _, e := range b.events {
			why, err := h.receive(e)
			if err != nil {
				return fmt.Errorf("judge %s: %w", e.ID, err)
			}
			verdicts[e.ID] = why
		}
		return nil
	})
	for _, e := range b.events {
		why := verdicts[e.ID]
		if err != nil {
			in.s.log.Error("cannot store events", slog.String("room", string(in.room)), slog.String("event", string(e.ID)), slog.Any("error", err))
			why = merr.New(merr.Unknown, "The event could not be stored")
		}
		if _, asked := out[e.ID]; asked {
			out[e.ID] = why
		}
	}
}

// receive judges one event. why is the reason for which it is not accepted; err means that nobody knows.
func (h *head) receive(in incoming) (why, err error) {
	stored, err := h.tx.Event(in.ID)
	switch {
	case err == nil && (stored.Status == storage.Accepted || stored.Status == storage.SoftFailed):
		return nil, nil
	case err != nil && !isNotFound(err):
		return nil, err
	}
	e := newEvent(h.room(), in.Event)
	if stored != nil {
		e.NID, e.Replaces, e.RedactedBy = stored.NID, stored.Replaces, stored.RedactedBy
		if stored.RedactedBy != 0 {
			e.JSON = stored.JSON
		}
	}
	claim, err := h.claimed(in.claim)
	if err != nil {
		return nil, err
	}
	if e.StateBefore, err = h.stateBefore(in.Prev(), claim); errors.Is(err, errNoState) {
		return nil, nil // as in complete: it will be looked at again when somebody refers to it
	} else if err != nil {
		return nil, err
	}
	e.StateAfter = e.StateBefore
	soft, why, err := h.judge(in.Event, e.StateBefore)
	if err != nil || errors.Is(why, errNoAuth) {
		return why, err
	}
	a := &authEvent{id: in.ID, pdu: in.PDU}
	switch {
	case why != nil:
		e.Status = storage.Rejected
		return why, h.keep(e)
	case soft, in.unwanted:
		// Spec: server-server-api#soft-failure
		e.Status = storage.SoftFailed
		if err := h.number(e); err != nil {
			return nil, err
		}
		if key, ok := stateKeyOf(e); ok {
			if e.StateAfter, err = h.tx.AddSnapshot(e.Room, e.StateBefore, []storage.StateChange{{StateKey: key, Event: e.NID}}); err != nil {
				return nil, err
			}
		}
		h.s.log.Debug("event soft-failed", slog.String("event", string(e.ID)))
		return nil, h.keepAs(e, stored != nil)
	}
	if len(in.missing) > 0 {
		if _, err := h.tx.AddGap(e.Room, in.missing); err != nil {
			return nil, err
		}
	}
	return nil, h.accept(e, a, in.Prev(), in.spread)
}

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

// outliers stores events that others refer to, those first that others of them refer to. What cannot be judged, because events are missing
// that it refers to, is not stored.
func (h *head) outliers(events []*pdu.Event) error {
	slices.SortStableFunc(events, func(a, b *pdu.Event) int { return cmp.Compare(a.Depth(), b.Depth()) })
	for waiting := events; len(waiting) > 0; {
		var later []*pdu.Event
		for _, e := range waiting {
			done, err := h.outlier(e)
			if err != nil {
				return err
			}
			if !done {
				later = append(later, e)
			}
		}
		if len(later) == len(waiting) {
			h.s.log.Debug("outliers lack auth events", slog.Int("count", len(later)), slog.String("room", string(h.room().ID)))
			return nil
		}
		waiting = later
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

// receiveOutside is Receive for rooms that no user of this server is joined to.
func (s *Server) receiveOutside(ctx context.Context, origin id.ServerName, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error {
	out := map[id.EventID]error{}
	in := &intake{s: s, origin: origin, room: room}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err == nil {
			in.version = s.versions[row.Version]
		}
		return err
	})
	if err != nil || in.version == nil {
		return out // not even the ids of the events can be told
	}
	events := in.read(pdus, out)
	fail(out, events, errNotInvited)
	for _, e := range in.verified(ctx, events, out) {
		out[e.ID] = s.store.Update(ctx, func(tx *storage.Tx) error {
			row, err := tx.Room(room)
			if err != nil {
				return err
			}
			return s.outsideEvent(tx, origin, row, in.version, e)
		})
	}
	return out
}
