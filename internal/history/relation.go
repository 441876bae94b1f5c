package history

import (
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Bounds of what is followed: levels of relations of relations, and events on all levels together.
//
// Spec: client-server-api#get_matrixclientv1roomsroomidrelationseventid
const (
	maxDepth   = 3
	maxKindred = 5000
)

// Relations reads a page of the events that relate to an event.
func (r *Room) Relations(parent id.EventID, kin storage.Kin, w Walk) (Page, error) {
	return r.walk(w, func(span storage.Span, limit int) ([]storage.Place, error) {
		// Only message events relate to others, and their numbers are their places.
		found, err := r.tx.Children(r.NID, parent, kin, span, limit, w.Back)
		return placed(found), err
	})
}

// Kindred is Relations that also follows the relations to the events that it finds. It says how many levels deep that went.
func (r *Room) Kindred(parent id.EventID, kin storage.Kin, w Walk) (Page, int, error) {
	var found []int64
	seen := map[id.EventID]bool{parent: true}
	level := []id.EventID{parent}
	depth := 0
	for len(level) > 0 && depth < maxDepth && len(seen) <= maxKindred {
		children, err := r.tx.ChildrenOf(r.NID, level, maxKindred)
		if err != nil {
			return Page{}, 0, err
		}
		level = level[:0:0]
		for _, c := range children {
			if seen[c.ID] {
				continue
			}
			seen[c.ID] = true
			level = append(level, c.ID)
			if (kin.RelType == "" || kin.RelType == c.Kind.RelType) && (kin.Type == "" || kin.Type == c.Kind.Type) {
				found = append(found, c.NID)
			}
		}
		if len(level) > 0 {
			depth++
		}
	}
	slices.Sort(found)
	if w.Back {
		slices.Reverse(found)
	}
	page, err := r.walk(w, func(span storage.Span, limit int) ([]storage.Place, error) {
		var out []int64
		for _, pos := range found {
			if pos > span.After && pos <= span.UpTo && len(out) < limit {
				out = append(out, pos)
			}
		}
		return placed(out), nil
	})
	return page, depth, err
}

// placed is the places of message events.
func placed(nids []int64) []storage.Place {
	out := make([]storage.Place, len(nids))
	for i, n := range nids {
		out[i] = storage.Place{NID: n, Pos: n}
	}
	return out
}

// Threads is the roots of up to limit threads of the room whose newest replies are at or before a point, newest first; with participated,
// only of those that the viewer has written in.
//
// Spec: client-server-api#get_matrixclientv1roomsroomidthreads
func (r *Room) Threads(upTo int64, limit int, participated bool) (Page, error) {
	// The newest replies may be hidden from the viewer: a thread is in the list if its root is not.
	page := Page{End: upTo}
	for scanned := 0; scanned < maxScan; {
		before := page.End
		if before < Now {
			before++
		}
		threads, err := r.tx.Threads(r.NID, before, maxBatch)
		if err != nil {
			return page, err
		}
		roots, err := r.roots(threads, participated)
		if err != nil {
			return page, err
		}
		page.More = len(threads) == maxBatch
		for i, root := range roots {
			if len(page.Events) == limit {
				page.More = page.More || slices.ContainsFunc(roots[i:], func(ev *storage.Event) bool { return ev != nil })
				return page, nil
			}
			page.End = threads[i].Latest - 1
			if root != nil {
				page.Events = append(page.Events, root)
			}
		}
		if scanned += len(threads); !page.More {
			break
		}
	}
	return page, nil
}

// roots finds the roots of threads, nil for those that are not to be shown.
func (r *Room) roots(threads []storage.Thread, participated bool) ([]*storage.Event, error) {
	ids := make([]id.EventID, len(threads))
	for i, t := range threads {
		ids[i] = t.Root
	}
	events, err := r.tx.EventsByID(ids)
	if err != nil {
		return nil, err
	}
	own := map[id.EventID]bool{}
	if participated {
		summaries, err := r.tx.ThreadSummaries(ids, r.user, r.ignored.Users())
		if err != nil {
			return nil, err
		}
		for _, s := range summaries {
			own[s.Root] = s.Participated
		}
	}
	for i, ev := range events {
		switch {
		case ev == nil || ev.Room != r.NID || ev.Status != storage.Accepted || !r.Sees(ev):
			events[i] = nil
		case participated && !own[ev.ID] && ev.Sender != r.user:
			events[i] = nil
		case r.ignored.Hides(ev):
			if events[i], err = clientevent.Redacted(r.Version, ev); err != nil {
				return nil, err
			}
		}
	}
	return events, nil
}
