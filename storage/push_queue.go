package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Push is something that a pusher has yet to be told.
type Push struct {
	Pos     int64
	Event   int64           // 0: only the number of unread messages has changed
	Actions json.RawMessage // of the push rule that matched the event
	TS      int64           // when it was queued, in ms since the epoch
}

// QueuePush has all pushers of some users told of an event, which the same actions of push rules matched for all of them, and returns the
// pushers. It belongs into the transaction that made the event; wake the pushers on commit.
func (tx *Tx) QueuePush(event int64, actions json.RawMessage, users []id.UserID, ts int64) ([]int64, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return nil, err
	}
	return collect(&tx.ReadTx, scanOne[int64], `insert into push_queue (pusher, pos, event, actions, ts)
		select p.pusher, cast($1 as bigint), cast($2 as bigint), cast($3 as text), cast($4 as bigint) from pushers p
		where `+tx.inTexts("p.user_id", 5)+` returning pusher`, pos, event, string(actions), ts, list(users))
}

// QueueBadge has all pushers of a user but those by e-mail told, after all else that waits for them, that the number of unread messages has changed, and returns
// the pushers. Wake them on commit.
func (tx *Tx) QueueBadge(user id.UserID, ts int64) ([]int64, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return nil, err
	}
	// A row gets a new position and is not changed in place: the old one may be on its way, and is then removed by its position.
	return collect(&tx.ReadTx, scanOne[int64], `insert into push_queue (pusher, pos, event, actions, ts)
		select p.pusher, cast($1 as bigint), 0, '', cast($2 as bigint) from pushers p where p.user_id = $3 and p.kind = 'http'
		on conflict (pusher) where event = 0 do update set pos = excluded.pos, ts = excluded.ts returning pusher`, pos, ts, user)
}

// PushQueue is the first rows of what waits for a pusher, in order.
func (tx *ReadTx) PushQueue(pusher int64, limit int) ([]Push, error) {
	return collect(tx, func(r rowScanner) (p Push, err error) {
		err = r.Scan(&p.Pos, &p.Event, &p.Actions, &p.TS)
		return p, err
	}, `select pos, event, actions, ts from push_queue where pusher = $1 order by pos limit $2`, pusher, limit)
}

// WaitingPushers is the pushers that something waits for, in order.
func (tx *ReadTx) WaitingPushers() ([]int64, error) {
	return collect(tx, scanOne[int64], `select p.pusher from pushers p
		where exists (select 1 from push_queue q where q.pusher = p.pusher) order by p.pusher`)
}

// PushRows is the number of rows that wait for all pushers.
func (tx *ReadTx) PushRows() (n int64, err error) {
	err = tx.queryRow(`select count(*) from push_queue`).Scan(&n)
	return n, err
}

// Pushed removes what waits for a pusher up to a position.
func (tx *Tx) Pushed(pusher, upTo int64) error {
	_, err := tx.exec(`delete from push_queue where pusher = $1 and pos <= $2`, pusher, upTo)
	return err
}

// ShortenPushQueue removes the oldest events that wait for a pusher, so that at most so many are left, and returns how many it has removed.
func (tx *Tx) ShortenPushQueue(pusher int64, most int) (int64, error) {
	return tx.exec(`delete from push_queue where pusher = $1 and event <> 0 and pos <= (
		select pos from push_queue where pusher = $1 and event <> 0 order by pos desc limit 1 offset $2)`, pusher, most)
}
