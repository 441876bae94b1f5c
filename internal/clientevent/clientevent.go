// Package clientevent shows events to clients: the form that every endpoint sends, with what is known beside the event in unsigned, for one
// viewer at a time. What all events of a batch need is read at once, with a number of queries that does not depend on the number of
// events; a plain message needs none. It refuses to decide which events a viewer may see: that is package visibility.
package clientevent

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// Viewer is who events are shown to.
type Viewer struct {
	User   id.UserID
	Device id.DeviceID
}

// Options says in what form events are shown. Its zero value is the form with room_id and without aggregations.
type Options struct {
	// Now is the time that the events' ages are counted to.
	Now time.Time
	// WithoutRoomID leaves room_id out, for answers that name the room elsewhere.
	WithoutRoomID bool
	// Bundle adds what is known of the children of the events.
	Bundle bool
	// Federation gives the events as servers see them, for filters that ask for event_format federation.
	Federation bool
	// Ignored is whom the viewer ignores: their children are not counted.
	Ignored visibility.Ignored
	// Histories is what the viewer may see of rooms, by room number, as far as it is loaded already. Those that are missing are loaded.
	Histories map[int64]*visibility.History
	// Fields is the choice of fields that a filter makes; nil is all.
	Fields *filter.Fields
}

// Render is the events in client form, in the same order.
func Render(tx *storage.ReadTx, viewer Viewer, events []*storage.Event, opts Options) ([]json.RawMessage, error) {
	b, err := Prepare(tx, viewer, events, opts)
	if err != nil {
		return nil, err
	}
	out := make([]json.RawMessage, len(events))
	for i, ev := range events {
		out[i] = b.Append(nil, ev)
	}
	return out, nil
}

