package clientevent

import (
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// Redacted is an event as it would be after its redaction.
func Redacted(version gomatrixserverlib.RoomVersion, ev *storage.Event) (*storage.Event, error) {
	v, err := gomatrixserverlib.GetRoomVersion(version)
	if err != nil {
		return nil, err
	}
	raw, err := pdu.Redact(v, ev.JSON)
	if err != nil {
		return nil, fmt.Errorf("redact %s: %w", ev.ID, err)
	}
	c := ev.Copy()
	c.JSON = raw
	return c, nil
}

// erasure is what has to be known of users who asked for the erasure of what they wrote.
type erasure struct {
	users  map[id.UserID]int64      // with the position at which they did
	copies map[int64]*storage.Event // of events that the viewer gets redacted, by position
}

// hides reports whether the viewer of h has come too late to see what ev says. State is not hidden: the room is made of it.
//
// Spec: client-server-api#post_matrixclientv3accountdeactivate (erase)
func (e *erasure) hides(h *visibility.History, ev *storage.Event) bool {
	if ev.StateKey != nil {
		return false
	}
	at, erased := e.users[ev.Sender]
	return erased && h != nil && !h.JoinedBefore(at)
}

// erase makes the copies of those of the events that the viewer gets redacted.
func (b *Batch) erase(tx *storage.ReadTx, events []*storage.Event) error {
	versions := map[int64]gomatrixserverlib.RoomVersion{}
	for _, ev := range events {
		if !b.erased.hides(b.histories[ev.Room], ev) {
			continue
		}
		version, known := versions[ev.Room]
		if !known {
			room, err := tx.RoomByNID(ev.Room)
			if err != nil {
				return err
			}
			version = room.Version
			versions[ev.Room] = version
		}
		redacted, err := Redacted(version, ev)
		if err != nil {
			return err
		}
		if b.erased.copies == nil {
			b.erased.copies = map[int64]*storage.Event{}
		}
		b.erased.copies[ev.NID] = redacted
	}
	return nil
}

// shown is the form of an event that the viewer gets.
func (b *Batch) shown(ev *storage.Event) *storage.Event {
	if redacted := b.erased.copies[ev.NID]; redacted != nil {
		return redacted
	}
	return ev
}
