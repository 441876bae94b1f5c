package directory

import (
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
)

// memory keeps answers of other servers. What it takes is bounded by the sizes that it is told; whoever asks says how old an answer may be.
type memory[K comparable, V any] struct {
	clock clock.Clock
	limit int

	mu   sync.Mutex
	size int
	kept map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	size  int
	at    time.Time
}

func newMemory[K comparable, V any](c clock.Clock, limit int) *memory[K, V] {
	return &memory[K, V]{clock: c, limit: limit, kept: map[K]remembered[V]{}}
}

// get returns what is known for a key and not older than age.
func (m *memory[K, V]) get(key K, age time.Duration) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.kept[key]
	if !ok || m.clock.Now().Sub(r.at) >= age {
		var none V
		return none, false
	}
	return r.value, true
}

// overhead is what an entry takes beside its value, in bytes, roughly.
const overhead = 200

// put keeps a value of a size in bytes, for which others may have to go: it does not matter which, for all can be had again.
func (m *memory[K, V]) put(key K, value V, size int) {
	size += overhead
	if size > m.limit/4 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size += size - m.kept[key].size
	m.kept[key] = remembered[V]{value, size, m.clock.Now()}
	for k, r := range m.kept {
		if m.size <= m.limit {
			return
		}
		if k != key {
			m.size -= r.size
			delete(m.kept, k)
		}
	}
}
