package clientapi

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) roomStateRoutes() []web.Route {
	const room = "/_matrix/client/v3/rooms/{roomID}"
	return []web.Route{
		{"GET", room + "/state", web.Guest, web.RateRead, a.state},
		{"GET", room + "/state/{eventType}", web.Guest, web.RateRead, a.stateKey},
		{"GET", room + "/state/{eventType}/", web.Guest, web.RateRead, a.stateKey},
		{"GET", room + "/state/{eventType}/{stateKey}", web.Guest, web.RateRead, a.stateKey},
		{"GET", room + "/members", web.Guest, web.RateRead, a.roomMembers},
		{"GET", room + "/joined_members", web.Guest, web.RateRead, a.joinedMembers},
		{"GET", "/_matrix/client/v3/joined_rooms", web.Guest, web.RateRead, a.joinedRooms},
	}
}

// Spec: client-server-api#get_matrixclientv3roomsroomidstate
func (a *API) state(ctx context.Context, r *web.Request) (any, error) {
	var out web.RawJSON
	err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		events, err := room.State()
		if err != nil {
			return err
		}
		batch, err := a.plain(tx, r, room, events)
		if err == nil {
			out = appendEvents(make([]byte, 0, sizeOf(events)), batch, events)
		}
		return err
	})
	return out, err
}

// plain prepares events to be shown without aggregations, which state events do not have.
func (a *API) plain(tx *storage.ReadTx, r *web.Request, room *history.Room, events []*storage.Event) (*clientevent.Batch, error) {
	opts := room.Options(a.clock.Now())
	opts.Bundle = false
	return clientevent.Prepare(tx, viewer(r), events, opts)
}

// Spec: client-server-api#get_matrixclientv3roomsroomidstateeventtypestatekey
func (a *API) stateKey(ctx context.Context, r *web.Request) (any, error) {
	format := r.Query().Get("format")
	if format != "" && format != "content" && format != "event" {
		return nil, merr.New(merr.InvalidParam, "Query parameter format must be content or event")
	}
	var out json.RawMessage
	err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		ev, err := room.StateKey(storage.StateKey{Type: r.Var("eventType"), Key: r.Var("stateKey")})
		if errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.NotFound, "The room has no such state")
		}
		if err != nil {
			return err
		}
		if format != "event" {
			out = ev.Content()
			return nil
		}
		batch, err := a.plain(tx, r, room, []*storage.Event{ev})
		if err == nil {
			out = batch.Append(nil, ev)
		}
		return err
	})
	return out, err
}

// memberships reads the parameters membership and not_membership: together they let through what either of them does.
//
// Spec: client-server-api#get_matrixclientv3roomsroomidmembers
func memberships(r *web.Request) (func(membership string) bool, error) {
	only, not := r.Query().Get("membership"), r.Query().Get("not_membership")
	for _, m := range []string{only, not} {
		switch m {
		case "", "join", "invite", "knock", "leave", "ban":
		default:
			return nil, merr.Newf(merr.InvalidParam, "There is no membership %q", m)
		}
	}
	return func(membership string) bool {
		switch {
		case only == "" && not == "":
			return true
		case only != "" && membership == only:
			return true
		}
		return not != "" && membership != not
	}, nil
}

// Spec: client-server-api#get_matrixclientv3roomsroomidmembers
func (a *API) roomMembers(ctx context.Context, r *web.Request) (any, error) {
	wanted, err := memberships(r)
	if err != nil {
		return nil, err
	}
	at, err := point(r, "at", history.Now)
	if err != nil {
		return nil, err
	}
	var out web.RawJSON
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		members, err := room.Members(at)
		if err != nil {
			return err
		}
		events := members[:0]
		for _, ev := range members {
			if wanted(ev.Get("content.membership").Str) {
				events = append(events, ev)
			}
		}
		batch, err := a.plain(tx, r, room, events)
		if err != nil {
			return err
		}
		o := newObject(sizeOf(events))
		o.events("chunk", batch, events)
		out = o.end()
		return nil
	})
	return out, err
}

// profile is how a room knows a member.
type memberProfile struct {
	DisplayName *string `json:"display_name"`
	AvatarURL   *string `json:"avatar_url"`
}

func nonEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Spec: client-server-api#get_matrixclientv3roomsroomidjoined_members
func (a *API) joinedMembers(ctx context.Context, r *web.Request) (any, error) {
	joined := map[id.UserID]memberProfile{}
	err := a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		if !room.Joined() {
			return merr.New(merr.Forbidden, "You are not in the room")
		}
		members, err := tx.Members(room.NID, "join")
		for _, m := range members {
			joined[m.User] = memberProfile{nonEmpty(m.Name), nonEmpty(m.AvatarURL)}
		}
		return err
	})
	return struct {
		Joined map[id.UserID]memberProfile `json:"joined"`
	}{joined}, err
}

// Spec: client-server-api#get_matrixclientv3joined_rooms
func (a *API) joinedRooms(ctx context.Context, r *web.Request) (any, error) {
	rooms := []id.RoomID{}
	err := a.store.View(ctx, func(tx *storage.ReadTx) error {
		memberships, err := tx.MembershipsOf(r.Caller.User)
		for _, m := range memberships {
			if m.Membership == "join" {
				rooms = append(rooms, m.RoomID)
			}
		}
		return err
	})
	return struct {
		JoinedRooms []id.RoomID `json:"joined_rooms"`
	}{rooms}, err
}
