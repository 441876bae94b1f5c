package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxEvents is the number of events of a transaction.
	maxEvents = 100
	// window is how many positions of the stream are looked at in one View, and maxPlaces how many events.
	window    = 5_000
	maxPlaces = 500
)

// next makes a transaction of what comes after the cursor and stores that it is under way, before anybody sees it. Otherwise it leaves the
// cursor at the end of the stream and reports false.
func (w *worker) next(ctx context.Context) (bool, error) {
	var events []int64
	end := w.cursor.Pos
	for more := true; more && len(events) < maxEvents; {
		err := w.s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			events, end, more, err = w.look(tx, events, end)
			return err
		})
		if err != nil {
			return false, err
		}
		if len(events) == 0 {
			w.cursor.Pos = end // nothing that was passed is to be sent
		}
	}
	if len(events) == 0 {
		if w.cursor.Pos-w.stored > maxUnstored {
			return false, w.store(ctx, w.cursor)
		}
		return false, nil
	}
	err := w.store(ctx, storage.AppserviceCursor{Pos: w.cursor.Pos, Txn: w.cursor.Txn + 1, UpTo: end, Events: events})
	return err == nil, err
}

// look adds to events those of a stretch of the stream after a position that are to be sent. It returns where it has got to, and whether there
// is more.
func (w *worker) look(tx *storage.ReadTx, events []int64, after int64) ([]int64, int64, bool, error) {
	pos, err := tx.Position()
	if err != nil || pos <= after {
		return events, after, false, err
	}
	next, err := tx.NextInStream(after)
	if errors.Is(err, storage.ErrNotFound) {
		return events, pos, false, nil
	}
	if err != nil {
		return events, after, false, err
	}
	after = max(after, next-1)
	end := min(after+window, pos)
	places, err := tx.StreamEvents(storage.Span{After: after, UpTo: end}, maxPlaces)
	if err != nil {
		return events, after, false, err
	}
	if len(places) == maxPlaces {
		end = places[maxPlaces-1].Pos
	}
	found, err := tx.EventsAt(storage.NIDs(places))
	if err != nil {
		return events, after, false, err
	}
	for i, e := range found {
		if e == nil {
			continue
		}
		yes, err := w.interest.in(tx, e)
		if err != nil {
			return events, after, false, err
		}
		if yes {
			events = append(events, e.NID)
		}
		if len(events) == maxEvents {
			return events, places[i].Pos, true, nil
		}
	}
	return events, end, end < pos, nil
}

// body is the transaction under way as it is sent. Events that are gone since it was made are left out, and redacted ones redacted; nothing is
// ever added.
//
// Spec: application-service-api#pushing-events
func (w *worker) body(ctx context.Context) ([]byte, error) {
	var transaction struct {
		Events []json.RawMessage `json:"events"`
	}
	err := w.s.store.View(ctx, func(tx *storage.ReadTx) error {
		events, err := tx.EventsAt(w.cursor.Events)
		if err != nil {
			return err
		}
		events = slices.DeleteFunc(events, func(e *storage.Event) bool { return e == nil })
		rendered, err := clientevent.Render(tx, clientevent.Viewer{User: w.to.Sender}, events, clientevent.Options{Now: w.s.clock.Now()})
		if err != nil {
			return err
		}
		for i, e := range events {
			if rendered[i], err = withStripped(tx, e, rendered[i]); err != nil {
				return err
			}
		}
		transaction.Events = rendered
		return nil
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(transaction)
}

// withStripped adds to an invite or a knock of a room that this server is not in what is known of that room, which the application service
// could not find out otherwise.
//
// Spec: client-server-api#stripped-state
func withStripped(tx *storage.ReadTx, e *storage.Event, rendered json.RawMessage) (json.RawMessage, error) {
	if e.Pos != 0 || e.StateKey == nil {
		return rendered, nil
	}
	list, err := tx.LocalStripped(e.Room, e.NID)
	if err != nil || list == "" {
		return rendered, err
	}
	return sjson.SetRawBytes(rendered, "unsigned."+e.Get("content.membership").Str+"_room_state", []byte(list))
}
