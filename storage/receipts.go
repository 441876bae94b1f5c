package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// The types of receipts.
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
)

// MainThread is the thread of a receipt for the events that are in no thread.
const MainThread = "main"

// Receipt is how far a user has read, in the whole room or one of its threads.
type Receipt struct {
	Room   int64
	User   id.UserID
	Type   string
	Thread string // empty: unthreaded; MainThread; or the event id of a thread's root
	Event  id.EventID
	At     int64 // position of the event, 0 if it is not here
	Pos    int64 // when the receipt was set
	TS     int64 // the same, in milliseconds
}

const receiptColumns = `room, user_id, type, thread, event_id, at, pos, ts`

func scanReceipt(r rowScanner) (v Receipt, err error) {
	err = r.Scan(&v.Room, &v.User, &v.Type, &v.Thread, &v.Event, &v.At, &v.Pos, &v.TS)
	return v, err
}

// ReceiptsSince is the receipts that were set in a room within a span, in that order, without the private ones of others than the user.
func (tx *ReadTx) ReceiptsSince(room int64, span Span, user id.UserID) ([]Receipt, error) {
	return collect(tx, scanReceipt, `select `+receiptColumns+` from receipts where room = $1 and pos > $2 and pos <= $3
		and (type <> 'm.read.private' or user_id = $4) order by pos`, room, span.After, span.UpTo, string(user))
}

// ReceiptsOf is all receipts of one user in a room, in no order.
func (tx *ReadTx) ReceiptsOf(room int64, user id.UserID) ([]Receipt, error) {
	return collect(tx, scanReceipt, `select `+receiptColumns+` from receipts where room = $1 and user_id = $2`, room, string(user))
}

// SetReceipt moves a receipt forward and reports whether it did: a receipt for an event that is not after the one it has is forgotten, and
// so is one for an event that is not here if there is one for an event that is.
func (tx *Tx) SetReceipt(r Receipt) (bool, error) {
	var at int64
	err := tx.queryRow(`select at from receipts where room = $1 and user_id = $2 and type = $3 and thread = $4`,
		r.Room, string(r.User), r.Type, r.Thread).Scan(&at)
	if err == nil && at >= r.At && (at != 0 || r.At != 0) {
		return false, nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	_, err = tx.exec(`insert into receipts (`+receiptColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (room, user_id, type, thread) do update set event_id = excluded.event_id, at = excluded.at, pos = excluded.pos,
		ts = excluded.ts`, r.Room, string(r.User), r.Type, r.Thread, string(r.Event), r.At, r.Pos, r.TS)
	return err == nil, err
}

// maxHops is how far the thread of an event is looked for.
const maxHops = 3

// Ancestors is the relations on the way from an event to what it relates to, and on to what that relates to, for some steps.
func (tx *ReadTx) Ancestors(ev *Event) ([]Relation, error) {
	var out []Relation
	for nid := ev.NID; len(out) < maxHops; {
		r, err := tx.ParentOf(nid)
		if errors.Is(err, ErrNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		parent, err := tx.EventInRoom(ev.Room, r.Parent)
		if errors.Is(err, ErrNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		nid = parent.NID
	}
	return out, nil
}

// ThreadOf is the root of the thread that an event is in, empty for the main timeline: the event, or one of its ancestors, is a reply in the
// thread.
//
// Spec: client-server-api#threaded-read-receipts
func (tx *ReadTx) ThreadOf(ev *Event) (id.EventID, error) {
	// What relates to nothing says so itself.
	if !ev.Get("content.m\\.relates_to.rel_type").Exists() {
		return "", nil
	}
	ancestors, err := tx.Ancestors(ev)
	for _, r := range ancestors {
		if r.RelType == "m.thread" {
			return r.Parent, err
		}
	}
	return "", err
}
