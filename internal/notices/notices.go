// Package notices tells users what the people who run the server have to say, in a room that each of them has for that alone. The room is made with
// the first notice; the user is invited to it, may leave it, and is invited again with the next notice. The package refuses to know what is said.
//
// Spec: client-server-api#server-notices
package notices

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

// tag marks the room for clients.
const tag = "m.server_notice"

// Service sends notices. It is safe for concurrent use.
type Service struct {
	config   *config.Live
	store    *storage.Store
	accounts *account.Service
	rooms    *roomserver.Server

	one sync.Mutex // while a room is made, or a user invited: there is one room for each user
}

// New returns a Service.
func New(live *config.Live, store *storage.Store, accounts *account.Service, rooms *roomserver.Server) *Service {
	return &Service{config: live, store: store, accounts: accounts, rooms: rooms}
}

// Notice is an event for one user.
type Notice struct {
	To       id.UserID
	Type     string // empty: m.room.message
	StateKey *string
	Content  json.RawMessage
	Txn      storage.Txn // zero, or what makes a repetition harmless
}

// Send sends a notice and returns the id of its event. Errors: M_NOT_FOUND for somebody who is not there, M_INVALID_PARAM for a user of another
// server, M_INVITE_BLOCKED for who wants no invites, and M_UNKNOWN with 400 where notices are switched off.
func (s *Service) Send(ctx context.Context, n Notice) (id.EventID, error) {
	cfg := s.config.Get().ServerNotices
	if cfg.Localpart == "" {
		return "", merr.New(merr.Unknown, "Server notices are not enabled on this server").WithStatus(400)
	}
	if !s.accounts.IsLocal(n.To) {
		return "", merr.New(merr.InvalidParam, "Server notices can only be sent to users of this server")
	}
	user, err := s.accounts.User(ctx, n.To)
	if errors.Is(err, storage.ErrNotFound) || err == nil && user.Deactivated() {
		err = merr.New(merr.NotFound, "User not found.")
	}
	if err != nil {
		return "", err
	}
	sender, err := s.accounts.EnsureService(ctx, account.ServiceUser{Localpart: cfg.Localpart, DisplayName: cfg.DisplayName, AvatarURL: cfg.AvatarURL})
	if err != nil {
		return "", err
	}
	room, err := s.roomFor(ctx, sender, n.To, cfg)
	if err != nil {
		return "", err
	}
	if n.Type == "" {
		n.Type = "m.room.message"
	}
	if n.Txn.ID != "" { // the event is not of who makes the request: a device that nobody has tells their requests apart
		n.Txn.User, n.Txn.Device = sender, id.DeviceID(string(n.Txn.User)+" "+string(n.Txn.Device))
	}
	return s.rooms.Send(ctx, roomserver.SendRequest{Room: room, Sender: sender, Type: n.Type, StateKey: n.StateKey, Content: n.Content, Txn: n.Txn})
}

// roomFor finds or makes the room for a user, and invites the user if they are not there.
func (s *Service) roomFor(ctx context.Context, sender, to id.UserID, cfg config.ServerNotices) (room id.RoomID, err error) {
	s.one.Lock()
	defer s.one.Unlock()
	there := false
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		if room, err = tx.NoticeRoom(to); err != nil {
			return err
		}
		there, err = inRoom(tx, room, to)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		room, err = s.create(ctx, sender, to, cfg)
	}
	if err != nil || there {
		return room, err
	}
	if err := s.accounts.SetTag(ctx, to, room, tag, json.RawMessage(`{}`)); err != nil {
		return "", err
	}
	return room, s.rooms.Invite(ctx, roomserver.MemberRequest{Room: room, Sender: sender, Target: to})
}

// inRoom reports whether a user is in a room, or invited to it.
func inRoom(tx *storage.ReadTx, room id.RoomID, user id.UserID) (bool, error) {
	nid, err := tx.RoomNID(room)
	if err != nil {
		return false, err
	}
	m, err := tx.Membership(nid, user)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return m.Membership == "join" || m.Membership == "invite", err
}

// create makes the room for a user, in which nobody else says anything and which does not leave this server.
func (s *Service) create(ctx context.Context, sender, to id.UserID, cfg config.ServerNotices) (id.RoomID, error) {
	r := roomserver.CreateRequest{
		Creator: sender, Preset: "private_chat", Name: cfg.RoomName,
		Content:     map[string]json.RawMessage{"m.federate": json.RawMessage(`false`)},
		PowerLevels: map[string]json.RawMessage{"users_default": json.RawMessage(`-10`)},
		Made:        func(tx *storage.Tx, room id.RoomID) error { return tx.SetNoticeRoom(to, room) },
	}
	if cfg.RoomAvatarURL != "" {
		content, err := json.Marshal(map[string]string{"url": cfg.RoomAvatarURL})
		if err != nil {
			return "", err
		}
		r.InitialState = []roomserver.InitialState{{Type: "m.room.avatar", Content: content}}
	}
	return s.rooms.Create(ctx, r)
}
