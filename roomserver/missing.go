package roomserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// What one event makes us ask for is bounded: a server can name any number of events that do not exist.
const (
	missingLimit  = 20    // events of one answer of get_missing_events
	missingRounds = 5     // such requests for one event
	maxClaims     = 5     // parents for which the state is asked
	claimTries    = 3     // other servers that are asked for it
	maxOneByOne   = 100   // events that are asked for one by one before the whole state is asked for
	maxState      = 50000 // events of a state and its auth chain
	together      = 8     // requests at a time
)

var (
	errTooMuch  = errors.New("more events are missing than are asked for")
	errWithheld = errors.New("the parents of the event cannot be had")
)

// complete fetches what the judgement of an event needs and is not here: its parents, or the state after those, and its auth events.
//
// Spec: server-server-api#retrieving-missing-events
func (in *intake) complete(ctx context.Context, e *pdu.Event) (batch, error) {
	chain, known, err := in.parents(ctx, e)
	if err != nil {
		return batch{}, err
	}
	if chain, err = in.above(ctx, chain, known, e); err != nil {
		return batch{}, err
	}
	var b batch
	here := map[id.EventID]bool{}
	claims := 0
	for _, c := range chain {
		got := incoming{Event: c}
		for _, p := range c.Prev() {
			if known.judged(p) || here[p] {
				continue
			}
			status, seen := known[p]
			if c == e && !seen {
				// Who sends an event must be able to say what it comes after. For what is before that, the state will do.
				return batch{}, errWithheld
			}
			if status != stateless {
				got.missing = append(got.missing, p)
			}
			if claims++; claims > maxClaims {
				return batch{}, errTooMuch
			}
			claim, outliers, err := in.claimOf(ctx, p)
			if err != nil {
				return batch{}, fmt.Errorf("state after %s: %w", p, err)
			}
			if got.claim == nil {
				got.claim = claim
			} else {
				// What several parents disagree about is resolved with the states of those that are here; one of them must do otherwise.
				for k, v := range claim {
					if _, claimed := got.claim[k]; !claimed {
						got.claim[k] = v
					}
				}
			}
			b.outliers = append(b.outliers, outliers...)
		}
		b.events = append(b.events, got)
		here[c.ID] = true
	}
	outliers, err := in.authEvents(ctx, b, known)
	b.outliers = append(b.outliers, outliers...)
	return b, err
}

// completeSoon is complete within bounds of time.
func (in *intake) completeSoon(ctx context.Context, e *pdu.Event) (batch, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return in.complete(ctx, e)
}

// parents fetches what is between the room as it is here and an event, which comes last.
func (in *intake) parents(ctx context.Context, e *pdu.Event) ([]*pdu.Event, stock, error) {
	chain := []*pdu.Event{e}
	here := map[id.EventID]bool{e.ID: true}
	latest := []id.EventID{e.ID}
	for round := 0; ; round++ {
		known, err := in.look(ctx, chain)
		if err != nil {
			return nil, nil, err
		}
		open := false
		for _, c := range chain {
			for _, p := range c.Prev() {
				open = open || !known.judged(p) && !here[p]
			}
		}
		if !open || round == missingRounds {
			return chain, known, nil
		}
		// No least depth is asked for: on the other side of a fork, what is missing may be far less deep than the ends of the room here.
		raw, err := in.s.peers.Remote.MissingEvents(ctx, in.origin, in.room, fedtypes.MissingRequest{
			Earliest: in.ends, Latest: latest, Limit: missingLimit,
		})
		if err != nil && ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		got := in.supporting(ctx, raw[:min(len(raw), missingLimit)])
		latest = latest[:0:0]
		for _, m := range got {
			if !here[m.ID] && !known.settled(m.ID) {
				here[m.ID] = true
				chain = append(chain, m)
				latest = append(latest, m.ID)
			}
		}
		chain = inGraphOrder(chain)
		if len(latest) < missingLimit { // that is all that it has, or wants to give
			round = missingRounds - 1
		}
	}
}

