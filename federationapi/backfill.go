package federationapi

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) backfillRoutes() []web.Route {
	return []web.Route{
		get(v1+"/backfill/{roomID}", a.backfill),
		post(v1+"/get_missing_events/{roomID}", a.missingEvents),
	}
}

// Bounds of what one request gets, and of the events that it may name.
const (
	maxBackfill      = 100
	maxMissing       = 50
	defaultMissing   = 10
	maxNamedEvents   = 100
	walkPerRequested = 10 // events looked at for one that is served
)

// Spec: server-server-api#get_matrixfederationv1backfillroomid
func (a *API) backfill(ctx context.Context, r *web.Request) (any, error) {
	limit, err := r.IntQuery("limit", maxBackfill, 0, maxBackfill)
	if err != nil {
		return nil, err
	}
	from, err := parseEventIDs("v", r.Query()["v"])
	if err != nil {
		return nil, err
	}
	if len(from) == 0 {
		return nil, merr.New(merr.MissingParam, "Query parameter v is missing")
	}
	var pdus []json.RawMessage
	err = a.viewRoom(ctx, r, func(room *room) error {
		start, err := room.named(from)
		if err != nil {
			return err
		}
		found, err := room.walk(start, walk{limit: limit})
		if err != nil {
			return err
		}
		pdus, err = room.wire(found) // newest first, as it was walked
		return err
	})
	return a.eventAnswer(pdus), err
}

// Spec: server-server-api#post_matrixfederationv1get_missing_eventsroomid
func (a *API) missingEvents(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Limit    *int     `json:"limit"`
		MinDepth int64    `json:"min_depth"`
		Earliest []string `json:"earliest_events"`
		Latest   []string `json:"latest_events"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	limit := defaultMissing
	if body.Limit != nil {
		limit = min(max(*body.Limit, 0), maxMissing)
	}
	latest, err := parseEventIDs("latest_events", body.Latest)
	if err != nil {
		return nil, err
	}
	earliest, err := parseEventIDs("earliest_events", body.Earliest)
	if err != nil {
		return nil, err
	}
	out := struct {
		Events []json.RawMessage `json:"events"`
	}{Events: []json.RawMessage{}}
	err = a.viewRoom(ctx, r, func(room *room) error {
		start, err := room.named(latest)
		if err != nil {
			return err
		}
		w := walk{limit: limit, minDepth: body.MinDepth, stop: map[id.EventID]bool{}, hide: map[id.EventID]bool{}}
		for _, e := range earliest {
			w.stop[e] = true
		}
		for _, e := range latest {
			w.hide[e] = true
		}
		found, err := room.walk(start, w)
		if err != nil {
			return err
		}
		slices.Reverse(found) // the oldest first, as they have to be received
		out.Events, err = room.wire(found)
		return err
	})
	return out, err
}

// parseEventIDs reads ids that a request names.
func parseEventIDs(name string, texts []string) ([]id.EventID, error) {
	if len(texts) > maxNamedEvents {
		return nil, merr.Newf(merr.InvalidParam, "%s names more than %d events", name, maxNamedEvents)
	}
	out := make([]id.EventID, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = id.ParseEventID(text); err != nil {
			return nil, merr.Newf(merr.InvalidParam, "%s: %v", name, err)
		}
	}
	return out, nil
}

// named is those of the events that a request starts from which are in the room. The server has to be in the room, or to have been when one of
// them was sent.
func (r *room) named(ids []id.EventID) ([]*storage.Event, error) {
	found, err := r.tx.EventsByID(ids)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(ev *storage.Event) bool { return ev == nil || ev.Room != r.row.NID })
	if r.Joined() {
		return found, nil
	}
	var seen []*storage.Event
	for _, ev := range found {
		ok, err := r.Sees(ev)
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, ev)
		}
	}
	if len(seen) == 0 {
		return nil, errOutside
	}
	return seen, nil
}

// walk says how to go back through a room's graph.
type walk struct {
	limit    int
	minDepth int64
	stop     map[id.EventID]bool // events that are not gone to
	hide     map[id.EventID]bool // events that are passed through
}

// walk goes from some events, over them, to what came before, by prev_events and the deepest first. Outliers and what comes before them is not
// found that way; rejected events are passed through.
func (r *room) walk(start []*storage.Event, w walk) ([]*storage.Event, error) {
	var found []*storage.Event
	seen := map[id.EventID]bool{}
	var open frontier
	reach := func(events []*storage.Event) {
		for _, ev := range events {
			if ev != nil && ev.Room == r.row.NID && ev.Status != storage.Outlier && ev.Depth >= w.minDepth && !w.stop[ev.ID] && !seen[ev.ID] {
				seen[ev.ID] = true
				heap.Push(&open, ev)
			}
		}
	}
	reach(start)
	for range w.limit*walkPerRequested + len(start) {
		if open.Len() == 0 || len(found) >= w.limit {
			break
		}
		ev := heap.Pop(&open).(*storage.Event)
		if ev.Status != storage.Rejected && !w.hide[ev.ID] {
			found = append(found, ev)
		}
		prev, err := r.tx.EventsByID(ev.PrevEventIDs())
		if err != nil {
			return nil, err
		}
		reach(prev)
	}
	return found, nil
}

// frontier is a heap of events, the deepest on top.
type frontier []*storage.Event

func (f frontier) Len() int { return len(f) }

func (f frontier) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(f[j].Depth, f[i].Depth), cmp.Compare(f[j].Pos, f[i].Pos), cmp.Compare(f[j].NID, f[i].NID)) < 0
}

func (f frontier) Swap(i, j int) { f[i], f[j] = f[j], f[i] }

// Push implements heap.Interface.
func (f *frontier) Push(x any) { *f = append(*f, x.(*storage.Event)) }

// Pop implements heap.Interface.
func (f *frontier) Pop() any {
	last := len(*f) - 1
	ev := (*f)[last]
	*f = (*f)[:last]
	return ev
}
