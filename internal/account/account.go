// Package account knows who may use this server and as what: users, passwords, devices, tokens, user-interactive authentication, profiles,
// account data, tags, filters and push rules. It answers web's question whom a token belongs to. It refuses to know of HTTP beyond that
// question, of SQL, and of rooms: what rooms must learn of users goes through RoomLeaver and ProfileObserver.
package account

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/hearthd/hearth/internal/appservice"
	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/sso"
	"github.com/hearthd/hearth/storage"
)

// RoomLeaver takes a user whose account was deactivated out of all rooms, and rejects their invites. It is called again, after a restart
// too, until it has succeeded once.
type RoomLeaver interface {
	LeaveAll(ctx context.Context, user id.UserID) error
}

// ProfileObserver hears, after it was stored, that the display name or avatar of a local user has changed. They are part of membership
// events, which have to follow.
type ProfileObserver interface {
	ProfileChanged(ctx context.Context, user id.UserID) error
}

// Deps is what a Service works with. All fields but Rooms, Profiles, Mail, Appservices and Providers are needed.
type Deps struct {
	Notifier *Notifier
	Store    *storage.Store
	E2EE     *e2ee.Service
	Hub      *hub.Hub
	Config   *config.Live
	Clock    clock.Clock
	Log      *slog.Logger
	Rooms    RoomLeaver
	Profiles ProfileObserver
	// Mail sends letters; nil: nobody has an e-mail address.
	Mail *mail.Sender
	// Appservices are the application services; nil: there are none.
	Appservices *appservice.Registry
	// Memory is what the cache of sessions gets its share of; nil: of the default.
	Memory *budget.Memory
	// Providers are where users can log in elsewhere.
	Providers []*sso.Provider
}

// Service is the accounts of one server. It is safe for concurrent use.
type Service struct {
	store    *storage.Store
	e2ee     *e2ee.Service
	hub      *hub.Hub
	config   *config.Live
	clock    clock.Clock
	log      *slog.Logger
	rooms    RoomLeaver
	profiles ProfileObserver
	mail     *mail.Sender
	book     *push.Book
	notifier *Notifier
	server   id.ServerName
	hasher   *hasher
	sessions *sessionCache
	seen     *sightings

	appservices *appservice.Registry
	providers   []*sso.Provider
}

// New makes the service.
func New(d Deps) (*Service, error) {
	cfg := d.Config.Get()
	server, err := id.ParseServerName(cfg.Server.Name)
	if err != nil {
		return nil, err
	}
	h, err := newHasher(cfg.Passwords)
	if err != nil {
		return nil, err
	}
	return &Service{
		store: d.Store, e2ee: d.E2EE, hub: d.Hub, config: d.Config, clock: d.Clock, log: d.Log, rooms: d.Rooms, profiles: d.Profiles,
		mail: d.Mail, book: d.Notifier.book, notifier: d.Notifier, server: server, hasher: h, sessions: newSessionCache(d.Memory.Share(budget.Sessions)), seen: newSightings(),
		appservices: d.Appservices, providers: d.Providers,
	}, nil
}

// housekeeping is the interval at which sightings of devices are written and expired rows removed.
const housekeeping = time.Minute

// Run does what has to be done in the background, until ctx ends: it finishes deactivations that a restart interrupted, notes when devices
// were last seen, and forgets what has expired.
func (s *Service) Run(ctx context.Context) error {
	s.depart(ctx)
	for {
		timer := s.clock.NewTimer(housekeeping)
		select {
		case <-timer.C():
			if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("account housekeeping failed", "error", err)
			}
		case <-ctx.Done():
			timer.Stop()
			// What was seen since the last time is worth one more write; nothing else waits for it.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := s.flushSightings(last); err != nil && !errors.Is(err, storage.ErrClosed) {
				s.log.Warn("last sightings of devices were not written", "error", err)
			}
			return nil
		}
	}
}

func (s *Service) tidy(ctx context.Context) error {
	if err := s.flushSightings(ctx); err != nil {
		return err
	}
	now := s.now()
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.DeleteExpiredAuthSessions(now); err != nil {
			return err
		}
		if err := tx.DeleteExpiredEmailValidations(now); err != nil {
			return err
		}
		return tx.DeleteExpiredSingleTokens(now)
	})
}

// now is the time as it is stored: ms since the epoch.
func (s *Service) now() int64 { return s.clock.Now().UnixMilli() }

// after is the time d from now, as it is stored; 0, never, for a d of 0.
func (s *Service) after(d time.Duration) int64 {
	if d == 0 {
		return 0
	}
	return s.clock.Now().Add(d).UnixMilli()
}

// changed takes a position for a change that concerns all clients of a user, and rings for it once it is durable.
func (s *Service) changed(tx *storage.Tx, user id.UserID) (int64, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return 0, err
	}
	tx.OnCommit(func() { s.hub.Ring(pos, hub.User(user)) })
	return pos, nil
}

// decode reads an object that was checked to be one. A wrong type is M_BAD_JSON.
func decode(raw json.RawMessage, v any) error {
	err := json.Unmarshal(raw, v)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind) && kind.Field != "":
		return merr.Newf(merr.BadJSON, "%s must not be of the type %s", kind.Field, kind.Value)
	}
	return merr.New(merr.BadJSON, "The body has a value of a wrong type")
}
