package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/internal/serveracl"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// room is a room as another server gets to see it, within one transaction.
type room struct {
	*visibility.Server
	tx      *storage.ReadTx
	row     *storage.Room
	version gomatrixserverlib.IRoomVersion
}

var (
	errNoRoom  = merr.New(merr.NotFound, "This server does not know the room")
	errNoEvent = merr.New(merr.NotFound, "There is no such event in the room")
	errHidden  = merr.New(merr.Forbidden, "This server was not in the room then")
	errOutside = merr.New(merr.Forbidden, "This server is not in the room")
)

// openRoom finds a room for a server, M_NOT_FOUND for one that is not known here, M_FORBIDDEN for one whose access list denies the server.
//
// Spec: server-server-api#server-access-control-lists-acls
func openRoom(tx *storage.ReadTx, roomID id.RoomID, origin id.ServerName) (*room, error) {
	row, err := tx.Room(roomID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoRoom
	}
	if err != nil {
		return nil, err
	}
	acl, err := serveracl.In(tx, row.NID)
	if err != nil {
		return nil, err
	}
	if !acl.Allows(origin) {
		return nil, merr.New(merr.Forbidden, "The room does not let this server in")
	}
	version, err := gomatrixserverlib.GetRoomVersion(row.Version)
	if err != nil {
		return nil, fmt.Errorf("room %s: %w", roomID, err)
	}
	sight, err := visibility.ForServer(tx, row, origin)
	return &room{sight, tx, row, version}, err
}

// viewRoom calls fn with the room of the path.
func (a *API) viewRoom(ctx context.Context, r *web.Request, fn func(room *room) error) error {
	roomID, err := r.RoomID("roomID")
	if err != nil {
		return err
	}
	return a.store.View(ctx, func(tx *storage.ReadTx) error {
		room, err := openRoom(tx, roomID, r.Origin)
		if err != nil {
			return err
		}
		return fn(room)
	})
}

// admitted refuses a server that the room of the path does not let in. A room that is not known here lets everybody in.
func (a *API) admitted(ctx context.Context, r *web.Request) (id.RoomID, error) {
	roomID, err := r.RoomID("roomID")
	if err != nil {
		return "", err
	}
	err = a.letsIn(ctx, roomID, r.Origin)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = nil
	case errors.Is(err, errDenied):
		err = merr.New(merr.Forbidden, "The room does not let this server in")
	}
	return roomID, err
}

// event finds an event of the room that the server may ask about: because it is in the room now, or because it could see the event then.
// Rejected events are not there.
func (r *room) event(eventID id.EventID) (*storage.Event, error) {
	ev, err := r.tx.Event(eventID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && (ev.Room != r.row.NID || ev.Status == storage.Rejected) {
		// Nobody outside learns what there is and what not.
		if !r.Joined() {
			return nil, errOutside
		}
		return nil, errNoEvent
	}
	if err != nil || r.Joined() {
		return ev, err
	}
	ok, err := r.Sees(ev)
	if err == nil && !ok {
		err = errHidden
	}
	return ev, err
}

// queriedEvent is the event that a parameter of the query names.
func (r *room) queriedEvent(req *web.Request, name string) (*storage.Event, error) {
	text, err := req.RequiredQuery(name)
	if err != nil {
		return nil, err
	}
	eventID, err := id.ParseEventID(text)
	if err != nil {
		return nil, merr.Newf(merr.InvalidParam, "%s: %v", name, err)
	}
	return r.event(eventID)
}

// wire is events as the server gets them: those that it may not see are redacted. To leave them out would break the graph, in which others
// refer to them.
func (r *room) wire(events []*storage.Event) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(events))
	for i, ev := range events {
		out[i] = ev.JSON
		seen, err := r.Sees(ev)
		if err != nil {
			return nil, err
		}
		if !seen {
			if out[i], err = pdu.Redact(r.version, ev.JSON); err != nil {
				return nil, fmt.Errorf("redact %s: %w", ev.ID, err)
			}
		}
	}
	return out, nil
}

// plain is events as they are stored, for those that prove what happened in the room: state and who was allowed to set it. A server that joins
// gets them all.
func plain(events []*storage.Event) []json.RawMessage {
	out := make([]json.RawMessage, len(events))
	for i, ev := range events {
		out[i] = ev.JSON
	}
	return out
}

func eventIDs(events []*storage.Event) []id.EventID {
	out := make([]id.EventID, len(events))
	for i, ev := range events {
		out[i] = ev.ID
	}
	return out
}
