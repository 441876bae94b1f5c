package sender

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Bounds of what is said in passing to one server: while it is sent to, and while it cannot be reached.
const (
	maxPassing        = 500
	maxPassingResting = 50
)

// typing is the type of EDU that is urgent, and worth nothing afterwards.
const typing = "m.typing"

// parcel is something said in passing.
type parcel struct {
	typ, key string
	content  json.RawMessage
}

// Ephemeral says something in passing. What has the same type and key and has not been sent is replaced. Nothing of it is stored: who restarts,
// or cannot be reached while too much else is said, misses it. All but typing waits a little for company.
func (s *Sender) Ephemeral(to []id.ServerName, typ, key string, content json.RawMessage) {
	at := s.clock.Now()
	if typ != typing {
		at = at.Add(patience)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range to {
		if name == s.name {
			continue
		}
		d := s.destination(name)
		if d.resting && typ == typing {
			continue
		}
		limit := maxPassing
		if d.resting {
			limit = maxPassingResting
		}
		d.passing.put(parcel{typ, key, content}, limit)
		s.ring(d, at)
	}
}

// passing is what is said in passing to one server, oldest first.
type passing struct {
	order   []passingKey
	parcels map[passingKey]json.RawMessage
}

type passingKey struct{ typ, key string }

func (p *passing) len() int { return len(p.order) }

// put adds a parcel, in the place of one with the same key. The oldest are forgotten where there are too many.
func (p *passing) put(v parcel, limit int) {
	if p.parcels == nil {
		p.parcels = map[passingKey]json.RawMessage{}
	}
	k := passingKey{v.typ, v.key}
	if _, known := p.parcels[k]; !known {
		p.order = append(p.order, k)
	}
	p.parcels[k] = v.content
	p.cut(limit)
}

func (p *passing) cut(limit int) {
	for len(p.order) > limit {
		p.pop()
	}
}

func (p *passing) pop() parcel {
	k := p.order[0]
	v := parcel{k.typ, k.key, p.parcels[k]}
	delete(p.parcels, k)
	if p.order = p.order[1:]; len(p.order) == 0 {
		p.order, p.parcels = nil, nil
	}
	return v
}

// take removes the oldest parcels, up to a number of them.
func (p *passing) take(limit int) []parcel {
	var out []parcel
	for len(out) < limit && len(p.order) > 0 {
		out = append(out, p.pop())
	}
	return out
}

// back returns parcels that have not been delivered, but for those that there is something newer for.
func (p *passing) back(list []parcel) {
	newer := p.take(p.len())
	for _, v := range append(list, newer...) {
		if v.typ != typing {
			p.put(v, maxPassing)
		}
	}
}

// rest forgets what a server that cannot be reached now will not want to hear later.
func (p *passing) rest() {
	kept := p.take(p.len())
	for _, v := range kept {
		if v.typ != typing {
			p.put(v, maxPassingResting)
		}
	}
}
