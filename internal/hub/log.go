package hub

// log is the last rings of keys that are not of users or devices, in their order: what has changed lately, for readers who would else have to
// ask for each of a thousand keys.
type log struct {
	ring  [logSize]entry
	next  int64 // how many there ever were
	top   int64 // highest position so far
	floor int64 // nothing after this position has been forgotten
}

const logSize = 4096

type entry struct {
	key Key
	pos int64
	top int64 // highest position up to here: commits in one group may ring out of order
}

func (l *log) add(pos int64, key Key) {
	if key.kind == 'd' {
		return
	}
	l.top = max(l.top, pos)
	place := &l.ring[l.next%logSize]
	if l.next >= logSize {
		l.floor = max(l.floor, place.top)
	}
	*place = entry{key, pos, l.top}
	l.next++
}

func (l *log) since(pos int64, most int) (keys []Key, ok bool) {
	if pos < l.floor {
		return nil, false
	}
	for i := l.next - 1; i >= max(0, l.next-logSize); i-- {
		r := &l.ring[i%logSize]
		if r.top <= pos {
			break
		}
		if r.pos > pos {
			if len(keys) == most {
				return nil, false
			}
			keys = append(keys, r.key)
		}
	}
	return keys, true
}

// Rung is the keys that were rung after pos, some perhaps more than once, but for those of users and devices. It is not ok where the hub
// cannot know all of them, or where they are more than most: then it is cheaper to ask for each key that matters.
func (h *Hub) Rung(pos int64, most int) (keys []Key, ok bool) {
	return h.memory[durable].rung(pos, most)
}

// RungEphemeral is Rung for the ephemeral counter.
func (h *Hub) RungEphemeral(eph int64, most int) (keys []Key, ok bool) {
	if eph > h.Ephemeral() {
		return nil, false
	}
	return h.memory[ephemeral].rung(eph, most)
}

func (m *memory) rung(pos int64, most int) ([]Key, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.log.since(pos, most)
}
