package roomserver

import (
	"context"
	"encoding/json"
	"log/slog"

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
