package stateres

import (
	"bytes"
	"cmp"
	"crypto/sha1" //nolint:gosec // the algorithm says so; it only breaks ties
	"maps"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// resolveV1 is the first algorithm.
//
// Spec: rooms/v1#state-resolution
func resolveV1(
	version gomatrixserverlib.IRoomVersion, states []map[storage.StateKey]id.EventID, g *graph,
) (map[storage.StateKey]id.EventID, error) {
	resolved := map[storage.StateKey]id.EventID{}
	conflicts := map[storage.StateKey][]*node{}
	for _, s := range states {
		for key, event := range s {
			if other, ok := resolved[key]; ok && other != event && conflicts[key] == nil {
				conflicts[key] = []*node{g.node(other)}
			}
			resolved[key] = event
			if n := g.node(event); conflicts[key] != nil && !slices.Contains(conflicts[key], n) {
				conflicts[key] = append(conflicts[key], n)
			}
		}
	}
	var all []*node
	for key, events := range conflicts {
		delete(resolved, key)
		all = append(all, events...)
	}
	if err := g.state(all...); err != nil {
		return nil, err
	}
	room := &room{version: version, graph: g, state: resolved}
	for key, events := range conflicts {
		if events = slices.DeleteFunc(events, func(n *node) bool { return n.rejected }); len(events) == 0 {
			delete(conflicts, key)
		} else {
			conflicts[key] = oldestFirst(events)
		}
	}
	for _, typ := range []string{spec.MRoomPowerLevels, spec.MRoomJoinRules, spec.MRoomMember} {
		// What is resolved counts for the next type, not for others of the same type.
		of := map[storage.StateKey]id.EventID{}
		for key, events := range conflicts {
			if key.Type != typ || key.Key != "" && typ != spec.MRoomMember {
				continue
			}
			winner, err := room.newestInARow(key, events)
			if err != nil {
				return nil, err
			}
			of[key] = winner.id
			delete(conflicts, key)
		}
		maps.Copy(resolved, of)
	}
	others := map[storage.StateKey]id.EventID{}
	for key, events := range conflicts {
		winner, err := room.newestAllowed(events)
		if err != nil {
			return nil, err
		}
		others[key] = winner.id
	}
	maps.Copy(resolved, others)
	return resolved, nil
}

// oldestFirst sorts events by depth and, where that is the same, by hash, the greater one first.
func oldestFirst(events []*node) []*node {
	slices.SortFunc(events, func(a, b *node) int {
		if c := cmp.Compare(a.pdu.Depth(), b.pdu.Depth()); c != 0 {
			return c
		}
		x, y := sha1.Sum([]byte(a.id)), sha1.Sum([]byte(b.id)) //nolint:gosec // as above
		return bytes.Compare(y[:], x[:])
	})
	return events
}

// newestInARow is the last event of those that allow one another, from the oldest on.
func (r *room) newestInARow(key storage.StateKey, events []*node) (*node, error) {
	defer delete(r.state, key)
	winner := events[0]
	for _, n := range events[1:] {
		r.state[key] = winner.id
		ok, err := r.allows(n, nil)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		winner = n
	}
	return winner, nil
}

// newestAllowed is the newest event that the state allows, or the oldest one, if it allows none.
func (r *room) newestAllowed(events []*node) (*node, error) {
	for i := len(events) - 1; i > 0; i-- {
		if ok, err := r.allows(events[i], nil); ok || err != nil {
			return events[i], err
		}
	}
	return events[0], nil
}
