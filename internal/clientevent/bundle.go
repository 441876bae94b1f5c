package clientevent

import (
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// How many of the newest edits of an event, and of the newest replies in a thread, are looked at to find one that the viewer may see.
const (
	maxEdits   = 20
	maxReplies = 20
)

// children is what an event is to be told of the events that point to it.
type children struct {
	edit       *storage.Event
	references []id.EventID
	thread     *storage.ThreadSummary
	latest     *storage.Event
}

// bundle reads and writes the aggregations of the batch. Annotations are not aggregated, and state events get no aggregations.
//
// Spec: client-server-api#aggregations-of-child-events
func (b *Batch) bundle(tx *storage.ReadTx, events []*storage.Event) error {
	parents := map[id.EventID]*storage.Event{}
	for _, ev := range events {
		if ev.HasChildren && ev.StateKey == nil {
			parents[ev.ID] = ev
		}
	}
	if len(parents) == 0 {
		return nil
	}
	found := map[id.EventID]*children{}
	if err := b.threads(tx, parents, found); err != nil {
		return err
	}
	// The newest replies are shown with their own edits and references.
	for _, c := range found {
		parents[c.latest.ID] = c.latest
		if err := b.erase(tx, []*storage.Event{c.latest}); err != nil {
			return err
		}
	}
	if err := b.aggregated(tx, parents, found); err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	b.relations = make(map[id.EventID][]byte, len(found))
	for eventID, c := range found {
		if c.thread == nil {
			b.relations[eventID] = b.aggregation(c)
		}
	}
	for eventID, c := range found {
		if c.thread != nil {
			b.relations[eventID] = b.aggregation(c)
		}
	}
	return nil
}

func idsOf(events map[id.EventID]*storage.Event) []id.EventID {
	out := make([]id.EventID, 0, len(events))
	for eventID := range events {
		out = append(out, eventID)
	}
	return out
}

// threads finds the threads of which the parents are the roots, with their newest visible replies.
//
// Spec: client-server-api#server-side-aggregation-of-mthread-relationships
func (b *Batch) threads(tx *storage.ReadTx, parents map[id.EventID]*storage.Event, found map[id.EventID]*children) error {
	threads, err := tx.ThreadSummaries(idsOf(parents), b.viewer.User, b.opts.Ignored.Users())
	if err != nil || len(threads) == 0 {
		return err
	}
	positions := make([]int64, len(threads))
	for i, t := range threads {
		positions[i] = t.Latest
	}
	latest, err := tx.EventsAt(positions)
	if err != nil {
		return err
	}
	for i := range threads {
		t, ev := &threads[i], latest[i]
		root := parents[t.Root]
		if ev == nil || ev.Room != root.Room {
			continue
		}
		if !b.shows(ev) {
			if ev, err = b.visibleReply(tx, t); err != nil {
				return err
			}
			if ev == nil {
				continue
			}
		}
		t.Participated = t.Participated || root.Sender == b.viewer.User
		found[t.Root] = &children{thread: t, latest: ev}
	}
	return nil
}

// visibleReply is the newest reply that the viewer may see, nil if none of the newest is.
func (b *Batch) visibleReply(tx *storage.ReadTx, t *storage.ThreadSummary) (*storage.Event, error) {
	positions, err := tx.ThreadReplies(t.Root, t.Latest, maxReplies)
	if err != nil {
		return nil, err
	}
	replies, err := tx.EventsAt(positions)
	if err != nil {
		return nil, err
	}
	for _, ev := range replies {
		if ev != nil && b.shows(ev) {
			return ev, nil
		}
	}
	return nil, nil
}

// shows reports whether the viewer may see a child.
func (b *Batch) shows(ev *storage.Event) bool {
	return !b.opts.Ignored.Hides(ev) && b.visible(ev.Room, ev.Pos)
}

func (b *Batch) visible(room, pos int64) bool {
	h := b.histories[room]
	return h == nil || h.VisibleAt(pos)
}

// aggregated finds the edits and references of the parents.
func (b *Batch) aggregated(tx *storage.ReadTx, parents map[id.EventID]*storage.Event, found map[id.EventID]*children) error {
	relations, err := tx.Aggregated(idsOf(parents))
	if err != nil || len(relations) == 0 {
		return err
	}
	var positions []int64
	for parent, list := range relations {
		positions = append(positions, b.edits(parents[parent], list)...)
	}
	candidates := make(map[int64]*storage.Event, len(positions))
	if len(positions) > 0 {
		events, err := tx.EventsAt(positions)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev != nil {
				candidates[ev.NID] = ev
			}
		}
	}
	var referring []int64
	referrer := map[int64]id.EventID{}
	for parent, list := range relations {
		for _, r := range list {
			if b.refers(parents[parent], r) {
				referring = append(referring, r.Child)
			}
		}
	}
	if len(referring) > 0 {
		events, err := tx.EventsAt(referring)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if ev != nil {
				referrer[ev.NID] = ev.ID
			}
		}
	}
	for parent, list := range relations {
		c := children{}
		for _, r := range list {
			if b.refers(parents[parent], r) {
				if eventID, ok := referrer[r.Child]; ok {
					c.references = append(c.references, eventID)
				}
				continue
			}
			if ev := candidates[r.Child]; ev != nil && r.RelType == "m.replace" && b.replaces(parents[parent], ev) && newer(ev, c.edit) {
				c.edit = ev
			}
		}
		if c.edit == nil && c.references == nil {
			continue
		}
		if known := found[parent]; known != nil {
			known.edit, known.references = c.edit, c.references
		} else {
			found[parent] = &c
		}
	}
	return nil
}

