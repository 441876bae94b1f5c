package edu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	// believed is how long a user of another server is there if that server says nothing more, in milliseconds, and repeated the time after
	// which others are told again of users of this server, before they stop to believe it.
	believed = 30 * 60_000
	repeated = 20 * 60_000
	// maxPush bounds the users of one m.presence.
	maxPush = 500
)

// update is what an m.presence says of one user.
type update struct {
	User   id.UserID `json:"user_id"`
	State  string    `json:"presence"`
	Ago    int64     `json:"last_active_ago"`
	Text   *string   `json:"status_msg,omitempty"`
	Active bool      `json:"currently_active"`
}

// tellServers tells other servers of the presence of a user of this one.
//
// Spec: server-server-api#presence
func (s *Service) tellServers(ctx context.Context, user id.UserID) error {
	now := s.clock.Now().UnixMilli()
	p, ok := s.presences.telling(user, now)
	if !s.options.FederatePresence || !ok {
		return nil
	}
	var servers []id.ServerName
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		servers, err = tx.ServersSharing(user)
		return err
	})
	s.spread(servers, "m.presence", string(user), struct {
		Push []update `json:"push"`
	}{[]update{{p.User, p.State, max(now-p.LastActive, 0), p.Message, p.State == Online}}})
	return err
}

// telling is the presence of a user of this server, of which others are told now.
func (p *presences) telling(user id.UserID, now int64) (Presence, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[user]
	if u == nil || u.remote {
		return Presence{}, false
	}
	u.told = now
	return u.Presence, true
}

// ReceivePresence takes the content of an m.presence of another server. Only those of its users are believed in who share a room with a user
// of this one.
//
// Spec: server-server-api#presence
func (s *Service) ReceivePresence(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	if !s.options.FederatePresence {
		return nil
	}
	var c struct {
		Push []json.RawMessage `json:"push"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return fmt.Errorf("read presence: %w", err)
	}
	var problems []error
	for _, raw := range c.Push[:min(len(c.Push), maxPush)] {
		var u update
		err := json.Unmarshal(raw, &u)
		if err == nil {
			err = s.receivePresence(ctx, origin, u)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

var (
	errNotTheirs  = errors.New("the user is of another server")
	errNoPresence = errors.New("there is no such presence")
)

func (s *Service) receivePresence(ctx context.Context, origin id.ServerName, u update) error {
	user, err := id.ParseUserID(string(u.User))
	if err != nil {
		return err
	}
	if user.Server() != origin {
		return errNotTheirs
	}
	if u.State != Online && u.State != Unavailable && u.State != Offline || u.Text != nil && len(*u.Text) > maxMessage {
		return errNoPresence
	}
	// Whoever is known has shared a room at some time: who hears of them is decided for each of their changes.
	if _, known := s.PresenceOf(user); !known {
		var near []id.UserID
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			near, err = tx.Neighbours(user)
			return err
		})
		if err != nil || len(near) == 0 {
			return err
		}
	}
	now := s.clock.Now().UnixMilli()
	w := word{state: u.State, message: u.Text, remote: true, active: now - min(max(u.Ago, 0), now-1), until: now + believed}
	if s.presences.put(user, w) {
		return s.tell(ctx, user)
	}
	return nil
}
