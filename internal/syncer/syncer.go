// Package syncer answers /sync, the one of v3 and sliding sync: it turns a token into what has happened since, from one snapshot of the database. What an answer costs
// follows what changed: rooms and personal data of which the hub and the store know that nothing has happened are not looked at, and where
// nothing at all has happened the database is not asked. It refuses to know HTTP, and to change anything but the queue of messages
// to the device that asks and what its connections remember.
package syncer

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// Rules shows push rules as clients see them.
type Rules interface {
	// PushRulesContent makes the content of m.push_rules of what is stored for a user.
	PushRulesContent(user id.UserID, stored json.RawMessage) (json.RawMessage, error)
}

// Syncer answers /sync. It is safe for concurrent use.
type Syncer struct {
	store   *storage.Store
	hub     *hub.Hub
	edus    *edu.Service
	rules   Rules
	clock   clock.Clock
	started int64 // the ephemeral counter when this process began
	members *sentMembers
	wishes  *wishCache
	lists   *roomLists
	slides  *connections
}

// New returns a Syncer. Its caches get their shares of the memory; nil is the default.
func New(store *storage.Store, h *hub.Hub, edus *edu.Service, rules Rules, c clock.Clock, memory *budget.Memory) *Syncer {
	return &Syncer{store: store, hub: h, edus: edus, rules: rules, clock: c, started: edus.Ephemeral(), members: newSentMembers(memory.Share(budget.Members)),
		wishes: newWishCache(memory.Share(budget.Wishes)), lists: newRoomLists(memory.Share(budget.Lists)),
		slides: newConnections(memory.Share(budget.Connections))}
}

// Request is one /sync.
type Request struct {
	User          id.UserID
	Device        id.DeviceID
	Since         string // empty for an initial sync
	Filter        *filter.Filter
	FullState     bool
	UseStateAfter bool
	Timeout       time.Duration // how long to wait for something to happen
	Presence      string        // what the user is to be shown as; empty or edu.Offline changes nothing
	// Admitted says, before every look of a request that waits, whether the session may still be answered; nil: it may. It can have ended
	// meanwhile, or the user have been locked, which rings for the user.
	Admitted func() error
}

// maxTimeout is the longest that a client may wait.
const maxTimeout = 10 * time.Minute

// Sync answers a request: at once if there is anything to say, else when something happens or the time is over. The error for a token that
// is not ours is M_INVALID_PARAM.
//
// Spec: client-server-api#get_matrixclientv3sync
func (s *Syncer) Sync(ctx context.Context, r Request) ([]byte, error) {
	initial := r.Since == ""
	var since token.Sync
	if !initial {
		var err error
		if since, err = token.ParseSync(r.Since); err != nil {
			return nil, err
		}
	}
	if r.Filter == nil {
		r.Filter = &filter.Filter{}
	}
	r.Timeout = min(r.Timeout, maxTimeout)
	if r.Presence != "" {
		// Not to be shown as online is no reason not to get an answer.
		_ = s.edus.Seen(ctx, r.User, r.Presence, r.Timeout)
	}
	q := query{Request: r, initial: initial, since: since}
	if err := s.acknowledge(ctx, q); err != nil {
		return nil, err
	}
	wait := !initial && !r.FullState && r.Timeout > 0
	a, err := s.look(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.some || !wait {
		return s.bytes(ctx, q, a)
	}
	watch := s.hub.Watch(hub.User(r.User), hub.Device(r.User, r.Device))
	defer watch.Close()
	timer := s.clock.NewTimer(r.Timeout)
	defer timer.Stop()
	for {
		if r.Admitted != nil && r.Admitted() != nil {
			return s.bytes(ctx, q, a) // what became of the session the client learns from its next request
		}
		// What there was to see up to here was nothing.
		q.since = a.next
		if a, err = s.look(ctx, q); err != nil {
			return nil, err
		}
		if a.some {
			return s.bytes(ctx, q, a)
		}
		select {
		case <-watch.C():
		case <-timer.C():
			return s.bytes(ctx, q, a)
		case <-s.hub.Draining():
			return s.bytes(ctx, q, a)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// query is a Request with its token.
type query struct {
	Request
	initial bool
	since   token.Sync
}

// answer is what there is to say, and the token to go on from.
type answer struct {
	some bool
	next token.Sync
	body []byte // nil for nothing
}

// look sees what there is to say to a client right now.
func (s *Syncer) look(ctx context.Context, q query) (answer, error) {
	if !q.initial && !q.FullState && s.quiet(q) {
		return answer{next: q.since}, nil
	}
	l := look{Syncer: s, query: q}
	err := l.snapshot(ctx, l.build)
	if err == nil && l.cut != 0 {
		err = l.saveCut(ctx)
	}
	if err != nil {
		return answer{}, err
	}
	return answer{some: l.some, next: l.next, body: l.buf}, nil
}

// snapshot builds an answer from what there is at one moment.
func (l *look) snapshot(ctx context.Context, build func(context.Context) error) error {
	// Taken before anything is read: what comes in between is told again rather than lost.
	l.next.Eph = l.edus.Ephemeral()
	return l.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		l.tx = tx
		if l.next.Pos, err = tx.Position(); err != nil {
			return err
		}
		// What this snapshot shows the hub and the caches must have heard of.
		if err := l.store.Settled(ctx, l.next.Pos); err != nil {
			return err
		}
		return build(ctx)
	})
}

// quiet reports whether surely nothing has happened that concerns the user.
func (s *Syncer) quiet(q query) bool {
	return !s.hub.ChangedSince(hub.User(q.User), q.since.Pos) && !s.hub.ChangedSince(hub.Device(q.User, q.Device), q.since.Pos) &&
		!s.hub.EphemeralSince(hub.User(q.User), q.since.Eph)
}
