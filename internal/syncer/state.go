package syncer

import (
	"fmt"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const memberType = "m.room.member"

// stateDelta is what a client is told of a room's state beside the timeline.
type stateDelta struct {
	events  []*storage.Event
	summary *summary // nil where nobody came or went
}

// state finds the state that makes, together with the timeline, what the client may know of the room: what the client does not know of the
// state at the start of the timeline, and what changed later without an event in the timeline. With UseStateAfter it is the state at the
// end.
//
// Spec: client-server-api#get_matrixclientv3sync
func (r *room) state(t *timeline) (stateDelta, error) {
	var d stateDelta
	s := stateReader{room: r, t: t}
	if err := s.changes(); err != nil {
		return d, fmt.Errorf("load state changes: %w", err)
	}
	if s.cut() {
		if err := s.changes(); err != nil {
			return d, fmt.Errorf("load state changes: %w", err)
		}
	}
	if (s.moved || r.full) && r.m.Membership == "join" {
		var err error
		if d.summary, err = r.loadSummary(); err != nil {
			return d, err
		}
	}
	if r.full {
		if err := s.whole(); err != nil {
			return d, fmt.Errorf("load the state: %w", err)
		}
	}
	if r.lazy() {
		if err := s.lazyMembers(d.summary); err != nil {
			return d, fmt.Errorf("load members: %w", err)
		}
	}
	var err error
	if d.events, err = s.load(); err != nil {
		return d, fmt.Errorf("load state events: %w", err)
	}
	r.noteMembers(t.events)
	r.noteMembers(d.events)
	return d, nil
}

// lazy reports whether the client wants to hear only of members that it needs.
func (r *room) lazy() bool { return r.Filter.Room.State.LazyLoadMembers }

// everyMember reports whether the client wants to hear of all members.
func (l *look) everyMember() bool {
	return !l.Filter.Room.State.LazyLoadMembers && l.Filter.Room.State.MatchType(memberType)
}

// noteMembers remembers which members the client is told of.
func (r *room) noteMembers(events []*storage.Event) {
	if !r.lazy() {
		return
	}
	for _, ev := range events {
		if ev.Type == memberType && ev.StateKey != nil {
			r.members.sent(r.device(), r.m.Room, r.next.Pos, id.UserID(*ev.StateKey))
		}
	}
}

// stateReader collects positions of state events.
type stateReader struct {
	*room
	t     *timeline
	shown map[int64]bool // state events in the timeline
	want  map[storage.StateKey]int64
	late  map[storage.StateKey]int64 // what changed during the timeline without being in it
	moved bool                       // a membership has changed
	// before is what was current at the start of the timeline where that has changed since. It is loaded when first asked for.
	before map[storage.StateKey]int64
}

// changes finds what has changed since the client last looked.
func (s *stateReader) changes() error {
	s.shown, s.want = map[int64]bool{}, map[storage.StateKey]int64{}
	for _, ev := range s.t.events {
		if ev.StateKey != nil {
			s.shown[ev.NID] = true
		}
	}
	start := max(s.t.start, s.after)
	if start > s.after && s.after != everything {
		gap, err := s.tx.StateChanges(s.m.Room, storage.Span{After: s.after, UpTo: min(start, s.end)})
		if err != nil {
			return err
		}
		for k, event := range gap {
			s.want[k] = event
			s.moved = s.moved || k.Type == memberType
		}
	}
	tail, err := s.tx.StateChanges(s.m.Room, storage.Span{After: start, UpTo: s.end})
	if err != nil {
		return err
	}
	s.late = map[storage.StateKey]int64{}
	for k, event := range tail {
		s.moved = s.moved || k.Type == memberType
		if s.UseStateAfter || !s.shown[event] {
			s.want[k] = event
			s.late[k] = event
		}
	}
	return nil
}

// cut shortens a timeline with a state event whose successor is not in it, because the client may not see it or does not want to: clients
// apply the timeline after the state, so they would go back to what is over. What is cut off is part of the state before the timeline.
func (s *stateReader) cut() bool {
	if s.UseStateAfter || len(s.late) == 0 {
		return false
	}
	for i := len(s.t.events) - 1; i >= 0; i-- {
		ev := s.t.events[i]
		if ev.StateKey == nil {
			continue
		}
		if _, replaced := s.late[storage.StateKey{Type: ev.Type, Key: *ev.StateKey}]; replaced {
			s.t.events = s.t.events[i+1:]
			s.t.start, s.t.limited = ev.Pos, true
			return true
		}
	}
	return false
}

// whole wants all of the state, but for the members that the client does not want.
func (s *stateReader) whole() error {
	if s.UseStateAfter && s.end == s.next.Pos {
		return s.current(nil)
	}
	start := s.t.start
	if s.UseStateAfter {
		start = s.end
	}
	before, err := s.tx.StateBefore(s.m.Room, storage.Span{After: start, UpTo: s.next.Pos})
	if err != nil {
		return err
	}
	return s.current(before)
}

// current wants the current state with some of it replaced by what was before.
func (s *stateReader) current(before map[storage.StateKey]int64) error {
	events, read := s.ahead.state[s.m.Room]
	if !read {
		var err error
		if events, err = s.tx.CurrentState(s.m.Room, s.everyMember()); err != nil {
			return err
		}
	}
	for _, ev := range events {
		if ev == nil || ev.StateKey == nil {
			continue
		}
		k := storage.StateKey{Type: ev.Type, Key: *ev.StateKey}
		if _, changed := before[k]; !changed {
			s.put(k, ev.NID)
		}
	}
	for k, event := range before {
		if k.Type != memberType || !s.lazy() {
			s.put(k, event)
		}
	}
	return nil
}

// put wants an event unless a later one is wanted.
func (s *stateReader) put(k storage.StateKey, event int64) {
	if _, later := s.late[k]; !later {
		s.want[k] = event
	}
}

// lazyMembers wants the members without whom a client cannot show what it is told: the senders of the timeline, those after whom the room is
// named and, in a room that is new to it, the user; but not those of whom it knows.
//
// Spec: client-server-api#lazy-loading-room-members
func (s *stateReader) lazyMembers(sum *summary) error {
	seen := map[id.UserID]bool{}
	var need []id.UserID
	add := func(u id.UserID) {
		k := storage.StateKey{Type: memberType, Key: string(u)}
		if _, wanted := s.want[k]; !wanted && !seen[u] {
			seen[u] = true
			need = append(need, u)
		}
	}
	for _, ev := range s.t.events {
		add(ev.Sender)
	}
	if s.full {
		add(s.User)
	}
	if sum != nil {
		for _, hero := range sum.heroes {
			add(hero.User)
		}
	}
	if !s.full && !s.Filter.Room.State.IncludeRedundantMembers {
		need = s.members.unknown(s.device(), s.m.Room, s.since.Pos, need)
	}
	if len(need) == 0 {
		return nil
	}
	keys := make([]string, len(need))
	for i, u := range need {
		keys[i] = string(u)
	}
	events, err := s.tx.CurrentStateOfKeys(s.m.Room, memberType, keys)
	if err != nil {
		return err
	}
	point := s.t.start
	if s.UseStateAfter {
		point = s.end
	}
	for _, ev := range events {
		if ev == nil || ev.StateKey == nil {
			continue
		}
		k := storage.StateKey{Type: memberType, Key: *ev.StateKey}
		event, err := s.atPoint(k, point, ev.NID)
		if err != nil {
			return err
		}
		s.put(k, event)
	}
	return nil
}

// atPoint is what a piece of state was at a point: now, unless it has changed since.
func (s *stateReader) atPoint(k storage.StateKey, point, now int64) (int64, error) {
	if s.before == nil {
		before, err := s.tx.StateBefore(s.m.Room, storage.Span{After: point, UpTo: s.next.Pos})
		if err != nil {
			return 0, err
		}
		if s.before = before; before == nil {
			s.before = map[storage.StateKey]int64{}
		}
	}
	if was, changed := s.before[k]; changed {
		return was, nil
	}
	return now, nil
}

// load reads the events that are wanted and that the filter lets through.
func (s *stateReader) load() ([]*storage.Event, error) {
	f := &s.Filter.Room.State
	positions := make([]int64, 0, len(s.want))
	for k, event := range s.want {
		if event != 0 && f.MatchType(k.Type) && (s.UseStateAfter || !s.shown[event]) {
			positions = append(positions, event)
		}
	}
	if len(positions) == 0 || !f.MatchRoom(string(s.m.RoomID)) {
		return nil, nil
	}
	events, err := s.tx.EventsAt(positions)
	if err != nil {
		return nil, err
	}
	out := events[:0]
	for _, ev := range events {
		if ev != nil && clientevent.Match(f, ev) {
			out = append(out, ev)
		}
	}
	return out, nil
}
