package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) notificationRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/notifications", web.User, web.RateRead, a.notifications},
	}
}

// notification is an event that the user was notified of.
type notification struct {
	Actions json.RawMessage `json:"actions"`
	Event   json.RawMessage `json:"event"`
	Read    bool            `json:"read"`
	RoomID  string          `json:"room_id"`
	TS      int64           `json:"ts"`
}

// Spec: client-server-api#get_matrixclientv3notifications
func (a *API) notifications(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", 20, 1, 100)
	if err != nil {
		return nil, err
	}
	from, err := point(r, "from", history.Now)
	if err != nil {
		return nil, err
	}
	only := func(push.Outcome) bool { return true }
	switch r.Query().Get("only") {
	case "":
	case "highlight":
		only = func(o push.Outcome) bool { return o.Highlight }
	default:
		return nil, merr.New(merr.InvalidParam, "Query parameter only can only be highlight")
	}
	out := struct {
		Next          string         `json:"next_token,omitempty"`
		Notifications []notification `json:"notifications"`
	}{Notifications: []notification{}}
	err = a.store.View(ctx, func(tx *storage.ReadTx) error {
		found, next, more, err := history.Notified(tx, r.Caller.User, from, limit, only, a.accounts.Outcome)
		if err != nil {
			return err
		}
		if more {
			out.Next = token.Room(next).String()
		}
		batch, err := history.ShowNotices(tx, viewer(r), found, clientevent.Options{Now: a.clock.Now(), WithoutRoomID: true})
		if err != nil {
			return err
		}
		for _, n := range found {
			out.Notifications = append(out.Notifications, notification{
				Actions: n.Outcome.Actions, Event: batch.Append(nil, n.Event), Read: n.Read, RoomID: string(n.Room.ID), TS: n.Event.TS,
			})
		}
		return nil
	})
	return out, err
}
