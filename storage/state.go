package storage

import (
	"errors"
	"fmt"
)

// A room's state at a point in time is a snapshot: its own deltas over those of its ancestors. A snapshot is made only where the state
// changes. Chains stay short the way a log-structured tree does: a new snapshot swallows the deltas of its ancestors as long as fan of them in
// a row are no larger than itself. So the chain of the n-th change is about fan*log(n) long and each delta is copied about log(n) times,
// with fan as the base; neither grows with what a room's state already holds.
const fan = 8

// StateKey names a piece of a room's state.
type StateKey struct{ Type, Key string }

// StateChange sets a piece of state to the event with the number Event; 0 removes it.
type StateChange struct {
	StateKey
	Event int64
}

type delta struct{ typ, key, event int64 }

func scanDelta(r rowScanner) (d delta, err error) {
	err = r.Scan(&d.typ, &d.key, &d.event)
	return d, err
}

func (tx *Tx) deltas(changes []StateChange) ([]delta, error) {
	out := make([]delta, len(changes))
	for i, c := range changes {
		typ, err := tx.intern(c.Type)
		if err != nil {
			return nil, err
		}
		key, err := tx.intern(c.Key)
		if err != nil {
			return nil, err
		}
		out[i] = delta{typ, key, c.Event}
	}
	return out, nil
}

// AddSnapshot makes the snapshot that differs from parent by changes and returns its number; parent 0 is the empty state.
func (tx *Tx) AddSnapshot(room, parent int64, changes []StateChange) (int64, error) {
	own, err := tx.deltas(changes)
	if err != nil {
		return 0, err
	}
	if len(own) == 0 {
		return parent, nil
	}
	size, depth, level := int64(len(own)), int64(0), int64(1)
	merged := map[[2]int64]int64{}
	for _, d := range own {
		merged[[2]int64{d.typ, d.key}] = d.event
	}
	for parent != 0 {
		// Are the next fan ancestors all no larger than what is here? Then take them in and look again.
		l, err := tx.link(parent)
		if err != nil {
			return 0, err
		}
		if depth = l.depth + 1; l.size > size {
			break
		}
		if l.size == size && 0 < l.level && l.level < fan { // the ancestor has counted them
			level = l.level + 1
			break
		}
		run := []link{l}
		for len(run) < fan && l.parent != 0 {
			if l, err = tx.link(l.parent); err != nil {
				return 0, err
			}
			if l.size > size {
				break
			}
			run = append(run, l)
		}
		if len(run) < fan {
			level = int64(len(run)) + 1
			break
		}
		for _, l := range run {
			rows, err := collect(&tx.ReadTx, scanDelta, `select type, state_key, event from state_deltas where snapshot = $1`, l.nid)
			if err != nil {
				return 0, err
			}
			for _, d := range rows {
				k := [2]int64{d.typ, d.key}
				if _, newer := merged[k]; !newer {
					merged[k] = d.event
				}
			}
			parent = l.parent
		}
		size, depth = int64(len(merged)), 0
	}
	var nid int64
	err = tx.queryRow(`insert into state_snapshots (room, parent, depth, size, level) values ($1, $2, $3, $4, $5) returning nid`,
		room, parent, depth, size, level).Scan(&nid)
	if err != nil {
		return 0, err
	}
	for k, event := range merged {
		if _, err := tx.exec(`insert into state_deltas (snapshot, type, state_key, event) values ($1, $2, $3, $4)`, nid, k[0], k[1], event); err != nil {
			return 0, err
		}
	}
	return nid, nil
}

// link is what a snapshot is within its chain. level is how many of it and its ancestors in a row are no larger than it, 0 where nobody has counted.
type link struct{ nid, parent, depth, size, level int64 }

func (tx *Tx) link(snapshot int64) (link, error) {
	l := link{nid: snapshot}
	err := tx.queryRow(`select parent, depth, size, level from state_snapshots where nid = $1`, snapshot).Scan(&l.parent, &l.depth, &l.size, &l.level)
	if err != nil {
		err = fmt.Errorf("ancestor %d of a snapshot: %w", snapshot, err)
	}
	return l, err
}

// chain is a snapshot and its ancestors with their depths.
const chain = `with recursive chain (nid, parent, depth) as (
		select nid, parent, depth from state_snapshots where nid = $1
		union all
		select s.nid, s.parent, s.depth from state_snapshots s join chain c on s.nid = c.parent
	) `

// newest keeps of every key the first delta, for rows that come newest first.
func newest(rows []delta) []delta {
	seen := make(map[[2]int64]bool, len(rows))
	out := rows[:0]
	for _, d := range rows {
		k := [2]int64{d.typ, d.key}
		if !seen[k] {
			seen[k] = true
			if d.event != 0 {
				out = append(out, d)
			}
		}
	}
	return out
}

// StateAt is the whole state of a snapshot: which event every key is set to.
func (tx *ReadTx) StateAt(snapshot int64) (map[StateKey]int64, error) {
	rows, err := collect(tx, scanDelta, chain+`select d.type, d.state_key, d.event from chain c
		join state_deltas d on d.snapshot = c.nid order by c.depth desc`, snapshot)
	if err != nil {
		return nil, err
	}
	return tx.named(newest(rows))
}

