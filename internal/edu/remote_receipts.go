package edu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxReaders bounds the users of one room in an m.receipt, of which readersAtOnce are written in one transaction.
	maxReaders    = 1000
	readersAtOnce = 50
	// maxEarly bounds the receipts that wait for their event, and earlyLife how long they do: the event is on its way from the same server or
	// from another. What comes later than that is of no use, as the next receipt is ahead of it.
	maxEarly  = 500
	earlyLife = 10 * time.Second
	earlyStep = time.Second
)

// userReceipt is what an m.receipt says of one user.
type userReceipt struct {
	Events []id.EventID `json:"event_ids"`
	Data   receiptData  `json:"data"`
}

type receiptData struct {
	Thread string `json:"thread_id,omitempty"`
	TS     int64  `json:"ts"`
}

// roomReceipts is what an m.receipt says of one room.
type roomReceipts struct {
	Read map[id.UserID]json.RawMessage `json:"m.read"`
}

// spreadReceipts tells other servers, after the commit, of public receipts of a user of this one. Those of different threads are told one by
// one, for they would overwrite each other.
//
// Spec: server-server-api#receipts
func (s *Service) spreadReceipts(tx *storage.Tx, room *storage.Room, receipts []storage.Receipt) error {
	if len(receipts) == 0 {
		return nil
	}
	servers, err := s.servers(&tx.ReadTx, room.NID)
	if err != nil || len(servers) == 0 {
		return err
	}
	tx.OnCommit(func() {
		for _, r := range receipts {
			content := map[id.RoomID]map[string]map[id.UserID]userReceipt{
				room.ID: {storage.Read: {r.User: {[]id.EventID{r.Event}, receiptData{r.Thread, r.TS}}}},
			}
			s.spread(servers, "m.receipt", string(room.ID)+" "+string(r.User)+" "+r.Thread, content)
		}
	})
	return nil
}

// remoteReceipt is a receipt of a user of another server.
type remoteReceipt struct {
	room   id.RoomID
	user   id.UserID
	event  id.EventID
	thread string
	ts     int64 // milliseconds
	until  int64 // milliseconds; not worth waiting for its event any longer
}

// ReceiveReceipts takes what an m.receipt of another server says of one room. The caller has made sure that the users are of that server. There
// are no receipts of who is not in the room; one for an event that is not here waits for it a little.
//
// Spec: server-server-api#receipts
func (s *Service) ReceiveReceipts(ctx context.Context, _ id.ServerName, room id.RoomID, receipts json.RawMessage) error {
	var c roomReceipts
	if err := json.Unmarshal(receipts, &c); err != nil {
		return fmt.Errorf("read receipts: %w", err)
	}
	now := s.clock.Now().UnixMilli()
	var list []remoteReceipt
	for _, user := range slices.Sorted(maps.Keys(c.Read)) {
		var u userReceipt
		if json.Unmarshal(c.Read[user], &u) != nil || len(u.Events) == 0 {
			continue
		}
		event, err := id.ParseEventID(string(u.Events[0]))
		if err != nil {
			continue
		}
		list = append(list, remoteReceipt{room, user, event, u.Data.Thread, min(max(u.Data.TS, 0), now), now + earlyLife.Milliseconds()})
	}
	unknown, err := s.receive(ctx, room, list[:min(len(list), maxReaders)])
	s.early.add(unknown)
	return err
}

// receive stores receipts of one room and returns those whose event is not here.
func (s *Service) receive(ctx context.Context, room id.RoomID, list []remoteReceipt) (unknown []remoteReceipt, err error) {
	for part := range slices.Chunk(list, readersAtOnce) {
		var missing []remoteReceipt
		err := s.store.Update(ctx, func(tx *storage.Tx) error {
			row, err := tx.Room(room)
			if err != nil {
				return err
			}
			missing, err = s.receiveSome(tx, row, part)
			return err
		})
		if err != nil {
			return unknown, fmt.Errorf("store receipts: %w", err)
		}
		unknown = append(unknown, missing...)
	}
	return unknown, nil
}

func (s *Service) receiveSome(tx *storage.Tx, room *storage.Room, list []remoteReceipt) (unknown []remoteReceipt, err error) {
	var moved []storage.Receipt
	for _, r := range list {
		m, err := tx.Membership(room.NID, r.user)
		if errors.Is(err, storage.ErrNotFound) || err == nil && m.Membership != "join" {
			continue
		}
		if err != nil {
			return nil, err
		}
		ev, err := tx.EventInRoom(room.NID, r.event)
		if errors.Is(err, storage.ErrNotFound) {
			unknown = append(unknown, r)
			continue
		}
		if err != nil {
			return nil, err
		}
		set := storage.Receipt{Room: room.NID, User: r.user, Type: storage.Read, Thread: r.thread, TS: r.ts}
		ok, err := s.setReceipt(tx, &set, ev)
		var refused *merr.Error
		if errors.As(err, &refused) { // a thread that the event is not in: any number of them could be made up
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok {
			moved = append(moved, set)
		}
	}
	if len(moved) == 0 {
		return unknown, nil
	}
	return unknown, s.announce(tx, room, moved[0].User, moved)
}

// early is the receipts that wait for their event.
type early struct {
	mu   sync.Mutex
	list []remoteReceipt
	poke chan struct{}
}

func (e *early) add(list []remoteReceipt) {
	if len(list) == 0 {
		return
	}
	e.mu.Lock()
	e.list = append(e.list, list[:min(len(list), max(maxEarly-len(e.list), 0))]...)
	e.mu.Unlock()
	select {
	case e.poke <- struct{}{}:
	default: // Run has yet to look
	}
}

// take removes all receipts and returns those that are still of interest, by room.
func (e *early) take(now int64) map[id.RoomID][]remoteReceipt {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[id.RoomID][]remoteReceipt{}
	for _, r := range e.list {
		if r.until > now {
			out[r.room] = append(out[r.room], r)
		}
	}
	e.list = nil
	return out
}

// runEarly looks once in a while whether the events of receipts have come, until ctx ends.
func (s *Service) runEarly(ctx context.Context) {
	for {
		select {
		case <-s.early.poke:
		case <-ctx.Done():
			return
		}
		t := s.clock.NewTimer(earlyStep)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
		for room, list := range s.early.take(s.clock.Now().UnixMilli()) {
			unknown, err := s.receive(ctx, room, list)
			if err == nil { // a receipt is not worth trying again
				s.early.add(unknown)
			}
		}
	}
}
