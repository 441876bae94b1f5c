package clientapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) messageRoutes() []web.Route {
	const v1, v3 = "/_matrix/client/v1/rooms/{roomID}", "/_matrix/client/v3/rooms/{roomID}"
	return []web.Route{
		{"GET", v3 + "/messages", web.Guest, web.RateRead, a.messages},
		{"GET", v3 + "/event/{eventID}", web.Guest, web.RateRead, a.event},
		{"GET", v3 + "/context/{eventID}", web.Guest, web.RateRead, a.eventContext},
		{"GET", v1 + "/timestamp_to_event", web.Guest, web.RateRead, a.timestampToEvent},
	}
}

// maxPage is the greatest number of events, threads or rooms in one answer.
const maxPage = 1000

// viewer is who events are shown to.
func viewer(r *web.Request) clientevent.Viewer {
	return clientevent.Viewer{User: r.Caller.User, Device: r.Caller.Device}
}

// viewRoom opens the room of the path for the caller.
func (a *API) viewRoom(ctx context.Context, r *web.Request, fn func(tx *storage.ReadTx, room *history.Room) error) error {
	roomID, err := r.RoomID("roomID")
	if err != nil {
		return err
	}
	return a.store.View(ctx, func(tx *storage.ReadTx) error {
		room, err := history.Open(tx, roomID, r.Caller.User)
		if err != nil {
			return err
		}
		return fn(tx, room)
	})
}

// direction reads the parameter dir: whether to go back. Without it the answer is def; an empty def makes it required.
func direction(r *web.Request, def string) (back bool, err error) {
	dir := r.Query().Get("dir")
	if dir == "" {
		dir = def
	}
	switch dir {
	case "b":
		return true, nil
	case "f":
		return false, nil
	case "":
		return false, merr.New(merr.MissingParam, "Query parameter dir is missing")
	}
	return false, merr.New(merr.InvalidParam, "Query parameter dir must be b or f")
}

// point reads a pagination token, def without one.
func point(r *web.Request, name string, def int64) (int64, error) {
	text := r.Query().Get(name)
	if text == "" {
		return def, nil
	}
	p, err := token.ParseRoom(text)
	return int64(p), err
}

// eventFilter reads the parameter filter; nil without one.
func eventFilter(r *web.Request) (*filter.RoomEventFilter, error) {
	text := r.Query().Get("filter")
	if text == "" {
		return nil, nil
	}
	return filter.ParseRoomEvents(json.RawMessage(text))
}

// parseWalk reads the parameters of /messages and /relations that say which events are wanted. Without from, a walk begins at the end of
// what there is.
func parseWalk(r *web.Request, dir string) (history.Walk, error) {
	var w history.Walk
	var err error
	if w.Back, err = direction(r, dir); err != nil {
		return w, err
	}
	first, last := int64(history.Beginning), int64(history.Now)
	if w.Back {
		first, last = last, first
	}
	if w.From, err = point(r, "from", first); err != nil {
		return w, err
	}
	if w.To, err = point(r, "to", last); err != nil {
		return w, err
	}
	w.Limit, err = r.IntQuery("limit", 10, 0, maxPage)
	return w, err
}

// Spec: client-server-api#get_matrixclientv3roomsroomidmessages
func (a *API) messages(ctx context.Context, r *web.Request) (any, error) {
	walk, err := parseWalk(r, "")
	if err == nil {
		walk.Filter, err = eventFilter(r)
	}
	if err != nil {
		// Who may not see the room is told that first.
		return nil, cmp.Or(a.viewRoom(ctx, r, func(*storage.ReadTx, *history.Room) error { return nil }), err)
	}
	if walk.Filter != nil {
		walk.Limit = walk.Filter.Limit(walk.Limit, walk.Limit)
	}
	var out web.RawJSON
	page := func(past int64) (reached, error) {
		var p history.Page
		err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) (err error) {
			out, p, err = a.page(tx, r, room, walk, past)
			return err
		})
		return reached{p.Gap, len(p.Events)}, err
	}
	err = a.acrossGap(ctx, r, walk.Limit, page)
	return out, err
}

// page is the answer of /messages.
func (a *API) page(tx *storage.ReadTx, r *web.Request, room *history.Room, walk history.Walk, past int64) (web.RawJSON, history.Page, error) {
	var page history.Page
	var err error
	walk.Past = past
	if walk.From, err = room.Edge(walk.From); err != nil {
		return nil, page, err
	}
	if page, err = room.Walk(walk); err != nil {
		return nil, page, err
	}
	var state []*storage.Event
	if walk.Filter != nil && walk.Filter.LazyLoadMembers {
		if state, err = room.Senders(page.Events); err != nil {
			return nil, page, err
		}
	}
	batch, err := clientevent.Prepare(tx, viewer(r), slices.Concat(page.Events, state), room.Options(a.clock.Now()))
	if err != nil {
		return nil, page, err
	}
	o := newObject(sizeOf(page.Events) + sizeOf(state))
	o.text("start", token.Room(walk.From).String())
	if page.More || !isLast(walk, page.Events) {
		o.text("end", token.Room(page.End).String())
	}
	o.events("chunk", batch, page.Events)
	if state != nil {
		o.events("state", batch, state)
	}
	return o.end(), page, nil
}

