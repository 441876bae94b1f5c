package edu

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// How long a user is shown as typing: without a wish, and at most.
const (
	defaultTyping = 30 * time.Second
	maxTyping     = 2 * time.Minute
)

// typing is who is typing where, with the time at which it ends in milliseconds.
type typing struct {
	mu    sync.Mutex
	rooms map[id.RoomID]map[id.UserID]int64
	poke  chan struct{} // the next end may have become earlier
}

// SetTyping shows a member of a room as typing for a while, or no longer. A timeout of 0 or less is the default. The error is M_FORBIDDEN
// for who is not in the room.
//
// Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
func (s *Service) SetTyping(ctx context.Context, room id.RoomID, user id.UserID, on bool, timeout time.Duration) error {
	var keys []hub.Key
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, _, err := joined(tx, room, user)
		if err != nil {
			return err
		}
		keys, err = listeners(tx, row.NID)
		return err
	})
	if err != nil {
		return err
	}
	if timeout <= 0 {
		timeout = defaultTyping
	}
	end := int64(0)
	if on {
		end = s.clock.Now().Add(min(timeout, maxTyping)).UnixMilli()
	}
	if s.typing.set(room, user, end) {
		s.ring(append(keys, hub.Room(room))...)
	}
	return nil
}

// set reports whether the list of who is typing has changed. An end of 0 is no typing.
func (t *typing) set(room id.RoomID, user id.UserID, end int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, was := t.rooms[room][user]
	if end == 0 {
		t.drop(room, user)
		return was
	}
	if t.rooms[room] == nil {
		t.rooms[room] = map[id.UserID]int64{}
	}
	t.rooms[room][user] = end
	select {
	case t.poke <- struct{}{}:
	default: // Run has yet to look
	}
	return !was
}

func (t *typing) drop(room id.RoomID, user id.UserID) {
	delete(t.rooms[room], user)
	if len(t.rooms[room]) == 0 {
		delete(t.rooms, room)
	}
}

// Typing is who is typing in a room, in order.
func (s *Service) Typing(room id.RoomID) []id.UserID {
	s.typing.mu.Lock()
	defer s.typing.mu.Unlock()
	users := make([]id.UserID, 0, len(s.typing.rooms[room]))
	for u := range s.typing.rooms[room] {
		users = append(users, u)
	}
	slices.Sort(users)
	return users
}

// expire ends what is due at now, in milliseconds, and finds when the next is, 0 for never.
func (t *typing) expire(now int64) (changed []id.RoomID, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for room, users := range t.rooms {
		over := false
		for u, end := range users {
			if end <= now {
				over = true
				t.drop(room, u)
			} else if next == 0 || end < next {
				next = end
			}
		}
		if over {
			changed = append(changed, room)
		}
	}
	return changed, next
}

// runTyping ends typing when its time is over, until ctx ends.
func (s *Service) runTyping(ctx context.Context) {
	for {
		now := s.clock.Now()
		changed, next := s.typing.expire(now.UnixMilli())
		for _, room := range changed {
			s.stopped(ctx, room)
		}
		var due <-chan time.Time
		stop := func() bool { return true }
		if next != 0 {
			t := s.clock.NewTimer(time.UnixMilli(next).Sub(now))
			due, stop = t.C(), t.Stop
		}
		select {
		case <-due:
		case <-s.typing.poke:
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

// stopped tells the members of a room that somebody types no more. If the database does not say who they are, they learn of it when they
// look for another reason.
func (s *Service) stopped(ctx context.Context, room id.RoomID) {
	keys := []hub.Key{hub.Room(room)}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		users, err := listeners(tx, nid)
		keys = append(keys, users...)
		return err
	})
	if err == nil {
		s.ring(keys...)
	}
}
