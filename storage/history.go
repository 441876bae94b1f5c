package storage

import (
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// What readers of history ask beyond the timeline: many events at once, the state at a moment, and the events around a time.

// finishAll is finish for many rows, in the same order, with one query for all their words.
func (tx *ReadTx) finishAll(rows []*eventRow) ([]*Event, error) {
	var nids []int64
	for _, r := range rows {
		nids = append(nids, r.typ, r.sender)
		if r.stateKey != nil {
			nids = append(nids, *r.stateKey)
		}
	}
	if err := tx.warmWords(nids); err != nil {
		return nil, err
	}
	out := make([]*Event, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = tx.finish(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// EventsByID finds events by their ids, whatever their status, in that order; where there is none, the element is nil.
func (tx *ReadTx) EventsByID(ids []id.EventID) ([]*Event, error) {
	found := make(map[id.EventID]*Event, len(ids))
	var missing []id.EventID
	for _, eventID := range ids {
		if e, ok := tx.cachedByID(eventID); ok {
			found[eventID] = e
		} else {
			missing = append(missing, eventID)
		}
	}
	if len(missing) > 0 {
		where, arg := "event_id = $1", any(missing[0])
		if len(missing) > 1 {
			where, arg = tx.inTexts("event_id", 1), list(missing)
		}
		events, err := tx.loadEvents(where, arg)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			found[e.ID] = e
		}
	}
	out := make([]*Event, len(ids))
	for i, eventID := range ids {
		out[i] = found[eventID]
	}
	return out, nil
}

// Moment is a point in time within a room: events with the same timestamp, in milliseconds, are told apart by their positions.
type Moment struct{ TS, Pos int64 }

// NIDsByTime is the numbers of the accepted events of a room after a moment in the order of their timestamps, or those before it in reverse order.
func (tx *ReadTx) NIDsByTime(room int64, from Moment, limit int, reverse bool) ([]int64, error) {
	sql := `select nid from events where room = $1 and ts >= $2 and (ts > $2 or pos > $3) and status = 0 order by ts, pos limit $4`
	if reverse {
		sql = `select nid from events where room = $1 and ts <= $2 and (ts < $2 or pos < $3) and status = 0
			order by ts desc, pos desc limit $4`
	}
	return collect(tx, scanOne[int64], sql, room, from.TS, from.Pos, limit)
}

// wordNIDs is the numbers of those words that are stored.
func (tx *ReadTx) wordNIDs(values []string) ([]int64, error) {
	out := make([]int64, 0, len(values))
	for _, v := range values {
		n, err := tx.wordNID(v)
		if err == nil {
			out = append(out, n)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return out, nil
}

// StateOfTypeAt is the events of one type in a snapshot: those with the given state keys, or all of them where keys is nil.
func (tx *ReadTx) StateOfTypeAt(snapshot int64, typ string, keys []string) ([]*Event, error) {
	n, err := tx.wordNID(typ)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var deltas []delta
	if keys == nil {
		deltas, err = collect(tx, scanDelta, chain+`select d.type, d.state_key, d.event from chain c
			join state_deltas d on d.snapshot = c.nid where d.type = $2 order by c.depth desc`, snapshot, n)
	} else {
		var nids []int64
		if nids, err = tx.wordNIDs(keys); err != nil {
			return nil, err
		}
		deltas, err = collect(tx, scanDelta, chain+`select d.type, d.state_key, d.event from chain c
			join state_deltas d on d.snapshot = c.nid where d.type = $2 and `+tx.inInts("d.state_key", 3)+` order by c.depth desc`,
			snapshot, n, list(nids))
	}
	if err != nil {
		return nil, err
	}
	return tx.eventsOf(deltas)
}

// eventsOf is the events of a state that is given by deltas, newest first, in no order.
func (tx *ReadTx) eventsOf(deltas []delta) ([]*Event, error) {
	deltas = newest(deltas)
	nids := make([]int64, len(deltas))
	for i, d := range deltas {
		nids[i] = d.event
	}
	events, err := tx.EventsAt(nids)
	return slices.DeleteFunc(events, func(e *Event) bool { return e == nil }), err
}

// WholeStateAt is the events of a snapshot, in no order.
func (tx *ReadTx) WholeStateAt(snapshot int64) ([]*Event, error) {
	deltas, err := collect(tx, scanDelta, chain+`select d.type, d.state_key, d.event from chain c
		join state_deltas d on d.snapshot = c.nid order by c.depth desc`, snapshot)
	if err != nil {
		return nil, err
	}
	return tx.eventsOf(deltas)
}

// Kin says which children of an event are meant: those with this relation type and of this event type, where these are not empty.
type Kin struct{ RelType, Type string }

// typeNID is the number of an event type, 0 for the empty one. ErrNotFound: there are no such events.
func (tx *ReadTx) typeNID(typ string) (int64, error) {
	if typ == "" {
		return 0, nil
	}
	return tx.wordNID(typ)
}

// Children is the numbers of the events of a room that relate to an event, within a span: the first limit in order, or the last limit in
// reverse order.
func (tx *ReadTx) Children(room int64, parent id.EventID, kin Kin, span Span, limit int, reverse bool) ([]int64, error) {
	typ, err := tx.typeNID(kin.Type)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	order := "asc"
	if reverse {
		order = "desc"
	}
	// With a relation type the order is that of the primary key.
	sql := `select child from relations where parent = $1 and room = $2 and (cast($3 as bigint) = 0 or type = $3) and child > $4 and child <= $5
		order by child ` + order + ` limit $6`
	args := []any{string(parent), room, typ, span.After, span.UpTo, limit}
	if kin.RelType != "" {
		sql = `select child from relations where parent = $1 and rel_type = $7 and room = $2 and (cast($3 as bigint) = 0 or type = $3)
			and child > $4 and child <= $5 order by child ` + order + ` limit $6`
		args = append(args, kin.RelType)
	}
	return collect(tx, scanOne[int64], sql, args...)
}

// Child is an event that relates to another.
type Child struct {
	NID  int64
	ID   id.EventID
	Kind Kin
}

// ChildrenOf is the events of a room that relate to any of several events, at most limit of them, newest first.
func (tx *ReadTx) ChildrenOf(room int64, parents []id.EventID, limit int) ([]Child, error) {
	type row struct {
		Child
		typ int64
	}
	rows, err := collect(tx, func(r rowScanner) (v row, err error) {
		err = r.Scan(&v.NID, &v.ID, &v.Kind.RelType, &v.typ)
		return v, err
	}, `select r.child, e.event_id, r.rel_type, r.type from relations r join events e on e.nid = r.child
		where `+tx.inTexts("r.parent", 1)+` and r.room = $2 order by r.child desc limit $3`, list(parents), room, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Child, len(rows))
	for i, r := range rows {
		if r.Kind.Type, err = tx.word(r.typ); err != nil {
			return nil, err
		}
		out[i] = r.Child
	}
	return out, nil
}

// EventIDsAt is the ids of events by their numbers, without reading the events.
func (tx *ReadTx) EventIDsAt(nids []int64) (map[int64]id.EventID, error) {
	type named struct {
		nid   int64
		event id.EventID
	}
	rows, err := collect(tx, func(r rowScanner) (n named, err error) {
		err = r.Scan(&n.nid, &n.event)
		return n, err
	}, `select nid, event_id from events where `+tx.inInts("nid", 1), list(nids))
	out := make(map[int64]id.EventID, len(rows))
	for _, n := range rows {
		out[n.nid] = n.event
	}
	return out, err
}
