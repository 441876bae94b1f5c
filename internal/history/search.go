package history

import (
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// Query is a search through all rooms that a user is, or was, in.
type Query struct {
	Term   string
	Types  map[string]bool // event types to search; nil for all
	Filter *filter.RoomEventFilter
	ByRank bool // best first; otherwise newest first
	Limit  int
	From   string // a token of the page before
	// Group limits the search to one group: events of a room, or of a sender. Both may be empty.
	Room   id.RoomID
	Sender id.UserID
}

// Found is an event that a search has found.
type Found struct {
	Room  *Room
	Event *storage.Event
	Rank  float64
}

// Results is a page of what a search has found.
type Results struct {
	Found []Found
	Count int    // about how many there are on all pages
	Next  string // token of the next page; empty where this one is the last
}

// Bounds of a search: hits that are looked at for one page, and hits that are counted.
const (
	maxHits    = 1000
	maxCounted = 10000
)

// Search finds events by the words in their texts.
//
// Spec: client-server-api#server-side-search
func Search(tx *storage.ReadTx, user id.UserID, q Query) (Results, error) {
	s := search{tx: tx, user: user, q: q, rooms: map[int64]*Room{}}
	if err := s.start(); err != nil {
		return Results{}, err
	}
	rooms, err := s.candidates()
	if err != nil {
		return Results{}, err
	}
	var out Results
	if out.Count, err = tx.CountHits(q.Term, rooms, maxCounted); err != nil {
		return out, err
	}
	for scanned := 0; scanned < maxHits && len(out.Found) < q.Limit; {
		hits, err := tx.Search(q.Term, rooms, q.ByRank, s.before, maxBatch, s.offset)
		if err != nil {
			return out, err
		}
		if err := s.take(&out, hits); err != nil {
			return out, err
		}
		if scanned += len(hits); len(hits) < maxBatch {
			break
		}
	}
	if len(out.Found) == q.Limit && q.Limit > 0 {
		out.Next = s.token()
	}
	return out, nil
}

type search struct {
	tx     *storage.ReadTx
	user   id.UserID
	q      Query
	rooms  map[int64]*Room // nil for rooms that are closed to the user
	before int64           // position to go on from, newest first
	offset int             // hits to pass over, best first
}

// start reads the token.
func (s *search) start() error {
	s.before = Now
	text := s.q.From
	if text == "" {
		return nil
	}
	prefix := "n"
	if s.q.ByRank {
		prefix = "r"
	}
	number, ok := strings.CutPrefix(text, prefix)
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || s.q.ByRank && (n < 0 || n > maxCounted) {
		return merr.New(merr.InvalidParam, "next_batch is not a token of this search")
	}
	if s.q.ByRank {
		s.offset = int(n)
	} else {
		s.before = n
	}
	return nil
}

func (s *search) token() string {
	if s.q.ByRank {
		return "r" + strconv.Itoa(s.offset)
	}
	return "n" + strconv.FormatInt(s.before, 10)
}

// candidates is the numbers of the rooms to search.
func (s *search) candidates() ([]int64, error) {
	memberships, err := s.tx.MembershipsOf(s.user)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, m := range memberships {
		switch {
		case m.Membership == "invite" || m.Membership == "knock" || m.Forgotten:
		case s.q.Room != "" && s.q.Room != m.RoomID:
		case s.q.Filter != nil && !s.q.Filter.MatchRoom(string(m.RoomID)):
		default:
			out = append(out, m.Room)
		}
	}
	return out, nil
}

// take adds hits to the results until there are enough, and moves on behind the last one that it has looked at.
func (s *search) take(out *Results, hits []storage.Hit) error {
	nids := make([]int64, len(hits))
	for i, h := range hits {
		nids[i] = h.NID
	}
	events, err := s.tx.EventsAt(nids)
	if err != nil {
		return err
	}
	related, err := s.related(events)
	if err != nil {
		return err
	}
	for i, ev := range events {
		if len(out.Found) == s.q.Limit {
			return nil
		}
		s.offset++
		if ev == nil {
			continue
		}
		s.before = ev.Pos
		if !related[ev.NID] || s.q.Types != nil && !s.q.Types[ev.Type] || s.q.Sender != "" && s.q.Sender != ev.Sender {
			continue
		}
		room, err := s.room(ev.Room)
		if err != nil {
			return err
		}
		if room != nil && ev.Pos <= room.until && room.shows(ev) {
			out.Found = append(out.Found, Found{room, ev, hits[i].Rank})
		}
	}
	return nil
}

// related is which events the filter lets through.
func (s *search) related(events []*storage.Event) (map[int64]bool, error) {
	present := make([]*storage.Event, 0, len(events))
	for _, ev := range events {
		if ev != nil {
			present = append(present, ev)
		}
	}
	selected, err := clientevent.Select(s.tx, s.q.Filter, present)
	out := make(map[int64]bool, len(selected))
	for _, ev := range selected {
		out[ev.NID] = true
	}
	return out, err
}

// room opens a room once; nil if it is closed to the user.
func (s *search) room(nid int64) (*Room, error) {
	if room, ok := s.rooms[nid]; ok {
		return room, nil
	}
	row, err := s.tx.RoomByNID(nid)
	if err != nil {
		return nil, err
	}
	room, err := open(s.tx, row, s.user)
	if merr.HasCode(err, merr.Forbidden) {
		room, err = nil, nil
	}
	s.rooms[nid] = room
	return room, err
}

// Histories is what is known of the rooms of some results, for showing events of them together.
func Histories(found []Found) map[int64]*visibility.History {
	out := make(map[int64]*visibility.History, len(found))
	for _, f := range found {
		out[f.Room.NID] = f.Room.past
	}
	return out
}

// Profiles is the membership events of those who sent the events of a context, as they were at its event.
func (r *Room) Profiles(c Context) ([]*storage.Event, error) {
	events := append([]*storage.Event{c.Event}, c.Before.Events...)
	return r.Senders(append(events, c.After.Events...))
}
