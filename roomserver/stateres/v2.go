package stateres

import (
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// resolveV2 is versions 2 and 2.1 of the algorithm.
//
// Spec: rooms/v2#state-resolution, rooms/v12#state-resolution
func resolveV2(
	version gomatrixserverlib.IRoomVersion, states []map[storage.StateKey]id.EventID, g *graph,
) (map[storage.StateKey]id.EventID, error) {
	c, err := findConflict(version, states, g)
	if err != nil {
		return nil, err
	}
	r := &room{version: version, graph: g, state: map[storage.StateKey]id.EventID{}}
	if version.StateResAlgorithm() == gomatrixserverlib.StateResV2 {
		for key, event := range c.unconflicted {
			r.state[key] = event
		}
	}
	power, rest, err := c.split()
	if err != nil {
		return nil, err
	}
	if power, err = c.powerOrder(power); err != nil {
		return nil, err
	}
	if err := r.apply(power); err != nil {
		return nil, err
	}
	if rest, err = r.mainlineOrder(rest); err != nil {
		return nil, err
	}
	if err := r.apply(rest); err != nil {
		return nil, err
	}
	for key, event := range c.unconflicted {
		r.state[key] = event
	}
	return r.state, nil
}

// apply is the iterative auth checks. An event that was rejected stays out, whatever was wrong with it: see docs/adr/0011.
func (r *room) apply(events []*node) error {
	for _, n := range events {
		if n.rejected {
			continue
		}
		if err := r.graph.load(n.auth...); err != nil {
			return err
		}
		ok, err := r.allows(n, n.auth)
		if err != nil {
			return err
		}
		if ok {
			r.state[n.key()] = n.id
		}
	}
	return nil
}

// isPower says that an event might take somebody's ability to do something. Of power levels and join rules these are those that count, with
// an empty state key.
func isPower(n *node) bool {
	if n.pdu.Type() != spec.MRoomMember {
		return n.is(spec.MRoomPowerLevels) || n.is(spec.MRoomJoinRules)
	}
	membership := gjson.GetBytes(n.pdu.Content(), "membership")
	return membership.Type == gjson.String && (membership.Str == spec.Leave || membership.Str == spec.Ban) &&
		!n.pdu.StateKeyEquals(string(n.pdu.SenderID()))
}

// split parts the full conflicted set into the power events with all that leads to them, and the rest.
func (c *conflict) split() (power, rest []*node, err error) {
	for _, n := range c.full {
		if isPower(n) {
			power = append(power, n)
		}
	}
	chosen := make(map[*node]bool, len(power))
	for _, n := range power {
		chosen[n] = true
	}
	err = c.graph.chain(power, func(n *node) bool {
		if c.inFull[n] && !chosen[n] {
			chosen[n] = true
			power = append(power, n)
		}
		return false
	})
	for _, n := range c.full {
		if !chosen[n] {
			rest = append(rest, n)
		}
	}
	return power, rest, err
}
