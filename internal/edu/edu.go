// Package edu keeps what is said beside the events of rooms: who is typing, who is there, and how far everybody has read, here and on other
// servers. Typing and presence are in memory and gone after a while; receipts are rows. It refuses to know how clients ask and in what form
// they are answered, and how other servers are reached.
package edu

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// Notifier applies push rules. It is joined in internal/app.
type Notifier interface {
	// Outcome says what an event of a room is to a member of it.
	Outcome(tx *storage.ReadTx, room *storage.Room, event *storage.Event, member storage.Member) (push.Outcome, error)
}

// Federation tells other servers. It is joined in internal/app.
type Federation interface {
	// Ephemeral says something in passing. What has the same type and key and has not been sent is replaced.
	Ephemeral(to []id.ServerName, typ, key string, content json.RawMessage)
}

// Pushers tells the phones of users. It is joined in internal/app.
type Pushers interface {
	// Recounted is told, in the transaction, of a user for whom less is unread now.
	Recounted(tx *storage.Tx, user id.UserID) error
}

// Options is what an operator decides.
type Options struct {
	// Quiet keeps syncing from making users online. What users say of themselves is shown all the same.
	Quiet bool
	// Federation is told of what users of this server do. Nil: there are no other servers.
	Federation Federation
	// Pushers is told, in the transaction, of users who have read something. Nil: there are none.
	Pushers Pushers
	// FederatePresence tells other servers of presence too, and believes theirs.
	FederatePresence bool
	// Followed keeps News.
	Followed bool
}

// Service is typing, presence and receipts. It is safe for concurrent use.
type Service struct {
	store     *storage.Store
	hub       *hub.Hub
	notifier  Notifier
	clock     clock.Clock
	options   Options
	crowds    *crowds
	typing    typing
	presences presences
	early     early
	news      news
	ringing   sync.Mutex // orders the ephemeral counter and its rings
}

// New returns a Service. Its Run must run for typing and presence to time out.
func New(store *storage.Store, h *hub.Hub, notifier Notifier, c clock.Clock, o Options) *Service {
	o.FederatePresence = o.FederatePresence && o.Federation != nil
	return &Service{store: store, hub: h, notifier: notifier, clock: c, options: o, crowds: newCrowds(h),
		typing:    typing{rooms: map[id.RoomID]map[id.UserID]typist{}, poke: make(chan struct{}, 1)},
		presences: newPresences(), early: early{poke: make(chan struct{}, 1)}}
}

// Run ends typing and presence when their time is over. It returns when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	workers.Go(func() { s.runTyping(ctx) })
	workers.Go(func() { s.runPresence(ctx) })
	workers.Go(func() { s.runEarly(ctx) })
	workers.Wait()
	return nil
}

// ReceiptsKey is rung, beside the keys of the users concerned, when a receipt of a room has moved.
func ReceiptsKey(room id.RoomID) hub.Key { return hub.Name(receiptsKind, string(room)) }

const receiptsKind = 'R'

// ReceiptsRoom is the room of a ReceiptsKey.
func ReceiptsRoom(k hub.Key) (id.RoomID, bool) {
	room, ok := k.Named(receiptsKind)
	return id.RoomID(room), ok
}

// ring takes the next value of the ephemeral counter for a change that has been made, and tells a crowd and who watches the keys.
func (s *Service) ring(crowd hub.Crowd, keys ...hub.Key) {
	s.ringing.Lock()
	defer s.ringing.Unlock()
	s.hub.RingEphemeral(s.hub.NextEphemeral(), crowd, keys...)
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

// servers is the other servers in a room that are to be told of something.
func (s *Service) servers(tx *storage.ReadTx, room int64) ([]id.ServerName, error) {
	if s.options.Federation == nil {
		return nil, nil
	}
	return tx.ServersInRoom(room)
}

// spread tells other servers of something.
func (s *Service) spread(to []id.ServerName, typ, key string, content any) {
	if len(to) == 0 {
		return
	}
	b, err := json.Marshal(content)
	if err == nil {
		b, err = canonjson.Canonical(b)
	}
	if err == nil { // it is made of strings, numbers and maps of them
		s.options.Federation.Ephemeral(to, typ, key, b)
	}
}
