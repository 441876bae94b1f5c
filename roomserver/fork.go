package roomserver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/roomserver/stateres"
	"github.com/hearthd/hearth/storage"
)

// A room forks where servers send events at the same time: its graph then has several ends, each with a state of its own, and the current state
// is what state resolution makes of those.

const (
	// maxExtremities bounds the ends of a room's graph. Each of them has to be in the prev_events of the next event, of which there may be 20.
	maxExtremities = 20
	// maxShadow bounds how far the parents of rejected events are followed.
	maxShadow = 100
)

// ends is the ends of the room's graph after e: without what e or, over rejected and soft-failed events, its parents come after, and without e
// itself where it comes late, after what refers to it. The shallowest are left out where there are too many, which costs a hostile server its
// own branches: those of honest ones are joined by every event.
func (h *head) ends(e *storage.Event, prev []id.EventID) ([]storage.Extremity, error) {
	room := h.room()
	covered := map[id.EventID]bool{}
	if len(room.Extremities) == 1 && len(prev) == 1 && prev[0] == room.Extremities[0].ID {
		return []storage.Extremity{{ID: e.ID, Pos: e.Pos, Depth: e.Depth}}, nil
	}
	next := prev
	for len(next) > 0 && len(covered) < maxShadow {
		for _, p := range next {
			covered[p] = true
		}
		parents, err := h.tx.EventsByID(next)
		if err != nil {
			return nil, err
		}
		next = nil
		for _, p := range parents {
			if p == nil || p.Status == storage.Accepted {
				continue
			}
			for _, g := range p.PrevEventIDs() {
				if !covered[g] {
					next = append(next, g)
				}
			}
		}
	}
	self := storage.Extremity{ID: e.ID, Pos: e.Pos, Depth: e.Depth}
	late, err := h.missed(e.ID)
	if err != nil {
		return nil, err
	}
	var out []storage.Extremity
	if !late {
		out = append(out, self)
	}
	for _, x := range room.Extremities {
		if !covered[x.ID] {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return []storage.Extremity{self}, nil
	}
	if len(out) > maxExtremities {
		slices.SortStableFunc(out[1:], func(a, b storage.Extremity) int { return cmp.Compare(b.Depth, a.Depth) })
		out = out[:maxExtremities]
	}
	return out, nil
}

// missed reports whether an event of the room was accepted already that comes after the given one: then there is a gap which that is in.
func (h *head) missed(event id.EventID) (bool, error) {
	gaps, err := h.tx.Gaps(h.room().NID)
	return slices.ContainsFunc(gaps, func(g storage.Gap) bool { return slices.Contains(g.Missing, event) }), err
}

// settle makes the current state what the states at the ends of the graph resolve to, after e was added to it.
func (h *head) settle(e *storage.Event) error {
	room := h.room()
	ids := make([]id.EventID, len(room.Extremities))
	for i, x := range room.Extremities {
		ids[i] = x.ID
	}
	events, err := h.tx.EventsByID(ids)
	if err != nil {
		return err
	}
	var snapshots []int64
	if slices.Contains(ids, e.ID) {
		snapshots = append(snapshots, e.StateAfter)
	}
	for _, x := range events {
		if x != nil && x.ID != e.ID && !slices.Contains(snapshots, x.StateAfter) {
			snapshots = append(snapshots, x.StateAfter)
		}
	}
	// e may be resolved away or in before it is stored: the library must be able to find it.
	next, err := h.resolve(snapshots, e)
	if err != nil {
		return err
	}
	changes, err := h.difference(room.State, next)
	if err != nil {
		return err
	}
	given := map[int64]entered{}
	if a, err := toAuthEvent(e, h.auth.version); err == nil {
		given[e.NID] = entered{e, a}
	}
	return h.change(e.Pos, next, changes, given)
}

// difference is what changes from one snapshot to another.
func (h *head) difference(from, to int64) ([]storage.StateChange, error) {
	if from == to {
		return nil, nil
	}
	was, err := h.stateMap(from)
	if err != nil {
		return nil, err
	}
	is, err := h.stateMap(to)
	if err != nil {
		return nil, err
	}
	return differing(was, is), nil
}

func (h *head) stateMap(snapshot int64) (map[storage.StateKey]int64, error) {
	if snapshot == 0 {
		return map[storage.StateKey]int64{}, nil
	}
	return h.tx.StateAt(snapshot)
}

func differing(was, is map[storage.StateKey]int64) []storage.StateChange {
	var out []storage.StateChange
	for k, event := range is {
		if was[k] != event {
			out = append(out, storage.StateChange{StateKey: k, Event: event})
		}
	}
	for k := range was {
		if _, still := is[k]; !still {
			out = append(out, storage.StateChange{StateKey: k})
		}
	}
	slices.SortFunc(out, func(a, b storage.StateChange) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// resolve is the snapshot that some snapshots resolve to. extra is an event that is part of them but not stored yet; it may be nil.
//
// Spec: server-server-api#room-state-resolution
func (h *head) resolve(snapshots []int64, extra *storage.Event) (int64, error) {
	if len(snapshots) == 1 {
		return snapshots[0], nil
	}
	sets := make([]map[storage.StateKey]int64, len(snapshots))
	for i, s := range snapshots {
		var err error
		if sets[i], err = h.stateMap(s); err != nil {
			return 0, err
		}
	}
	resolved, err := h.resolveMaps(sets, extra)
	if err != nil {
		return 0, err
	}
	return h.nearest(snapshots, sets, resolved)
}

// nearest stores a state as the snapshot that differs least from one of those given.
func (h *head) nearest(snapshots []int64, sets []map[storage.StateKey]int64, state map[storage.StateKey]int64) (int64, error) {
	var parent int64
	least := differing(nil, state)
	for i, set := range sets {
		if d := differing(set, state); snapshots[i] != 0 && len(d) < len(least) {
			parent, least = snapshots[i], d
		}
	}
	return h.tx.AddSnapshot(h.room().NID, parent, least)
}

// resolveMaps applies state resolution to states that are given by the numbers of events.
func (h *head) resolveMaps(sets []map[storage.StateKey]int64, extra *storage.Event) (map[storage.StateKey]int64, error) {
	var nids []int64
	known := map[int64]bool{}
	for _, set := range sets {
		for _, n := range set {
			if !known[n] {
				known[n] = true
				nids = append(nids, n)
			}
		}
	}
	ids, err := h.tx.EventIDsAt(nids)
	if err != nil {
		return nil, err
	}
	if extra != nil {
		ids[extra.NID] = extra.ID
	}
	back := make(map[id.EventID]int64, len(ids))
	for n, e := range ids {
		back[e] = n
	}
	named := make([]map[storage.StateKey]id.EventID, len(sets))
	for i, set := range sets {
		named[i] = make(map[storage.StateKey]id.EventID, len(set))
		for k, n := range set {
			named[i][k] = ids[n]
		}
	}
	resolved, err := stateres.Resolve(h.auth.version, named, &archive{h: h, extra: extra, pdus: map[id.EventID]judged{}})
	if err != nil {
		return nil, fmt.Errorf("resolve the state of %s: %w", h.room().ID, err)
	}
	out := make(map[storage.StateKey]int64, len(resolved))
	for k, e := range resolved {
		n, ok := back[e]
		if !ok {
			stored, err := h.tx.Event(e)
			if err != nil {
				return nil, fmt.Errorf("the resolved state has %s: %w", e, err)
			}
			n = stored.NID
		}
		out[k] = n
	}
	return out, nil
}

// archive gives state resolution the events of a room.
type archive struct {
	h     *head
	extra *storage.Event
	pdus  map[id.EventID]judged
}

type judged struct {
	pdu      authrules.Event
	rejected bool
}

// Event implements stateres.Source.
func (a *archive) Event(event id.EventID) (authrules.Event, bool, error) {
	if j, ok := a.pdus[event]; ok {
		return j.pdu, j.rejected, nil
	}
	e := a.extra
	if e == nil || e.ID != event {
		var err error
		if e, err = a.h.tx.Event(event); err != nil {
			return nil, false, err
		}
	}
	return a.keep(e)
}

// Load implements stateres.Loader.
func (a *archive) Load(events []id.EventID) error {
	found, err := a.h.tx.EventsByID(events)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e == nil {
			continue
		}
		if _, _, err := a.keep(e); err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}

// keep remembers an event. Those of other rooms are not here.
func (a *archive) keep(e *storage.Event) (authrules.Event, bool, error) {
	if e.Room != a.h.room().NID {
		return nil, false, storage.ErrNotFound
	}
	got, err := toAuthEvent(e, a.h.auth.version)
	if err != nil {
		return nil, false, err
	}
	a.pdus[e.ID] = judged{got.pdu, e.Status == storage.Rejected}
	return got.pdu, e.Status == storage.Rejected, nil
}

// stateAt is the state of a snapshot, for the auth rules.
func (h *head) stateAt(snapshot int64) *authState {
	if snapshot == h.room().State {
		return h.auth
	}
	snap := h.s.cache.get(snapshot)
	if snap == nil || snapshot == 0 {
		snap = newSnapshot()
	}
	return &authState{tx: h.auth.tx, room: h.auth.room, version: h.auth.version, snap: snap, past: true, at: snapshot}
}

// stateOf is the state that an event was sent in: the one before it or, for history of which that is not known, what its auth events say.
func (h *head) stateOf(e *storage.Event) (authrules.State, error) {
	if e.StateBefore != 0 {
		return h.stateAt(e.StateBefore), nil
	}
	names := e.AuthEventIDs()
	// The room's id stands for its create event. Spec: rooms/v12#event-format
	if create, ok := h.room().ID.CreateEvent(); ok {
		names = append(names, create)
	}
	events, err := h.tx.EventsByID(names)
	if err != nil {
		return nil, err
	}
	var pdus []authrules.Event
	for _, a := range events {
		if a == nil {
			continue
		}
		got, err := toAuthEvent(a, h.auth.version)
		if err != nil {
			return nil, err
		}
		pdus = append(pdus, got.pdu)
	}
	return authrules.NewEvents(pdus), nil
}

// errNoState says that the state before an event cannot be known yet.
var errNoState = errors.New("the state before the event is not known")

// stateBefore is the snapshot before an event with some parents. claim is what another server says the state after those parents is that are
// not here; it may be nil.
func (h *head) stateBefore(prev []id.EventID, claim map[storage.StateKey]int64) (int64, error) {
	room := h.room()
	if claim == nil && len(prev) == len(room.Extremities) {
		same := true
		for _, x := range room.Extremities {
			same = same && slices.Contains(prev, x.ID)
		}
		if same {
			return room.State, nil
		}
	}
	parents, err := h.tx.EventsByID(prev)
	if err != nil {
		return 0, err
	}
	var snapshots []int64
	for _, p := range parents {
		switch {
		case p == nil || p.Room != room.NID || p.Status == storage.Outlier || p.StateAfter == 0:
			if claim == nil {
				return 0, errNoState
			}
		case !slices.Contains(snapshots, p.StateAfter):
			snapshots = append(snapshots, p.StateAfter)
		}
	}
	if claim == nil {
		return h.resolve(snapshots, nil)
	}
	sets := make([]map[storage.StateKey]int64, 0, len(snapshots)+1)
	for _, s := range snapshots {
		set, err := h.stateMap(s)
		if err != nil {
			return 0, err
		}
		sets = append(sets, set)
	}
	state := claim
	if len(sets) > 0 {
		if state, err = h.resolveMaps(append(sets, claim), nil); err != nil {
			return 0, err
		}
	}
	// The claim mostly differs little from what is current here.
	current, err := h.stateMap(room.State)
	if err != nil {
		return 0, err
	}
	return h.nearest(append(snapshots, room.State), append(sets, current), state)
}
