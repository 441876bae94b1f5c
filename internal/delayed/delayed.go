// Package delayed keeps events that users want to be sent later: a client that is in a call has its leaving scheduled, and puts that off for as
// long as it is there. What is scheduled is rows; a row and the event that it becomes change in one transaction, so that nothing is sent twice or
// after it was cancelled. The package refuses to judge events: that happens when they are sent, by the room as it is then.
//
// Spec: MSC4140
package delayed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

const (
	// maxContent bounds what is scheduled, in bytes: the content of an event that is larger could not be sent.
	maxContent = 64 << 10
	// maxField is the greatest length of an event's type and state key in bytes.
	maxField = 255
	// maxListed bounds a list of delayed events.
	maxListed = 1000
	// maxFinalised is how many events that are over are kept for each user, and keptFor how long.
	maxFinalised = 1000
	keptFor      = 7 * 24 * time.Hour
)

// Service is the delayed events of one server. They are sent while Run runs. It is safe for concurrent use.
type Service struct {
	config *config.Live
	store  *storage.Store
	rooms  *roomserver.Server
	clock  clock.Clock
	log    *slog.Logger
	poke   chan struct{} // something has become due earlier than Run knows

	mu   sync.Mutex
	busy map[id.RoomID]bool // rooms that something is being sent to
}

// New returns a Service.
func New(live *config.Live, store *storage.Store, rooms *roomserver.Server, c clock.Clock, log *slog.Logger) *Service {
	return &Service{config: live, store: store, rooms: rooms, clock: c, log: log, poke: make(chan struct{}, 1), busy: map[id.RoomID]bool{}}
}

// Request is an event to be sent later.
type Request struct {
	Room     id.RoomID
	User     id.UserID
	Type     string
	StateKey *string // nil for a message event
	Content  json.RawMessage
	TS       int64 // origin_server_ts in milliseconds, for application services; 0 for the time at which it is sent
	Delay    time.Duration
	Txn      storage.Txn
}

func (s *Service) now() int64 { return s.clock.Now().UnixMilli() }

// Limits is how long an event may be delayed, and how many a user may have scheduled.
func (s *Service) Limits() (longest time.Duration, most int) {
	rooms := s.config.Get().Rooms
	return rooms.MaxDelay, rooms.MaxDelayedEvents
}

// Scheduled returns the delay id that an earlier request with the same Txn got, or storage.ErrNotFound.
func (s *Service) Scheduled(ctx context.Context, txn storage.Txn) (delay string, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		delay, err = tx.TxnAnswer(txn)
		return err
	})
	return delay, err
}

// Schedule has an event sent later and returns the id under which it can be managed until then. That is a secret of who knows it. Errors:
// M_INVALID_PARAM, M_TOO_LARGE, M_FORBIDDEN for a delay that is too long, and M_LIMIT_EXCEEDED for an event too many.
func (s *Service) Schedule(ctx context.Context, r Request) (string, error) {
	longest, most := s.Limits()
	switch {
	case most == 0:
		return "", merr.New(merr.Forbidden, "This server does not send events later")
	case r.Delay <= 0:
		return "", merr.New(merr.InvalidParam, "The delay must be a positive number of milliseconds")
	case r.Delay > longest:
		return "", merr.Newf(merr.Forbidden, "An event can be delayed by at most %d ms", longest.Milliseconds())
	case len(r.Content) > maxContent || len(r.Type) > maxField || r.StateKey != nil && len(*r.StateKey) > maxField:
		return "", merr.New(merr.TooLarge, "The event is too large")
	case strings.ContainsRune(r.Type, 0) || r.StateKey != nil && strings.ContainsRune(*r.StateKey, 0):
		return "", merr.New(merr.InvalidParam, "The type and the state key must not contain NUL")
	}
	d := storage.DelayedEvent{
		ID: rand.Text(), User: r.User, Room: r.Room, Type: r.Type, StateKey: r.StateKey, Content: r.Content, TS: r.TS,
		Delay: r.Delay.Milliseconds(), Since: s.now(),
	}
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		if r.Txn.ID != "" {
			answer, err := tx.TxnAnswer(r.Txn)
			if err == nil {
				d.ID = answer
				return nil
			}
			if !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			if err := tx.SaveTxnAnswer(r.Txn, d.ID, d.Since); err != nil {
				return err
			}
		}
		n, first, err := tx.CountDelayedEvents(r.User)
		if err != nil {
			return err
		}
		if n >= most {
			return web.LimitExceeded(time.Duration(first-d.Since) * time.Millisecond)
		}
		tx.OnCommit(s.look)
		return tx.AddDelayedEvent(d)
	})
	return d.ID, err
}