// above leaves out of what is between the room and an event, which come in the order of the graph, what is here already, and what is from
// before the time that the history here begins with: of that, the state will do, which a parent of the event itself has to be asked for.
func (in *intake) above(ctx context.Context, chain []*pdu.Event, known stock, e *pdu.Event) ([]*pdu.Event, error) {
	begins := int64(0)
	err := in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(in.room)
		if err != nil {
			return err
		}
		gaps, err := tx.Gaps(row.NID)
		if err != nil || len(gaps) == 0 {
			return err
		}
		first, err := tx.Timeline(row.NID, storage.Span{After: gaps[len(gaps)-1].End(), UpTo: math.MaxInt64}, 1, false)
		if len(first) > 0 {
			begins = first[0].Depth
		}
		return err
	})
	return slices.DeleteFunc(chain, func(m *pdu.Event) bool {
		_, here := known[m.ID]
		old := m.Depth() < begins && (here || !slices.Contains(e.Prev(), m.ID))
		return m != e && (known.settled(m.ID) || old)
	}), err
}

// claimOf asks for the state after an event that is not here: whoever sent what comes after it, and where they do not know, others in the room.
func (in *intake) claimOf(ctx context.Context, event id.EventID) (map[storage.StateKey]id.EventID, []*pdu.Event, error) {
	claim, outliers, err := in.claim(ctx, event)
	if err == nil || ctx.Err() != nil {
		return claim, outliers, err
	}
	var servers []id.ServerName
	if e := in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		row, err := tx.Room(in.room)
		if err != nil {
			return err
		}
		servers, err = in.s.likely(tx, row)
		return err
	}); e != nil {
		return nil, nil, e
	}
	for _, server := range servers[:min(len(servers), claimTries)] {
		if server == in.origin {
			continue
		}
		other := *in
		other.origin = server
		if claim, outliers, e := other.claim(ctx, event); e == nil {
			return claim, outliers, nil
		}
	}
	return nil, nil, err
}

// inGraphOrder sorts events so that parents come before their children, and those of smaller depth first otherwise. What is part of a cycle,
// which no honest server makes, or comes after one, is left out.
func inGraphOrder(events []*pdu.Event) []*pdu.Event { return inOrder(events, (*pdu.Event).Prev) }

// inAuthOrder is inGraphOrder for auth events instead of parents.
func inAuthOrder(events []*pdu.Event) []*pdu.Event { return inOrder(events, (*pdu.Event).Auth) }

func inOrder(events []*pdu.Event, after func(*pdu.Event) []id.EventID) []*pdu.Event {
	sorted := slices.SortedStableFunc(slices.Values(events), func(a, b *pdu.Event) int {
		return cmp.Or(cmp.Compare(a.Depth(), b.Depth()), cmp.Compare(a.OriginServerTS(), b.OriginServerTS()), cmp.Compare(a.ID, b.ID))
	})
	among := make(map[id.EventID]*pdu.Event, len(sorted))
	for _, e := range sorted {
		among[e.ID] = e
	}
	out := make([]*pdu.Event, 0, len(sorted))
	done := make(map[id.EventID]bool, len(sorted)) // false for those that are being looked at, and those after a cycle
	var visit func(e *pdu.Event) bool
	visit = func(e *pdu.Event) bool {
		if in, seen := done[e.ID]; seen {
			return in
		}
		done[e.ID] = false
		for _, p := range after(e) {
			if parent := among[p]; parent != nil && !visit(parent) {
				return false
			}
		}
		done[e.ID] = true
		out = append(out, e)
		return true
	}
	for _, e := range sorted {
		visit(e)
	}
	return out
}

