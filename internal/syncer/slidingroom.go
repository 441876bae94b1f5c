package syncer

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// bumpTypes is the events that are activity in the eyes of people.
//
// Spec: MSC4186#common-fields
var bumpTypes = []string{
	"m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite", "m.poll.start", "m.beacon_info",
	"org.matrix.msc3381.poll.start", "org.matrix.msc3672.beacon_info",
}

// slidingRoom is what is said of a room.
type slidingRoom struct {
	*room
	p        *place
	o        opened
	t        timeline
	timed    bool // the timeline is told
	initial  bool
	expanded bool
	state    slidingState
}

// tell writes a room, and reports whether there was anything to say.
func (v *slide) tell(p *place) (bool, error) {
	p.base = everything
	if p.told.known {
		p.base = p.told.upTo(v.since.Pos)
	}
	if !p.wanted() {
		if p.told.behind == live && v.moved(p, v.since.Pos) {
			t := p.told
			t.behind = v.since.Pos
			v.remember(p, t)
		}
		return false, nil
	}
	if v.settled(p) {
		return false, nil
	}
	r := &slidingRoom{room: &room{look: v.look, m: *p.m, after: p.base, end: v.next.Pos}, p: p}
	switch p.m.Membership {
	case "invite", "knock":
		return v.tellStripped(r)
	case "join":
		return v.tellJoined(r)
	}
	return v.tellLeft(r)
}

// settled reports whether there is surely nothing to say of a room to which the same applies as before.
func (v *slide) settled(p *place) bool {
	return p.told.behind == live && p.told.known && p.told.choice == p.rule.number && p.told.limit >= p.rule.Limit &&
		p.told.dm == v.unwanted.direct[p.m.RoomID] && p.m.Pos <= p.base && p.touched <= p.base &&
		(!v.q.Experimental || !v.hasReceipts(p, p.base))
}

// nowTold is what the client knows of a room after this answer.
func (v *slide) nowTold(r *slidingRoom) knowledge {
	t := knowledge{known: true, behind: live, choice: r.p.rule.number, limit: r.p.told.limit, dm: v.unwanted.direct[r.m.RoomID]}
	// The newest events up to the limit are told, now or before; a new part of the history that is shorter than before begins anew.
	if limit := r.p.rule.Limit; r.initial || r.expanded || r.timed && r.t.limited && limit < t.limit {
		t.limit = limit
	}
	return t
}

// tellStripped writes a room that the user is not in but may come to be in.
func (v *slide) tellStripped(r *slidingRoom) (bool, error) {
	if r.m.Pos <= r.p.base {
		v.remember(r.p, v.nowTold(r))
		return false, nil
	}
	r.initial = true
	v.head(r)
	r.bump(r.m.Pos)
	v.stripped(r)
	r.p.base = everything
	v.remember(r.p, v.nowTold(r))
	return true, v.tail(r)
}

func (v *slide) stripped(r *slidingRoom) {
	name := `"stripped_state":`
	if v.q.Experimental {
		name = `"invite_state":`
	}
	r.member(&r.o, name)
	if r.m.Stripped == "" {
		r.buf = append(r.buf, `[]`...)
	} else {
		r.buf = append(r.buf, r.m.Stripped...)
	}
}

// tellJoined writes a room that the user is in.
func (v *slide) tellJoined(r *slidingRoom) (bool, error) {
	p := r.p
	r.expanded = p.told.known && p.rule.Limit > p.told.limit
	if p.told.known && r.m.Pos <= p.base && !r.expanded {
		r.history = visibility.Member(v.User)
	} else {
		var err error
		if r.history, err = visibility.Load(v.tx, r.m.Room, v.User); err != nil {
			return false, err
		}
		if !p.told.known || r.history.Membership(p.base) != "join" {
			p.base, r.after, r.initial, r.expanded = everything, everything, true, false
		}
	}
	if err := v.joinedTimeline(r); err != nil {
		return false, err
	}
	if err := v.loadState(r); err != nil {
		return false, err
	}
	v.head(r)
	if err := v.summaryOf(r); err != nil {
		return false, err
	}
	direct := v.unwanted.direct[r.m.RoomID]
	if r.initial && direct || !r.initial && direct != p.told.dm {
		r.member(&r.o, `"is_dm":`)
		r.buf = strconv.AppendBool(r.buf, direct)
	}
	if err := v.events(r); err != nil {
		return false, err
	}
	own, err := v.ownReceipts(r)
	if err != nil {
		return false, err
	}
	v.remember(p, v.nowTold(r))
	if r.o.items == 0 && !own {
		return false, nil
	}
	if err := v.tail(r); err != nil {
		return false, err
	}
	return true, nil
}

