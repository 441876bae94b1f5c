package stateres

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// graph is the part of a room's events that has been looked at, tied by auth events.
type graph struct {
	source Source
	nodes  map[id.EventID]*node
	loaded int
}

// node is an event. All but its id is known once it was loaded; pdu stays nil if the event is missing.
type node struct {
	id       id.EventID
	loaded   bool
	pdu      authrules.Event
	rejected bool
	auth     []*node
}

var errNoState = errors.New("the event is no state event")

func newGraph(source Source) *graph { return &graph{source: source, nodes: map[id.EventID]*node{}} }

// node is the node of an event that need not be loaded.
func (g *graph) node(event id.EventID) *node {
	n := g.nodes[event]
	if n == nil {
		n = &node{id: event}
		g.nodes[event] = n
	}
	return n
}

// load makes the nodes known.
func (g *graph) load(nodes ...*node) error {
	if loader, ok := g.source.(Loader); ok && len(nodes) > 1 {
		var wanted []id.EventID
		for _, n := range nodes {
			if !n.loaded {
				wanted = append(wanted, n.id)
			}
		}
		if len(wanted) > 0 {
			if err := loader.Load(wanted); err != nil {
				return fmt.Errorf("load %d events: %w", len(wanted), err)
			}
		}
	}
	for _, n := range nodes {
		if n.loaded {
			continue
		}
		if g.loaded++; g.loaded > maxEvents {
			return ErrTooLarge
		}
		pdu, rejected, err := g.source.Event(n.id)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			n.loaded = true
			continue
		case err != nil:
			return fmt.Errorf("load %s: %w", n.id, err)
		}
		n.loaded, n.pdu, n.rejected = true, pdu, rejected
		for _, a := range pdu.AuthEventIDs() {
			if to := g.node(id.EventID(a)); !slices.Contains(n.auth, to) {
				n.auth = append(n.auth, to)
			}
		}
	}
	return nil
}

// state makes nodes known that are in a state, where no event may be missing.
func (g *graph) state(nodes ...*node) error {
	if err := g.load(nodes...); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.pdu == nil {
			return fmt.Errorf("the state has %s: %w", n.id, storage.ErrNotFound)
		}
		if n.pdu.StateKey() == nil {
			return fmt.Errorf("the state has %s: %w", n.id, errNoState)
		}
	}
	return nil
}

// chain visits all that leads to the nodes through auth events, once each, until visit says that it is enough. The nodes themselves are
// visited only where they lead to one another. It loads no more than it has to, a batch at a time.
func (g *graph) chain(from []*node, visit func(*node) (enough bool)) error {
	const batch = 256
	seen := map[*node]bool{}
	for queue := slices.Clone(from); len(queue) > 0; {
		next := queue[:min(batch, len(queue))]
		queue = queue[len(next):]
		if err := g.load(next...); err != nil {
			return err
		}
		for _, n := range next {
			for _, a := range n.auth {
				if seen[a] {
					continue
				}
				seen[a] = true
				if visit(a) {
					return nil
				}
				queue = append(queue, a)
			}
		}
	}
	return nil
}

// key is the piece of state that a loaded event sets.
func (n *node) key() storage.StateKey {
	return storage.StateKey{Type: n.pdu.Type(), Key: *n.pdu.StateKey()}
}

// is says that the event is the one event of its type that counts, as far as it is known at all.
func (n *node) is(typ string) bool {
	return n.pdu != nil && n.pdu.Type() == typ && n.pdu.StateKeyEquals("")
}

// powerLevels finds the power levels among the auth events; nil if there are none.
func (g *graph) powerLevels(n *node) (*node, error) {
	if err := g.load(n); err != nil {
		return nil, err
	}
	if err := g.load(n.auth...); err != nil {
		return nil, err
	}
	for _, a := range n.auth {
		if a.is(spec.MRoomPowerLevels) {
			return a, nil
		}
	}
	return nil, nil //nolint:nilnil // there need not be any
}

// byID orders nodes so that results do not depend on the order of maps.
func byID(a, b *node) int { return cmp.Compare(a.id, b.id) }
