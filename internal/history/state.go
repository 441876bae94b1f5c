package history

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/storage"
)

// memberType is the type of the state that holds memberships.
const memberType = "m.room.member"

// now reports whether the viewer sees the room's state as it is now; former members see it as it was when they left.
//
// Spec: client-server-api#get_matrixclientv3roomsroomidstate
func (r *Room) now() bool { return r.until == Now }

// State is the state of the room, oldest event first.
func (r *Room) State() ([]*storage.Event, error) {
	var events []*storage.Event
	var err error
	if r.now() {
		events, err = r.tx.CurrentState(r.NID, true)
	} else {
		var snapshot int64
		if snapshot, err = r.snapshot(r.until); err == nil {
			events, err = r.tx.WholeStateAt(snapshot)
		}
	}
	return inOrder(events), err
}

// StateKey is the event of one key of the state, or storage.ErrNotFound.
func (r *Room) StateKey(key storage.StateKey) (*storage.Event, error) {
	if r.now() {
		return r.tx.CurrentStateKey(r.NID, key)
	}
	snapshot, err := r.snapshot(r.until)
	if err != nil {
		return nil, err
	}
	pos, err := r.tx.StateKeyAt(snapshot, key)
	if err != nil {
		return nil, err
	}
	return r.tx.EventAt(pos)
}

// Members is the membership events of the room at a point, oldest first.
func (r *Room) Members(at int64) ([]*storage.Event, error) {
	if r.now() && at >= r.LastPos {
		events, err := r.tx.CurrentStateOfType(r.NID, memberType)
		return inOrder(events), err
	}
	snapshot, err := r.snapshot(min(at, r.until))
	if err != nil {
		return nil, err
	}
	events, err := r.tx.StateOfTypeAt(snapshot, memberType, nil)
	return inOrder(events), err
}

// StateAround is the state after the last event of a context, as far as the filter lets it through. With lazy-loading, of the memberships
// only those of the senders are in it.
//
// Spec: client-server-api#lazy-loading-room-members
func (r *Room) StateAround(c Context, f *filter.RoomEventFilter) ([]*storage.Event, error) {
	last := c.Event
	if n := len(c.After.Events); n > 0 {
		last = c.After.Events[n-1]
	}
	snapshot, err := r.stateAfter(last)
	if err != nil {
		return nil, err
	}
	state, err := r.tx.WholeStateAt(snapshot)
	if err != nil || f == nil {
		return inOrder(state), err
	}
	senders := map[string]bool{string(c.Event.Sender): true}
	for _, ev := range c.Before.Events {
		senders[string(ev.Sender)] = true
	}
	for _, ev := range c.After.Events {
		senders[string(ev.Sender)] = true
	}
	kept := state[:0]
	for _, ev := range state {
		member := ev.Type == memberType && ev.StateKey != nil
		if clientevent.Match(f, ev) && (!f.LazyLoadMembers || !member || senders[*ev.StateKey]) {
			kept = append(kept, ev)
		}
	}
	return inOrder(kept), nil
}

// Senders is the membership events of those who sent some events of the room, as they were at the first of them.
//
// Spec: client-server-api#lazy-loading-room-members
func (r *Room) Senders(events []*storage.Event) ([]*storage.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	known := make(map[string]bool, 16)
	keys := make([]string, 0, 16)
	for _, ev := range events {
		if sender := string(ev.Sender); !known[sender] {
			known[sender] = true
			keys = append(keys, sender)
		}
	}
	members, err := r.tx.CurrentStateOfKeys(r.NID, memberType, keys)
	if err != nil {
		return nil, err
	}
	// Most memberships have not changed since. For the others the state of that time must be asked, which costs more, if it is known at all.
	past := events[0].StateAfter != 0
	members = slices.DeleteFunc(members, func(ev *storage.Event) bool { return ev == nil || past && ev.Pos > events[0].Pos })
	for _, ev := range members {
		delete(known, *ev.StateKey)
	}
	if len(known) > 0 && past {
		then, err := r.tx.StateOfTypeAt(events[0].StateAfter, memberType, slices.Collect(maps.Keys(known)))
		if err != nil {
			return nil, err
		}
		members = append(members, then...)
	}
	return inOrder(members), nil
}

// snapshot is the state of the room at a point. Before the first event it is the state at the creation, when only the creator is there:
// sync hands out that point for rooms whose whole history fits into a timeline.
func (r *Room) snapshot(at int64) (int64, error) {
	last, err := r.tx.Timeline(r.NID, storage.Span{After: Beginning, UpTo: at}, 1, true)
	if err == nil && len(last) == 0 {
		last, err = r.tx.Timeline(r.NID, storage.Span{After: Beginning, UpTo: Now}, 2, false)
		slices.Reverse(last)
	}
	if err != nil {
		return 0, err
	}
	if len(last) == 0 || last[0] == nil {
		return 0, errors.New("the room has no events")
	}
	return r.stateAfter(last[0])
}

// stateAfter is the state of the room after an event. Of history that was fetched from other servers it is not known: then it is the state of
// today, which clients can at least show names and pictures by, or for former members the one that they saw last.
func (r *Room) stateAfter(ev *storage.Event) (int64, error) {
	if ev.StateAfter != 0 {
		return ev.StateAfter, nil
	}
	if r.now() {
		return r.Room.State, nil
	}
	last, err := r.tx.Timeline(r.NID, storage.Span{After: Beginning, UpTo: r.until}, 1, true)
	if err != nil || len(last) == 0 || last[0] == nil {
		return 0, err
	}
	return last[0].StateAfter, nil
}

// inOrder sorts events by position.
func inOrder(events []*storage.Event) []*storage.Event {
	events = slices.DeleteFunc(events, func(ev *storage.Event) bool { return ev == nil })
	slices.SortFunc(events, func(a, b *storage.Event) int { return cmp.Compare(a.Pos, b.Pos) })
	return events
}
