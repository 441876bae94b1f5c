package edu

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The states of presence.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
)

// Presence is what is known of where a user is.
type Presence struct {
	User       id.UserID
	State      string // Online, Unavailable or Offline
	Message    *string
	LastActive int64 // milliseconds
	Eph        int64 // the ephemeral counter at the last change that others were told of
}

// Content is the content of m.presence at a time, in milliseconds.
//
// Spec: client-server-api#mpresence
func (p Presence) Content(now int64) json.RawMessage {
	out := struct {
		Presence        string  `json:"presence"`
		LastActiveAgo   int64   `json:"last_active_ago"`
		Message         *string `json:"status_msg,omitempty"`
		CurrentlyActive bool    `json:"currently_active"`
	}{p.State, max(now-p.LastActive, 0), p.Message, p.State == Online}
	b, err := json.Marshal(out)
	if err != nil { // it is made of strings and numbers
		return json.RawMessage(`{}`)
	}
	return b
}

const (
	// linger is how long a user is online after the end of a sync, in milliseconds: the time that the next one may take to come.
	linger = 30_000
	// maxPresences bounds the users whose presence is kept; nobody is told of the others.
	maxPresences = 1 << 18
	// maxMessage is the length of a status message in bytes.
	maxMessage = 1024
)

// sweep is the time between two looks for users who have gone.
const sweep = 10 * time.Second

// presences is the presence of users, and the order in which it changed.
type presences struct {
	mu    sync.Mutex
	users map[id.UserID]*present
	order []changed // oldest first; a user's older changes are left in it until it is cleaned
	poke  chan struct{}
}

type present struct {
	Presence
	until  int64 // milliseconds; offline afterwards
	told   int64 // milliseconds; when other servers were told
	remote bool  // a user of another server
}

// word is what has been said of a user, or seen.
type word struct {
	state   string
	message *string
	silent  bool // it leaves the message as it was
	remote  bool
	active  int64 // as of Presence, 0: as it was
	until   int64 // as of present
}

type changed struct {
	user id.UserID
	eph  int64
}

func newPresences() presences {
	return presences{users: map[id.UserID]*present{}, poke: make(chan struct{}, 1)}
}

// put notes a presence and reports whether others must be told.
func (p *presences) put(user id.UserID, w word) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[user]
	if u == nil {
		if w.state == Offline && w.message == nil || len(p.users) >= maxPresences {
			return false
		}
		u = &present{Presence: Presence{User: user, State: Offline}, remote: w.remote}
		p.users[user] = u
	}
	u.until = max(u.until, w.until)
	if w.active != 0 {
		u.LastActive = w.active
	}
	message := w.message
	if w.silent {
		message = u.Message
	}
	told := u.State != w.state || (u.Message == nil) != (message == nil) || message != nil && *u.Message != *message
	u.State, u.Message = w.state, message
	select {
	case p.poke <- struct{}{}:
	default:
	}
	return told
}

// note sets the counter of a user's last change.
func (p *presences) note(user id.UserID, eph int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[user]
	if u == nil {
		return
	}
	u.Eph = eph
	p.order = append(p.order, changed{user, eph})
	if len(p.order) > 2*len(p.users)+64 {
		kept := p.order[:0]
		for _, c := range p.order {
			if p.users[c.user].Eph == c.eph {
				kept = append(kept, c)
			}
		}
		p.order = kept
	}
}

// gone makes users offline whose time is over. Others of this server are there for so long that other servers have to be told again. left
// reports whether anybody is left who is not offline.
func (p *presences) gone(now int64) (users, again []id.UserID, left bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, u := range p.users {
		switch {
		case u.State == Offline:
			continue
		case u.until <= now:
			u.State = Offline
			users = append(users, name)
			continue
		case !u.remote && u.told != 0 && u.told+repeated <= now:
			again = append(again, name)
		}
		left = true
	}
	return users, again, left
}

