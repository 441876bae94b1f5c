package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) peekRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/rooms/{roomID}/initialSync", web.Guest, web.RateRead, a.roomInitialSync},
		{"GET", "/_matrix/client/v3/events", web.Guest, web.RateRead, a.peekEvents},
		{"GET", "/_matrix/client/v3/events/{eventID}", web.Guest, web.RateRead, a.oneEvent},
	}
}

// roomInitialSync shows a room to somebody who need not be in it.
//
// Spec: client-server-api#get_matrixclientv3roomsroomidinitialsync
func (a *API) roomInitialSync(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", 20, 0, maxPage)
	if err != nil {
		return nil, err
	}
	var out web.RawJSON
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		out, err = a.snapshot(tx, r, room, limit)
		return err
	})
	return out, err
}

// snapshot is the answer of /rooms/{roomId}/initialSync.
func (a *API) snapshot(tx *storage.ReadTx, r *web.Request, room *history.Room, limit int) (web.RawJSON, error) {
	end, err := room.Edge(history.Now)
	if err != nil {
		return nil, err
	}
	page, err := room.Walk(history.Walk{From: end, To: history.Beginning, Back: true, Limit: limit})
	if err != nil {
		return nil, err
	}
	slices.Reverse(page.Events)
	state, err := room.State()
	if err != nil {
		return nil, err
	}
	batch, err := clientevent.Prepare(tx, viewer(r), slices.Concat(page.Events, state), room.Options(a.clock.Now()))
	if err != nil {
		return nil, err
	}
	messages := newObject(sizeOf(page.Events))
	if page.More {
		messages.text("start", token.Room(page.End).String())
	}
	messages.text("end", token.Room(end).String())
	messages.events("chunk", batch, page.Events)

	o := newObject(sizeOf(page.Events) + sizeOf(state))
	o.text("room_id", string(room.ID))
	m, err := tx.Membership(room.NID, r.Caller.User)
	if err == nil && m.Membership != "knock" { // which this endpoint does not know
		o.text("membership", m.Membership)
	}
	if ignoreNotFound(err) != nil {
		return nil, err
	}
	o.raw("messages", json.RawMessage(messages.end()))
	o.events("state", batch, state)
	visibility := "private"
	if room.Published {
		visibility = "public"
	}
	o.text("visibility", visibility)
	data, err := tx.RoomAccountData(r.Caller.User, room.ID)
	if err != nil {
		return nil, err
	}
	type event struct {
		Type    string          `json:"type"`
		Content json.RawMessage `json:"content"`
	}
	events := make([]event, len(data))
	for i, d := range data {
		events[i] = event{d.Type, d.Content}
	}
	if err := o.value("account_data", events); err != nil {
		return nil, err
	}
	return o.end(), nil
}

// peekEvents tells of one room. What it once told of all rooms is what /sync is for.
//
// Spec: client-server-api#peeking_get_matrixclientv3events
func (a *API) peekEvents(ctx context.Context, r *web.Request) (any, error) {
	text, err := r.RequiredQuery("room_id")
	if err != nil {
		return nil, err
	}
	room, err := id.ParseRoomID(text)
	if err != nil {
		return nil, merr.New(merr.InvalidParam, err.Error())
	}
	wait, err := r.IntQuery("timeout", 0, 0, maxWait)
	if err != nil {
		return nil, err
	}
	p, err := a.syncer.Peek(ctx, syncer.Peek{
		Viewer: viewer(r), Room: room, From: r.Query().Get("from"), Timeout: time.Duration(wait) * time.Millisecond, Limit: maxPage,
	})
	if err != nil {
		return nil, err
	}
	o := newObject(len(p.Chunk) + 64)
	o.text("start", p.Start.String())
	o.text("end", p.End.String())
	o.raw("chunk", p.Chunk)
	return o.end(), nil
}

// Spec: client-server-api#get_matrixclientv3eventseventid
func (a *API) oneEvent(ctx context.Context, r *web.Request) (any, error) {
	var out json.RawMessage
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		known, err := tx.Event(id.EventID(r.Var("eventID")))
		if err != nil {
			return err
		}
		room, err := history.Open(tx, known.RoomID, r.Caller.User)
		if err != nil {
			return err
		}
		ev, err := room.Event(known.ID)
		if err == nil {
			out, err = clientevent.One(tx, viewer(r), ev, room.Options(a.clock.Now()))
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || merr.HasCode(err, merr.Forbidden) {
		err = merr.New(merr.NotFound, "There is no such event, or you may not see it")
	}
	return out, err
}
