package syncer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// place is a room that a look is about: one that a rule of the request applies to, or that the client knows.
type place struct {
	*listed
	told   knowledge
	in     inLists
	subbed bool
	rule   rule // nothing, if no rule applies

	// What became of it.
	base  int64            // the client knew the room up to here; everything, for one that it did not know
	shown []*storage.Event // the timeline, if it is told
	whole bool             // the timeline shows more than news
}

// inLists is a set of lists, by their places in the request.
type inLists [2]uint64

func (in inLists) has(i int) bool { return in[i/64]&(1<<(i%64)) != 0 }

// wanted reports whether any rule applies.
func (p *place) wanted() bool { return p.subbed || p.in != inLists{} }

// rule is what to tell of rooms to which the same rules of the request apply.
type rule struct {
	sliding.Config
	number int // of the choice of state
	lists  []string
}

type ruleKey struct {
	in   inLists
	room id.RoomID // with a subscription
}

// arrange finds the rooms that the look is about.
func (v *slide) arrange() error {
	list, err := v.roomList()
	if err != nil {
		return err
	}
	v.rules, v.somebodyTyped = map[ruleKey]rule{}, v.hub.EphemeralSince(hub.User(v.User), v.since.Eph)
	v.answer.shape = list.shape
	asked := v.q.Asked
	tests := make([]func(r *sliding.Room) bool, len(asked.Lists))
	for i := range asked.Lists {
		if tests[i], err = asked.Lists[i].Filter.Test(v.company(list)); err != nil {
			return fmt.Errorf("prepare a filter: %w", err)
		}
	}
	if changed, ok := v.changed(list); ok {
		v.answer.covered, v.answer.counts = true, v.q.conn.counts
		for _, r := range changed {
			if err := v.put(&place{listed: r}, tests, nil); err != nil {
				return err
			}
		}
		return nil
	}
	places := make([]int, len(asked.Lists)) // how far each list has come
	for _, r := range list.rooms {
		if err := v.put(&place{listed: r}, tests, places); err != nil {
			return err
		}
	}
	v.answer.counts, v.answer.covered = make(map[string]int, len(places)), true
	for n := range asked.Lists {
		l := &asked.Lists[n]
		v.answer.counts[l.Name] = places[n]
		v.answer.covered = v.answer.covered && l.Covers(places[n])
	}
	return nil
}

// put puts a room into its place in the lists, which have come as far as places says; nil is for lists that have all of their rooms in range.
func (v *slide) put(p *place, tests []func(r *sliding.Room) bool, places []int) error {
	asked := v.q.Asked
	if len(asked.Subscriptions) > 0 {
		_, p.subbed = asked.Subscriptions[p.m.RoomID]
	}
	remembered := p.m.Membership != "join"
	if remembered { // whether other rooms are listed depends on what the client was told
		p.told = v.q.conn.told(p.m.Room, v.q.from.Seq)
	}
	in := v.isListed(p)
	if !in && (!p.subbed || p.m.Forgotten || p.m.Membership == "invite") {
		return nil
	}
	for n := range asked.Lists {
		if !in || tests[n] != nil && !tests[n](&p.room) {
			continue
		}
		if places == nil || asked.Lists[n].Has(places[n]) {
			p.in[n/64] |= 1 << (n % 64)
		}
		if places != nil {
			places[n]++
		}
	}
	if !p.wanted() && !v.stirred(p) {
		return nil
	}
	if !remembered {
		p.told = v.q.conn.told(p.m.Room, v.q.from.Seq)
	}
	if p.wanted() {
		var err error
		if p.rule, err = v.ruleOf(p); err != nil {
			return err
		}
	}
	if p.wanted() || p.told.known {
		v.places = append(v.places, *p)
	}
	return nil
}

// stirred reports whether there may be something to note of a room that no rule applies to, or somebody who types in it.
func (v *slide) stirred(p *place) bool {
	return v.moved(p, v.since.Pos) || v.somebodyTyped && v.typed(p)
}

// changed is the rooms in which something may have happened, where it is sure that there is nothing to say of all others: the client asks for
// the same as when it got its position, all of its rooms were in range then, and since then nothing has changed which those are.
func (v *slide) changed(list *roomList) ([]*listed, bool) {
	c := v.q.conn
	if v.initial || c.point != v.q.from || c.asked != v.q.Asked.Digest || !c.covered || c.shape != list.shape || v.rearranged() {
		return nil, false
	}
	keys, ok := v.hub.Rung(v.since.Pos, math.MaxInt)
	more, known := v.hub.RungEphemeral(v.since.Eph, math.MaxInt)
	if !ok || !known {
		return nil, false
	}
	var out []*listed
	seen := map[int]bool{}
	for _, keys := range [][]hub.Key{keys, more} {
		for _, k := range keys {
			if key, mine := list.keys[k]; mine && !seen[key.member] {
				seen[key.member] = true
				out = append(out, list.members[key.member])
			}
		}
	}
	for room := range v.rooms {
		key, mine := list.keys[hub.Room(room)]
		if !mine { // one that the user is not in
			return nil, false
		}
		if !seen[key.member] {
			seen[key.member] = true
			out = append(out, list.members[key.member])
		}
	}
	slices.SortFunc(out, byActivity)
	return out, true
}