// SetPresence is a user's own word on where they are; without a message there is none. It holds until they are somewhere else or gone.
// Errors: M_INVALID_PARAM.
//
// Spec: client-server-api#put_matrixclientv3presenceuseridstatus
func (s *Service) SetPresence(ctx context.Context, user id.UserID, state string, message *string) error {
	if state != Online && state != Unavailable && state != Offline {
		return merr.New(merr.InvalidParam, "presence must be online, unavailable or offline")
	}
	if message != nil && len(*message) > maxMessage {
		return merr.Newf(merr.InvalidParam, "status_msg must not be longer than %d bytes", maxMessage)
	}
	now := s.clock.Now().UnixMilli()
	w := word{state: state, message: message, until: now + linger}
	if state == Online {
		w.active = now
	}
	if s.presences.put(user, w) {
		return s.tell(ctx, user)
	}
	return nil
}

// Seen notes that a user syncs, as being online or unavailable, and will be there for a while.
func (s *Service) Seen(ctx context.Context, user id.UserID, state string, wait time.Duration) error {
	if state == Offline || s.options.Quiet {
		return nil
	}
	now := s.clock.Now().UnixMilli()
	w := word{state: state, silent: true, until: now + wait.Milliseconds() + linger}
	if state == Online {
		w.active = now
	}
	if s.presences.put(user, w) {
		return s.tell(ctx, user)
	}
	return nil
}

// tell tells everybody who shares a room with a user that their presence has changed, on this server and, if it is a user of this one, on
// others.
func (s *Service) tell(ctx context.Context, user id.UserID) error {
	keys := []hub.Key{hub.User(user)}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		users, err := tx.Neighbours(user)
		for _, u := range users {
			if u != user {
				keys = append(keys, hub.User(u))
			}
		}
		return err
	})
	s.ringing.Lock()
	eph := s.hub.NextEphemeral()
	s.presences.note(user, eph)
	s.hub.RingEphemeral(eph, nil, keys...)
	s.ringing.Unlock()
	s.report(News{Presence: user})
	if err != nil {
		return err
	}
	return s.tellServers(ctx, user)
}

// Presence is the presence of a user for a viewer who shares a room with them. Errors: M_NOT_FOUND if there is none, M_FORBIDDEN for others.
func (s *Service) Presence(ctx context.Context, viewer, user id.UserID) (Presence, error) {
	if viewer != user {
		err := s.store.View(ctx, func(tx *storage.ReadTx) error {
			shared, err := tx.SharesRoom(viewer, user)
			if err == nil && !shared {
				err = merr.New(merr.Forbidden, "You share no room with this user")
			}
			return err
		})
		if err != nil {
			return Presence{}, err
		}
	}
	p, ok := s.PresenceOf(user)
	if !ok && viewer == user {
		return Presence{User: user, State: Offline}, nil
	}
	if !ok {
		return Presence{}, merr.New(merr.NotFound, "There is no presence of this user")
	}
	return p, nil
}

// PresenceOf is the presence of a user, false if there is none.
func (s *Service) PresenceOf(user id.UserID) (Presence, bool) {
	s.presences.mu.Lock()
	defer s.presences.mu.Unlock()
	u := s.presences.users[user]
	if u == nil {
		return Presence{}, false
	}
	return u.Presence, true
}

// PresencesSince is the presences that have changed after a value of the ephemeral counter.
func (s *Service) PresencesSince(eph int64) []Presence {
	p := &s.presences
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Presence
	for i := len(p.order) - 1; i >= 0 && p.order[i].eph > eph; i-- {
		if u := p.users[p.order[i].user]; u.Eph == p.order[i].eph {
			out = append(out, u.Presence)
		}
	}
	return out
}

// runPresence makes those offline who have gone, until ctx ends.
func (s *Service) runPresence(ctx context.Context) {
	for {
		users, again, left := s.presences.gone(s.clock.Now().UnixMilli())
		for _, u := range users {
			// Without the database, they learn of it when they look for another reason.
			if err := s.tell(ctx, u); errors.Is(err, context.Canceled) {
				return
			}
		}
		for _, u := range again {
			if err := s.tellServers(ctx, u); errors.Is(err, context.Canceled) {
				return
			}
		}
		if !left {
			select {
			case <-s.presences.poke:
				continue
			case <-ctx.Done():
				return
			}
		}
		t := s.clock.NewTimer(sweep)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}
