package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) eventRoutes() []web.Route {
	return []web.Route{
		get(v1+"/event/{eventID}", a.event),
		get(v1+"/state/{roomID}", a.heavily(a.state)),
		get(v1+"/state_ids/{roomID}", a.heavily(a.stateIDs)),
		get(v1+"/timestamp_to_event/{roomID}", a.timestampToEvent),
	}
}

// eventAnswer is a transaction that answers instead of being sent.
//
// Spec: server-server-api#get_matrixfederationv1eventeventid
type eventAnswer struct {
	Origin id.ServerName     `json:"origin"`
	TS     int64             `json:"origin_server_ts"`
	PDUs   []json.RawMessage `json:"pdus"`
}

func (a *API) eventAnswer(pdus []json.RawMessage) eventAnswer {
	return eventAnswer{a.name, a.clock.Now().UnixMilli(), pdus}
}

// Spec: server-server-api#get_matrixfederationv1eventeventid
func (a *API) event(ctx context.Context, r *web.Request) (any, error) {
	eventID, err := r.EventID("eventID")
	if err != nil {
		return nil, err
	}
	var pdus []json.RawMessage
	err = a.store.View(ctx, func(tx *storage.ReadTx) error {
		ev, err := tx.Event(eventID)
		if errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.NotFound, "This server does not know the event")
		}
		if err != nil {
			return err
		}
		room, err := openRoom(tx, ev.RoomID, r.Origin)
		if err != nil {
			return err
		}
		if ev, err = room.event(eventID); err != nil {
			return err
		}
		pdus, err = room.wire([]*storage.Event{ev})
		return err
	})
	return a.eventAnswer(pdus), err
}

// maxAuthChain bounds an auth chain that is served. It is far more than any room has.
const maxAuthChain = 100_000

// stateAt is the state of a room before an event, with its auth chain.
func (r *room) stateAt(ev *storage.Event) (state, chain []*storage.Event, err error) {
	// The state is not known at an event that is here only because others refer to it, and at history that was fetched from other servers. The
	// first event of a room is the one that has none before it.
	if ev.Status == storage.Outlier || ev.StateBefore == 0 && len(ev.PrevEventIDs()) > 0 {
		return nil, nil, merr.New(merr.NotFound, "This server does not know the state at the event")
	}
	if state, err = r.tx.WholeStateAt(ev.StateBefore); err != nil || len(state) == 0 {
		return nil, nil, err
	}
	chain, _, err = r.tx.AuthChain(state, maxAuthChain)
	return state, chain, err
}

// Spec: server-server-api#get_matrixfederationv1stateroomid
func (a *API) state(ctx context.Context, r *web.Request) (any, error) {
	var out struct {
		AuthChain []json.RawMessage `json:"auth_chain"`
		PDUs      []json.RawMessage `json:"pdus"`
	}
	err := a.viewRoom(ctx, r, func(room *room) error {
		ev, err := room.queriedEvent(r, "event_id")
		if err != nil {
			return err
		}
		state, chain, err := room.stateAt(ev)
		out.AuthChain, out.PDUs = plain(chain), plain(state)
		return err
	})
	return out, err
}

// Spec: server-server-api#get_matrixfederationv1state_idsroomid
func (a *API) stateIDs(ctx context.Context, r *web.Request) (any, error) {
	var out struct {
		AuthChain []id.EventID `json:"auth_chain_ids"`
		PDUs      []id.EventID `json:"pdu_ids"`
	}
	err := a.viewRoom(ctx, r, func(room *room) error {
		ev, err := room.queriedEvent(r, "event_id")
		if err != nil {
			return err
		}
		state, chain, err := room.stateAt(ev)
		out.AuthChain, out.PDUs = eventIDs(chain), eventIDs(state)
		return err
	})
	return out, err
}

// maxSteps is how many events are looked at for one that the server may see, timeBatch how many at once.
const (
	maxSteps  = 500
	timeBatch = 20
)

// Spec: server-server-api#get_matrixfederationv1timestamp_to_eventroomid
func (a *API) timestampToEvent(ctx context.Context, r *web.Request) (any, error) {
	text, err := r.RequiredQuery("ts")
	if err != nil {
		return nil, err
	}
	ts, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, merr.New(merr.InvalidParam, "ts must be a time in milliseconds")
	}
	dir := r.Query().Get("dir")
	if dir != "f" && dir != "b" {
		return nil, merr.New(merr.InvalidParam, "dir must be f or b")
	}
	out := struct {
		ID id.EventID `json:"event_id"`
		TS int64      `json:"origin_server_ts"`
	}{}
	err = a.viewRoom(ctx, r, func(room *room) error {
		if !room.Joined() {
			return errOutside
		}
		ev, err := room.eventNear(ts, dir == "b")
		if err == nil {
			out.ID, out.TS = ev.ID, ev.TS
		}
		return err
	})
	return out, err
}

// eventNear is the event nearest to a time that the server may see: the first at or after it, or the last at or before it.
func (r *room) eventNear(ts int64, backwards bool) (*storage.Event, error) {
	from := storage.Moment{TS: ts, Pos: math.MinInt64}
	if backwards {
		from.Pos = math.MaxInt64
	}
	for range maxSteps / timeBatch {
		nids, err := r.tx.NIDsByTime(r.row.NID, from, timeBatch, backwards)
		if err != nil {
			return nil, err
		}
		events, err := r.tx.EventsAt(nids)
		if err != nil {
			return nil, err
		}
		for _, ev := range events {
			if ev == nil {
				continue
			}
			if ok, err := r.Sees(ev); ok || err != nil {
				return ev, err
			}
			from = storage.Moment{TS: ev.TS, Pos: ev.Pos}
		}
		if len(nids) < timeBatch {
			break
		}
	}
	return nil, merr.New(merr.NotFound, "There is no event at or beyond that time")
}
