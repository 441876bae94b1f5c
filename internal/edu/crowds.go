package edu

import (
	"sync"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/storage"
)

// crowds remembers who of our users is in a room, which is asked for at every receipt and whenever somebody types. It is true of a state of the
// room, and states never change.
type crowds struct {
	hub *hub.Hub

	mu     sync.Mutex
	byRoom map[int64]crowd
	users  int // in all of them
}

type crowd struct {
	state int64
	hub.Crowd
}

// maxCrowds bounds the users in all crowds together, at 8 bytes each.
const maxCrowds = 1 << 19

func newCrowds(h *hub.Hub) *crowds { return &crowds{hub: h, byRoom: map[int64]crowd{}} }

// find is our users in a room.
func (c *crowds) find(tx *storage.ReadTx, room *storage.Room) (hub.Crowd, error) {
	c.mu.Lock()
	known := c.byRoom[room.NID]
	c.mu.Unlock()
	if known.Crowd != nil && known.state == room.State {
		return known.Crowd, nil
	}
	members, err := tx.LocalJoined(room.NID)
	if err != nil {
		return nil, err
	}
	now := crowd{room.State, c.hub.Crowd(storage.UserIDs(members)...)}
	if !tx.Writing() { // the number of a state that is not committed may come to be that of another
		c.keep(room.NID, now)
	}
	return now.Crowd, nil
}

func (c *crowds) keep(room int64, now crowd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users += len(now.Crowd) - len(c.byRoom[room].Crowd); c.users > maxCrowds {
		clear(c.byRoom)
		c.users = len(now.Crowd)
	}
	c.byRoom[room] = now
}
