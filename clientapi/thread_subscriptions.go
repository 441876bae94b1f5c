package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/threads"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) threadSubscriptionRoutes() []web.Route {
	const one = "/_matrix/client/unstable/io.element.msc4306/rooms/{roomID}/thread/{eventID}/subscription"
	return []web.Route{
		{"GET", one, web.User, web.RateNone, a.threadSubscription},
		{"PUT", one, web.User, web.RateWrite, a.subscribeToThread},
		{"DELETE", one, web.User, web.RateWrite, a.unsubscribeFromThread},
		{"GET", "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions", web.User, web.RateNone, a.threadSubscriptions},
	}
}

// namedThread is the thread of the path. What is no event id names no thread.
func namedThread(r *web.Request) (threads.Thread, error) {
	room, err := r.RoomID("roomID")
	return threads.Thread{Room: room, Root: id.EventID(r.Var("eventID"))}, err
}

// Spec: MSC4306#retrieving-thread-subscription
func (a *API) threadSubscription(ctx context.Context, r *web.Request) (any, error) {
	thread, err := namedThread(r)
	if err != nil {
		return nil, err
	}
	s, err := a.subscriptions.Subscription(ctx, r.Caller.User, thread)
	return struct {
		Automatic bool `json:"automatic"`
	}{s.Automatic}, err
}

// Spec: MSC4306#subscribing-to-a-thread
func (a *API) subscribeToThread(ctx context.Context, r *web.Request) (any, error) {
	thread, err := namedThread(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Automatic *string `json:"automatic"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	var cause id.EventID
	if body.Automatic != nil {
		if cause, err = id.ParseEventID(*body.Automatic); err != nil {
			return nil, merr.Newf(merr.InvalidParam, "automatic: %v", err)
		}
	}
	return nil, a.subscriptions.Subscribe(ctx, r.Caller.User, thread, cause)
}

// Spec: MSC4306#unsubscribing-from-a-thread
func (a *API) unsubscribeFromThread(ctx context.Context, r *web.Request) (any, error) {
	thread, err := namedThread(r)
	if err != nil {
		return nil, err
	}
	return nil, a.subscriptions.Unsubscribe(ctx, r.Caller.User, thread)
}

// threadSubscriptions walks back through what the caller has said of threads, from where an answer of sliding sync had no place for more.
//
// Spec: MSC4308#companion-endpoint-for-backpaginating-thread-subscription-changes
func (a *API) threadSubscriptions(ctx context.Context, r *web.Request) (any, error) {
	back, err := direction(r, "")
	if err != nil {
		return nil, err
	}
	if !back {
		return nil, merr.New(merr.InvalidParam, "Query parameter dir must be b")
	}
	from, err := point(r, "from", a.store.CommittedPos())
	if err != nil {
		return nil, err
	}
	to, err := point(r, "to", 0)
	if err != nil {
		return nil, err
	}
	limit, err := r.IntQuery("limit", 100, 1, 100)
	if err != nil {
		return nil, err
	}
	var list []storage.ThreadSubscription
	var more bool
	err = a.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		list, more, err = tx.ThreadSubscriptionsSince(r.Caller.User, storage.Span{After: to, UpTo: from}, limit)
		return err
	})
	out := struct {
		syncer.ThreadSubscriptions
		End string `json:"end,omitempty"`
	}{ThreadSubscriptions: syncer.NewThreadSubscriptions(list)}
	if more {
		out.End = token.Room(list[len(list)-1].Pos - 1).String()
	}
	return out, err
}
