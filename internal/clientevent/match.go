package clientevent

import (
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Match reports whether a filter lets an event through, as far as the event alone can tell: Select also looks at its children.
func Match(f *filter.RoomEventFilter, ev *storage.Event) bool {
	hasURL := f.NeedsURL() && ev.Get("content.url").Exists()
	if !f.Match(string(ev.Sender), ev.Type, string(ev.RoomID), hasURL) {
		return false
	}
	return !f.NeedsRelType() || f.MatchRelType(ev.Get("content.m\\.relates_to.rel_type").Str)
}

// Select is the events that a filter lets through, in the same order. It reads only for filters that ask for the children of events. A nil
// filter lets everything through.
func Select(tx *storage.ReadTx, f *filter.RoomEventFilter, events []*storage.Event) ([]*storage.Event, error) {
	if f == nil {
		return events, nil
	}
	out := make([]*storage.Event, 0, len(events))
	for _, ev := range events {
		if Match(f, ev) {
			out = append(out, ev)
		}
	}
	if len(out) == 0 || f.RelatedByRelTypes == nil && f.RelatedBySenders == nil {
		return out, nil
	}
	parents := make([]id.EventID, len(out))
	for i, ev := range out {
		parents[i] = ev.ID
	}
	senders := make([]id.UserID, len(f.RelatedBySenders))
	for i, s := range f.RelatedBySenders {
		senders[i] = id.UserID(s)
	}
	related, err := tx.RelatedBy(parents, f.RelatedByRelTypes, senders)
	if err != nil {
		return nil, err
	}
	kept := out[:0]
	for _, ev := range out {
		if related[ev.ID] {
			kept = append(kept, ev)
		}
	}
	return kept, nil
}
