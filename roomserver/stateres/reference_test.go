package stateres

import (
	"cmp"
	"math"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// The specification's words turned into code, one definition after the other, without a thought of what it costs. It is what Resolve is
// compared with.

type set map[id.EventID]bool

func (w *world) authChain(of id.EventID) set {
	out := set{}
	var walk func(id.EventID)
	walk = func(e id.EventID) {
		if w.pdus[e] == nil {
			return
		}
		for _, a := range w.pdus[e].AuthEventIDs() {
			if a := id.EventID(a); w.pdus[a] != nil && !out[a] {
				out[a] = true
				walk(a)
			}
		}
	}
	walk(of)
	return out
}

func (w *world) keyOf(e id.EventID) storage.StateKey {
	return storage.StateKey{Type: w.pdus[e].Type(), Key: *w.pdus[e].StateKey()}
}

func (w *world) citedLevels(e id.EventID) id.EventID {
	for _, a := range w.pdus[e].AuthEventIDs() {
		if pdu := w.pdus[id.EventID(a)]; pdu != nil && pdu.Type() == spec.MRoomPowerLevels && pdu.StateKeyEquals("") {
			return id.EventID(a)
		}
	}
	return ""
}

func (w *world) powerEvent(e id.EventID) bool {
	pdu := w.pdus[e]
	switch pdu.Type() {
	case spec.MRoomPowerLevels, spec.MRoomJoinRules:
		return pdu.StateKeyEquals("")
	case spec.MRoomMember:
		m, _ := pdu.Membership()
		return (m == spec.Leave || m == spec.Ban) && !pdu.StateKeyEquals(string(pdu.SenderID()))
	}
	return false
}

func (w *world) referenceV2(states []state) state {
	unconflicted, conflicted := state{}, set{}
	for _, s := range states {
		for k, e := range s {
			if slices.ContainsFunc(states, func(o state) bool { return o[k] != e }) {
				conflicted[e] = true
			} else {
				unconflicted[k] = e
			}
		}
	}
	full := set{}
	for e := range conflicted {
		full[e] = true
	}
	// Auth difference.
	in := map[id.EventID]int{}
	for _, s := range states {
		chain := set{}
		for _, e := range s {
			for a := range w.authChain(e) {
				chain[a] = true
			}
		}
		for a := range chain {
			in[a]++
		}
	}
	for a, n := range in {
		if n < len(states) {
			full[a] = true
		}
	}
	start := unconflicted
	if w.version.StateResAlgorithm() == gomatrixserverlib.StateResV2_1 {
		start = state{}
		// Conflicted state subgraph.
		for _, e := range w.order {
			from := slices.ContainsFunc(keys(conflicted), func(c id.EventID) bool { return c == e || w.authChain(c)[e] })
			to := slices.ContainsFunc(keys(conflicted), func(c id.EventID) bool { return c == e || w.authChain(e)[c] })
			if from && to {
				full[e] = true
			}
		}
	}
	x := set{}
	for e := range full {
		if w.powerEvent(e) {
			x[e] = true
			for a := range w.authChain(e) {
				if full[a] {
					x[a] = true
				}
			}
		}
	}
	r := state{}
	for k, e := range start {
		r[k] = e
	}
	w.referenceChecks(r, w.referencePowerOrder(keys(x)))
	var rest []id.EventID
	for e := range full {
		if !x[e] {
			rest = append(rest, e)
		}
	}
	w.referenceChecks(r, w.referenceMainlineOrder(r[storage.StateKey{Type: spec.MRoomPowerLevels}], rest))
	for k, e := range unconflicted {
		r[k] = e
	}
	return r
}

func keys(s set) []id.EventID {
	out := []id.EventID{}
	for e := range s {
		out = append(out, e)
	}
	slices.Sort(out)
	return out
}

// referencePowerOrder takes the smallest event again and again of those that no event left leads to.
func (w *world) referencePowerOrder(left []id.EventID) []id.EventID {
	level := func(e id.EventID) int64 {
		var auth []authrules.Event
		for _, a := range w.pdus[e].AuthEventIDs() {
			if pdu := w.pdus[id.EventID(a)]; pdu != nil {
				auth = append(auth, pdu)
			}
		}
		p, err := authrules.Power(w.version, authrules.NewEvents(auth))
		if err != nil {
			return 0
		}
		return p.User(id.UserID(w.pdus[e].SenderID()))
	}
	var out []id.EventID
	for len(left) > 0 {
		var free []id.EventID
		for _, e := range left {
			chain := w.authChain(e)
			if !slices.ContainsFunc(left, func(o id.EventID) bool { return chain[o] }) {
				free = append(free, e)
			}
		}
		next := slices.MinFunc(free, func(a, b id.EventID) int {
			return cmp.Or(cmp.Compare(level(b), level(a)), cmp.Compare(w.pdus[a].OriginServerTS(), w.pdus[b].OriginServerTS()), cmp.Compare(a, b))
		})
		out = append(out, next)
		left = slices.DeleteFunc(left, func(e id.EventID) bool { return e == next })
	}
	return out
}

func (w *world) referenceMainlineOrder(p id.EventID, events []id.EventID) []id.EventID {
	var mainline []id.EventID
	for ; p != ""; p = w.citedLevels(p) {
		mainline = append(mainline, p)
	}
	position := func(e id.EventID) int {
		for j := w.citedLevels(e); j != ""; j = w.citedLevels(j) {
			if i := slices.Index(mainline, j); i >= 0 {
				return i
			}
		}
		return math.MaxInt
	}
	slices.SortFunc(events, func(a, b id.EventID) int {
		return cmp.Or(cmp.Compare(position(b), position(a)), cmp.Compare(w.pdus[a].OriginServerTS(), w.pdus[b].OriginServerTS()), cmp.Compare(a, b))
	})
	return events
}

func (w *world) referenceChecks(r state, events []id.EventID) {
	for _, e := range events {
		pdu := w.pdus[e]
		var auth []authrules.Event
		for _, a := range pdu.AuthEventIDs() {
			if a := id.EventID(a); w.pdus[a] != nil && !w.rejected[a] {
				auth = append(auth, w.pdus[a])
			}
		}
		for _, s := range r {
			if w.pdus[s] != nil {
				auth = append(auth, w.pdus[s])
			}
		}
		if !w.rejected[e] && authrules.Allowed(w.version, pdu, authrules.NewEvents(auth)) == nil {
			r[w.keyOf(e)] = e
		}
	}
}
