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

// transaction is what an application service is sent at once. What has two names is sent under both where it may be known by either.
//
// Spec: application-service-api#put_matrixappv1transactionstxnid
type transaction struct {
	Events          []json.RawMessage `json:"events"`
	Ephemeral       []json.RawMessage `json:"ephemeral,omitempty"`
	LegacyEphemeral []json.RawMessage `json:"de.sorunome.msc2409.ephemeral,omitempty"`
	deviceNews
}

// batch is what was found for the next transaction.
type batch struct {
	end      int64 // how far the stream was looked at
	events   []int64
	messages int  // to devices
	claimed  bool // keys of devices
	company  *company
	lists    storage.DeviceLists
}

func (b *batch) isEmpty() bool {
	return len(b.events) == 0 && b.messages == 0 && !b.claimed && b.lists.IsEmpty()
}

func (b *batch) isFull() bool { return len(b.events) >= maxEvents || b.messages >= maxMessages }

// next makes a transaction of what comes after the cursor and stores that it is under way, before anybody sees it. Otherwise it leaves the
// cursor at the end of the stream and reports false.
func (w *worker) next(ctx context.Context) (bool, error) {
	b := &batch{end: w.cursor.Pos, company: newCompany(w.interest)}
	for more := true; more && !b.isFull(); {
		err := w.s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			more, err = w.look(tx, b)
			return err
		})
		if err != nil {
			return false, err
		}
		if b.isEmpty() {
			w.cursor.Pos = b.end // nothing that was passed is to be sent
		}
	}
	if b.isEmpty() {
		if w.cursor.Pos-w.stored > maxUnstored {
			return false, w.store(ctx, w.cursor)
		}
		return false, nil
	}
	err := w.store(ctx, storage.AppserviceCursor{Pos: w.cursor.Pos, Txn: w.cursor.Txn + 1, UpTo: b.end, Events: b.events, Lists: b.lists})
	return err == nil, err
}

// look adds to a batch what is to be sent of a stretch of the stream, and moves its end. It reports whether there is more.
func (w *worker) look(tx *storage.ReadTx, b *batch) (bool, error) {
	pos, err := tx.Position()
	if err != nil || pos <= b.end {
		return false, err
	}
	next, err := w.nextInStream(tx, b.end)
	if errors.Is(err, storage.ErrNotFound) {
		b.end = pos
		return false, nil
	}
	if err != nil {
		return false, err
	}
	span := storage.Span{After: max(b.end, next-1)}
	span.UpTo = min(span.After+window, pos)
	var messages []storage.InboxPlace
	if w.to.wantsMessages() {
		if messages, span.UpTo, err = w.messages(tx, span, maxMessages); err != nil {
			return false, err
		}
	}
	if span.UpTo, err = w.lookForEvents(tx, b, span); err != nil {
		return false, err
	}
	for _, m := range messages {
		if m.Pos <= span.UpTo {
			b.messages++
		}
	}
	if w.to.Encrypted {
		if err := w.lookForDevices(tx, b, span); err != nil {
			return false, err
		}
	}
	b.end = span.UpTo
	return b.end < pos, nil
}

// nextInStream is the first position after another at which there may be something to send.
func (w *worker) nextInStream(tx *storage.ReadTx, after int64) (int64, error) {
	next, err := tx.NextInStream(after)
	if !w.to.wantsMessages() || err != nil && !errors.Is(err, storage.ErrNotFound) {
		return next, err
	}
	devices, other := tx.NextForDevices(after)
	switch {
	case errors.Is(other, storage.ErrNotFound):
		return next, err
	case other != nil:
		return 0, other
	case err != nil:
		return devices, nil
	}
	return min(next, devices), nil
}

// lookForEvents adds the events of a span that are to be sent. It returns how far it has got: no further than the batch has place for.
func (w *worker) lookForEvents(tx *storage.ReadTx, b *batch, span storage.Span) (int64, error) {
	places, err := tx.StreamEvents(span, maxPlaces)
	if err != nil {
		return 0, err
	}
	if len(places) == maxPlaces {
		span.UpTo = places[maxPlaces-1].Pos
	}
	found, err := tx.EventsAt(storage.NIDs(places))
	if err != nil {
		return 0, err
	}
	for i, e := range found {
		if e == nil {
			continue
		}
		yes, err := w.interest.in(tx, e)
		if err != nil {
			return 0, err
		}
		if !yes {
			continue
		}
		b.events = append(b.events, e.NID)
		if w.to.Encrypted {
			if err := b.company.moved(tx, e); err != nil {
				return 0, err
			}
		}
		if len(b.events) == maxEvents {
			return places[i].Pos, nil
		}
	}
	return span.UpTo, nil
}

// body is the transaction under way as it is sent. Events that are gone since it was made are left out, and redacted ones redacted; nothing is
// ever added. It returns with it where the messages to devices in it are.
//
// Spec: application-service-api#pushing-events
func (w *worker) body(ctx context.Context) ([]byte, []storage.InboxPlace, error) {
	var out transaction
	var messages []storage.InboxPlace
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
		out.Events = append([]json.RawMessage{}, rendered...)
		out.deviceNews, messages, err = w.deviceNews(tx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(out)
	return text, messages, err
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
