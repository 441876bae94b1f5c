package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/storage"
)

// intake is the receiving of events of one room from one server. What has to be asked of that server is asked between Updates.
type intake struct {
	s       *Server
	origin  id.ServerName
	room    id.RoomID
	version gomatrixserverlib.IRoomVersion
	outside bool         // no user of this server is joined to the room
	ends    []id.EventID // of the room's graph, when last looked at
	policy  *policy      // of the room, then; nil for most
}

// errNotLetIn is the answer to events of a server that the room's access list denies.
var errNotLetIn = merr.New(merr.Forbidden, "The room does not let this server in")

// open reads what has come, and looks at all that is asked of the room before it is judged. An error is that of all events; of rooms
// that are not known here not even the ids of events can be told.
//
// Spec: server-server-api#server-access-control-lists-acls
func (in *intake) open(ctx context.Context, raw []json.RawMessage, out map[id.EventID]error) (events []*pdu.Event, known stock, err error) {
	err = in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(in.room)
		if err != nil {
			return err
		}
		if in.version = in.s.versions[row.Version]; in.version == nil {
			return storage.ErrNotFound
		}
		events = in.read(raw, out)
		acl, err := serveracl.In(tx, row.NID)
		if err != nil {
			return err
		}
		if !acl.Allows(in.origin) {
			return errNotLetIn
		}
		joined, err := tx.AnyLocalJoined(row.NID)
		if err != nil {
			return err
		}
		if in.outside = row.State == 0 || !joined; !in.outside {
			known, err = in.survey(tx, row, events)
		}
		return err
	})
	var said *merr.Error
	if err != nil && !errors.As(err, &said) && !isNotFound(err) && ctx.Err() == nil {
		in.s.log.Error("cannot receive events", slog.String("room", string(in.room)), slog.Any("error", err))
	}
	return events, known, err
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

// look is survey in a snapshot of its own.
func (in *intake) look(ctx context.Context, events []*pdu.Event) (known stock, err error) {
	err = in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(in.room)
		if err != nil {
			return err
		}
		known, err = in.survey(tx, row, events)
		return err
	})
	return known, err
}

// survey finds out what is here of events and of what they refer to, where the room ends, and which policy server it has.
func (in *intake) survey(tx *storage.ReadTx, row *storage.Room, events []*pdu.Event) (stock, error) {
	in.ends = in.ends[:0]
	for _, x := range row.Extremities {
		in.ends = append(in.ends, x.ID)
	}
	var ids []id.EventID
	for _, e := range events {
		ids = append(append(append(ids, e.ID), e.Prev()...), e.Auth()...)
	}
	found, err := tx.EventsByID(ids)
	if err != nil {
		return nil, err
	}
	known := stock{}
	for _, e := range found {
		if e != nil && e.Room == row.NID {
			known[e.ID] = stocked(e)
		}
	}
	now := &authState{tx: tx, room: row, version: in.version, snap: newSnapshot()}
	in.policy, err = now.policy()
	return known, err
}
