package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// StateBefore is what was current at the start of a span, for every key of a room's current state that changed within it: the position of
// the event, 0 for nothing. Together with what has not changed this is the state at the start of the span.
func (tx *ReadTx) StateBefore(room int64, span Span) (map[StateKey]int64, error) {
	if tx.writer == nil && tx.store.states.unchanged(room, span.After) {
		return nil, nil
	}
	rows, err := collect(tx, scanDelta, `select c.type, c.state_key, coalesce((
			select p.event from state_changes p where p.room = $1 and p.type = c.type and p.state_key = c.state_key and p.pos <= $2
			order by p.pos desc limit 1), 0)
		from (select distinct type, state_key from state_changes where room = $1 and pos > $2 and pos <= $3) c`,
		room, span.After, span.UpTo)
	if err != nil {
		return nil, err
	}
	return tx.named(rows)
}

// CurrentStateOfKeys is the current state events of one type with some of its keys, in no order.
func (tx *ReadTx) CurrentStateOfKeys(room int64, typ string, keys []string) ([]*Event, error) {
	n, err := tx.wordNID(typ)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	nids := make([]int64, 0, len(keys))
	for _, k := range keys {
		nid, err := tx.wordNID(k)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		nids = append(nids, nid)
	}
	positions, err := collect(tx, scanOne[int64], `select event from current_state where room = $1 and type = $2 and `+tx.inInts("state_key", 3),
		room, n, list(nids))
	if err != nil {
		return nil, err
	}
	return tx.EventsAt(positions)
}

// StateUnchanged reports whether a room's current state surely has not changed after a position. It asks memory only, and like all that
// knows from memory that nothing has changed it is right once Store.Settled has returned for the snapshot.
func (tx *ReadTx) StateUnchanged(room, pos int64) bool {
	return tx.writer == nil && tx.store.states.unchanged(room, pos)
}

// AccountDataUnchanged is StateUnchanged for what a user keeps for all their clients.
func (tx *ReadTx) AccountDataUnchanged(user id.UserID, pos int64) bool {
	return tx.writer == nil && tx.store.personal.unchanged(user, pos)
}
