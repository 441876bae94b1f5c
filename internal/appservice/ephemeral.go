package appservice

import (
	"encoding/json"
	"sync"
)

// maxEphemera is the number of typing notices, receipts and presences that wait for an application service. The oldest are dropped: what is
// worth less than a moment is not worth more than memory.
const maxEphemera = 1000

// ephemera is what waits to be sent with the next transaction and is lost in a crash.
type ephemera struct {
	mu      sync.Mutex
	waiting []waiting
}

// take takes what waits, at most as much as goes into one transaction.
func (e *ephemera) take() []json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []json.RawMessage
	for _, w := range e.waiting[:min(len(e.waiting), maxEvents)] {
		out = append(out, w.event)
	}
	e.waiting = e.waiting[len(out):]
	return out
}

// waiting is something that replaces whatever waits with the same key.
type waiting struct {
	key   string
	event json.RawMessage
}
