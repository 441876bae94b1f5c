package storage

import "github.com/hearthd/hearth/internal/id"

// Rows of rooms are kept for Updates, each of which begins with one and ends by writing its head. Other changes of a row drop it. They are not
// asked for where another process may have changed a row.

// size estimates the bytes of a row; a topic can be long.
func (r *Room) size() int {
	return 600 + 120*len(r.Extremities) + len(r.Summary.Topic) + len(r.Summary.Name)
}

// roomNote is the key of the note about a row as it is after the Updates of the group so far: a Room, or nil where that has to be read.
type roomNote id.RoomID

// keptRoom is the row of a room from memory.
func (tx *ReadTx) keptRoom(room id.RoomID) (*Room, bool) {
	if tx.writer == nil || tx.store.dialect.lockPosition {
		return nil, false
	}
	if note, ok := tx.Noted(roomNote(room)); ok {
		row, ok := note.(Room)
		return &row, ok
	}
	row, ok := tx.store.rooms.get(room, 0)
	return &row, ok
}

// counted is the row of a room, for what it has counted, if memory has it for the snapshot of a View.
func (tx *ReadTx) counted(room, pos int64) (row Room, ok bool) {
	if pos == 0 {
		return row, false
	}
	name, ok := tx.store.roomIDs.name(room)
	if !ok {
		return row, false
	}
	return tx.store.rooms.get(id.RoomID(name), pos)
}

// keepRoom has a row kept of which the head has been written, unless something else of it has been changed by this Update.
func (tx *Tx) keepRoom(room *Room) {
	if note, ok := tx.writer.noted[roomNote(room.ID)]; ok && note == nil {
		return
	}
	e := kept[Room]{*room, tx.writer.ends.pos, room.size()}
	tx.Note(roomNote(room.ID), e.value)
	tx.OnCommit(func() {
		tx.store.roomIDs.add(e.value.NID, string(e.value.ID))
		tx.store.rooms.put(e.value.ID, e)
	})
}

// dropRoom has a row read again.
func (tx *Tx) dropRoom(nid int64) error {
	room, err := tx.RoomID(nid)
	if err != nil {
		return err
	}
	tx.Note(roomNote(room), nil)
	tx.OnCommit(func() { tx.store.rooms.drop(room) })
	return nil
}
