package storage

import "errors"

// StateVersion is one value that a key of the current state had: from Pos on it was Event, 0 for removed.
type StateVersion struct{ Pos, Event int64 }

// StateHistories is the values that a key of the current state of some rooms has had, by room, oldest first.
func (tx *ReadTx) StateHistories(rooms []int64, key StateKey) (map[int64][]StateVersion, error) {
	return tx.stateVersions(rooms, key, "select room, pos, event from state_changes where type = $2 and state_key = $3 and ")
}

// RecalledStates is the events of one key in the parts of some rooms' history that were fetched from other servers, by room, oldest first: values
// that it had there, as far as one can tell.
func (tx *ReadTx) RecalledStates(rooms []int64, key StateKey) (map[int64][]StateVersion, error) {
	return tx.stateVersions(rooms, key,
		"select room, pos, nid from events where type = $2 and state_key = $3 and status = 0 and state_after = 0 and ")
}

func (tx *ReadTx) stateVersions(rooms []int64, key StateKey, query string) (map[int64][]StateVersion, error) {
	typ, k, err := tx.twoWords(key.Type, key.Key)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type row struct {
		room int64
		StateVersion
	}
	where, in := tx.inRooms(rooms)
	rows, err := collect(tx, func(r rowScanner) (v row, err error) {
		err = r.Scan(&v.room, &v.Pos, &v.Event)
		return v, err
	}, query+where+" order by room, pos", in, typ, k)
	out := make(map[int64][]StateVersion, len(rooms))
	for _, v := range rows {
		out[v.room] = append(out[v.room], v.StateVersion)
	}
	return out, err
}

// inRooms is the condition that the column room is one of some rooms, with its argument, which is the first of the statement.
func (tx *ReadTx) inRooms(rooms []int64) (where string, arg any) {
	if len(rooms) == 1 { // as it mostly is: a list is slower
		return "room = $1", rooms[0]
	}
	return tx.inInts("room", 1), list(rooms)
}