func (b *Batch) refers(parent *storage.Event, r storage.Relation) bool {
	return r.RelType == "m.reference" && r.Room == parent.Room && !b.opts.Ignored.Has(r.Sender) && b.visible(r.Room, r.Child)
}

// edits is the positions of the newest events that may be valid edits of ev.
//
// Spec: client-server-api#validity-of-replacement-events
func (b *Batch) edits(ev *storage.Event, list []storage.Relation) []int64 {
	if ev.RedactedBy != 0 || ev.Get("content.m\\.relates_to.rel_type").Str == "m.replace" {
		return nil
	}
	var out []int64
	for i := len(list) - 1; i >= 0 && len(out) < maxEdits; i-- {
		r := list[i]
		if r.RelType == "m.replace" && r.Room == ev.Room && r.Sender == ev.Sender && r.Type == ev.Type && !b.opts.Ignored.Has(r.Sender) {
			out = append(out, r.Child)
		}
	}
	return out
}

// replaces reports whether an event that edits says may be a valid edit is one.
func (b *Batch) replaces(parent, ev *storage.Event) bool {
	if ev.StateKey != nil || ev.RedactedBy != 0 || ev.Status != storage.Accepted || !b.shows(ev) || b.erased.hides(b.histories[ev.Room], ev) {
		return false
	}
	// Of encrypted events the server cannot see what they contain.
	return parent.Type == "m.room.encrypted" || ev.Get("content.m\\.new_content").IsObject()
}

// newer reports whether an edit is more recent than another, which may be nil.
func newer(ev, than *storage.Event) bool {
	return than == nil || ev.TS > than.TS || ev.TS == than.TS && ev.ID > than.ID
}

// aggregation writes the value of m.relations.
func (b *Batch) aggregation(c *children) []byte {
	buf := []byte{'{'}
	member := func(name string) {
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = append(buf, '"')
		buf = append(buf, name...)
		buf = append(buf, `":`...)
	}
	if len(c.references) > 0 {
		member("m.reference")
		buf = append(buf, `{"chunk":[`...)
		for i, eventID := range c.references {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, `{"event_id":`...)
			buf = appendString(buf, string(eventID))
			buf = append(buf, '}')
		}
		buf = append(buf, `]}`...)
	}
	if c.edit != nil {
		member("m.replace")
		buf = b.child(buf, c.edit)
	}
	if c.thread != nil {
		member("m.thread")
		buf = append(buf, `{"count":`...)
		buf = strconv.AppendInt(buf, c.thread.Replies, 10)
		buf = append(buf, `,"current_user_participated":`...)
		buf = strconv.AppendBool(buf, c.thread.Participated)
		buf = append(buf, `,"latest_event":`...)
		buf = b.child(buf, c.latest)
		buf = append(buf, '}')
	}
	return append(buf, '}')
}

// child appends an event that is part of an aggregation.
func (b *Batch) child(buf []byte, ev *storage.Event) []byte {
	ev = b.shown(ev)
	buf = b.open(buf, ev)
	buf = b.unsigned(buf, ev)
	return append(buf, '}')
}
