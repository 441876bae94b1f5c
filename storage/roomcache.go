package storage

import (
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
)

// roomCache keeps the rows of rooms for Updates, each of which begins with one and ends by writing its head. Other changes of a row drop it. It
// is not asked where another process may have changed the row.
type roomCache struct {
	mu    sync.Mutex
	share *budget.Share
	bytes int
	rooms map[id.RoomID]Room
}

func newRoomCache(share *budget.Share) *roomCache {
	return &roomCache{share: share, rooms: map[id.RoomID]Room{}}
}

func (c *roomCache) get(room id.RoomID) (Room, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	row, ok := c.rooms[room]
	c.share.Asked(ok)
	return row, ok
}

func (c *roomCache) put(row Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(row.ID)
	size := row.size()
	for other := range c.rooms {
		if c.bytes+size <= c.share.Limit() {
			break
		}
		c.remove(other)
	}
	c.rooms[row.ID] = row
	c.bytes += size
	c.share.Hold(c.bytes)
}

func (c *roomCache) drop(room id.RoomID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(room)
	c.share.Hold(c.bytes)
}

func (c *roomCache) remove(room id.RoomID) {
	if old, ok := c.rooms[room]; ok {
		c.bytes -= old.size()
		delete(c.rooms, room)
	}
}

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
	row, ok := tx.store.rooms.get(room)
	return &row, ok
}

// keepRoom has a row kept of which the head has been written, unless something else of it has been changed by this Update.
func (tx *Tx) keepRoom(room *Room) {
	if note, ok := tx.writer.noted[roomNote(room.ID)]; ok && note == nil {
		return
	}
	row := *room
	tx.Note(roomNote(row.ID), row)
	tx.OnCommit(func() { tx.store.rooms.put(row) })
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
