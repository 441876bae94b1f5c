package storage

import (
	"errors"
	"maps"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// Relation is an event that points to another with m.relates_to.
//
// Spec: client-server-api#forming-relationships-between-events
type Relation struct {
	Parent  id.EventID
	RelType string
	Child   int64 // number of the event that has the m.relates_to
	Room    int64
	Type    string
	Sender  id.UserID
	Key     string // of an annotation
}

// aggregated is the types of relations with which the parent is shown.
//
// Spec: client-server-api#aggregations-of-child-events
var aggregated = map[string]bool{"m.replace": true, "m.reference": true, "m.thread": true}

// FindChildren notes that an event has children that came before it.
func (tx *Tx) FindChildren(e *Event) error {
	var some bool // of few events is anything said
	if err := tx.queryRow(`select exists(select 1 from relations where parent = $1)`, string(e.ID)).Scan(&some); err != nil || !some {
		return err
	}
	changed, err := tx.exec(`update events set has_children = 1 where nid = $1 and has_children = 0
		and exists (select 1 from relations where parent = $2 and `+tx.inTexts("rel_type", 3)+`)`,
		e.NID, string(e.ID), list(slices.Collect(maps.Keys(aggregated))))
	if err == nil && changed > 0 {
		tx.eventChanged(e.NID)
	}
	return err
}

// AddRelation stores a relation; for m.thread it also moves the thread to the end of the room's threads.
func (tx *Tx) AddRelation(r Relation) error {
	typ, err := tx.intern(r.Type)
	if err != nil {
		return err
	}
	sender, err := tx.intern(string(r.Sender))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into relations (parent, rel_type, child, room, type, sender, aggregation) values ($1, $2, $3, $4, $5, $6, $7)`,
		string(r.Parent), r.RelType, r.Child, r.Room, typ, sender, r.Key)
	if err != nil || !aggregated[r.RelType] {
		return err
	}
	var parent int64
	err = tx.queryRow(`update events set has_children = 1 where event_id = $1 and has_children = 0 returning nid`, string(r.Parent)).Scan(&parent)
	if err == nil {
		tx.eventChanged(parent)
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if r.RelType != "m.thread" {
		return nil
	}
	_, err = tx.exec(`insert into threads (room, root, latest, replies) values ($1, $2, $3, 1)
		on conflict (room, root) do update set replies = threads.replies + 1,
		latest = case when excluded.latest > threads.latest then excluded.latest else threads.latest end`, r.Room, string(r.Parent), r.Child)
	return err
}

// DropRelation removes the relation of a redacted event, and counts its thread anew.
func (tx *Tx) DropRelation(child int64) error {
	var parent, relType string
	var room int64
	err := tx.queryRow(`delete from relations where child = $1 returning parent, rel_type, room`, child).Scan(&parent, &relType, &room)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || relType != "m.thread" {
		return err
	}
	var latest, replies int64
	err = tx.queryRow(`select coalesce(max(child), 0), count(*) from relations where parent = $1 and rel_type = 'm.thread' and room = $2`,
		parent, room).Scan(&latest, &replies)
	if err != nil {
		return err
	}
	if replies == 0 {
		_, err = tx.exec(`delete from threads where room = $1 and root = $2`, room, parent)
	} else {
		_, err = tx.exec(`update threads set latest = $3, replies = $4 where room = $1 and root = $2`, room, parent, latest, replies)
	}
	return err
}

type relationRow struct {
	Relation
	typ, sender int64
}

// Relations is all relations to an event, oldest first. relType limits them to one type; empty means all.
func (tx *ReadTx) Relations(parent id.EventID, relType string) ([]Relation, error) {
	sql := `select parent, rel_type, child, room, type, sender, aggregation from relations where parent = $1 order by child`
	args := []any{string(parent)}
	if relType != "" {
		sql = `select parent, rel_type, child, room, type, sender, aggregation from relations where parent = $1 and rel_type = $2 order by child`
		args = append(args, relType)
	}
	return tx.relations(sql, args...)
}

func (tx *ReadTx) relations(sql string, args ...any) ([]Relation, error) {
	rows, err := collect(tx, func(r rowScanner) (v relationRow, err error) {
		err = r.Scan(&v.Parent, &v.RelType, &v.Child, &v.Room, &v.typ, &v.sender, &v.Key)
		return v, err
	}, sql, args...)
	if err != nil {
		return nil, err
	}
	nids := make([]int64, 0, 2*len(rows))
	for _, r := range rows {
		nids = append(nids, r.typ, r.sender)
	}
	if err := tx.warmWords(nids); err != nil {
		return nil, err
	}
	out := make([]Relation, len(rows))
	for i, r := range rows {
		if r.Type, err = tx.word(r.typ); err != nil {
			return nil, err
		}
		sender, err := tx.word(r.sender)
		if err != nil {
			return nil, err
		}
		r.Sender = id.UserID(sender)
		out[i] = r.Relation
	}
	return out, nil
}

// ParentOf is the relation that an event has to another.
func (tx *ReadTx) ParentOf(child int64) (Relation, error) {
	rows, err := tx.relations(`select parent, rel_type, child, room, type, sender, aggregation from relations where child = $1`, child)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Relation{}, err
	}
	return rows[0], nil
}

// Annotated reports whether a user has annotated an event with an event of this type and this key, and has not redacted that.
func (tx *ReadTx) Annotated(parent id.EventID, eventType, key string, sender id.UserID) (found bool, err error) {
	typ, by, err := tx.twoWords(eventType, string(sender))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = tx.queryRow(`select exists(select 1 from relations where parent = $1 and rel_type = 'm.annotation' and sender = $2 and aggregation = $3
		and type = $4)`, string(parent), by, key, typ).Scan(&found)
	return found, err
}

// Thread is a room's thread; Latest is the number of the newest reply.
type Thread struct {
	Root            id.EventID
	Latest, Replies int64
}

// Threads is up to limit threads of a room whose newest reply is before the position, newest first.
func (tx *ReadTx) Threads(room, before int64, limit int) ([]Thread, error) {
	return collect(tx, func(r rowScanner) (t Thread, err error) {
		err = r.Scan(&t.Root, &t.Latest, &t.Replies)
		return t, err
	}, `select root, latest, replies from threads where room = $1 and latest < $2 order by latest desc limit $3`, room, before, limit)
}
