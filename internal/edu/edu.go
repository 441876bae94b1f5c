// Package edu keeps what is said beside the events of rooms: who is typing, and how far everybody has read. Typing is in memory and gone
// after its timeout; receipts are rows. It refuses to know how clients ask and in what form they are answered.
package edu

import (
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Notifier applies push rules. It is joined in internal/app.
type Notifier interface {
	// Notifications says which of some members of a room an event of it notifies.
	Notifications(tx *storage.ReadTx, room *storage.Room, event *storage.Event, members []storage.Member) ([]storage.Notification, error)
}

// Service is typing and receipts. It is safe for concurrent use.
type Service struct {
	store    *storage.Store
	hub      *hub.Hub
	notifier Notifier
	clock    clock.Clock
	typing   typing
	ringing  sync.Mutex // orders the ephemeral counter and its rings
}

// New returns a Service. Its Run must run for typing to time out.
func New(store *storage.Store, h *hub.Hub, notifier Notifier, c clock.Clock) *Service {
	return &Service{store: store, hub: h, notifier: notifier, clock: c,
		typing: typing{rooms: map[id.RoomID]map[id.UserID]int64{}, poke: make(chan struct{}, 1)}}
}

// ReceiptsKey is rung, beside the keys of the users concerned, when a receipt of a room has moved.
func ReceiptsKey(room id.RoomID) hub.Key { return hub.Name('R', string(room)) }

// ring takes the next value of the ephemeral counter for a change that has been made, and tells who watches the keys.
func (s *Service) ring(keys ...hub.Key) {
	s.ringing.Lock()
	defer s.ringing.Unlock()
	s.hub.RingEphemeral(s.hub.NextEphemeral(), keys...)
}

// Ephemeral is the value of the ephemeral counter up to which the hub knows of every change. Take it before looking at what has changed.
func (s *Service) Ephemeral() int64 {
	s.ringing.Lock()
	defer s.ringing.Unlock()
	return s.hub.Ephemeral()
}

// joined finds a room and the membership of a user who is joined to it; for anybody else the error is M_FORBIDDEN.
func joined(tx *storage.ReadTx, room id.RoomID, user id.UserID) (*storage.Room, storage.Membership, error) {
	row, err := tx.Room(room)
	var m storage.Membership
	if err == nil {
		m, err = tx.Membership(row.NID, user)
	}
	if errors.Is(err, storage.ErrNotFound) || err == nil && m.Membership != "join" {
		err = merr.Newf(merr.Forbidden, "%s is not in the room", user)
	}
	return row, m, err
}

// listeners is the keys of the local users in a room.
func listeners(tx *storage.ReadTx, room int64) ([]hub.Key, error) {
	members, err := tx.LocalJoined(room)
	keys := make([]hub.Key, len(members))
	for i, m := range members {
		keys[i] = hub.User(m.User)
	}
	return keys, err
}
