package syncer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

const (
	defaultTimeline = 20  // events in a timeline, without a wish
	maxTimeline     = 500 // and at most
	maxScanned      = 1000
)

// timeline is the newest events of a stretch of a room that a client may see and wants to.
type timeline struct {
	events  []*storage.Event // in order
	start   int64            // everything in the stretch after this position is either in events or was left out on purpose
	limited bool             // there is more before start
}

// wished is how many events of a timeline the client wants.
func (l *look) wished() int {
	return max(l.Filter.Room.Timeline.Limit(defaultTimeline, maxTimeline), 0)
}

// timeline reads the end of a stretch, of limit events. It looks at no more than a bounded number of events; what is beyond counts as more.
func (r *room) timeline(span storage.Span, limit int) (timeline, error) {
	f := &r.Filter.Room.Timeline
	t := timeline{start: span.After}
	if !f.MatchRoom(string(r.m.RoomID)) {
		t.start = span.UpTo
		return t, nil
	}
	// What is before a gap is not shown as if it came right before what is after it.
	gap, err := r.tx.GapWithin(r.m.Room, span)
	if err == nil {
		span.After, t.limited = gap.Next, true
	} else if !errors.Is(err, storage.ErrNotFound) {
		return t, fmt.Errorf("look for gaps: %w", err)
	}
	upTo, full := span.UpTo, false
	for scanned := 0; ; {
		want := limit + 1 - len(t.events)
		batch, err := r.tx.Timeline(r.m.Room, storage.Span{After: span.After, UpTo: upTo}, want, true)
		if err != nil {
			return t, fmt.Errorf("load the timeline: %w", err)
		}
		if len(batch) == 0 {
			break
		}
		scanned += len(batch)
		upTo = batch[len(batch)-1].Pos - 1
		end := len(batch) < want
		if batch, err = r.wanted(batch); err != nil {
			return t, err
		}
		for _, ev := range batch {
			if len(t.events) == limit {
				full = true
				break
			}
			t.events = append(t.events, ev)
		}
		full = full || !end && scanned >= maxScanned
		if end || full {
			break
		}
	}
	t.limited = t.limited || full
	switch {
	case len(t.events) == 0:
		t.start = span.UpTo
	case t.limited || span.After == everything:
		t.start = t.events[len(t.events)-1].Pos - 1
	}
	slices.Reverse(t.events)
	return t, nil
}

// wanted is those events that the client may see and wants to.
func (r *room) wanted(events []*storage.Event) ([]*storage.Event, error) {
	out := make([]*storage.Event, 0, len(events))
	for _, ev := range events {
		// Nobody is left without the event that says what became of their own membership.
		if (r.history.Visible(ev) || ev.NID == r.m.Event) && !r.unwanted.ignored.Hides(ev) {
			out = append(out, ev)
		}
	}
	return clientevent.Select(r.tx, &r.Filter.Room.Timeline, out)
}

// before is the point from which the client can walk on backwards.
func (t *timeline) before() token.Room {
	if len(t.events) > 0 && t.events[0].Pos != 0 {
		return token.Room(t.events[0].Pos - 1)
	}
	return token.Room(t.start)
}

// everything is before all positions.
const everything = math.MinInt64
