package syncer

import (
	"fmt"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/storage"
)

// slidingState is what a client is told of the state of a room as it is now.
type slidingState struct {
	events  []*storage.Event
	removed []storage.StateKey
	changes map[storage.StateKey]int64 // what has changed since the client looked last
	moved   bool                       // a membership has changed
}

// changed reports whether a piece of state under the empty key has changed.
func (s *slidingState) changed(typ string) bool {
	_, ok := s.changes[storage.StateKey{Type: typ}]
	return ok
}

// loadState finds the state to tell: all that is chosen of a room that is new to the client, else what has changed of it, and what was not
// chosen before.
func (v *slide) loadState(r *slidingRoom) error {
	p, choice := r.p, r.p.rule.State
	want := map[storage.StateKey]int64{}
	if r.initial {
		if err := v.chosen(r, choice, nil, want); err != nil {
			return fmt.Errorf("load the state: %w", err)
		}
	} else {
		var err error
		if r.state.changes, err = v.tx.StateChanges(r.m.Room, storage.Span{After: p.base, UpTo: r.end}); err != nil {
			return fmt.Errorf("load state changes: %w", err)
		}
		for k, event := range r.state.changes {
			member := k.Type == memberType
			r.state.moved = r.state.moved || member
			// Spec: MSC4186#lazy-loaded-memberships
			if choice.Match(k.Type, k.Key) || member && choice.Lazy() && !r.t.limited {
				want[k] = event
			}
		}
		if p.told.choice != p.rule.number {
			if err := v.chosen(r, choice, v.q.conn.choices[p.told.choice], want); err != nil {
				return fmt.Errorf("load the state that is asked for now: %w", err)
			}
		}
	}
	if choice.Lazy() {
		if err := v.shownMembers(r, want); err != nil {
			return fmt.Errorf("load members: %w", err)
		}
	}
	nids := make([]int64, 0, len(want))
	for k, event := range want {
		if event != 0 {
			nids = append(nids, event)
		} else if !v.q.Experimental && !r.initial {
			r.state.removed = append(r.state.removed, k)
		}
	}
	slices.Sort(nids)
	events, err := v.tx.EventsAt(nids)
	if err != nil {
		return fmt.Errorf("load state events: %w", err)
	}
	r.state.events = slices.DeleteFunc(events, func(ev *storage.Event) bool { return ev == nil })
	if choice.Lazy() {
		for _, ev := range r.state.events {
			if ev.Type == memberType && ev.StateKey != nil {
				v.answer.members = append(v.answer.members, sentMember{r.m.Room, id.UserID(*ev.StateKey)})
			}
		}
	}
	return nil
}

// chosen wants the state at the end of what the client is told that one choice has and another has not.
func (v *slide) chosen(r *slidingRoom, choice, not *sliding.Choice, want map[storage.StateKey]int64) error {
	if choice.Empty() {
		return nil
	}
	events, err := v.tx.CurrentState(r.m.Room, choice.AllMembers())
	if err != nil {
		return err
	}
	if members := choice.Members(); !choice.AllMembers() && len(members) > 0 {
		more, err := v.tx.CurrentStateOfKeys(r.m.Room, memberType, members)
		if err != nil {
			return err
		}
		events = slices.Concat(events, more)
	}
	now := map[storage.StateKey]int64{}
	for _, ev := range events {
		if ev != nil && ev.StateKey != nil {
			now[storage.StateKey{Type: ev.Type, Key: *ev.StateKey}] = ev.NID
		}
	}
	if r.end < v.next.Pos {
		before, err := v.tx.StateBefore(r.m.Room, storage.Span{After: r.end, UpTo: v.next.Pos})
		if err != nil {
			return err
		}
		for k, event := range before {
			now[k] = event
		}
	}
	for k, event := range now {
		if _, changed := want[k]; !changed && choice.Match(k.Type, k.Key) && !not.Match(k.Type, k.Key) {
			want[k] = event
		}
	}
	return nil
}

// shownMembers wants the members without whom a client cannot show the timeline: the senders and those whose membership it tells of, but not
// those of whom the client knows.
//
// Spec: MSC4186#lazy-loaded-memberships
func (v *slide) shownMembers(r *slidingRoom, want map[storage.StateKey]int64) error {
	seen := map[id.UserID]bool{}
	var need []id.UserID
	add := func(u id.UserID) {
		if _, wanted := want[storage.StateKey{Type: memberType, Key: string(u)}]; !wanted && !seen[u] {
			seen[u] = true
			need = append(need, u)
		}
	}
	for _, ev := range r.t.events {
		add(ev.Sender)
		if ev.Type == memberType && ev.StateKey != nil {
			add(id.UserID(*ev.StateKey))
		}
	}
	// Who comes again with the same position has not got the last answer; only what was told with an older one is known for sure. That can
	// be seen where the stream has moved on between the two, which it has for news.
	// Where the timeline is limited the client is not told of changes of others, and gives up what it knows of members.
	if r.p.told.behind != live || r.p.whole || r.t.limited || r.p.told.choice != r.p.rule.number {
		v.answer.flushed = append(v.answer.flushed, r.m.Room)
	} else {
		need = v.members.unknown(deviceKey{v.User, v.Device, v.q.conn.row.NID}, r.m.Room, v.since.Pos, need)
	}
	if len(need) == 0 {
		return nil
	}
	keys := make([]string, len(need))
	for i, u := range need {
		keys[i] = string(u)
	}
	events, err := v.tx.CurrentStateOfKeys(r.m.Room, memberType, keys)
	for _, ev := range events {
		if ev != nil && ev.StateKey != nil {
			want[storage.StateKey{Type: memberType, Key: *ev.StateKey}] = ev.NID
		}
	}
	return err
}
