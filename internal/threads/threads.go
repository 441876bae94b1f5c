// Package threads keeps which threads users want to hear of. It refuses to decide who is notified of what is said there: that is for push
// rules, which may ask.
package threads

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Service is the subscriptions of the users of one server. It is safe for concurrent use.
type Service struct {
	store *storage.Store
	hub   *hub.Hub
	first func(user id.UserID)
}

// New returns a Service. first is called after the commit when a user has said something of a thread for the first time.
func New(store *storage.Store, h *hub.Hub, first func(user id.UserID)) *Service {
	return &Service{store: store, hub: h, first: first}
}

// Thread is a thread as a user names it.
type Thread struct {
	Room id.RoomID
	Root id.EventID
}

func noThread() error {
	return merr.New(merr.NotFound, "There is no such thread, or you may not see it")
}

// open finds a thread that a user may see; any other is M_NOT_FOUND. Every event can be the root of one.
func open(tx *storage.ReadTx, user id.UserID, t Thread) (*history.Room, error) {
	room, err := history.Open(tx, t.Room, user)
	if err == nil {
		_, err = room.Event(t.Root)
	}
	if errors.Is(err, storage.ErrNotFound) || merr.HasCode(err, merr.Forbidden) {
		return nil, noThread()
	}
	return room, err
}

// Subscription is a user's subscription to a thread, or M_NOT_FOUND.
//
// Spec: MSC4306#retrieving-thread-subscription
func (s *Service) Subscription(ctx context.Context, user id.UserID, t Thread) (out storage.ThreadSubscription, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		room, err := open(tx, user, t)
		if err != nil {
			return err
		}
		out, err = tx.ThreadSubscription(user, room.NID, t.Root)
		if errors.Is(err, storage.ErrNotFound) || err == nil && !out.Subscribed {
			return merr.New(merr.NotFound, "You are not subscribed to this thread")
		}
		return err
	})
	return out, err
}

// Subscribe subscribes a user to a thread. cause is the event of the thread for which a client does so by itself, empty where the user does.
// What a user has done themselves no client undoes: they stay subscribed as they are, and are not subscribed again for what was there when
// they ended their subscription. Errors: M_NOT_FOUND, NotInThread for a cause outside of the thread, ConflictingUnsubscription.
//
// Spec: MSC4306#subscribing-to-a-thread, MSC4306#server-side-automatic-subscription-ordering
func (s *Service) Subscribe(ctx context.Context, user id.UserID, t Thread, cause id.EventID) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		room, err := open(&tx.ReadTx, user, t)
		if err != nil {
			return err
		}
		was, err := tx.ThreadSubscription(user, room.NID, t.Root)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if cause != "" {
			if err := checkCause(&tx.ReadTx, room, t, cause, was); err != nil {
				return err
			}
		}
		if was.Subscribed && (cause != "" || !was.Automatic) {
			return nil
		}
		return s.set(tx, storage.ThreadSubscription{User: user, Room: room.NID, Root: t.Root, Subscribed: true, Automatic: cause != ""}, was)
	})
}

// checkCause checks that an event is in a thread and came after the user has ended their subscription, if they have.
func checkCause(tx *storage.ReadTx, room *history.Room, t Thread, cause id.EventID, was storage.ThreadSubscription) error {
	outside := merr.New(merr.NotInThread, "The event that is to subscribe you is not in the thread")
	ev, err := room.Event(cause)
	if errors.Is(err, storage.ErrNotFound) {
		return outside
	}
	if err != nil {
		return err
	}
	root, err := tx.ThreadOf(ev)
	if err != nil {
		return err
	}
	if root != t.Root {
		return outside
	}
	// The number of an event is the position at which it came here, or was kept free for it.
	if was.Pos != 0 && !was.Subscribed && ev.NID < was.Pos {
		return merr.New(merr.ConflictingUnsubscription, "You have ended your subscription after that event").WithStatus(409)
	}
	return nil
}

// Unsubscribe ends a user's subscription to a thread, and notes that they wish so where there is none. The error is M_NOT_FOUND for a thread
// that is not there.
//
// Spec: MSC4306#unsubscribing-from-a-thread
func (s *Service) Unsubscribe(ctx context.Context, user id.UserID, t Thread) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		room, err := open(&tx.ReadTx, user, t)
		if err != nil {
			return err
		}
		was, err := tx.ThreadSubscription(user, room.NID, t.Root)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return s.set(tx, storage.ThreadSubscription{User: user, Room: room.NID, Root: t.Root}, was)
	})
}

// set stores what a user says of a thread, who has said something else before, or nothing.
func (s *Service) set(tx *storage.Tx, v, was storage.ThreadSubscription) (err error) {
	some := was.Pos != 0
	if !some {
		if some, err = tx.HasThreadSubscriptions(v.User); err != nil {
			return err
		}
	}
	if v.Pos, err = tx.NextPos(); err != nil {
		return err
	}
	tx.OnCommit(func() {
		if !some {
			s.first(v.User)
		}
		s.hub.Ring(v.Pos, hub.User(v.User))
	})
	return tx.SetThreadSubscription(v)
}
