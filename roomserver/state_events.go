package roomserver

import (
	"maps"

	"github.com/hearthd/hearth/storage"
)

const (
	// maxAuthEvents bounds the events remembered of a snapshot.
	maxAuthEvents = 512
	// maxOwn bounds those that are copied for the next one.
	maxOwn = 32
)

// stateEvents is the events that are remembered of a snapshot; nil stands for absent state. A snapshot has most of them in common with the one that
// it was made of, so they share them: what one more change of the state costs does not depend on how many they are.
type stateEvents struct {
	own    map[storage.StateKey]*authEvent
	shared map[storage.StateKey]*authEvent // never changed; own goes first
}

func newStateEvents() *stateEvents { return &stateEvents{own: map[storage.StateKey]*authEvent{}} }

func (s *stateEvents) len() int { return len(s.own) + len(s.shared) }

// find is the event of a piece of state, if it is remembered.
func (s *stateEvents) find(key storage.StateKey) (e *authEvent, ok bool) {
	if e, ok = s.own[key]; !ok {
		e, ok = s.shared[key]
	}
	return e, ok
}

// set notes the event of a piece of state.
func (s *stateEvents) set(key storage.StateKey, e *authEvent) {
	if s.len() >= maxAuthEvents { // requests may ask for any key
		clear(s.own)
		s.shared = nil
	}
	s.own[key] = e
}

// forget makes a piece of state unknown.
func (s *stateEvents) forget(key storage.StateKey) {
	delete(s.own, key)
	if _, ok := s.shared[key]; ok {
		s.shared = maps.Clone(s.shared)
		delete(s.shared, key)
	}
}

// copy is the events of another snapshot, which is to differ from this one.
func (s *stateEvents) copy() *stateEvents {
	if len(s.own) <= maxOwn {
		return &stateEvents{maps.Clone(s.own), s.shared}
	}
	all := make(map[storage.StateKey]*authEvent, s.len())
	maps.Copy(all, s.shared)
	maps.Copy(all, s.own)
	return &stateEvents{map[storage.StateKey]*authEvent{}, all}
}