// StateKeyAt is the event that one key has in a snapshot.
func (tx *ReadTx) StateKeyAt(snapshot int64, key StateKey) (int64, error) {
	typ, k, err := tx.twoWords(key.Type, key.Key)
	if err != nil {
		return 0, err
	}
	var event int64
	err = tx.queryRow(chain+`select d.event from chain c join state_deltas d on d.snapshot = c.nid
		where d.type = $2 and d.state_key = $3 order by c.depth desc limit 1`, snapshot, typ, k).Scan(&event)
	if err == nil && event == 0 {
		err = ErrNotFound
	}
	return event, err
}

func (tx *ReadTx) named(deltas []delta) (map[StateKey]int64, error) {
	nids := make([]int64, 0, 2*len(deltas))
	for _, d := range deltas {
		nids = append(nids, d.typ, d.key)
	}
	if err := tx.warmWords(nids); err != nil {
		return nil, err
	}
	out := make(map[StateKey]int64, len(deltas))
	for _, d := range deltas {
		typ, err := tx.word(d.typ)
		if err != nil {
			return nil, err
		}
		key, err := tx.word(d.key)
		if err != nil {
			return nil, err
		}
		out[StateKey{typ, key}] = d.event
	}
	return out, nil
}

// CurrentState is the events of a room's state now, in no order. Unless members is true, those of type m.room.member are left out.
func (tx *ReadTx) CurrentState(room int64, members bool) ([]*Event, error) {
	states, err := tx.CurrentStates([]int64{room}, members)
	return states[room], err
}

// CurrentStates is CurrentState for some rooms, by room.
func (tx *ReadTx) CurrentStates(rooms []int64, members bool) (map[int64][]*Event, error) {
	member, err := tx.wordNID("m.room.member")
	if errors.Is(err, ErrNotFound) || members {
		member, err = 0, nil
	}
	if err != nil {
		return nil, err
	}
	where, in := tx.inRooms(rooms)
	// In two halves: with <> all members would be gone through.
	nids, err := collect(tx, scanOne[int64], `select event from current_state where `+where+` and type < $2
		union all select event from current_state where `+where+` and type > $2`, in, member)
	if err != nil {
		return nil, err
	}
	events, err := tx.EventsAt(nids)
	out := make(map[int64][]*Event, len(rooms))
	for _, e := range events {
		if e != nil {
			out[e.Room] = append(out[e.Room], e)
		}
	}
	return out, err
}

// CurrentStateKey is the event that one key of a room's state is set to now.
func (tx *ReadTx) CurrentStateKey(room int64, key StateKey) (*Event, error) {
	typ, k, err := tx.twoWords(key.Type, key.Key)
	if err != nil {
		return nil, err
	}
	var pos int64
	err = tx.queryRow(`select event from current_state where room = $1 and type = $2 and state_key = $3`, room, typ, k).Scan(&pos)
	if err != nil {
		return nil, err
	}
	return tx.EventAt(pos)
}

// CurrentStateOfType is all current state events of one type.
func (tx *ReadTx) CurrentStateOfType(room int64, typ string) ([]*Event, error) {
	n, err := tx.wordNID(typ)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	positions, err := collect(tx, scanOne[int64], `select event from current_state where room = $1 and type = $2`, room, n)
	if err != nil {
		return nil, err
	}
	return tx.EventsAt(positions)
}

// SetCurrentState applies changes, which happened at pos, to the room's current state and to its record of changes.
func (tx *Tx) SetCurrentState(room, pos int64, changes []StateChange) error {
	deltas, err := tx.deltas(changes)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { tx.store.states.set(room, pos) })
	for _, d := range deltas {
		if d.event == 0 {
			_, err = tx.exec(`delete from current_state where room = $1 and type = $2 and state_key = $3`, room, d.typ, d.key)
		} else {
			_, err = tx.exec(`insert into current_state (room, type, state_key, event) values ($1, $2, $3, $4)
				on conflict (room, type, state_key) do update set event = excluded.event`, room, d.typ, d.key, d.event)
		}
		if err != nil {
			return err
		}
		_, err = tx.exec(`insert into state_changes (room, type, state_key, pos, event) values ($1, $2, $3, $4, $5)`,
			room, d.typ, d.key, pos, d.event)
		if err != nil {
			return err
		}
	}
	return nil
}

// StateChanges is what the current state changed to over a span: for every key that changed, the last event within the span (0: removed).
func (tx *ReadTx) StateChanges(room int64, span Span) (map[StateKey]int64, error) {
	if tx.writer == nil && tx.store.states.unchanged(room, span.After) {
		return nil, nil
	}
	rows, err := collect(tx, scanDelta, `select type, state_key, event from state_changes where room = $1 and pos > $2 and pos <= $3
		order by pos desc`, room, span.After, span.UpTo)
	if err != nil {
		return nil, err
	}
	seen := make(map[[2]int64]bool, len(rows))
	out := rows[:0]
	for _, d := range rows {
		k := [2]int64{d.typ, d.key}
		if !seen[k] {
			seen[k] = true
			out = append(out, d)
		}
	}
	return tx.named(out)
}
