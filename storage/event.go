package storage

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// EventStatus says what became of an event when it was received.
type EventStatus int

// Only accepted events are part of a room's timeline.
// Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
const (
	Accepted   EventStatus = 0
	SoftFailed EventStatus = 1
	Rejected   EventStatus = 2
	Outlier    EventStatus = 3
)

// Event is a stored event. Events are cached and shared between requests: once read, nobody may change one.
type Event struct {
	NID         int64 // the event's number, by which everything else refers to it
	Pos         int64 // its place in the stream and in the room's timeline; 0 for none
	ID          id.EventID
	Room        int64
	RoomID      id.RoomID
	Type        string
	StateKey    *string
	Sender      id.UserID
	Depth       int64
	TS          int64 // origin_server_ts
	StateBefore int64 // snapshot
	StateAfter  int64 // snapshot; StateBefore, for message events
	Status      EventStatus
	Replaces    int64       // number of the state event that this one took the place of
	RedactedBy  int64       // number of the redaction
	HasChildren bool        // other events relate to it, or did, in a way that it is shown with
	TxnDevice   id.DeviceID // DelayedDevice: TxnID is the delay id of an event that was delayed
	TxnID       string
	JSON        []byte // as the federation sees it

	once   sync.Once
	client []byte
}

// IsState reports whether the event is the state event typ with the given key.
func (e *Event) IsState(typ, key string) bool {
	return e.StateKey != nil && e.Type == typ && *e.StateKey == key
}

// Content is the event's content as stored.
func (e *Event) Content() []byte {
	return []byte(gjson.GetBytes(e.JSON, "content").Raw)
}

// Get looks up a path of the event, such as "content.membership".
func (e *Event) Get(path string) gjson.Result { return gjson.GetBytes(e.JSON, path) }

// ClientFields is the part of the event's client form that is the same for everyone: the members of the JSON object but room_id and
// unsigned, without braces. It is made once and shared; nobody may change it.
//
// Spec: client-server-api#room-event-format
func (e *Event) ClientFields() []byte {
	e.once.Do(func() {
		content, redacts := gjson.GetBytes(e.JSON, "content").Raw, ""
		if content == "" {
			content = "{}"
		}
		if e.Type == "m.room.redaction" {
			content, redacts = bothRedacts(content, gjson.GetBytes(e.JSON, "redacts").Raw)
		}
		b := make([]byte, 0, len(content)+len(e.ID)+len(e.Sender)+len(e.Type)+160)
		b = append(b, `"content":`...)
		b = append(b, content...)
		b = append(b, `,"event_id":"`...)
		b = append(b, e.ID...)
		b = append(b, `","origin_server_ts":`...)
		b = strconv.AppendInt(b, e.TS, 10)
		b = append(b, `,"sender":`...)
		b = gjson.AppendJSONString(b, string(e.Sender))
		if e.StateKey != nil {
			b = append(b, `,"state_key":`...)
			b = gjson.AppendJSONString(b, *e.StateKey)
		}
		if redacts != "" {
			b = append(b, `,"redacts":`...)
			b = append(b, redacts...)
		}
		b = append(b, `,"type":`...)
		b = gjson.AppendJSONString(b, e.Type)
		e.client = b
	})
	return e.client
}

// bothRedacts says what a redaction redacts where clients of either generation find it: in the content since room version 11, beside it before.
//
// Spec: client-server-api#mroomredaction
func bothRedacts(content, beside string) (string, string) {
	inside := gjson.Get(content, "redacts").Raw
	switch {
	case beside == "":
		return content, inside
	case content == "{}":
		return `{"redacts":` + beside + `}`, beside
	case inside == "":
		return content[:len(content)-1] + `,"redacts":` + beside + `}`, beside
	}
	return content, beside
}

// Copy is the event as somebody may change it.
func (e *Event) Copy() *Event {
	return &Event{
		NID: e.NID, Pos: e.Pos, ID: e.ID, Room: e.Room, RoomID: e.RoomID, Type: e.Type, StateKey: e.StateKey, Sender: e.Sender, Depth: e.Depth,
		TS: e.TS, StateBefore: e.StateBefore, StateAfter: e.StateAfter, Status: e.Status, Replaces: e.Replaces, RedactedBy: e.RedactedBy,
		HasChildren: e.HasChildren, TxnDevice: e.TxnDevice, TxnID: e.TxnID, JSON: e.JSON,
	}
}

