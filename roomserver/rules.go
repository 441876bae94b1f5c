package roomserver

import (
	"github.com/hearthd/hearth/roomserver/authrules"
)

// allowed applies the auth rules of the room's version to an event that is to follow this state.
//
// Spec: server-server-api#authorization-rules
func (a *authState) allowed(pdu authrules.Event) error {
	return authrules.Allowed(a.version, pdu, a)
}

// power is the power levels of the room.
func (a *authState) power() (authrules.Levels, error) { return authrules.Power(a.version, a) }

// joinRule is who may join.
func (a *authState) joinRule() (authrules.JoinRule, error) { return authrules.JoinRuleOf(a) }