// List is the scheduled events of a user, in the order in which they are to be sent.
func (s *Service) List(ctx context.Context, user id.UserID) (out []storage.DelayedEvent, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		out, err = tx.DelayedEventsOf(user, maxListed)
		return err
	})
	return out, err
}

// errUnknown is the answer to ids that are none, or somebody else's.
var errUnknown = merr.New(merr.NotFound, "There is no such delayed event")

// Of is a delayed event of a user, also one that is over. Any other is M_NOT_FOUND.
func (s *Service) Of(ctx context.Context, user id.UserID, delay string) (storage.DelayedEvent, error) {
	d, err := s.find(ctx, delay)
	if err == nil && d.User != user {
		err = errUnknown
	}
	return d, err
}

func (s *Service) find(ctx context.Context, delay string) (d storage.DelayedEvent, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		d, err = tx.DelayedEvent(delay)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errUnknown
	}
	return d, err
}

// over is the answer to a request about an event that is finalised: success, if that is what the request wants.
func over(d storage.DelayedEvent, wanted bool) error {
	switch {
	case wanted:
		return nil
	case d.Event != "":
		return merr.New(merr.Unknown, "The delayed event has been sent already").WithStatus(http.StatusConflict)
	}
	return merr.New(merr.Unknown, "The delayed event has been cancelled already").WithStatus(http.StatusConflict)
}

// Cancel has a delayed event not sent.
func (s *Service) Cancel(ctx context.Context, delay string) error {
	return s.change(ctx, delay, func(tx *storage.Tx, d storage.DelayedEvent) error {
		if d.Finalised != 0 {
			return over(d, d.Event == "")
		}
		d.Finalised = s.now()
		_, err := finalise(tx, d)
		return err
	})
}

// Restart counts the delay from now on.
func (s *Service) Restart(ctx context.Context, delay string) error {
	return s.change(ctx, delay, func(tx *storage.Tx, d storage.DelayedEvent) error {
		if d.Finalised != 0 {
			return over(d, false)
		}
		// It becomes due later than Run thinks, which has a look for nothing.
		return tx.RestartDelayedEvent(delay, s.now())
	})
}

func (s *Service) change(ctx context.Context, delay string, fn func(*storage.Tx, storage.DelayedEvent) error) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		d, err := tx.DelayedEvent(delay)
		if errors.Is(err, storage.ErrNotFound) {
			return errUnknown
		}
		if err != nil {
			return err
		}
		return fn(tx, d)
	})
}

// finalise notes what has become of an event, unless that has been decided, or the event restarted, since it was read.
func finalise(tx *storage.Tx, d storage.DelayedEvent) (bool, error) {
	done, err := tx.FinaliseDelayedEvent(d)
	if err != nil || !done {
		return false, err
	}
	return true, tx.LimitFinalisedEvents(d.User, maxFinalised)
}

// Send sends a delayed event now. If that fails it stays scheduled, and the error is that of sending the event.
func (s *Service) Send(ctx context.Context, delay string) error {
	for {
		d, err := s.find(ctx, delay)
		if err != nil {
			return err
		}
		if d.Finalised != 0 {
			return over(d, d.Event != "")
		}
		if err := s.send(ctx, d); !errors.Is(err, errChanged) {
			return err
		}
	}
}

// errChanged says that an event was cancelled, sent or restarted since it was read.
var errChanged = errors.New("the delayed event has changed")

// send sends an event as it was read.
func (s *Service) send(ctx context.Context, d storage.DelayedEvent) error {
	if err := s.mayStillSend(ctx, d.User); err != nil {
		return err
	}
	_, err := s.rooms.Send(ctx, roomserver.SendRequest{
		Room: d.Room, Sender: d.User, Type: d.Type, StateKey: d.StateKey, Content: d.Content, TS: d.TS, Delay: d.ID,
		Sent: func(tx *storage.Tx, event id.EventID) error {
			d.Finalised, d.Event = s.now(), event
			done, err := finalise(tx, d)
			if err == nil && !done {
				err = errChanged
			}
			return err
		},
	})
	return err
}

// mayStillSend refuses what a user could not send any more.
func (s *Service) mayStillSend(ctx context.Context, user id.UserID) error {
	return s.store.View(ctx, func(tx *storage.ReadTx) error {
		u, err := tx.User(user)
		switch {
		case err != nil:
			return err
		case u.Deactivated():
			return merr.New(merr.UserDeactivated, "This account has been deactivated")
		case u.Locked:
			return merr.New(merr.UserLocked, "This account has been locked")
		case u.Suspended:
			return web.Suspended()
		}
		return nil
	})
}
