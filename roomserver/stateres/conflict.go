package stateres

import (
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// conflict is what states disagree on.
type conflict struct {
	graph        *graph
	version      gomatrixserverlib.IRoomVersion
	unconflicted map[storage.StateKey]id.EventID
	conflicted   []*node
	chain        []*node // all that leads to the conflicted events, and they themselves; what leads to an event comes before it
	full         []*node // the full conflicted set
	inFull       map[*node]bool
	levels       map[*node]authrules.Levels // what power levels events say
}

// findConflict finds the full conflicted set of states.
func findConflict(version gomatrixserverlib.IRoomVersion, states []map[storage.StateKey]id.EventID, g *graph) (*conflict, error) {
	c := &conflict{
		graph: g, version: version, unconflicted: map[storage.StateKey]id.EventID{}, inFull: map[*node]bool{},
		levels: map[*node]authrules.Levels{},
	}
	origin := map[*node]uint64{} // the states that a conflicted event is in, as bits
	for key, event := range states[0] {
		if everywhere(states[1:], key, event) {
			c.unconflicted[key] = event
		}
	}
	for i, s := range states {
		for key, event := range s {
			if _, ok := c.unconflicted[key]; ok {
				continue
			}
			n := g.node(event)
			if origin[n] == 0 {
				c.conflicted = append(c.conflicted, n)
			}
			origin[n] |= 1 << i
		}
	}
	slices.SortFunc(c.conflicted, byID)
	if err := g.state(c.conflicted...); err != nil {
		return nil, err
	}
	if err := c.sortChain(); err != nil {
		return nil, err
	}
	for _, n := range c.conflicted {
		c.inFull[n] = true
	}
	if err := c.authDifference(origin, 1<<len(states)-1); err != nil {
		return nil, err
	}
	if version.StateResAlgorithm() == gomatrixserverlib.StateResV2_1 {
		c.subgraph(origin)
	}
	for n := range c.inFull {
		c.full = append(c.full, n)
	}
	slices.SortFunc(c.full, byID)
	return c, nil
}

func everywhere(states []map[storage.StateKey]id.EventID, key storage.StateKey, event id.EventID) bool {
	for _, s := range states {
		if s[key] != event {
			return false
		}
	}
	return true
}

// sortChain loads the auth chains of the conflicted events and puts them into an order in which auth events come first.
func (c *conflict) sortChain() error {
	chain := slices.Clone(c.conflicted)
	in := make(map[*node]bool, len(chain))
	for _, n := range chain {
		in[n] = true
	}
	err := c.graph.chain(c.conflicted, func(n *node) bool {
		if !in[n] {
			in[n] = true
			chain = append(chain, n)
		}
		return false
	})
	if err != nil {
		return err
	}
	open := make(map[*node]int, len(chain)) // how many auth events have not had their turn
	cited := make(map[*node][]*node, len(chain))
	for _, n := range chain {
		open[n] = len(n.auth)
		for _, a := range n.auth {
			cited[a] = append(cited[a], n)
		}
		if len(n.auth) == 0 {
			c.chain = append(c.chain, n)
		}
	}
	for i := 0; i < len(c.chain); i++ {
		for _, n := range cited[c.chain[i]] {
			if open[n]--; open[n] == 0 {
				c.chain = append(c.chain, n)
			}
		}
	}
	if len(c.chain) < len(chain) {
		return ErrCycle
	}
	c.chain = slices.DeleteFunc(c.chain, func(n *node) bool { return n.pdu == nil })
	return nil
}

// authDifference adds the events that are in the auth chains of some states and not of all. What leads to a conflicted event is not in the
// difference if it leads to state that all agree on. To know that for sure, the chains of that state have to be walked, unless there is
// nothing to be known.
func (c *conflict) authDifference(origin map[*node]uint64, all uint64) error {
	reached := make(map[*node]uint64, len(c.chain)) // the states whose chains an event is in
	for _, n := range slices.Backward(c.chain) {
		carries := reached[n] | origin[n]
		for _, a := range n.auth {
			reached[a] |= carries
		}
	}
	missing := map[*node]bool{}
	for _, n := range c.chain {
		if r := reached[n]; r != 0 && r != all && !c.inFull[n] {
			missing[n] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var agreed, members []*node
	for key, event := range c.unconflicted {
		if n := c.graph.node(event); key.Type == spec.MRoomMember {
			members = append(members, n)
		} else {
			agreed = append(agreed, n)
		}
	}
	slices.SortFunc(members, byID)
	// Members are many, and few of them lead anywhere.
	err := c.graph.chain(append(agreed, members...), func(n *node) bool {
		delete(missing, n)
		return len(missing) == 0
	})
	for n := range missing {
		c.inFull[n] = true
	}
	return err
}

// subgraph adds the events on the ways from conflicted events to others.
func (c *conflict) subgraph(origin map[*node]uint64) {
	leads := make(map[*node]bool, len(c.chain)) // a conflicted event leads to the event, or it is one
	for _, n := range c.chain {
		leads[n] = origin[n] != 0 || slices.ContainsFunc(n.auth, func(a *node) bool { return leads[a] })
		if leads[n] {
			c.inFull[n] = true // all of the chain leads to a conflicted event
		}
	}
}