func (e *Event) size() int { return 2*len(e.JSON) + 400 }

const eventColumns = `nid, pos, event_id, room, type, state_key, sender, depth, ts, state_before, state_after, status, replaces, redacted_by,
	has_children, txn_device, txn_id, json`

type eventRow struct {
	Event
	typ, sender int64
	stateKey    *int64
}

func scanEvent(r rowScanner) (*eventRow, error) {
	e := &eventRow{}
	err := r.Scan(&e.NID, &e.Pos, &e.ID, &e.Room, &e.typ, &e.stateKey, &e.sender, &e.Depth, &e.TS, &e.StateBefore, &e.StateAfter, &e.Status,
		&e.Replaces, &e.RedactedBy, &e.HasChildren, &e.TxnDevice, &e.TxnID, &e.JSON)
	return e, err
}

// finish turns numbers into strings and offers the event to the cache.
func (tx *ReadTx) finish(r *eventRow) (*Event, error) {
	e := &r.Event
	typ, err := tx.word(r.typ)
	if err != nil {
		return nil, fmt.Errorf("type of %s: %w", e.ID, err)
	}
	e.Type = typ
	sender, err := tx.word(r.sender)
	if err != nil {
		return nil, fmt.Errorf("sender of %s: %w", e.ID, err)
	}
	e.Sender = id.UserID(sender)
	if r.stateKey != nil {
		key, err := tx.word(*r.stateKey)
		if err != nil {
			return nil, fmt.Errorf("state key of %s: %w", e.ID, err)
		}
		e.StateKey = &key
	}
	if e.RoomID, err = tx.RoomID(e.Room); err != nil {
		return nil, fmt.Errorf("room of %s: %w", e.ID, err)
	}
	if tx.writer == nil {
		tx.store.events.add(e, tx.epoch)
	}
	return e, nil
}

// Event finds an event by its id, whatever its status.
func (tx *ReadTx) Event(event id.EventID) (*Event, error) {
	if e, ok := tx.cachedByID(event); ok {
		return e, nil
	}
	r, err := scanEvent(tx.queryRow(`select `+eventColumns+` from events where event_id = $1`, string(event)))
	if err != nil {
		return nil, err
	}
	return tx.finish(r)
}

// EventInRoom is Event for an accepted event of this room; any other is ErrNotFound.
func (tx *ReadTx) EventInRoom(room int64, event id.EventID) (*Event, error) {
	e, err := tx.Event(event)
	if err == nil && (e.Room != room || e.Status != Accepted) {
		return nil, ErrNotFound
	}
	return e, err
}

// EventAt finds an event by its number.
func (tx *ReadTx) EventAt(nid int64) (*Event, error) {
	out, err := tx.EventsAt([]int64{nid})
	if err == nil && out[0] == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// EventsAt finds events by their numbers, in that order; where there is none, the element is nil.
func (tx *ReadTx) EventsAt(nids []int64) ([]*Event, error) {
	out := make([]*Event, len(nids))
	missing := tx.cachedAll(nids, out)
	if len(missing) == 0 {
		return out, nil
	}
	where, arg := "nid = $1", any(missing[0])
	if len(missing) > 1 {
		where, arg = tx.inInts("nid", 1), list(missing)
	}
	events, err := tx.loadEvents(where, arg)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]*Event, len(events))
	for _, e := range events {
		found[e.NID] = e
	}
	for i, n := range nids {
		if out[i] == nil {
			out[i] = found[n]
		}
	}
	return out, nil
}

// loadEvents reads the events that fit, in no order, past the cache.
func (tx *ReadTx) loadEvents(where string, args ...any) ([]*Event, error) {
	rows, err := collect(tx, scanEvent, `select `+eventColumns+` from events where `+where, args...)
	if err != nil {
		return nil, err
	}
	return tx.finishAll(rows)
}

// Span is a stretch of a room's history: after < pos <= upTo.
type Span struct{ After, UpTo int64 }

