package hub

import "sync"

// memory is the last position of each key that is not of a user, in two generations: when the young one is full it becomes the old one and the old one is
// dropped, which costs nothing at the moment it happens. The floor is then raised to the highest position that may have been dropped.
type memory struct {
	mu         sync.RWMutex
	half       int // capacity of a generation
	young, old map[Key]int64
	floor      int64 // a key that is in no generation has not changed after this position
	top        int64 // highest position in young
	oldTop     int64 // highest position in old
	log        *log
}

func newMemory(floor int64, limit int) memory {
	return memory{half: max(limit/2, 1), young: make(map[Key]int64), floor: floor, log: &log{floor: floor}}
}

func (m *memory) record(pos int64, keys []Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if k.kind == ofUser {
			continue
		}
		m.log.add(pos, k)
		if last, known := m.young[k]; known {
			// Commits in one group may ring out of order.
			if pos > last {
				m.young[k] = pos
			}
		} else {
			if len(m.young) >= m.half {
				m.turn()
			}
			m.young[k] = max(pos, m.old[k])
		}
		m.top = max(m.top, pos)
	}
}

func (m *memory) turn() {
	m.floor = max(m.floor, m.oldTop)
	m.old, m.oldTop = m.young, m.top
	m.young, m.top = make(map[Key]int64), 0
}

func (m *memory) since(key Key, pos int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if last, known := m.young[key]; known {
		return last > pos
	}
	if last, known := m.old[key]; known {
		return last > pos
	}
	return pos < m.floor
}
