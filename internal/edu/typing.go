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

// How long a user is shown as typing: without a wish, and at most. A user of another server, which does not say for how long, is shown until it
// says otherwise, or as long as others take to repeat it.
const (
	defaultTyping = 30 * time.Second
	maxTyping     = 2 * time.Minute
	remoteTyping  = time.Minute
)

// retell is the time after which other servers are told again of a user who goes on typing, in milliseconds: before they believe it over.
const retell = 20_000

// typing is who is typing where.
type typing struct {
	mu    sync.Mutex
	rooms map[id.RoomID]map[id.UserID]typist
	poke  chan struct{} // the next end may have become earlier
}

// typist is a user who is typing. Times are in milliseconds.
type typist struct {
	end    int64
	told   int64 // when other servers were told
	remote bool  // a user of another server
}

// SetTyping shows a member of a room as typing for a while, or no longer. A timeout of 0 or less is the default. The error is M_FORBIDDEN
// for who is not in the room.
//
// Spec: client-server-api#put_matrixclientv3roomsroomidtypinguserid
func (s *Service) SetTyping(ctx context.Context, room id.RoomID, user id.UserID, on bool, timeout time.Duration) error {
	var crowd hub.Crowd
	var servers []id.ServerName
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, _, err := joined(tx, room, user)
		if err != nil {
			return err
		}
		if servers, err = s.servers(tx, row.NID); err != nil {
			return err
		}
		crowd, err = s.crowds.find(tx, row)
		return err
	})
	if err != nil {
		return err
	}
	if timeout <= 0 {
		timeout = defaultTyping
	}
	now := s.clock.Now()
	t := typist{told: now.UnixMilli()}
	if on {
		t.end = now.Add(min(timeout, maxTyping)).UnixMilli()
	}
	changed, tell := s.typing.set(room, user, t)
	if changed {
		s.ringTyping(room, crowd)
	}
	if tell {
		s.spreadTyping(servers, room, user, on)
	}
	return nil
}

// ReceiveTyping shows a user of another server as typing, or no longer. The caller has made sure that it is that server which says so. Who is
// not in the room is not shown.
//
// Spec: server-server-api#typing-notifications
func (s *Service) ReceiveTyping(ctx context.Context, _ id.ServerName, room id.RoomID, user id.UserID, on bool) error {
	var crowd hub.Crowd
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, _, err := joined(tx, room, user)
		if err != nil {
			return err
		}
		crowd, err = s.crowds.find(tx, row)
		return err
	})
	if err != nil {
		return err
	}
	t := typist{remote: true}
	if on {
		t.end = s.clock.Now().Add(remoteTyping).UnixMilli()
	}
	if changed, _ := s.typing.set(room, user, t); changed {
		s.ringTyping(room, crowd)
	}
	return nil
}

// ringTyping tells those in a room that it has changed who types there.
func (s *Service) ringTyping(room id.RoomID, crowd hub.Crowd) {
	s.ring(crowd, hub.Room(room))
	s.report(News{Typing: room})
}

// spreadTyping tells other servers of a user of this one.
//
// Spec: server-server-api#typing-notifications
func (s *Service) spreadTyping(to []id.ServerName, room id.RoomID, user id.UserID, on bool) {
	s.spread(to, "m.typing", string(room)+" "+string(user), struct {
		Room   id.RoomID `json:"room_id"`
		Typing bool      `json:"typing"`
		User   id.UserID `json:"user_id"`
	}{room, on, user})
}

// set reports whether the list of who is typing has changed, and whether other servers are to be told. An end of 0 is no typing.
func (t *typing) set(room id.RoomID, user id.UserID, now typist) (changed, tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, was := t.rooms[room][user]
	if now.end == 0 {
		t.drop(room, user)
		return was, was && !now.remote
	}
	if t.rooms[room] == nil {
		t.rooms[room] = map[id.UserID]typist{}
	}
	tell = !now.remote && (!was || now.told-old.told >= retell)
	if !tell {
		now.told = old.told
	}
	t.rooms[room][user] = now
	select {
	case t.poke <- struct{}{}:
	default: // Run has yet to look
	}
	return !was, tell
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

// silence is a room in which users have stopped typing without saying so.
type silence struct {
	room  id.RoomID
	users []id.UserID // those of this server
}

// expire ends what is due at now, in milliseconds, and finds when the next is, 0 for never.
func (t *typing) expire(now int64) (changed []silence, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for room, users := range t.rooms {
		over, quiet := false, silence{room: room}
		for u, p := range users {
			if p.end <= now {
				over = true
				if !p.remote {
					quiet.users = append(quiet.users, u)
				}
				t.drop(room, u)
			} else if next == 0 || p.end < next {
				next = p.end
			}
		}
		if over {
			changed = append(changed, quiet)
		}
	}
	return changed, next
}

// runTyping ends typing when its time is over, until ctx ends.
func (s *Service) runTyping(ctx context.Context) {
	for {
		changed, next := s.typing.expire(s.clock.Now().UnixMilli())
		for _, quiet := range changed {
			s.stopped(ctx, quiet)
		}
		var due <-chan time.Time
		stop := func() bool { return true }
		if next != 0 {
			t := s.clock.NewTimerAt(time.UnixMilli(next))
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
func (s *Service) stopped(ctx context.Context, quiet silence) {
	var crowd hub.Crowd
	var servers []id.ServerName
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(quiet.room)
		if err != nil {
			return err
		}
		if len(quiet.users) > 0 {
			if servers, err = s.servers(tx, row.NID); err != nil {
				return err
			}
		}
		crowd, err = s.crowds.find(tx, row)
		return err
	})
	if err != nil {
		return
	}
	s.ringTyping(quiet.room, crowd)
	for _, u := range quiet.users {
		s.spreadTyping(servers, quiet.room, u, false)
	}
}