// joinedTimeline reads the timeline of a room that the user is in.
func (v *slide) joinedTimeline(r *slidingRoom) (err error) {
	p := r.p
	if !r.initial && !r.expanded && p.touched <= p.base {
		return nil
	}
	span := storage.Span{After: p.base, UpTo: r.end}
	if r.expanded {
		span.After = everything
	}
	if r.t, err = r.timeline(span, p.rule.Limit); err != nil {
		return err
	}
	if r.expanded {
		older := slices.ContainsFunc(r.t.events, func(ev *storage.Event) bool { return ev.Pos <= p.base })
		if !older && len(r.t.events) == 0 {
			r.t.limited = false
		}
		p.whole = older
	}
	r.timed = r.initial || len(r.t.events) > 0 || r.t.limited
	p.shown = r.t.events
	p.whole = p.whole || r.initial
	return nil
}

// tellLeft writes a room that the user has left, or was put out of: what happened up to then.
func (v *slide) tellLeft(r *slidingRoom) (bool, error) {
	p := r.p
	if p.told.known && r.m.Pos <= p.base {
		v.remember(p, v.nowTold(r))
		return false, nil
	}
	var err error
	if r.history, err = visibility.Load(v.tx, r.m.Room, v.User); err != nil {
		return false, err
	}
	if p.told.known && r.history.Membership(p.base) != "join" {
		p.base = everything
	}
	r.initial, r.timed, p.whole = p.base == everything, true, p.base == everything
	r.end, r.after = r.m.Pos, p.base
	if r.history.EverJoined() {
		if r.t, err = r.timeline(storage.Span{After: p.base, UpTo: r.end}, p.rule.Limit); err != nil {
			return false, err
		}
		if err := r.outsideEnd(&r.t); err != nil {
			return false, err
		}
		r.end = min(r.end, r.history.Until())
		if err := v.loadState(r); err != nil {
			return false, err
		}
	}
	p.shown = r.t.events
	if err := v.ownEnd(r); err != nil {
		return false, err
	}
	v.head(r)
	r.bump(r.m.Pos)
	if !r.history.EverJoined() {
		v.stripped(r)
	}
	if err := v.events(r); err != nil {
		return false, err
	}
	v.remember(p, v.nowTold(r))
	return true, v.tail(r)
}

// ownEnd makes sure that the client is told what became of the user's membership: in the state, if it asks for that, and in the timeline of
// who was never in the room.
func (v *slide) ownEnd(r *slidingRoom) error {
	if r.m.Event == 0 {
		return nil
	}
	ev, err := r.tx.EventAt(r.m.Event)
	if err != nil {
		return fmt.Errorf("load the end of a membership: %w", err)
	}
	if !r.history.EverJoined() {
		r.t = timeline{events: []*storage.Event{ev}, start: ev.Pos}
	}
	if r.p.rule.State.Match(memberType, string(r.User)) {
		r.state.events = slices.DeleteFunc(r.state.events, func(other *storage.Event) bool { return other.IsState(memberType, string(r.User)) })
		r.state.events = append(r.state.events, ev)
	}
	return nil
}

// head begins a room.
func (v *slide) head(r *slidingRoom) {
	r.o = opened{}
	r.buf = append(r.buf, '{')
	if r.initial {
		r.member(&r.o, `"initial":true`)
	}
	if r.initial || r.m.Pos > r.p.base {
		r.member(&r.o, `"membership":`)
		r.buf = gjson.AppendJSONString(r.buf, r.m.Membership)
	}
	if r.expanded && r.p.whole {
		name := `"expanded_timeline":true`
		if v.q.Experimental {
			name = `"unstable_expanded_timeline":true`
		}
		r.member(&r.o, name)
	}
}

// bump writes when something that people care about happened last.
func (r *slidingRoom) bump(pos int64) {
	r.member(&r.o, `"bump_stamp":`)
	r.buf = strconv.AppendInt(r.buf, pos, 10)
}

// summaryOf writes how the room is shown without knowing its members and state, as far as that has changed.
func (v *slide) summaryOf(r *slidingRoom) error {
	if r.timed {
		pos, err := v.bumpStamp(r)
		if err != nil {
			return err
		}
		if pos != 0 {
			r.bump(pos)
		}
	}
	named, pictured, moved := r.state.changed("m.room.name"), r.state.changed("m.room.avatar"), r.state.moved
	if !r.initial && !named && !pictured && !moved {
		return nil
	}
	s, err := r.loadSummary()
	if err != nil {
		return err
	}
	text := func(name, value string, changed, nullable bool) {
		switch {
		case value != "" && (r.initial || changed):
			r.member(&r.o, name)
			r.buf = gjson.AppendJSONString(r.buf, value)
		case changed && !r.initial && nullable:
			r.member(&r.o, name)
			r.buf = append(r.buf, `null`...)
		}
	}
	text(`"name":`, s.name, named, !v.q.Experimental)
	text(`"avatar":`, s.avatar, pictured, true)
	if s.name == "" && (r.initial || named || moved) {
		if !s.nameless { // it has an alias, by which clients of sliding sync do not name it
			if err := r.nameAfter(s); err != nil {
				return err
			}
		}
		r.heroList(s.heroes)
	}
	if r.initial || moved {
		r.member(&r.o, `"joined_count":`)
		r.buf = strconv.AppendInt(r.buf, s.joined, 10)
		r.member(&r.o, `"invited_count":`)
		r.buf = strconv.AppendInt(r.buf, s.invited, 10)
	}
	return nil
}

