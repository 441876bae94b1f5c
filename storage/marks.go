package storage

import "sync"

// marks is the last position at which something changed, for questions whose answer is mostly "nothing has". It learns only of changes that
// this process commits; it knows nothing of what was before floor, the position at which it was made. In two generations, so that it is
// bounded: when the young one is full, the old one is dropped and the floor raised above all that was in it.
type marks[K comparable] struct {
	mu         sync.RWMutex
	young, old map[K]int64
	floor      int64
	top        int64 // highest position in young
	oldTop     int64
}

const maxMarks = 1 << 17 // in a generation

func newMarks[K comparable](floor int64) *marks[K] {
	return &marks[K]{young: map[K]int64{}, floor: floor}
}

// set notes that key changed at pos.
func (m *marks[K]) set(key K, pos int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= maxMarks {
		m.floor = max(m.floor, m.oldTop)
		m.old, m.oldTop = m.young, m.top
		m.young, m.top = map[K]int64{}, 0
	}
	m.young[key] = max(pos, m.young[key], m.old[key])
	m.top = max(m.top, pos)
}

// unchanged reports whether key surely has not changed after pos. Inside a View the answer holds for its snapshot once Settled has returned.
func (m *marks[K]) unchanged(key K, pos int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if last, known := m.young[key]; known {
		return last <= pos
	}
	if last, known := m.old[key]; known {
		return last <= pos
	}
	return pos >= m.floor
}

// quiet reports whether surely nothing at all has changed after pos.
func (m *marks[K]) quiet(pos int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return pos >= max(m.floor, m.top, m.oldTop)
}