// Timeline is the accepted events of a room within a span: the first limit in order, or the last limit in reverse order.
func (tx *ReadTx) Timeline(room int64, span Span, limit int, reverse bool) ([]*Event, error) {
	places, err := tx.TimelinePlaces(room, span, limit, reverse)
	if err != nil {
		return nil, err
	}
	return tx.EventsAt(NIDs(places))
}

// Place is where an event is in the timeline of its room.
type Place struct{ NID, Pos int64 }

func scanPlace(r rowScanner) (p Place, err error) {
	err = r.Scan(&p.NID, &p.Pos)
	return p, err
}

// NIDs is the numbers of the events at some places.
func NIDs(places []Place) []int64 {
	out := make([]int64, len(places))
	for i, p := range places {
		out[i] = p.NID
	}
	return out
}

// TimelinePlaces is Timeline without the events; it reads nothing but an index, or memory.
func (tx *ReadTx) TimelinePlaces(room int64, span Span, limit int, reverse bool) ([]Place, error) {
	order := "asc"
	if reverse {
		order = "desc"
		if places, known, err := tx.lastPlaces(room, span, limit); known || err != nil {
			return places, err
		}
	}
	return collect(tx, scanPlace, `select nid, pos from events where room = $1 and pos > $2 and pos <= $3 and status = 0
		order by pos `+order+` limit $4`, room, span.After, span.UpTo, limit)
}

// EventNear is the accepted event closest to ts, in milliseconds: the first at or after it, or the last at or before it.
func (tx *ReadTx) EventNear(room, ts int64, backwards bool) (*Event, error) {
	sql := `select nid from events where room = $1 and ts >= $2 and status = 0 order by ts, pos limit 1`
	if backwards {
		sql = `select nid from events where room = $1 and ts <= $2 and status = 0 order by ts desc, pos desc limit 1`
	}
	var nid int64
	if err := tx.queryRow(sql, room, ts).Scan(&nid); err != nil {
		return nil, err
	}
	return tx.EventAt(nid)
}

// AddEvent stores an event whose NID has been taken from NextPos or NextBackfillPos. An event id that is there already is an error.
func (tx *Tx) AddEvent(e *Event) error {
	typ, err := tx.intern(e.Type)
	if err != nil {
		return err
	}
	sender, err := tx.intern(string(e.Sender))
	if err != nil {
		return err
	}
	var key *int64
	if e.StateKey != nil {
		k, err := tx.intern(*e.StateKey)
		if err != nil {
			return err
		}
		key = &k
	}
	_, err = tx.exec(`insert into events (`+eventColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		e.NID, e.Pos, string(e.ID), e.Room, typ, key, sender, e.Depth, e.TS, e.StateBefore, e.StateAfter, int64(e.Status), e.Replaces, e.RedactedBy,
		e.HasChildren, string(e.TxnDevice), e.TxnID, e.JSON)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { tx.store.events.add(e, tx.store.events.current()) })
	tx.placed(e)
	return nil
}

// RedactEvent replaces an event's JSON by its redacted form and notes the redaction.
func (tx *Tx) RedactEvent(e *Event, by int64, redacted []byte) error {
	_, err := tx.exec(`update events set json = $2, redacted_by = $3 where nid = $1`, e.NID, redacted, by)
	if err != nil {
		return err
	}
	tx.eventChanged(e.NID)
	return nil
}

// eventChanged keeps the cache from showing what an event was before this Update.
func (tx *Tx) eventChanged(nid int64) {
	tx.writer.changed[nid] = true
	tx.OnCommit(func() { tx.store.events.forget(nid) })
}

// JudgeEvent writes what has become of an event that was stored before under the number was: its status, its place, the states before and after
// it, and what it replaces. A state event keeps its number. Nothing refers to a message event before it has a place, so with the place it gets
// the same number: the numbers of message events in a timeline are their places.
func (tx *Tx) JudgeEvent(was int64, e *Event) error {
	_, err := tx.exec(`update events set nid = $2, status = $3, pos = $4, state_before = $5, state_after = $6, replaces = $7 where nid = $1`,
		was, e.NID, int64(e.Status), e.Pos, e.StateBefore, e.StateAfter, e.Replaces)
	if err == nil {
		tx.eventChanged(was)
		tx.placed(e)
	}
	return err
}
