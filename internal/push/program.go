package push

import (
	"strings"
)

// Program is the compiled rules of one user, or of all users who have changed nothing: it does not know whose it is. It is immutable and
// safe for concurrent use.
type Program struct {
	base    *base
	changes []change // to the rules of base by their number; nil for none

	override  []rule
	content   []rule
	underride []rule
	room      map[string]*Outcome
	sender    map[string]*Outcome
}

// rule is a compiled rule. Of a default rule it says nothing about enabled and outcome that a change may not overrule.
type rule struct {
	number   int // of a default rule
	enabled  bool
	shared   []condition // the same for all users
	personal []condition
	outcome  *Outcome
}

// change is a user's change to a default rule. A nil outcome means the default one.
type change struct {
	changed bool
	enabled bool
	outcome *Outcome
}

// The places where default rules are checked, between those of the user.
const (
	slotMaster = iota
	slotOverride
	slotContent
	slotPostContent
	slotUnderride
	slots
)

// base is the compiled default rules.
type base struct {
	rules [slots][]rule
	count int
}

func compileBase(rules []defaultRule) *base {
	b := &base{count: len(rules)}
	for n := range rules {
		d := &rules[n]
		r := rule{number: n, enabled: !d.disabled, outcome: compileActions(raws(d.actions))}
		r.shared, r.personal = d.compile()
		slot := slotOverride
		switch {
		case d.id == masterRule:
			slot = slotMaster
		case d.kind == Content:
			slot = slotContent
		case d.kind == PostContent:
			slot = slotPostContent
		case d.kind == Underride:
			slot = slotUnderride
		}
		b.rules[slot] = append(b.rules[slot], r)
	}
	return b
}

// compile makes conditions that hold for any user: those about the user's id are made about whoever is asked for.
func (d *defaultRule) compile() (shared, personal []condition) {
	for _, text := range d.conditions {
		all, own := compileConditions(raws([]string{text}))
		personal = append(personal, own...)
		for _, c := range all {
			switch {
			case !strings.Contains(text, selfID):
				shared = append(shared, c)
			case c.test == testContains:
				shared = append(shared, condition{test: testList, path: c.path})
				personal = append(personal, condition{test: testSelfIn, path: c.path})
			default:
				personal = append(personal, condition{test: testSelfIs, path: c.path})
			}
		}
	}
	if d.pattern == selfLocalpart {
		personal = append(personal, condition{test: testSelfWords, path: bodyPath()})
	}
	if d.legacy {
		shared = append(shared, condition{test: testNoMentions, path: []string{"content", "m.mentions"}})
	}
	return shared, personal
}

// Compile makes a user's rules ready for evaluation. It never fails: what makes no sense does not match. All users who have changed
// nothing get the same Program.
func (b *Book) Compile(stored Stored) *Program {
	if stored.IsZero() {
		return b.plain
	}
	p := &Program{
		base:      b.base,
		override:  compileRules(stored.Override),
		underride: compileRules(stored.Underride),
		room:      compileNamed(stored.Room),
		sender:    compileNamed(stored.Sender),
	}
	for i := range stored.Content {
		r := &stored.Content[i]
		if g, ok := compileGlob(r.Pattern); ok && r.Enabled {
			words := condition{test: testWords, path: bodyPath(), glob: g}
			p.content = append(p.content, rule{enabled: true, shared: []condition{words}, outcome: compileActions(r.Actions)})
		}
	}
	for n := range b.rules {
		d := &b.rules[n]
		c, ok := stored.Defaults[d.id]
		if !ok {
			continue
		}
		if p.changes == nil {
			p.changes = make([]change, len(b.rules))
		}
		p.changes[n] = change{changed: true, enabled: !d.disabled}
		if c.Enabled != nil {
			p.changes[n].enabled = *c.Enabled
		}
		if c.Actions != nil {
			p.changes[n].outcome = compileActions(c.Actions)
		}
	}
	return p
}

func compileRules(rules []Rule) []rule {
	var out []rule
	for i := range rules {
		if !rules[i].Enabled {
			continue
		}
		r := rule{enabled: true, outcome: compileActions(rules[i].Actions)}
		r.shared, r.personal = compileConditions(rules[i].Conditions)
		out = append(out, r)
	}
	return out
}

// compileNamed compiles room and sender rules, whose id is the only condition.
//
// Spec: client-server-api#conditions
func compileNamed(rules []Rule) map[string]*Outcome {
	out := make(map[string]*Outcome, len(rules))
	for i := range rules {
		if rules[i].Enabled {
			out[rules[i].ID] = compileActions(rules[i].Actions)
		}
	}
	return out
}
