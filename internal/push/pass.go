package push

import (
	"strings"

	"github.com/hearthd/hearth/internal/id"
)

// RoomContext is what rules may ask of the room an event is in.
type RoomContext struct {
	MemberCount int // joined members
	// Power gives the power that conditions on the sender's permission compare. It is called at most once for a Pass, and only if a rule
	// asks. Without it no sender has the permission.
	Power func() Power
	// Subscription gives what a user has said of the thread that the event is in. Without it the event is in none.
	Subscription func(user id.UserID) Subscription
}

// Subscription is what a user has said of a thread. The zero value is nothing that rules can ask for: there is no thread, or the user has
// never said anything of any.
type Subscription int8

// The states of a user's subscription to a thread.
const (
	Unsubscribed Subscription = 1 + iota
	Subscribed
)

// Power is who may notify whom.
type Power struct {
	Sender int64            // the sender's level; math.MaxInt64 for a creator whose power is infinite
	Levels map[string]int64 // "notifications" of m.room.power_levels
}

// defaultLevel is needed for notifications that m.room.power_levels says nothing about.
//
// Spec: client-server-api#mroompower_levels
const defaultLevel = 50

// Recipient is a user in the room.
type Recipient struct {
	ID          id.UserID
	DisplayName string // in the room; may be empty
}

// maxWork is what the rules of one user may cost for one event. Rules that people have cost some hundred steps, some thousand on a long
// message; past the limit conditions do not match.
const maxWork work = 4 << 20

// conditionWork is what a condition costs besides comparing text.
const conditionWork = 32

// Pass evaluates one event for many users. What is the same for all of them it finds out once. It is not safe for concurrent use.
type Pass struct {
	event *Event
	room  RoomContext
	power *Power
	work  work

	base       *base
	candidates [slots][]*rule // the default rules that match as far as does not depend on the user
}

// NewPass returns a Pass for an event in a room.
func NewPass(event *Event, room RoomContext) *Pass { return &Pass{event: event, room: room} }

// Evaluate returns what the rules of a user make of the event: nothing, for the event's sender. Whether the user may see the event or
// ignores the sender is for the caller to know.
//
// Spec: client-server-api#push-rules
func (p *Pass) Evaluate(program *Program, to Recipient) Outcome {
	if string(to.ID) == p.event.sender {
		return Outcome{}
	}
	p.prepare(program.base)
	p.work = maxWork
	if out := p.find(program, to); out != nil {
		return *out
	}
	return Outcome{}
}

// prepare sorts out the default rules that match no user.
func (p *Pass) prepare(b *base) {
	if p.base == b {
		return
	}
	p.base = b
	p.work = maxWork
	for slot := range b.rules {
		p.candidates[slot] = p.candidates[slot][:0]
		for i := range b.rules[slot] {
			if r := &b.rules[slot][i]; p.holdAll(r.shared, Recipient{}) {
				p.candidates[slot] = append(p.candidates[slot], r)
			}
		}
	}
}

// find returns the outcome of the first rule that matches, or nil. Rules of the user are above the defaults of the same kind, except for
// the master rule.
//
// Spec: client-server-api#push-rules, client-server-api#predefined-rules
func (p *Pass) find(program *Program, to Recipient) *Outcome {
	if out := p.findDefault(slotMaster, program, to); out != nil {
		return out
	}
	if out := p.findOwn(program.override, to); out != nil {
		return out
	}
	if out := p.findDefault(slotOverride, program, to); out != nil {
		return out
	}
	if out := p.findOwn(program.content, to); out != nil {
		return out
	}
	if out := p.findDefault(slotContent, program, to); out != nil {
		return out
	}
	// Spec: MSC4306#new-push-rules
	if out := p.findDefault(slotPostContent, program, to); out != nil {
		return out
	}
	if out := program.room[p.event.room]; out != nil {
		return out
	}
	if out := program.sender[p.event.sender]; out != nil {
		return out
	}
	if out := p.findOwn(program.underride, to); out != nil {
		return out
	}
	return p.findDefault(slotUnderride, program, to)
}

func (p *Pass) findOwn(rules []rule, to Recipient) *Outcome {
	for i := range rules {
		if r := &rules[i]; p.holdAll(r.shared, to) && p.holdAll(r.personal, to) {
			return r.outcome
		}
	}
	return nil
}

func (p *Pass) findDefault(slot int, program *Program, to Recipient) *Outcome {
	for _, r := range p.candidates[slot] {
		enabled, outcome := r.enabled, r.outcome
		if program.changes != nil && program.changes[r.number].changed {
			c := &program.changes[r.number]
			if enabled = c.enabled; c.outcome != nil {
				outcome = c.outcome
			}
		}
		if enabled && p.holdAll(r.personal, to) {
			return outcome
		}
	}
	return nil
}

func (p *Pass) holdAll(conditions []condition, to Recipient) bool {
	for i := range conditions {
		if !p.work.spend(conditionWork) || !p.holds(&conditions[i], to) {
			return false
		}
	}
	return true
}

// holds reports whether a condition is met.
//
// Spec: client-server-api#conditions
func (p *Pass) holds(c *condition, to Recipient) bool {
	switch c.test {
	case testAll:
		text, ok := p.event.find(c.path).text()
		return ok && c.glob.matchAll(text, &p.work)
	case testWords:
		text, ok := p.event.find(c.path).text()
		return ok && c.glob.matchWords(text, &p.work)
	case testIs:
		return p.event.find(c.path).scalar() == c.value
	case testContains:
		return p.event.find(c.path).contains(c.value)
	case testList:
		return p.event.find(c.path).isList()
	case testMembers:
		return c.low <= p.room.MemberCount && p.room.MemberCount <= c.high
	case testMayNotify:
		return p.mayNotify(c.key)
	case testNoMentions:
		return p.event.find(c.path) == nil
	case testDisplayName:
		return to.DisplayName != "" && p.hasWords(c.path, to.DisplayName)
	case testSelfIs:
		text, ok := p.event.find(c.path).text()
		return ok && to.ID != "" && strings.EqualFold(text, string(to.ID))
	case testSelfIn:
		return to.ID != "" && p.event.find(c.path).contains(textScalar(string(to.ID)))
	case testSubscription:
		return p.room.Subscription != nil && p.room.Subscription(to.ID) == c.subscription
	case testSelfWords:
		localpart := to.ID.Localpart()
		return localpart != "" && p.hasWords(c.path, localpart)
	}
	return false
}

// hasWords reports whether the property is a string that has a name as words.
func (p *Pass) hasWords(path []string, name string) bool {
	text, ok := p.event.find(path).text()
	return ok && containsWords(text, strings.ToLower(name), &p.work)
}

// mayNotify reports whether the sender has the power for notifications of a kind.
func (p *Pass) mayNotify(key string) bool {
	if p.room.Power == nil {
		return false
	}
	if p.power == nil {
		power := p.room.Power()
		p.power = &power
	}
	need, ok := p.power.Levels[key]
	if !ok {
		need = defaultLevel
	}
	return p.power.Sender >= need
}
