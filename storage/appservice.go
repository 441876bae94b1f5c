package storage

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
)

// AppserviceCursor is how far an application service has been told of the stream.
type AppserviceCursor struct {
	// Pos is the position up to which everything was delivered, or is not for the application service.
	Pos int64
	// Txn is the number of the last transaction that was made.
	Txn int64
	// UpTo is how far the stream is delivered when that transaction is; 0: it has been.
	UpTo int64
	// Events are the numbers of the events of the transaction under way, in order.
	Events []int64
	// Lists is whose devices that transaction names.
	Lists DeviceLists
}

// DeviceLists is whose devices have changed, and who is out of sight.
type DeviceLists struct {
	Changed []id.UserID `json:"changed,omitempty"`
	Left    []id.UserID `json:"left,omitempty"`
}

// IsEmpty reports whether there is nobody in the lists.
func (l DeviceLists) IsEmpty() bool { return len(l.Changed)+len(l.Left) == 0 }

// AppserviceCursor is the cursor of an application service, or ErrNotFound for one that was never told of anything.
func (tx *ReadTx) AppserviceCursor(appservice string) (AppserviceCursor, error) {
	var c AppserviceCursor
	var events, lists json.RawMessage
	err := tx.queryRow("select pos, txn, up_to, events, device_lists from appservices where id = $1", appservice).
		Scan(&c.Pos, &c.Txn, &c.UpTo, &events, &lists)
	if err != nil {
		return c, err
	}
	if err := errors.Join(json.Unmarshal(events, &c.Events), json.Unmarshal(lists, &c.Lists)); err != nil {
		return c, fmt.Errorf("the transaction for %s: %w", appservice, err)
	}
	return c, nil
}

// PutAppserviceCursor stores the cursor of an application service.
func (tx *Tx) PutAppserviceCursor(appservice string, c AppserviceCursor) error {
	events, err := json.Marshal(append([]int64{}, c.Events...))
	if err != nil {
		return err
	}
	lists, err := json.Marshal(c.Lists)
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into appservices (id, pos, txn, up_to, events, device_lists) values ($1, $2, $3, $4, $5, $6)
		on conflict (id) do update set pos = excluded.pos, txn = excluded.txn, up_to = excluded.up_to, events = excluded.events,
		device_lists = excluded.device_lists`,
		appservice, c.Pos, c.Txn, c.UpTo, json.RawMessage(events), json.RawMessage(lists))
	return err
}

// StreamEvents is where the events of all rooms are within a span of the stream, the first limit of them in order: those of timelines, and
// the memberships of users of this server in rooms that it is not in, such as invites, whose place is where they were noted.
func (tx *ReadTx) StreamEvents(span Span, limit int) ([]Place, error) {
	return collect(tx, scanPlace, `select nid, nid as place from events where nid > $1 and nid <= $2 and status = 0 and pos = nid
		union all
		select nid, pos from events where pos > $1 and pos <= $2 and status = 0 and pos > 0 and nid <> pos
		union all
		select e.nid, m.pos from memberships m join events e on e.nid = m.event
			where m.local = 1 and m.event < 0 and m.pos > $1 and m.pos <= $2 and e.status = 3
		order by 2, 1 limit $3`, span.After, span.UpTo, limit)
}

// NextInStream is the first position after another at which StreamEvents may find something: the stream has long stretches without events, which
// are reserved for history. ErrNotFound: there is nothing.
func (tx *ReadTx) NextInStream(after int64) (int64, error) {
	var next int64
	err := tx.queryRow(`select coalesce(min(p), 0) from (
			select min(nid) as p from events where nid > $1 and status = 0 and pos = nid
			union all select min(pos) from events where pos > $1 and status = 0 and pos > 0 and nid <> pos
			union all select min(pos) from memberships where local = 1 and event < 0 and pos > $1) places`, after).Scan(&next)
	if err == nil && next == 0 {
		err = ErrNotFound
	}
	return next, err
}

// LocalMembership is the place of a user of this server in a room.
type LocalMembership struct {
	User       id.UserID
	Membership string
	Pos        int64 // when it became so
}

// LocalMemberships is the users of this server who have ever had to do with a room.
func (tx *ReadTx) LocalMemberships(room int64) ([]LocalMembership, error) {
	// All values of membership are named so that the index is used as it is for one of them.
	return collect(tx, func(r rowScanner) (m LocalMembership, err error) {
		err = r.Scan(&m.User, &m.Membership, &m.Pos)
		return m, err
	}, `select w.value, m.membership, m.pos from memberships m join words w on w.nid = m.member
		where m.room = $1 and m.membership in ('join', 'invite', 'knock', 'leave', 'ban') and m.local = 1 order by m.member`, room)
}

// LocalStripped is the stripped state, a JSON array or nothing, that goes with the membership that an event gives a user of this server.
func (tx *ReadTx) LocalStripped(room, event int64) (string, error) {
	var stripped string
	err := tx.queryRow(`select m.stripped from events e join memberships m on m.member = e.state_key and m.room = e.room and m.event = e.nid
		where e.nid = $2 and e.room = $1 and m.local = 1`, room, event).Scan(&stripped)
	if errors.Is(err, ErrNotFound) {
		return "", nil // it is not the membership any more
	}
	return stripped, err
}
