package history

import (
	"errors"
	"math"
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxScan is how many events one walk looks at. A filter that lets next to nothing through gets a short page, perhaps an empty one, and can
// go on from its end.
const maxScan = 1000

// smallest and largest number of events that are read at once.
const (
	minBatch = 32
	maxBatch = 256
)

// Walk says which part of a timeline is wanted. Points are between positions: the point p is behind the event at p.
type Walk struct {
	From, To int64 // points; a walk goes from one to the other
	Back     bool  // From is the later one
	Limit    int
	Filter   *filter.RoomEventFilter // nil for all
	// Past is a gap that the walk may go past, by its floor; 0 for none.
	Past int64
}

// Page is what a walk has found.
type Page struct {
	Events []*storage.Event // in the order of the walk
	End    int64            // the point that the walk came to
	More   bool             // there may be more behind End
	Gap    *storage.Gap     // what the walk came to, and could not go on: history that is not here
}

// Beginning and Now are the points before and behind all that a room has.
const (
	Beginning = math.MinInt64
	Now       = math.MaxInt64
)

// span is the part of the room's positions that the walk may touch.
func (r *Room) span(w Walk) storage.Span {
	s := storage.Span{After: w.From, UpTo: w.To}
	if w.Back {
		s = storage.Span{After: w.To, UpTo: w.From}
	}
	s.UpTo = min(s.UpTo, r.until)
	return s
}

// skip moves the near end of a span past history that is hidden from the viewer. It reports whether anything is left.
func (r *Room) skip(span *storage.Span, back bool) bool {
	if back {
		span.UpTo = r.past.LastVisible(span.UpTo)
	} else if span.After < Now {
		span.After = max(r.past.FirstVisible(span.After+1), math.MinInt64+1) - 1
	}
	return span.After < span.UpTo
}

// source gives places in a span, at most limit of them, in the order of a walk.
type source func(span storage.Span, limit int) ([]storage.Place, error)

// Walk reads a page of the timeline. It does not go past a gap in it, as if what is behind came right after what is before, unless all that the
// gap can hold is hidden from the viewer.
func (r *Room) Walk(w Walk) (Page, error) {
	all := Page{End: w.From}
	for {
		gap, err := r.nextGap(w)
		if err != nil {
			return Page{}, err
		}
		part := w
		if gap != nil && w.Back {
			part.To = gap.Next
		} else if gap != nil {
			part.To = gap.Floor - 1
		}
		page, err := r.walk(part, func(span storage.Span, limit int) ([]storage.Place, error) {
			return r.tx.TimelinePlaces(r.NID, span, limit, w.Back)
		})
		if err != nil {
			return Page{}, err
		}
		all.Events = append(all.Events, page.Events...)
		all.End, all.More = page.End, page.More
		if gap == nil || page.More {
			return all, nil
		}
		// The walk came to the gap.
		edge, beyond := min(w.From, part.To), gap.Floor-1
		if !w.Back {
			edge, beyond = max(w.From, part.To), gap.Next
		}
		full := len(page.Events) == w.Limit
		if r.mayHold(gap, edge, w) && (full || w.Past != gap.Floor) {
			if all.More = true; !full {
				all.End, all.Gap = edge, gap
			}
			return all, nil
		}
		w.Limit -= len(page.Events)
		w.From = beyond
		span := r.span(w)
		if all.More = r.skip(&span, w.Back); full || !all.More {
			return all, nil
		}
		all.End = beyond
	}
}

// mayHold reports whether there may be something that the viewer may see in a gap, on the way of a walk that comes to its edge.
func (r *Room) mayHold(gap *storage.Gap, edge int64, w Walk) bool {
	w.From = edge
	span := r.span(w)
	span.After, span.UpTo = max(span.After, gap.Floor-1), min(span.UpTo, gap.Next)
	return span.After < span.UpTo && r.past.MayShow(span.UpTo)
}

// nextGap is the first gap that a walk comes to, nil if there is none.
func (r *Room) nextGap(w Walk) (*storage.Gap, error) {
	span := r.span(w)
	if span.After >= span.UpTo {
		return nil, nil //nolint:nilnil // there is none
	}
	if w.Back {
		gap, err := r.tx.GapWithin(r.NID, span)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, nil //nolint:nilnil // there is none
		}
		return &gap, err
	}
	gaps, err := r.tx.Gaps(r.NID)
	if err != nil {
		return nil, err
	}
	for _, gap := range slices.Backward(gaps) {
		if gap.Next > span.After && gap.Floor <= span.UpTo {
			return &gap, nil
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

func (r *Room) walk(w Walk, next source) (Page, error) {
	page := Page{End: w.From}
	span := r.span(w)
	for scanned := 0; len(page.Events) < w.Limit && r.skip(&span, w.Back); {
		size := min(max(w.Limit-len(page.Events), minBatch), maxBatch)
		// One more than is used tells whether there is more.
		places, err := next(span, size+1)
		if err != nil {
			return Page{}, err
		}
		page.More = len(places) > size
		places = places[:min(size, len(places))]
		if len(places) == 0 {
			break
		}
		events, err := r.tx.EventsAt(storage.NIDs(places))
		if err != nil {
			return Page{}, err
		}
		if events, err = r.pick(events, w.Filter); err != nil {
			return Page{}, err
		}
		if room := w.Limit - len(page.Events); len(events) >= room {
			page.More = page.More || len(events) > room
			page.Events = append(page.Events, events[:room]...)
			page.End = behind(events[room-1].Pos, w.Back)
			break
		}
		page.Events = append(page.Events, events...)
		last := places[len(places)-1].Pos
		page.End = behind(last, w.Back)
		if w.Back {
			span.UpTo = last - 1
		} else {
			span.After = last
		}
		if scanned += len(places); !page.More || scanned >= maxScan {
			break
		}
	}
	// What is left may all be hidden.
	if w.Back {
		span.UpTo = page.End
	} else {
		span.After = page.End
	}
	page.More = page.More && r.skip(&span, w.Back)
	return page, nil
}

// Edge turns Beginning and Now into points that clients can be told: the one before the first event, or before the gap that is in front of it,
// and the one behind the last event that is of interest to the viewer. Other points it leaves alone.
func (r *Room) Edge(point int64) (int64, error) {
	switch point {
	case Now:
		return min(r.LastPos, r.until), nil
	case Beginning:
		span := r.span(Walk{From: Beginning, To: Now})
		r.skip(&span, false)
		first, err := r.tx.TimelinePlaces(r.NID, span, 1, false)
		if err != nil || len(first) == 0 {
			return 0, err
		}
		before := Walk{From: Beginning, To: first[0].Pos - 1}
		gap, err := r.nextGap(before)
		if err != nil || gap == nil {
			return before.To, err
		}
		before.From = gap.Floor - 1
		if span = r.span(before); !r.skip(&span, false) {
			return before.To, nil
		}
		return before.From, nil
	}
	return point, nil
}

// Context is an event and what is around it.
type Context struct {
	Event         *storage.Event
	Before, After Page
}

// Around finds an event and what is before and after it; storage.ErrNotFound where the viewer may not see it. The walk back may go past the gap
// with the floor past.
func (r *Room) Around(event id.EventID, before, after int, past int64, f *filter.RoomEventFilter) (Context, error) {
	ev, err := r.Event(event)
	if err != nil {
		return Context{}, err
	}
	c := Context{Event: ev}
	if c.Before, err = r.Walk(Walk{From: ev.Pos - 1, To: Beginning, Back: true, Limit: before, Filter: f, Past: past}); err != nil {
		return c, err
	}
	c.After, err = r.Walk(Walk{From: ev.Pos, To: Now, Limit: after, Filter: f})
	return c, err
}

// Near is the first event at or after a time in milliseconds, or the last at or before it; storage.ErrNotFound if there is none among those
// that are looked at.
func (r *Room) Near(ts int64, back bool) (*storage.Event, error) {
	from := storage.Moment{TS: ts, Pos: Beginning}
	if back {
		from.Pos = Now
	}
	for scanned := 0; scanned < maxScan; {
		nids, err := r.tx.NIDsByTime(r.NID, from, minBatch, back)
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
			if r.shows(ev) {
				return ev, nil
			}
			from = storage.Moment{TS: ev.TS, Pos: ev.Pos}
		}
		if scanned += len(nids); len(nids) < minBatch {
			break
		}
	}
	return nil, storage.ErrNotFound
}

// NextToGap reports whether there may be an event closer to a time than the one that Near found, nil for none, in history that is not here: no
// other event is between the one found and a gap in the direction of the time.
func (r *Room) NextToGap(found *storage.Event, back bool) (bool, error) {
	gaps, err := r.tx.Gaps(r.NID)
	if err != nil || len(gaps) == 0 || found == nil {
		return len(gaps) > 0, err
	}
	// The time is before the event in a search forward, and behind it in a search back.
	w := Walk{From: found.Pos - 1, To: Beginning, Back: true}
	if back {
		w = Walk{From: found.Pos, To: Now}
	}
	gap, err := r.nextGap(w)
	if err != nil || gap == nil {
		return false, err
	}
	between := storage.Span{After: gap.Next, UpTo: found.Pos - 1}
	if back {
		between = storage.Span{After: found.Pos, UpTo: gap.Floor - 1}
	}
	places, err := r.tx.TimelinePlaces(r.NID, between, 1, false)
	return len(places) == 0, err
}

// behind is the point that a walk comes to with the event at pos.
func behind(pos int64, back bool) int64 {
	if back {
		return pos - 1
	}
	return pos
}

// pick is the events that the viewer may see and the filter lets through.
func (r *Room) pick(events []*storage.Event, f *filter.RoomEventFilter) ([]*storage.Event, error) {
	shown := make([]*storage.Event, 0, len(events))
	for _, ev := range events {
		if ev != nil && r.shows(ev) {
			shown = append(shown, ev)
		}
	}
	return clientevent.Select(r.tx, f, shown)
}
