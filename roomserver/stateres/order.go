package stateres

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// ranked is an event with what it is sorted by: the first number decides, then the time, then the id.
type ranked struct {
	*node
	rank int64
}

func compareRanked(a, b ranked) int {
	return cmp.Or(
		cmp.Compare(a.rank, b.rank), cmp.Compare(a.pdu.OriginServerTS(), b.pdu.OriginServerTS()), cmp.Compare(a.id, b.id),
	)
}

// queue is a heap of events, the smallest first.
type queue []ranked

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return compareRanked(q[i], q[j]) < 0 }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(ranked)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// powerOrder is the reverse topological power ordering: what leads to an event comes before it, and of what may come next, first what was
// sent by who has more power. Events between those sorted take their turn as soon as they may.
func (c *conflict) powerOrder(events []*node) ([]*node, error) {
	sorted := make(map[*node]bool, len(events))
	for _, n := range events {
		sorted[n] = true
	}
	open := make(map[*node]int, len(c.chain))
	cited := make(map[*node][]*node, len(c.chain))
	var (
		ready queue
		free  []*node
	)
	admit := func(n *node) error {
		if !sorted[n] {
			free = append(free, n)
			return nil
		}
		level, err := c.senderLevel(n)
		if err == nil {
			heap.Push(&ready, ranked{n, -level})
		}
		return err
	}
	for _, n := range c.chain {
		for _, a := range n.auth {
			if a.pdu != nil {
				open[n]++
				cited[a] = append(cited[a], n)
			}
		}
		if open[n] == 0 {
			if err := admit(n); err != nil {
				return nil, err
			}
		}
	}
	out := make([]*node, 0, len(events))
	for len(free) > 0 || len(ready) > 0 {
		var n *node
		if last := len(free) - 1; last >= 0 {
			n, free = free[last], free[:last]
		} else {
			n = heap.Pop(&ready).(ranked).node
			if out = append(out, n); len(out) == len(events) {
				break
			}
		}
		for _, next := range cited[n] {
			if open[next]--; open[next] == 0 {
				if err := admit(next); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// senderLevel is the power that the sender of an event has by the event's auth events.
func (c *conflict) senderLevel(n *node) (int64, error) {
	named, err := c.graph.powerLevels(n)
	if err != nil {
		return 0, err
	}
	levels, known := c.levels[named]
	if !known || named == nil {
		var auth []authrules.Event
		for _, a := range n.auth {
			if a.pdu != nil {
				auth = append(auth, a.pdu)
			}
		}
		// Levels that cannot be read give nobody power.
		levels, _ = authrules.Power(c.version, authrules.NewEvents(auth))
		c.levels[named] = levels
	}
	return max(levels.User(id.UserID(n.pdu.SenderID())), -math.MaxInt64), nil
}

// mainlineOrder sorts events by how old the power levels are that they were sent under, seen from the power levels in the state.
func (r *room) mainlineOrder(events []*node) ([]*node, error) {
	const none = 1 << 40
	position := map[*node]int64{} // from the end of the mainline, which is the newest
	if newest, ok := r.state[storage.StateKey{Type: spec.MRoomPowerLevels}]; ok {
		n := r.graph.node(newest)
		for i := int64(0); n != nil; i++ {
			if _, ok := position[n]; ok {
				return nil, ErrCycle
			}
			position[n] = i
			var err error
			if n, err = r.graph.powerLevels(n); err != nil {
				return nil, err
			}
		}
	}
	list := make([]ranked, 0, len(events))
	for _, e := range events {
		// All power levels on the way to the mainline have the same position.
		var way []*node
		found := int64(none)
		n, err := r.graph.powerLevels(e)
		for ; n != nil && err == nil; n, err = r.graph.powerLevels(n) {
			if at, ok := position[n]; ok {
				found = at
				break
			}
			way = append(way, n)
		}
		if err != nil {
			return nil, err
		}
		for _, n := range way {
			position[n] = found
		}
		list = append(list, ranked{e, -found})
	}
	slices.SortFunc(list, compareRanked)
	out := make([]*node, len(list))
	for i, l := range list {
		out[i] = l.node
	}
	return out, nil
}
