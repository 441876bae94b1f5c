package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) relationRoutes() []web.Route {
	const room = "/_matrix/client/v1/rooms/{roomID}"
	return []web.Route{
		{"GET", room + "/relations/{eventID}", web.Guest, web.RateNone, a.relations},
		{"GET", room + "/relations/{eventID}/{relType}", web.Guest, web.RateNone, a.relations},
		{"GET", room + "/relations/{eventID}/{relType}/{eventType}", web.Guest, web.RateNone, a.relations},
		{"GET", room + "/threads", web.Guest, web.RateRead, a.threads},
	}
}

// Spec: client-server-api#get_matrixclientv1roomsroomidrelationseventid
func (a *API) relations(ctx context.Context, r *web.Request) (any, error) {
	walk, err := parseWalk(r, "b")
	if err != nil {
		return nil, err
	}
	recurse, err := r.BoolQuery("recurse", false)
	if err != nil {
		return nil, err
	}
	parent, kin := id.EventID(r.Var("eventID")), storage.Kin{RelType: r.Var("relType"), Type: r.Var("eventType")}
	var out web.RawJSON
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		if _, err := room.Event(parent); err != nil {
			return err
		}
		var page history.Page
		depth := 0
		if recurse {
			page, depth, err = room.Kindred(parent, kin, walk)
		} else {
			page, err = room.Relations(parent, kin, walk)
		}
		if err != nil {
			return err
		}
		batch, err := clientevent.Prepare(tx, viewer(r), page.Events, room.Options(a.clock.Now()))
		if err != nil {
			return err
		}
		o := newObject(sizeOf(page.Events))
		o.events("chunk", batch, page.Events)
		if page.More {
			o.text("next_batch", token.Room(page.End).String())
		}
		if r.Query().Get("from") != "" {
			o.text("prev_batch", token.Room(walk.From).String())
		}
		if recurse {
			if err := o.value("recursion_depth", depth); err != nil {
				return err
			}
		}
		out = o.end()
		return nil
	})
	return out, noEvent(err)
}

// Spec: client-server-api#get_matrixclientv1roomsroomidthreads
func (a *API) threads(ctx context.Context, r *web.Request) (any, error) {
	include := r.Query().Get("include")
	if include != "" && include != "all" && include != "participated" {
		return nil, merr.New(merr.InvalidParam, "Query parameter include must be all or participated")
	}
	limit, err := r.IntQuery("limit", 20, 1, maxPage)
	if err != nil {
		return nil, err
	}
	from, err := point(r, "from", history.Now)
	if err != nil {
		return nil, err
	}
	var out web.RawJSON
	err = a.viewRoom(ctx, r, func(tx *storage.ReadTx, room *history.Room) error {
		page, err := room.Threads(from, limit, include == "participated")
		if err != nil {
			return err
		}
		batch, err := clientevent.Prepare(tx, viewer(r), page.Events, room.Options(a.clock.Now()))
		if err != nil {
			return err
		}
		o := newObject(sizeOf(page.Events))
		o.events("chunk", batch, page.Events)
		if page.More {
			o.text("next_batch", token.Room(page.End).String())
		}
		out = o.end()
		return nil
	})
	return out, err
}
