package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Outgoing is something that another server has yet to be told: an event, by its number, or an EDU.
type Outgoing struct {
	Pos     int64
	Event   int64  // 0: an EDU
	Type    string // of the EDU
	Content json.RawMessage
}

// QueueEvent puts an event into the outboxes of other servers, in the transaction that made the event. Tell the sender on commit.
func (tx *Tx) QueueEvent(event int64, to []id.ServerName) error {
	if len(to) == 0 {
		return nil
	}
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	if len(to) == 1 {
		_, err = tx.exec(`insert into outbox (destination, pos, event) values ($1, $2, $3) on conflict (destination, pos) do nothing`,
			string(to[0]), pos, event)
		return err
	}
	_, err = tx.exec(`insert into outbox (destination, pos, event) select l.value, cast($1 as bigint), cast($2 as bigint)
		from `+tx.texts(3)+` l where true on conflict (destination, pos) do nothing`, pos, event, list(to))
	return err
}

// QueueEDU puts an EDU that must not be lost into the outboxes of other servers. It takes the place, at the end of the queue, of an earlier
// one with the same key that has not been sent; with an empty key it replaces nothing. The key includes what tells types of EDUs apart. Tell
// the sender on commit.
func (tx *Tx) QueueEDU(to []id.ServerName, typ, key string, content json.RawMessage) error {
	if len(to) == 0 {
		return nil
	}
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	// A row gets a new position and is not changed in place: the old one may be on its way, and is then removed by its position.
	then := `do nothing`
	if key != "" {
		then = `(destination, key) where key <> '' do update set pos = excluded.pos, type = excluded.type, content = excluded.content`
	}
	_, err = tx.exec(`insert into outbox (destination, pos, type, key, content)
		select l.value, cast($1 as bigint), cast($2 as text), cast($3 as text), cast($4 as text)
		from `+tx.texts(5)+` l where true on conflict `+then, pos, typ, key, string(content), list(to))
	return err
}

// Outbox is the first rows of a server's outbox, in order, after a position and up to another one.
func (tx *ReadTx) Outbox(to id.ServerName, after, upTo int64, limit int) ([]Outgoing, error) {
	return collect(tx, func(r rowScanner) (o Outgoing, err error) {
		err = r.Scan(&o.Pos, &o.Event, &o.Type, &o.Content)
		return o, err
	}, `select pos, event, type, content from outbox where destination = $1 and pos > $2 and pos <= $3 order by pos limit $4`,
		string(to), after, upTo, limit)
}

// OutboxEnd is the position of the last row of a server's outbox, 0 for an empty one.
func (tx *ReadTx) OutboxEnd(to id.ServerName) (last int64, err error) {
	err = tx.queryRow(`select coalesce(max(pos), 0) from outbox where destination = $1`, string(to)).Scan(&last)
	return last, err
}

// Outboxes is the servers that have something in their outbox, in order.
func (tx *ReadTx) Outboxes() ([]id.ServerName, error) {
	// One step in the index for each server, however long its outbox is.
	return collect(tx, scanOne[id.ServerName], `with recursive waiting (destination) as (
			select min(destination) from outbox
			union all
			select (select min(o.destination) from outbox o where o.destination > w.destination) from waiting w where w.destination is not null
		) select destination from waiting where destination is not null order by destination`)
}

// OutboxRows is the number of rows in all outboxes.
func (tx *ReadTx) OutboxRows() (n int64, err error) {
	err = tx.queryRow(`select count(*) from outbox`).Scan(&n)
	return n, err
}

// Delivered removes what is in a server's outbox up to a position.
func (tx *Tx) Delivered(to id.ServerName, upTo int64) error {
	_, err := tx.exec(`delete from outbox where destination = $1 and pos <= $2`, string(to), upTo)
	return err
}

// OutboxOverflow is how much ShortenOutbox has removed from an outbox.
type OutboxOverflow struct {
	Events int64 // that come before another one of their room
	EDUs   int64 // that are lost
}

// ShortenOutbox bounds what waits for a server that cannot be reached. If there are more than maxEvents events, the newest one of each room
// stays, through which the server finds the others when it is back; if there are more than maxEDUs EDUs without a key, the oldest go. EDUs
// with a key are bounded by the number of keys.
//
// Spec: server-server-api#backfilling-and-retrieving-missing-events
func (tx *Tx) ShortenOutbox(to id.ServerName, maxEvents, maxEDUs int) (OutboxOverflow, error) {
	var out OutboxOverflow
	var events, edus int64
	err := tx.queryRow(`select coalesce(sum(case when event <> 0 then 1 else 0 end), 0),
		coalesce(sum(case when event = 0 and key = '' then 1 else 0 end), 0) from outbox where destination = $1`, string(to)).Scan(&events, &edus)
	if err == nil && events > int64(maxEvents) {
		out.Events, err = tx.exec(`delete from outbox where destination = $1 and event <> 0 and pos not in (
			select max(o.pos) from outbox o left join events e on e.nid = o.event
			where o.destination = $1 and o.event <> 0 group by e.room)`, string(to))
	}
	if err == nil && edus > int64(maxEDUs) {
		out.EDUs, err = tx.exec(`delete from outbox where destination = $1 and event = 0 and key = '' and pos <= (
			select pos from outbox where destination = $1 and event = 0 and key = '' order by pos desc limit 1 offset $2)`,
			string(to), maxEDUs)
	}
	return out, err
}