// isLast reports whether a page shows by itself that nothing follows it: it is empty, comes to the point that the client named, or to the
// event that made the room. After any other page clients are given a token, though it may be found that nothing is behind it: what happens
// next, or what other servers know of the past, belongs there, and every other server does the same.
func isLast(w history.Walk, page []*storage.Event) bool {
	return len(page) == 0 || w.To != history.Beginning && w.To != history.Now || w.Back && page[len(page)-1].IsState("m.room.create", "")
}

func noEvent(err error) error {
	if errors.Is(err, storage.ErrNotFound) || merr.HasCode(err, merr.Forbidden) {
		return merr.New(merr.NotFound, "There is no such event in the room, or you may not see it")
	}
	return err
}

// Spec: client-server-api#get_matrixclientv3roomsroomideventeventid
func (a *API) event(ctx context.Context, r *web.Request) (any, error) {
	var out json.RawMessage
	err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		ev, err := room.Event(id.EventID(r.Var("eventID")))
		if err != nil {
			return err
		}
		out, err = clientevent.One(tx, viewer(r), ev, room.Options(a.clock.Now()))
		return err
	})
	return out, noEvent(err)
}

// Spec: client-server-api#get_matrixclientv3roomsroomidcontexteventid
func (a *API) eventContext(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", 10, 0, maxPage)
	if err != nil {
		return nil, err
	}
	f, err := eventFilter(r)
	if err != nil {
		return nil, err
	}
	var out web.RawJSON
	around := func(past int64) (reached, error) {
		var c history.Context
		err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) (err error) {
			if c, err = room.Around(id.EventID(r.Var("eventID")), (limit+1)/2, limit/2, past, f); err != nil {
				return noEvent(err)
			}
			out, err = a.context(tx, r, room, c, f)
			return err
		})
		return reached{c.Before.Gap, 1}, err // the event itself is something to show
	}
	err = a.acrossGap(ctx, r, (limit+1)/2, around)
	return out, err
}

// context is the answer of /context.
func (a *API) context(tx *storage.ReadTx, r *web.Request, room *history.Room, c history.Context, f *filter.RoomEventFilter) (web.RawJSON, error) {
	state, err := room.StateAround(c, f)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(c.Before.Events, c.After.Events, state)
	batch, err := clientevent.Prepare(tx, viewer(r), append(all, c.Event), room.Options(a.clock.Now()))
	if err != nil {
		return nil, err
	}
	o := newObject(sizeOf(all) + sizeOf(nil))
	o.text("start", token.Room(c.Before.End).String())
	o.text("end", token.Room(c.After.End).String())
	o.raw("event", batch.Append(nil, c.Event))
	o.events("events_before", batch, c.Before.Events)
	o.events("events_after", batch, c.After.Events)
	o.events("state", batch, state)
	return o.end(), nil
}

// Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
func (a *API) timestampToEvent(ctx context.Context, r *web.Request) (any, error) {
	back, err := direction(r, "")
	if err != nil {
		return nil, err
	}
	if _, err := r.RequiredQuery("ts"); err != nil {
		return nil, err
	}
	ts, err := r.IntQuery("ts", 0, 0, 1<<53-1)
	if err != nil {
		return nil, err
	}
	var near fedtypes.EventMoment
	ask := false
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		ev, err := room.Near(int64(ts), back)
		if err == nil {
			near = fedtypes.EventMoment{ID: ev.ID, TS: ev.TS}
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		ask, err = room.NextToGap(ev, back)
		return err
	})
	if err != nil {
		return nil, err
	}
	if ask {
		if near, err = a.nearElsewhere(ctx, r, int64(ts), back, near); err != nil {
			return nil, err
		}
	}
	if near.ID == "" {
		return nil, merr.New(merr.NotFound, "There is no event of the room in that direction from the timestamp")
	}
	return struct {
		EventID id.EventID `json:"event_id"`
		TS      int64      `json:"origin_server_ts"`
	}{near.ID, near.TS}, nil
}

// nearElsewhere asks other servers for an event closer to a time than the one that is known here. One that is fetched and turns out to be hidden
// from the caller does not count.
func (a *API) nearElsewhere(ctx context.Context, r *web.Request, ts int64, back bool, known fedtypes.EventMoment) (fedtypes.EventMoment, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return known, err
	}
	found, err := a.rooms.EventNear(ctx, room, ts, back, known)
	if errors.Is(err, storage.ErrNotFound) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		ev, err := tx.EventInRoom(room.NID, found.ID)
		if err == nil && !room.Sees(ev) {
			found = known
		}
		return ignoreNotFound(err)
	})
	return found, err
}
