// Package stateres resolves the states of a room's branches into one, by the algorithm of the room's version: the first one, version 2 or
// version 2.1. It is a function of the states and of events, which it asks for as it needs them: the conflicting ones with all that leads
// to them, and the rest of the state only where the result depends on it. It refuses to guess: the same states give the same result in
// every order and on every server.
package stateres

import (
	"errors"
	"fmt"
	"maps"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// Source gives the events of one room.
type Source interface {
	// Event returns an event and whether it was rejected. Rejected events neither become state nor allow other events. The error is
	// storage.ErrNotFound where the event is missing: auth chains end there. An event may be asked for more than once.
	Event(event id.EventID) (pdu authrules.Event, rejected bool, err error)
}

// Loader is a Source that is told what it will be asked for, many events at a time.
type Loader interface {
	Load(events []id.EventID) error
}

// Errors of Resolve for rooms that no honest server makes.
var (
	ErrCycle    = errors.New("events lead to themselves through their auth events")
	ErrTooLarge = errors.New("the auth chains are too long")
)

// maxEvents bounds the events looked at, maxStates the states: an event has no more than 20 parents.
//
// Spec: server-server-api#pdus
const (
	maxEvents = 1 << 20
	maxStates = 64
)

// Resolve is the state that a room is in where branches meet that left it in the states given. The maps are not changed, and the result is
// not one of them.
func Resolve(
	version gomatrixserverlib.IRoomVersion, states []map[storage.StateKey]id.EventID, source Source,
) (map[storage.StateKey]id.EventID, error) {
	states = distinct(states)
	switch {
	case len(states) == 0:
		return map[storage.StateKey]id.EventID{}, nil
	case len(states) == 1:
		return maps.Clone(states[0]), nil
	case len(states) > maxStates:
		return nil, fmt.Errorf("%d different states: %w", len(states), ErrTooLarge)
	}
	g := newGraph(source)
	switch version.StateResAlgorithm() {
	case gomatrixserverlib.StateResV1:
		return resolveV1(version, states, g)
	case gomatrixserverlib.StateResV2, gomatrixserverlib.StateResV2_1:
		return resolveV2(version, states, g)
	}
	return nil, fmt.Errorf("no state resolution for room version %s", version.Version())
}

// distinct is the states without repetitions.
func distinct(states []map[storage.StateKey]id.EventID) []map[storage.StateKey]id.EventID {
	var out []map[storage.StateKey]id.EventID
next:
	for _, s := range states {
		for _, o := range out {
			if maps.Equal(s, o) {
				continue next
			}
		}
		out = append(out, s)
	}
	return out
}