// rearranged reports whether rooms may have come into lists or gone from them for another reason than what happened in them or became of
// the user's membership.
func (v *slide) rearranged() bool {
	if len(v.global) > 0 { // direct rooms, whom the user ignores, whose invites they want
		return true
	}
	tags := false
	for i := range v.q.Asked.Lists {
		f := &v.q.Asked.Lists[i].Filter
		if f.Spaces != nil {
			return true
		}
		tags = tags || f.Tags != nil || f.NotTags != nil
	}
	for _, list := range v.rooms {
		if tags && slices.ContainsFunc(list, func(d storage.AccountData) bool { return d.Type == "m.tag" }) {
			return true
		}
	}
	return false
}

// isListed reports whether a room is in the list for this connection.
//
// Spec: MSC4186#lists
func (v *slide) isListed(p *place) bool {
	switch p.m.Membership {
	case "join", "knock":
		return true
	case "invite":
		// Spec: client-server-api#ignoring-users, client-server-api#invite-permission
		return p.told.known || v.unwanted.invites.From(p.m.Sender) == visibility.Welcome
	}
	// What one has left oneself is for clients that know of it, and what was forgotten for those that have yet to hear that it was left.
	if p.m.Forgotten {
		return p.told.known && p.m.Pos > p.told.upTo(v.since.Pos)
	}
	return p.told.known || p.put
}

// ruleOf joins the rules that apply to a room.
func (v *slide) ruleOf(p *place) (rule, error) {
	k := ruleKey{in: p.in}
	if p.subbed {
		k.room = p.m.RoomID
	}
	if r, ok := v.rules[k]; ok {
		return r, nil
	}
	var configs []sliding.Config
	r := rule{}
	for i := range v.q.Asked.Lists {
		if p.in.has(i) {
			configs = append(configs, v.q.Asked.Lists[i].Config)
			r.lists = append(r.lists, v.q.Asked.Lists[i].Name)
		}
	}
	if p.subbed {
		configs = append(configs, v.q.Asked.Subscriptions[p.m.RoomID])
	}
	r.Config = sliding.Join(configs...)
	var err error
	if r.number, err = v.q.conn.number(r.State); err != nil {
		return r, err
	}
	v.rules[k] = r
	return r, nil
}

// company is what filters look at beside a room.
func (v *slide) company(list *roomList) sliding.Company {
	return sliding.Company{
		DMs: func() (map[id.RoomID]bool, error) { return v.unwanted.direct, nil },
		Tags: func() (map[id.RoomID][]string, error) {
			data, err := v.tx.AccountDataSince(v.User, 0, v.next.Pos)
			out := map[id.RoomID][]string{}
			for _, d := range data {
				if d.RoomID != "" && d.Type == "m.tag" {
					gjson.GetBytes(d.Content, "tags").ForEach(func(tag, _ gjson.Result) bool {
						out[d.RoomID] = append(out[d.RoomID], tag.Str)
						return true
					})
				}
			}
			return out, err
		},
		Spaces: func(spaces []id.RoomID) (map[id.RoomID]bool, error) { return v.children(list, spaces) },
	}
}

// children is the rooms that are directly in some spaces that the user is in.
func (v *slide) children(list *roomList, spaces []id.RoomID) (map[id.RoomID]bool, error) {
	wanted, out := map[id.RoomID]bool{}, map[id.RoomID]bool{}
	for _, s := range spaces {
		wanted[s] = true
	}
	for i := range list.rooms {
		m := list.rooms[i].m
		if !wanted[m.RoomID] || m.Membership != "join" {
			continue
		}
		events, err := v.tx.CurrentStateOfType(m.Room, "m.space.child")
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		for _, ev := range events {
			// Spec: client-server-api#mspacechild
			if ev != nil && ev.StateKey != nil && len(ev.Get("content.via").Array()) > 0 {
				out[id.RoomID(*ev.StateKey)] = true
			}
		}
	}
	return out, nil
}

// hasReceipts reports whether receipts may have been set in a room after a position.
func (v *slide) hasReceipts(p *place, after int64) bool {
	return p.receipts > after && v.hub.ChangedSince(edu.ReceiptsKey(p.m.RoomID), after)
}

// moved reports whether there may be something in a room that the client knows of which it has not heard.
func (v *slide) moved(p *place, after int64) bool {
	return p.m.Pos > after || p.touched > after || v.hasReceipts(p, after) || v.rooms[p.m.RoomID] != nil
}

// typed reports whether somebody may have begun or stopped typing.
func (v *slide) typed(p *place) bool { return v.hub.EphemeralSince(hub.Room(p.m.RoomID), v.since.Eph) }
