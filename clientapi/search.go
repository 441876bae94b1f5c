package clientapi

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/history"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) searchRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/search", web.User | web.WhileSuspended, web.RateRead, a.search},
	}
}

// Bounds of a search: results on a page, and events around each of them in either direction.
const (
	maxResults = 100
	maxAround  = 50
)

// searchRequest is the criteria for room events.
type searchRequest struct {
	Term    *string         `json:"search_term"`
	Keys    []string        `json:"keys"`
	Filter  json.RawMessage `json:"filter"`
	OrderBy string          `json:"order_by"`
	Context *struct {
		Before  *int `json:"before_limit"`
		After   *int `json:"after_limit"`
		Profile bool `json:"include_profile"`
	} `json:"event_context"`
	State     bool `json:"include_state"`
	Groupings struct {
		By []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

// searchKeys is the types of the events that have the keys.
var searchKeys = map[string]string{"content.body": "m.room.message", "content.name": "m.room.name", "content.topic": "m.room.topic"}

// query is the search that is asked for.
func (s *searchRequest) query(from string) (q history.Query, err error) {
	if s.Term == nil {
		return q, merr.New(merr.MissingParam, "search_term is missing")
	}
	q = history.Query{Term: *s.Term, From: from, Limit: 10}
	switch s.OrderBy {
	case "", "rank":
		q.ByRank = true
	case "recent":
	default:
		return q, merr.New(merr.InvalidParam, "order_by must be rank or recent")
	}
	for _, key := range s.Keys {
		typ, ok := searchKeys[key]
		if !ok {
			return q, merr.Newf(merr.InvalidParam, "Events cannot be searched by %q", key)
		}
		if q.Types == nil {
			q.Types = map[string]bool{}
		}
		q.Types[typ] = true
	}
	for _, g := range s.Groupings.By {
		if g.Key != "room_id" && g.Key != "sender" {
			return q, merr.New(merr.InvalidParam, "Results are grouped by room_id or sender only")
		}
	}
	if len(s.Filter) > 0 {
		if q.Filter, err = filter.ParseRoomEvents(s.Filter); err != nil {
			return q, err
		}
		q.Limit = q.Filter.Limit(q.Limit, maxResults)
	}
	// A token of a group has the group in front.
	if group, rest, ok := strings.Cut(from, " "); ok {
		q.From = rest
		if strings.HasPrefix(group, "@") {
			q.Sender = id.UserID(group)
		} else {
			q.Room = id.RoomID(group)
		}
	}
	return q, nil
}

// around is how many events of context are wanted before and after.
func (s *searchRequest) around() (before, after int) {
	before, after = 5, 5
	if s.Context.Before != nil {
		before = min(max(*s.Context.Before, 0), maxAround)
	}
	if s.Context.After != nil {
		after = min(max(*s.Context.After, 0), maxAround)
	}
	return before, after
}

// Spec: client-server-api#post_matrixclientv3search
func (a *API) search(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Categories *struct {
			RoomEvents *searchRequest `json:"room_events"`
		} `json:"search_categories"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Categories == nil {
		return nil, merr.New(merr.MissingParam, "search_categories is missing")
	}
	if body.Categories.RoomEvents == nil {
		return json.RawMessage(`{"search_categories":{}}`), nil
	}
	req := body.Categories.RoomEvents
	q, err := req.query(r.Query().Get("next_batch"))
	if err != nil {
		return nil, err
	}
	if err := a.rooms.CatchUpSearch(ctx); err != nil {
		return nil, err
	}
	var out web.RawJSON
	err = a.store.View(ctx, func(tx *storage.ReadTx) error {
		results, err := history.Search(tx, r.Caller.User, q)
		if err != nil {
			return err
		}
		s := searchAnswer{tx: tx, viewer: viewer(r), now: a.clock.Now(), req: req, results: results}
		o, err := s.write(q)
		if err != nil {
			return err
		}
		whole, categories := newObject(len(o)+64), newObject(len(o)+32)
		categories.raw("room_events", json.RawMessage(o))
		whole.raw("search_categories", json.RawMessage(categories.end()))
		out = whole.end()
		return nil
	})
	return out, err
}

// searchAnswer writes the results of a search.
type searchAnswer struct {
	tx      *storage.ReadTx
	viewer  clientevent.Viewer
	now     time.Time
	req     *searchRequest
	results history.Results
}

func (s *searchAnswer) write(q history.Query) (web.RawJSON, error) {
	contexts := make([]history.Context, len(s.results.Found))
	var all []*storage.Event
	for i, f := range s.results.Found {
		all = append(all, f.Event)
		if s.req.Context == nil {
			continue
		}
		before, after := s.req.around()
		c, err := f.Room.Around(f.Event.ID, before, after, 0, nil)
		if err != nil {
			return nil, err
		}
		contexts[i] = c
		all = append(append(all, c.Before.Events...), c.After.Events...)
	}
	opts := clientevent.Options{Now: s.now, Bundle: true}
	if len(s.results.Found) > 0 {
		opts = s.results.Found[0].Room.Options(s.now)
		opts.Histories = history.Histories(s.results.Found)
	}
	batch, err := clientevent.Prepare(s.tx, s.viewer, all, opts)
	if err != nil {
		return nil, err
	}
	o := newObject(sizeOf(all))
	if err := o.value("count", s.results.Count); err != nil {
		return nil, err
	}
	if err := o.value("highlights", highlights(q.Term)); err != nil {
		return nil, err
	}
	o.name("results")
	o.buf = append(o.buf, '[')
	for i, f := range s.results.Found {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		result, err := s.result(batch, f, contexts[i])
		if err != nil {
			return nil, err
		}
		o.buf = append(o.buf, result...)
	}
	o.buf = append(o.buf, ']')
	if s.results.Next != "" {
		o.text("next_batch", nextInGroup(q.Room, q.Sender, s.results.Next))
	}
	if len(s.req.Groupings.By) > 0 {
		if err := o.value("groups", s.groups()); err != nil {
			return nil, err
		}
	}
	if s.req.State {
		if err := s.states(o); err != nil {
			return nil, err
		}
	}
	return o.end(), nil
}

// result writes one result with its context, if that is wanted.
func (s *searchAnswer) result(batch *clientevent.Batch, f history.Found, c history.Context) (web.RawJSON, error) {
	o := newObject(len(f.Event.JSON) + 512)
	if err := o.value("rank", f.Rank); err != nil {
		return nil, err
	}
	o.raw("result", batch.Append(nil, f.Event))
	if s.req.Context == nil {
		return o.end(), nil
	}
	around := newObject(sizeOf(c.Before.Events) + sizeOf(c.After.Events))
	around.text("start", token.Room(c.Before.End).String())
	around.text("end", token.Room(c.After.End).String())
	around.events("events_before", batch, c.Before.Events)
	around.events("events_after", batch, c.After.Events)
	if s.req.Context.Profile {
		members, err := f.Room.Profiles(c)
		if err != nil {
			return nil, err
		}
		profiles := newObject(256)
		for _, m := range members {
			p := newObject(128)
			if name := m.Get("content.displayname"); name.Exists() {
				p.raw("displayname", json.RawMessage(name.Raw))
			}
			if avatar := m.Get("content.avatar_url"); avatar.Exists() {
				p.raw("avatar_url", json.RawMessage(avatar.Raw))
			}
			profiles.raw(*m.StateKey, json.RawMessage(p.end()))
		}
		around.raw("profile_info", json.RawMessage(profiles.end()))
	}
	o.raw("context", json.RawMessage(around.end()))
	return o.end(), nil
}

// highlights is the words to mark in the results.
func highlights(term string) []string {
	words := storage.SearchTerms(strings.ToLower(term))
	if words == nil {
		return []string{}
	}
	return words
}

func nextInGroup(room id.RoomID, sender id.UserID, next string) string {
	switch {
	case room != "":
		return string(room) + " " + next
	case sender != "":
		return string(sender) + " " + next
	}
	return next
}

// group is the results that have something in common.
type group struct {
	Order   int          `json:"order"`
	Results []id.EventID `json:"results"`
	Next    string       `json:"next_batch,omitempty"`
}

// groups sorts the results into groups, by the key of the grouping and the value that the events of a group have there.
//
// Spec: client-server-api#groups
func (s *searchAnswer) groups() map[string]map[string]*group {
	out := map[string]map[string]*group{}
	for _, by := range s.req.Groupings.By {
		groups := map[string]*group{}
		for i, f := range s.results.Found {
			room, sender := f.Event.RoomID, id.UserID("")
			key := string(room)
			if by.Key == "sender" {
				room, sender = "", f.Event.Sender
				key = string(sender)
			}
			if groups[key] == nil {
				groups[key] = &group{Order: i + 1}
				if s.results.Next != "" {
					groups[key].Next = nextInGroup(room, sender, s.results.Next)
				}
			}
			groups[key].Results = append(groups[key].Results, f.Event.ID)
		}
		out[by.Key] = groups
	}
	return out
}

// states adds the state of every room of the results.
func (s *searchAnswer) states(o *object) error {
	states := newObject(1024)
	done := map[id.RoomID]bool{}
	for _, f := range s.results.Found {
		if done[f.Event.RoomID] {
			continue
		}
		done[f.Event.RoomID] = true
		events, err := f.Room.State()
		if err != nil {
			return err
		}
		opts := f.Room.Options(s.now)
		opts.Bundle = false
		batch, err := clientevent.Prepare(s.tx, s.viewer, events, opts)
		if err != nil {
			return err
		}
		states.events(string(f.Event.RoomID), batch, events)
	}
	o.raw("state", json.RawMessage(states.end()))
	return nil
}
