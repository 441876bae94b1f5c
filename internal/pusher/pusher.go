// Package pusher tells phones what their users are notified of, through the push gateways that their apps name. What a pusher has yet to be
// told is rows, written in the transaction of the event; this package only carries them away, in their order, one request at a time for each
// pusher. A pusher that something waits for has a worker; all others cost nothing. A wake that is lost costs latency, never data. The package
// refuses to know who is notified of what, and of transports other than HTTP and mail.
package pusher

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// Options are what a Service needs.
type Options struct {
	Store *storage.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Web makes requests to gateways that a stranger has named; see internal/safehttp.
	Web *http.Client
	// Plain makes requests to gateways without TLS, which must be the operator's own. Nil: there are none.
	Plain *http.Client
	// Mail sends letters; nil: there are no pushers by e-mail.
	Mail *mail.Sender
	// Pages are the URLs that letters lead to.
	Pages   func() Pages
	Metrics prometheus.Registerer // nil: metrics are kept but not exported
}

// Service is the pushers of one server. It works for them while Run runs; until then, and after, everything waits. It is safe for concurrent
// use.
type Service struct {
	store    *storage.Store
	clock    clock.Clock
	log      *slog.Logger
	metrics  *metrics
	gateways gateways
	mail     *mail.Sender
	pages    func() Pages
	slots    chan struct{} // for requests under way
	poke     chan struct{}

	mu      sync.Mutex
	owners  map[id.UserID]bool // all users with pushers, and perhaps some who have none any more
	rung    map[int64]bool     // pushers that something may wait for since their worker, if there is one, has looked
	workers map[int64]*worker
}

// New returns a Service.
func New(ctx context.Context, o Options) (*Service, error) {
	s := &Service{store: o.Store, clock: o.Clock, log: o.Log, gateways: newGateways(o.Web, o.Plain), mail: o.Mail, pages: o.Pages, slots: make(chan struct{}, maxRequests),
		poke: make(chan struct{}, 1), owners: map[id.UserID]bool{}, rung: map[int64]bool{}, workers: map[int64]*worker{}}
	err := o.Store.View(ctx, func(tx *storage.ReadTx) error {
		users, err := tx.PusherOwners()
		for _, u := range users {
			s.owners[u] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.metrics, err = newMetrics(o.Metrics, s)
	return s, err
}

// Notify has the pushers of those users told of an event whom it notifies, but never those of its sender. It runs inside the event's
// transaction, and costs next to nothing where none of the users has a pusher.
//
// Spec: client-server-api#push-rules
func (s *Service) Notify(tx *storage.Tx, e *storage.Event, v push.Verdict, members []storage.Member) error {
	groups := s.byActions(e.Sender, v, members)
	if groups == nil {
		return nil
	}
	var awake []int64
	for actions, users := range groups {
		pushers, err := tx.QueuePush(e.NID, []byte(actions), users, s.now())
		if err != nil {
			return err
		}
		awake = append(awake, pushers...)
	}
	tx.OnCommit(func() { s.wake(awake...) })
	return nil
}

// byActions sorts those users who may have pushers by the actions of the rule that matched.
func (s *Service) byActions(sender id.UserID, v push.Verdict, members []storage.Member) map[string][]id.UserID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owners) == 0 {
		return nil
	}
	var groups map[string][]id.UserID
	for _, m := range members {
		if !s.owners[m.User] || m.User == sender {
			continue
		}
		if o := v.Of(m.User); o.Notify {
			if groups == nil {
				groups = map[string][]id.UserID{}
			}
			groups[string(o.Actions)] = append(groups[string(o.Actions)], m.User)
		}
	}
	return groups
}

// Recounted has the pushers of a user told how much is unread, after that has changed without an event. It runs inside the transaction of the
// change.
func (s *Service) Recounted(tx *storage.Tx, user id.UserID) error {
	s.mu.Lock()
	owner := s.owners[user]
	s.mu.Unlock()
	if !owner {
		return nil
	}
	pushers, err := tx.QueueBadge(user, s.now())
	if err != nil {
		return err
	}
	if len(pushers) == 0 { // they were rejected, have gone with their sessions, or are by e-mail and need not hear of it
		if all, err := tx.PushersOf(user); err != nil || len(all) > 0 {
			return err
		}
		tx.OnCommit(func() { s.own(user, false) })
		return nil
	}
	tx.OnCommit(func() { s.wake(pushers...) })
	return nil
}

// own notes whether a user has pushers. It is called on commit, that is, in the order of the changes.
func (s *Service) own(user id.UserID, has bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if has {
		s.owners[user] = true
	} else {
		delete(s.owners, user)
	}
}

// maxPushers bounds the pushers of one user. Those set longest ago make room: apps set theirs again whenever they start.
const maxPushers = 100

// Set makes, changes or deletes a pusher of a user. device is that of the session, with which the pusher goes; it may be empty.
//
// Spec: client-server-api#post_matrixclientv3pushersset
func (s *Service) Set(ctx context.Context, user id.UserID, device id.DeviceID, w Wish) error {
	if err := s.check(w); err != nil {
		return err
	}
	secret := ""
	if w.Kind == storage.PusherEmail {
		// It is for when no client is there, and is the account's and not a session's.
		device, secret = "", rand.Text()
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if w.Kind == storage.PusherEmail {
			if err := ownsAddress(&tx.ReadTx, user, w.Pushkey); err != nil {
				return err
			}
		}
		if w.Delete {
			return tx.DeletePusher(user, w.AppID, w.Pushkey)
		}
		pusher, err := tx.SetPusher(storage.Pusher{Kind: w.Kind, Secret: secret, User: user, AppID: w.AppID, Pushkey: w.Pushkey, Device: device, AppName: w.AppName,
			DeviceName: w.DeviceName, ProfileTag: w.ProfileTag, Lang: w.Lang, Data: w.Data, SetTS: s.now()})
		if err != nil {
			return err
		}
		if err := tx.LimitPushers(user, maxPushers); err != nil {
			return err
		}
		tx.OnCommit(func() {
			s.own(user, true)
			s.wake(pusher)
			s.hurry(pusher) // it may have another gateway now
		})
		if w.Append {
			return nil
		}
		return tx.DeletePushersOfOthers(user, w.AppID, w.Pushkey)
	})
}

// List is the pushers of a user.
func (s *Service) List(ctx context.Context, user id.UserID) (out []storage.Pusher, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		out, err = tx.PushersOf(user)
		return err
	})
	return out, err
}

// now is the time as it is stored: ms since the epoch.
func (s *Service) now() int64 { return s.clock.Now().UnixMilli() }