// One is Render for a single event.
func One(tx *storage.ReadTx, viewer Viewer, ev *storage.Event, opts Options) (json.RawMessage, error) {
	out, err := Render(tx, viewer, []*storage.Event{ev}, opts)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Batch is what has been read to show some events to one viewer.
type Batch struct {
	viewer    Viewer
	opts      Options
	now       int64
	histories map[int64]*visibility.History
	beside    map[int64]*storage.Event // the replaced events and the redactions, by number
	relations map[id.EventID][]byte    // m.relations
	erased    erasure
}

// Prepare reads what is needed to show the events. A loaded history or aggregation is not part of Options.
func Prepare(tx *storage.ReadTx, viewer Viewer, events []*storage.Event, opts Options) (*Batch, error) {
	b := &Batch{viewer: viewer, opts: opts, now: opts.Now.UnixMilli(), histories: opts.Histories}
	var err error
	if b.erased.users, err = tx.ErasedUsers(); err != nil {
		return nil, err
	}
	if opts.Federation && len(b.erased.users) == 0 {
		return b, nil
	}
	var missing map[int64]bool
	var positions []int64
	for _, ev := range events {
		if b.histories[ev.Room] == nil && !missing[ev.Room] {
			if missing == nil {
				missing = map[int64]bool{}
			}
			missing[ev.Room] = true
		}
		if ev.Replaces != 0 {
			positions = append(positions, ev.Replaces)
		}
		if ev.RedactedBy != 0 {
			positions = append(positions, ev.RedactedBy)
		}
	}
	if len(missing) > 0 {
		loaded, err := visibility.LoadAll(tx, slices.Collect(maps.Keys(missing)), viewer.User)
		if err != nil {
			return nil, err
		}
		maps.Copy(loaded, opts.Histories)
		b.histories = loaded
	}
	if len(b.erased.users) > 0 {
		if err := b.erase(tx, events); err != nil {
			return nil, err
		}
	}
	if opts.Federation {
		return b, nil
	}
	if len(positions) > 0 {
		found, err := tx.EventsAt(positions)
		if err != nil {
			return nil, err
		}
		b.beside = make(map[int64]*storage.Event, len(found))
		for _, ev := range found {
			if ev != nil {
				b.beside[ev.NID] = ev
			}
		}
	}
	if opts.Bundle {
		if err := b.bundle(tx, events); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Append appends an event of the batch to buf.
//
// Spec: client-server-api#room-event-format
func (b *Batch) Append(buf []byte, ev *storage.Event) []byte {
	start := len(buf)
	ev = b.shown(ev)
	if b.opts.Federation {
		buf = append(buf, ev.JSON...)
	} else {
		buf = b.open(buf, ev)
		buf = b.unsigned(buf, ev)
		buf = append(buf, '}')
	}
	if b.opts.Fields == nil {
		return buf
	}
	chosen, err := b.opts.Fields.Apply(buf[start:])
	if err != nil { // it is JSON: it was just made
		return buf
	}
	return append(buf[:start], chosen...)
}

// open appends all of an event but unsigned and the closing brace.
func (b *Batch) open(buf []byte, ev *storage.Event) []byte {
	buf = append(buf, '{')
	buf = append(buf, ev.ClientFields()...)
	if !b.opts.WithoutRoomID {
		buf = append(buf, `,"room_id":`...)
		buf = appendString(buf, string(ev.RoomID))
	}
	return buf
}

// unsigned appends the member of that name.
func (b *Batch) unsigned(buf []byte, ev *storage.Event) []byte {
	buf = append(buf, `,"unsigned":{"age":`...)
	buf = strconv.AppendInt(buf, b.now-ev.TS, 10)
	history := b.histories[ev.Room]
	if history != nil {
		buf = append(buf, `,"membership":`...)
		buf = appendString(buf, history.Membership(ev.Pos))
	}
	if ev.TxnDevice == storage.DelayedDevice && ev.Sender == b.viewer.User {
		// Spec: MSC4140#delay_id-in-unsigned-event-data
		buf = append(buf, `,"org.matrix.msc4140.delay_id":`...)
		buf = appendString(buf, ev.TxnID)
	}
	// Only the device that sent the event is told its transaction id: to others it would be an id of their own.
	// Spec: client-server-api#transaction-identifiers
	if ev.TxnID != "" && ev.TxnDevice == b.viewer.Device && ev.Sender == b.viewer.User {
		buf = append(buf, `,"transaction_id":`...)
		buf = appendString(buf, ev.TxnID)
	}
	if prev := b.beside[ev.Replaces]; prev != nil && ev.Replaces != 0 {
		buf = append(buf, `,"replaces_state":`...)
		buf = appendString(buf, string(prev.ID))
		// What has become of them everybody may know, also where this server was not in the room then.
		own := prev.IsState("m.room.member", string(b.viewer.User))
		if own || history == nil || history.Visible(prev) {
			buf = append(buf, `,"prev_content":`...)
			buf = appendRaw(buf, prev.Content(), "{}")
			buf = append(buf, `,"prev_sender":`...)
			buf = appendString(buf, string(prev.Sender))
		}
	}
	if by := b.beside[ev.RedactedBy]; by != nil && ev.RedactedBy != 0 {
		buf = append(buf, `,"redacted_because":`...)
		buf = b.open(buf, by)
		buf = append(buf, `,"unsigned":{"age":`...)
		buf = strconv.AppendInt(buf, b.now-by.TS, 10)
		if history != nil {
			buf = append(buf, `,"membership":`...)
			buf = appendString(buf, history.Membership(by.Pos))
		}
		buf = append(buf, `}}`...)
	}
	if relations := b.relations[ev.ID]; relations != nil {
		buf = append(buf, `,"m.relations":`...)
		buf = append(buf, relations...)
	}
	return append(buf, '}')
}

// AppendStripped appends an event in stripped form.
//
// Spec: client-server-api#stripped-state
func AppendStripped(buf []byte, ev *storage.Event) []byte {
	r := gjson.GetManyBytes(ev.JSON, "content", "sender", "state_key", "type")
	buf = append(buf, `{"content":`...)
	buf = appendRaw(buf, []byte(r[0].Raw), "{}")
	buf = append(buf, `,"sender":`...)
	buf = append(buf, r[1].Raw...)
	if r[2].Raw != "" {
		buf = append(buf, `,"state_key":`...)
		buf = append(buf, r[2].Raw...)
	}
	buf = append(buf, `,"type":`...)
	buf = append(buf, r[3].Raw...)
	return append(buf, '}')
}

// appendRaw appends JSON, or def where there is none.
func appendRaw(buf, raw []byte, def string) []byte {
	if len(raw) == 0 {
		return append(buf, def...)
	}
	return append(buf, raw...)
}

// appendString appends a JSON string.
func appendString(buf []byte, s string) []byte {
	return gjson.AppendJSONString(buf, s)
}
