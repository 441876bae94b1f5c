package syncer

import (
	"encoding/json"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// ThreadSubscriptions is what a user has said of threads, as clients see it.
//
// Spec: MSC4308#sliding-sync-extension
type ThreadSubscriptions struct {
	Subscribed   map[id.RoomID]map[id.EventID]threadSubscription   `json:"subscribed,omitempty"`
	Unsubscribed map[id.RoomID]map[id.EventID]threadUnsubscription `json:"unsubscribed,omitempty"`
}

type threadSubscription struct {
	Automatic bool  `json:"automatic"`
	BumpStamp int64 `json:"bump_stamp"`
}

type threadUnsubscription struct {
	BumpStamp int64 `json:"bump_stamp"`
}

// NewThreadSubscriptions sorts what a user has said of threads.
func NewThreadSubscriptions(list []storage.ThreadSubscription) ThreadSubscriptions {
	var out ThreadSubscriptions
	for _, s := range list {
		if s.Subscribed {
			put(&out.Subscribed, s, threadSubscription{s.Automatic, s.Pos})
		} else {
			put(&out.Unsubscribed, s, threadUnsubscription{s.Pos})
		}
	}
	return out
}

func put[T any](rooms *map[id.RoomID]map[id.EventID]T, s storage.ThreadSubscription, v T) {
	if *rooms == nil {
		*rooms = map[id.RoomID]map[id.EventID]T{}
	}
	if (*rooms)[s.RoomID] == nil {
		(*rooms)[s.RoomID] = map[id.EventID]T{}
	}
	(*rooms)[s.RoomID][s.Root] = v
}

// threadsText is what a connection remembers of having been asked for subscriptions to threads.
func threadsText(x *sliding.Extensions) string {
	if x.Threads == 0 {
		return ""
	}
	return "threads"
}

// threadsExtension writes what the user has said of threads since, the newest of it; with anew, of all that they ever said. A client may
// know of subscriptions from other connections, so it is told of those that are over, too.
func (v *slide) threadsExtension(outer *opened, anew bool) error {
	span := storage.Span{After: v.since.Pos, UpTo: v.next.Pos}
	if anew {
		span.After = 0
	}
	list, more, err := v.tx.ThreadSubscriptionsSince(v.User, span, v.q.Asked.Extensions.Threads)
	if err != nil {
		return fmt.Errorf("load subscriptions to threads: %w", err)
	}
	if len(list) == 0 {
		return nil
	}
	out := struct {
		ThreadSubscriptions
		PrevBatch string `json:"prev_batch,omitempty"`
	}{ThreadSubscriptions: NewThreadSubscriptions(list)}
	if more {
		out.PrevBatch = token.Room(list[len(list)-1].Pos - 1).String()
	}
	text, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("write subscriptions to threads: %w", err)
	}
	v.item(outer)
	v.buf = append(append(v.buf, `"io.element.msc4308.thread_subscriptions":`...), text...)
	v.some = true
	return nil
}