// claim asks for the state after an event that is not here: the state before it, and the event itself.
func (in *intake) claim(ctx context.Context, event id.EventID) (map[storage.StateKey]id.EventID, []*pdu.Event, error) {
	ids, err := in.s.peers.Remote.StateIDs(ctx, in.origin, in.room, event)
	if err != nil {
		return nil, nil, err
	}
	if len(ids.State)+len(ids.AuthChain) > maxState {
		return nil, nil, errTooMuch
	}
	all := slices.Concat(ids.State, ids.AuthChain)
	here, err := in.here(ctx, all)
	if err != nil {
		return nil, nil, err
	}
	var missing []id.EventID
	seen := map[id.EventID]bool{}
	for _, e := range all {
		if _, known := here[e]; !known && !seen[e] {
			seen[e] = true
			missing = append(missing, e)
		}
	}
	var outliers []*pdu.Event
	if len(missing) > maxOneByOne {
		answer, err := in.s.peers.Remote.State(ctx, in.origin, in.room, event)
		if err != nil {
			return nil, nil, err
		}
		// Only what was named and is missing is worth the work of looking at its signatures.
		events := in.read(append(answer.State, answer.AuthChain...), map[id.EventID]error{})
		outliers = in.verified(ctx, slices.DeleteFunc(events, func(e *pdu.Event) bool { return !seen[e.ID] }), nil)
	} else {
		outliers = in.each(ctx, missing)
	}
	self := in.each(ctx, []id.EventID{event})
	if len(self) == 0 {
		return nil, nil, fmt.Errorf("the event %s itself cannot be had", event)
	}
	outliers = append(outliers, self...)
	fetched := map[id.EventID]*pdu.Event{}
	for _, o := range outliers {
		fetched[o.ID] = o
	}
	out := make(map[storage.StateKey]id.EventID, len(ids.State))
	for _, e := range ids.State {
		if key := here[e]; key.Type != "" {
			out[key] = e
		} else if o := fetched[e]; o != nil {
			if typ, key, ok := o.State(); ok {
				out[storage.StateKey{Type: typ, Key: key}] = e
			}
		}
	}
	if typ, key, ok := self[0].State(); ok {
		out[storage.StateKey{Type: typ, Key: key}] = event
	}
	if len(out) == 0 {
		return nil, nil, errors.New("the state is empty")
	}
	return out, outliers, nil
}

// here is those of some events that are here, with what they set of the room's state; a message sets nothing.
func (in *intake) here(ctx context.Context, ids []id.EventID) (map[id.EventID]storage.StateKey, error) {
	out := make(map[id.EventID]storage.StateKey, len(ids))
	err := in.s.store.View(ctx, func(tx *storage.ReadTx) error {
		for some := range slices.Chunk(ids, maxLoaded) {
			events, err := tx.EventsByID(some)
			if err != nil {
				return err
			}
			for _, e := range events {
				if e != nil && e.RoomID == in.room {
					out[e.ID], _ = stateKeyOf(e)
				}
			}
		}
		return nil
	})
	return out, err
}

// supporting is those of some events of other servers that are in order.
func (in *intake) supporting(ctx context.Context, raw []json.RawMessage) []*pdu.Event {
	return in.verified(ctx, in.read(raw, map[id.EventID]error{}), nil)
}

// each asks for events one by one, and gives those that can be had.
func (in *intake) each(ctx context.Context, ids []id.EventID) []*pdu.Event {
	raw := make([]json.RawMessage, len(ids))
	var workers sync.WaitGroup
	turns := make(chan struct{}, together)
	for i, event := range ids {
		turns <- struct{}{}
		workers.Go(func() {
			defer func() { <-turns }()
			raw[i], _ = in.s.peers.Remote.Event(ctx, in.origin, event)
		})
	}
	workers.Wait()
	got := in.supporting(ctx, slices.DeleteFunc(raw, func(r json.RawMessage) bool { return len(r) == 0 }))
	return slices.DeleteFunc(got, func(e *pdu.Event) bool { return !slices.Contains(ids, e.ID) })
}

// authEvents fetches the auth events of a batch that neither are here nor come with it, and what those need.
func (in *intake) authEvents(ctx context.Context, b batch, known stock) ([]*pdu.Event, error) {
	have := map[id.EventID]bool{}
	for _, o := range b.outliers {
		have[o.ID] = true
	}
	var found []*pdu.Event
	for _, e := range b.events {
		have[e.ID] = true
		missing := func() []id.EventID {
			var out []id.EventID
			for _, a := range e.Auth() {
				if _, here := known[a]; !here && !have[a] {
					out = append(out, a)
				}
			}
			return out
		}
		if len(missing()) == 0 {
			continue
		}
		chain, err := in.s.peers.Remote.EventAuth(ctx, in.origin, in.room, e.ID)
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		got := in.supporting(ctx, chain)
		for _, o := range got {
			have[o.ID] = true
		}
		found = append(found, got...)
		// Who does not give the chain may give the events. Of those not all that they need can be had, which their judgement will tell.
		if still := missing(); len(still) > 0 {
			one := in.each(ctx, still)
			for _, o := range one {
				have[o.ID] = true
			}
			found = append(found, one...)
		}
	}
	return found, nil
}