// heroList writes the members after whom a room is named.
func (r *slidingRoom) heroList(heroes []storage.Membership) {
	if len(heroes) == 0 {
		return
	}
	r.member(&r.o, `"heroes":[`)
	for i, h := range heroes {
		if i > 0 {
			r.buf = append(r.buf, ',')
		}
		r.buf = gjson.AppendJSONString(append(r.buf, `{"user_id":`...), string(h.User))
		if h.Name != "" {
			r.buf = gjson.AppendJSONString(append(r.buf, `,"displayname":`...), h.Name)
		}
		if h.AvatarURL != "" {
			r.buf = gjson.AppendJSONString(append(r.buf, `,"avatar_url":`...), h.AvatarURL)
		}
		r.buf = append(r.buf, '}')
	}
	r.buf = append(r.buf, ']')
}

// bumpStamp is the position of the last activity, 0 if that has not changed.
func (v *slide) bumpStamp(r *slidingRoom) (int64, error) {
	for _, ev := range slices.Backward(r.t.events) {
		if slices.Contains(bumpTypes, ev.Type) {
			return ev.Pos, nil
		}
	}
	if !r.initial && !r.t.limited {
		return 0, nil
	}
	pos, err := v.tx.LastOfTypes(r.m.Room, r.end, bumpTypes)
	if err != nil {
		return 0, fmt.Errorf("find the last activity: %w", err)
	}
	if pos == 0 {
		pos = r.m.Pos
	}
	return pos, nil
}

// events writes timeline and state.
func (v *slide) events(r *slidingRoom) error {
	batch, err := r.prepare(r.t.limited || r.p.whole, r.t.events, r.state.events)
	if err != nil {
		return err
	}
	if len(r.state.events)+len(r.state.removed) > 0 {
		r.member(&r.o, `"required_state":[`)
		r.list(batch, r.state.events)
		for i, k := range r.state.removed {
			if i > 0 || len(r.state.events) > 0 {
				r.buf = append(r.buf, ',')
			}
			r.buf = gjson.AppendJSONString(append(r.buf, `{"type":`...), k.Type)
			r.buf = append(gjson.AppendJSONString(append(r.buf, `,"state_key":`...), k.Key), '}')
		}
		r.buf = append(r.buf, ']')
	}
	if !r.timed {
		return nil
	}
	fresh := 0
	for _, ev := range r.t.events {
		if !v.initial && ev.Pos > v.since.Pos {
			fresh++
		}
	}
	r.member(&r.o, `"timeline":[`)
	r.list(batch, r.t.events)
	r.buf = append(r.buf, `],"limited":`...)
	r.buf = strconv.AppendBool(r.buf, r.t.limited)
	r.buf = append(r.buf, `,"num_live":`...)
	r.buf = strconv.AppendInt(r.buf, int64(fresh), 10)
	r.buf = append(r.buf, `,"prev_batch":"`...)
	r.buf = append(append(r.buf, r.t.before().String()...), '"')
	return nil
}

// ownReceipts reports whether the user has read something of which this client has not heard: the counts of what is unread are news then.
func (v *slide) ownReceipts(r *slidingRoom) (bool, error) {
	if !v.q.Experimental || r.initial || !v.hasReceipts(r.p, r.p.base) {
		return false, nil
	}
	list, err := v.tx.ReceiptsSince(r.m.Room, storage.Span{After: r.p.base, UpTo: v.next.Pos}, v.User)
	return slices.ContainsFunc(list, func(o storage.Receipt) bool { return o.User == v.User }), err
}

// tail ends a room.
func (v *slide) tail(r *slidingRoom) error {
	if v.q.Experimental && r.m.Membership == "join" {
		list, err := v.tx.UnreadOf(v.User, r.m.Room)
		if err != nil {
			return fmt.Errorf("load unread counts: %w", err)
		}
		var all storage.Unread
		for _, u := range list {
			all.Notify += u.Notify
			all.Highlight += u.Highlight
		}
		r.member(&r.o, `"notification_count":`)
		r.buf = strconv.AppendInt(r.buf, all.Notify, 10)
		r.member(&r.o, `"highlight_count":`)
		r.buf = strconv.AppendInt(r.buf, all.Highlight, 10)
	}
	if len(r.p.rule.lists) > 0 && !v.q.Experimental {
		r.member(&r.o, `"lists":[`)
		for i, name := range r.p.rule.lists {
			if i > 0 {
				r.buf = append(r.buf, ',')
			}
			r.buf = gjson.AppendJSONString(r.buf, name)
		}
		r.buf = append(r.buf, ']')
	}
	r.buf = append(r.buf, '}')
	return nil
}
