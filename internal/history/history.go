// Package history reads what has happened in rooms for one viewer: it walks timelines, finds the state at a moment and follows relations,
// and leaves out what the viewer may not see. Every walk is bounded, whatever the request asks for. The package refuses to know what the
// answers look like: that is package clientevent and the handlers.
package history

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// Room is a room as one viewer may read it, within one View.
type Room struct {
	*storage.Room
	tx      *storage.ReadTx
	user    id.UserID
	past    *visibility.History
	ignored visibility.Ignored
	until   int64 // the last position that can be of interest
}

func forbidden() error {
	return merr.New(merr.Forbidden, "You are not in the room, and it does not show its history to everybody")
}

// Open opens a room for a user who is in it, was in it, or may look into it because everybody may. For anybody else, and where there is no
// such room, the error is M_FORBIDDEN.
func Open(tx *storage.ReadTx, room id.RoomID, user id.UserID) (*Room, error) {
	row, err := tx.Room(room)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, forbidden()
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", room, err)
	}
	return open(tx, row, user)
}

func open(tx *storage.ReadTx, row *storage.Room, user id.UserID) (*Room, error) {
	past, err := visibility.Load(tx, row.NID, user)
	if err != nil {
		return nil, err
	}
	r := &Room{Room: row, tx: tx, user: user, past: past, until: math.MaxInt64}
	if !past.Joined() && !past.WorldReadable() {
		if !past.EverJoined() {
			return nil, forbidden()
		}
		m, err := tx.Membership(row.NID, user)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		if m.Forgotten {
			return nil, forbidden()
		}
		r.until = past.Until()
	}
	if r.ignored, err = visibility.LoadIgnored(tx, user); err != nil {
		return nil, err
	}
	return r, nil
}

// Joined reports whether the viewer is joined.
func (r *Room) Joined() bool { return r.past.Joined() }

// Sees reports whether the viewer may see an event of the room. Ignored senders do not matter.
func (r *Room) Sees(ev *storage.Event) bool { return r.past.Visible(ev) }

// shows reports whether an event belongs into lists for the viewer.
func (r *Room) shows(ev *storage.Event) bool { return r.past.Visible(ev) && !r.ignored.Hides(ev) }

// Event finds an event of the room that the viewer may see; any other is storage.ErrNotFound.
func (r *Room) Event(event id.EventID) (*storage.Event, error) {
	ev, err := r.tx.EventInRoom(r.NID, event)
	if err == nil && !r.Sees(ev) {
		return nil, storage.ErrNotFound
	}
	return ev, err
}

// Options is how events of the room are shown to the viewer, with their aggregations.
func (r *Room) Options(now time.Time) clientevent.Options {
	return clientevent.Options{
		Now: now, Bundle: true, Ignored: r.ignored, Histories: map[int64]*visibility.History{r.NID: r.past},
	}
}
