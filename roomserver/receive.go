package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// lane is what one server has to say of one room.
type lane struct {
	room   id.RoomID
	origin id.ServerName
}

// fetchTime is how long the fetching of what one event lacks may take.
const fetchTime = 2 * time.Minute

// maxTogether bounds the events that are judged in one Update, and holdTime the time after which no further one is: where a room has many
// branches, to judge a single event may mean to resolve the state of all of them.
const (
	maxTogether = 50
	holdTime    = 100 * time.Millisecond
)

// Receive judges events of one room that the server origin has sent, in their order, and stores what is to be stored of them. What their judgement
// needs and is not here is fetched from origin, within bounds. The error of an event is why it was not accepted; it is nil for those that were,
// now or earlier, and for those that are kept from clients only because the room has moved on.
//
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
func (s *Server) Receive(ctx context.Context, origin id.ServerName, room id.RoomID, pdus []json.RawMessage) map[id.EventID]error {
	out := map[id.EventID]error{}
	// One after the other, so that what is fetched for one transaction the next one has; but a server that is slow to give what is missing holds up
	// nobody else.
	leave, err := s.intakes.enter(ctx, lane{room, origin})
	if err != nil {
		return out
	}
	defer leave()
	in := &intake{s: s, origin: origin, room: room}
	events, known, err := in.open(ctx, pdus, out)
	switch {
	case err != nil:
		fail(out, events, err)
		return out
	case in.outside:
		in.receiveOutside(ctx, events, out)
		return out
	}
	events = slices.DeleteFunc(events, func(e *pdu.Event) bool { return known.settled(e.ID) })
	events = in.verified(ctx, events, out)
	in.receive(ctx, events, known, out)
	return out
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

// store judges a batch and stores it. One event that cannot be stored does not keep out the others.
func (in *intake) store(ctx context.Context, b batch, out map[id.EventID]error) {
	if len(b.events) == 0 {
		return
	}
	in.recommendations(ctx, b.events)
	if err := in.s.support(ctx, in.room, b.outliers); err != nil {
		in.failed(ctx, b.events[0].ID, err)
	}
	tell := func(e incoming, why error) {
		if _, asked := out[e.ID]; asked {
			out[e.ID] = why
		}
	}
	most := len(b.events)
	for rest := b.events; len(rest) > 0; {
		verdicts, err := in.storeSome(ctx, rest[:min(len(rest), most)])
		switch {
		case err != nil && most > 1:
			most = 1
		case err != nil:
			in.failed(ctx, rest[0].ID, err)
			tell(rest[0], merr.New(merr.Unknown, "The event could not be stored"))
			rest = rest[1:]
		default:
			for i, why := range verdicts {
				tell(rest[i], why)
			}
			rest = rest[len(verdicts):]
		}
	}
}

func (in *intake) failed(ctx context.Context, event id.EventID, err error) {
	if ctx.Err() == nil {
		in.s.log.Error("cannot store events", slog.String("room", string(in.room)), slog.String("event", string(event)), slog.Any("error", err))
	}
}

// storeSome judges events and stores them, in one Update: as many of them, from the first on, as others who want to write can wait for.
func (in *intake) storeSome(ctx context.Context, events []incoming) (verdicts []error, err error) {
	err = in.s.update(ctx, in.room, func(h *head) error {
		verdicts = nil
		start := in.s.clock.Now()
		for _, e := range events {
			if len(verdicts) > 0 && in.s.clock.Now().Sub(start) > holdTime {
				break
			}
			why, err := h.receive(e)
			if err != nil {
				return fmt.Errorf("judge %s: %w", e.ID, err)
			}
			verdicts = append(verdicts, why)
		}
		return nil
	})
	return verdicts, err
}

// errTaken is the answer to an event under the id of one of another room, which only room versions 1 and 2 allow a server to make.
var errTaken = merr.New(merr.Forbidden, "The event id is that of an event of another room")

// receive judges one event. why is the reason for which it is not accepted; err means that nobody knows.
func (h *head) receive(in incoming) (why, err error) {
	stored, err := h.tx.Event(in.ID)
	switch {
	case err == nil && stored.Room != h.room().NID:
		return errTaken, nil
	case err == nil && (stored.Status == storage.Accepted || stored.Status == storage.SoftFailed):
		return nil, nil
	case err != nil && !isNotFound(err):
		return nil, err
	}
	e := newEvent(h.room(), in.Event)
	a := &authEvent{id: in.ID, pdu: in.PDU}
	if stored != nil {
		e.NID, e.Replaces, e.RedactedBy = stored.NID, stored.Replaces, stored.RedactedBy
		if stored.RedactedBy != 0 {
			e.JSON = stored.JSON
			if a, err = toAuthEvent(e, h.auth.version); err != nil {
				return nil, err
			}
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
	if errors.Is(why, errNoAuth) {
		return merr.New(merr.Forbidden, "Auth events of this event are missing here"), nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case why != nil && stored != nil && stored.Status == storage.Outlier:
		// It may be part of the state that came with a join. What its sender says of the state before it must not take it out of that again.
		return why, nil
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

// receiveOutside is Receive for rooms that no user of this server is joined to.
func (in *intake) receiveOutside(ctx context.Context, events []*pdu.Event, out map[id.EventID]error) {
	fail(out, events, errNotInvited)
	for _, e := range in.verified(ctx, events, out) {
		out[e.ID] = in.s.store.Update(ctx, func(tx *storage.Tx) error {
			row, err := tx.Room(in.room)
			if err != nil {
				return err
			}
			return in.s.outsideEvent(tx, in.origin, row, in.version, e)
		})
	}
}
