package stateres

import (
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// room is a state that the auth rules are applied in: an authrules.State.
type room struct {
	version  gomatrixserverlib.IRoomVersion
	graph    *graph
	state    map[storage.StateKey]id.EventID
	fallback []*node // stand in for state that is not there, unless they were rejected
	err      error   // of the graph, which is no refusal
}

// allows applies the auth rules to an event. Of its auth events, those in fallback count where the state has none.
func (r *room) allows(n *node, fallback []*node) (bool, error) {
	r.fallback, r.err = fallback, nil
	err := authrules.Allowed(r.version, n.pdu, r)
	return err == nil, r.err
}

func (r *room) get(typ, key string) (authrules.Event, error) {
	if event, ok := r.state[storage.StateKey{Type: typ, Key: key}]; ok {
		n := r.graph.node(event)
		if r.err = r.graph.state(n); r.err != nil {
			return nil, r.err
		}
		return n.pdu, nil
	}
	for _, n := range r.fallback {
		if n.pdu != nil && !n.rejected && n.pdu.Type() == typ && n.pdu.StateKeyEquals(key) {
			return n.pdu, nil
		}
	}
	return nil, nil //nolint:nilnil // the way of the interface to say that there is none
}

// Create implements authrules.State.
func (r *room) Create() (authrules.Event, error) { return r.get(spec.MRoomCreate, "") }

// JoinRules implements authrules.State.
func (r *room) JoinRules() (authrules.Event, error) { return r.get(spec.MRoomJoinRules, "") }

// PowerLevels implements authrules.State.
func (r *room) PowerLevels() (authrules.Event, error) { return r.get(spec.MRoomPowerLevels, "") }

// Member implements authrules.State.
func (r *room) Member(user spec.SenderID) (authrules.Event, error) {
	return r.get(spec.MRoomMember, string(user))
}

// ThirdPartyInvite implements authrules.State.
func (r *room) ThirdPartyInvite(token string) (authrules.Event, error) {
	return r.get(spec.MRoomThirdPartyInvite, token)
}
