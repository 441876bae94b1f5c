package syncer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/storage"
)

// extensions writes what there is to say beside rooms.
func (v *slide) extensions() error {
	x := &v.q.Asked.Extensions
	// Who asks for something else than with the position that they come with has to be told all of it.
	now := x.AccountData.Text() + "\n" + x.Receipts.Text() + "\n" + threadsText(x)
	before := strings.SplitN(v.answer.extras+"\n\n", "\n", 4)
	anewData, anewReceipts, anewThreads := before[0] != x.AccountData.Text(), before[1] != x.Receipts.Text(), before[2] != threadsText(x)
	v.answer.extras = now
	o := opened{}
	if x.ToDevice != nil {
		v.item(&o)
		if err := v.inboxExtension(x.ToDevice.Limit); err != nil {
			return fmt.Errorf("load messages to the device: %w", err)
		}
	} else {
		v.answer.next.Inbox = v.q.from.Inbox
	}
	if x.E2EE {
		v.item(&o)
		v.buf = append(v.buf, `"e2ee":{`...)
		if err := v.deviceLists(); err != nil {
			return err
		}
		counts, err := v.tx.KeyCounts(v.User, v.Device)
		if err != nil {
			return fmt.Errorf("load key counts: %w", err)
		}
		v.buf = appendCounts(v.buf, counts)
	}
	if x.Threads > 0 {
		if err := v.threadsExtension(&o, anewThreads); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		scope *sliding.Scope
		write func(o *opened) error
	}{
		{x.AccountData, func(o *opened) error { return v.accountDataExtension(o, anewData) }},
		{x.Receipts, func(o *opened) error { return v.receiptsExtension(o, anewReceipts) }},
		{x.Typing, func(o *opened) error { v.typingExtension(o); return nil }},
	} {
		if part.scope == nil {
			continue
		}
		if err := part.write(&o); err != nil {
			return err
		}
	}
	return nil
}

// nextBatch begins the extension of messages to the device.
func (v *slide) nextBatch(upTo int64) {
	v.buf = append(v.buf, `"to_device":{"next_batch":"`...)
	v.buf = append(token.Sync{Pos: upTo}.Append(v.buf), '"')
}

// inboxExtension writes the messages to the device.
//
// Spec: MSC3885
func (v *slide) inboxExtension(limit int) error {
	list, more, err := v.tx.ToDevice(v.User, v.Device, v.q.inbox(), limit)
	if err != nil {
		return err
	}
	v.answer.next.Inbox = v.next.Pos
	if more {
		v.answer.next.Inbox = list[len(list)-1].Pos
	}
	v.nextBatch(v.answer.next.Inbox)
	o := opened{}
	v.buf = append(v.buf, `,"events":[`...)
	v.deviceMessages(&o, list)
	v.buf = append(v.buf, `]}`...)
	v.some = v.some || len(list) > 0
	return nil
}

// perRoom writes the part of an extension that is about rooms: an object with what write appends for each that the extension is about, as
// far as it appends anything.
func (v *slide) perRoom(o *opened, scope *sliding.Scope, write func(p *place) error) error {
	v.buf = append(v.buf, `"rooms":{`...)
	for i := range v.places {
		p := &v.places[i]
		if !scope.Holds(p.m.RoomID, p.rule.lists, p.subbed) {
			continue
		}
		start, items := len(v.buf), o.items
		v.item(o)
		v.buf = append(gjson.AppendJSONString(v.buf, string(p.m.RoomID)), ':')
		head := len(v.buf)
		if err := write(p); err != nil {
			return err
		}
		if len(v.buf) == head {
			v.buf, o.items = v.buf[:start], items
		}
	}
	v.buf = append(v.buf, '}')
	v.some = v.some || o.items > 0
	return nil
}

// vanish takes an extension back that has nothing in it, for which place was made in outer.
func (v *slide) vanish(outer *opened, start, before int) {
	v.buf = v.buf[:start]
	outer.items = before
}

// accountDataExtension writes what the user keeps for their clients, as far as it is new; with anew, all of it.
//
// Spec: MSC3959
func (v *slide) accountDataExtension(outer *opened, anew bool) error {
	start, before := len(v.buf), outer.items
	v.item(outer)
	v.buf = append(v.buf, `"account_data":{"global":[`...)
	list := v.global
	var err error
	if anew && !v.initial {
		if list, err = v.tx.RoomAccountData(v.User, ""); err != nil {
			return fmt.Errorf("load account data: %w", err)
		}
	}
	global := opened{}
	for _, d := range list {
		if err := v.globalData(&global, d); err != nil {
			return err
		}
	}
	v.some = v.some || global.items > 0
	v.buf = append(v.buf, `],`...)
	rooms := opened{}
	err = v.perRoom(&rooms, v.q.Asked.Extensions.AccountData, func(p *place) error {
		list := v.rooms[p.m.RoomID]
		if !p.wanted() {
			return nil // it is behind now, and told when it comes back
		}
		if !v.initial && (anew || p.base != v.since.Pos) {
			var err error
			if list, err = v.tx.RoomAccountData(v.User, p.m.RoomID); err != nil {
				return fmt.Errorf("load account data: %w", err)
			}
			list = slices.DeleteFunc(list, func(d storage.AccountData) bool {
				return p.base == everything && d.Deleted() || !anew && p.base != everything && d.Pos <= p.base
			})
		}
		for i, d := range list {
			v.buf = append(v.buf, "[,"[min(i, 1)])
			v.contentEvent(d.Type, d.Content)
		}
		if len(list) > 0 {
			v.buf = append(v.buf, ']')
		}
		return nil
	})
	v.buf = append(v.buf, '}')
	if global.items+rooms.items == 0 {
		v.vanish(outer, start, before)
	}
	return err
}

// receiptsExtension writes receipts: in rooms that are new to the client those for what it is shown and the user's own, else those that
// are new.
//
// Spec: MSC3960
func (v *slide) receiptsExtension(outer *opened, anew bool) error {
	start, before := len(v.buf), outer.items
	v.item(outer)
	v.buf = append(v.buf, `"receipts":{`...)
	rooms := opened{}
	err := v.perRoom(&rooms, v.q.Asked.Extensions.Receipts, func(p *place) error {
		all := p.whole || anew && !v.initial
		if !p.wanted() || p.m.Membership != "join" || !all && !v.hasReceipts(p, p.base) {
			return nil
		}
		span := storage.Span{After: p.base, UpTo: v.next.Pos}
		if all {
			span.After = everything
		}
		list, err := v.tx.ReceiptsSince(p.m.Room, span, v.User)
		if err != nil {
			return fmt.Errorf("load receipts: %w", err)
		}
		if p.whole {
			shown := map[id.EventID]bool{}
			for _, ev := range p.shown {
				shown[ev.ID] = true
			}
			list = slices.DeleteFunc(list, func(r storage.Receipt) bool {
				return r.User != v.User && !shown[r.Event] && (p.base == everything || r.Pos <= p.base)
			})
		}
		if len(list) > 0 {
			v.receiptEvent(list)
		}
		return nil
	})
	v.buf = append(v.buf, '}')
	if rooms.items == 0 {
		v.vanish(outer, start, before)
	}
	return err
}

// typingExtension writes who is typing where that has changed, in all rooms that the client knows: it would show people typing for ever in
// those that are in no list any more.
//
// Spec: MSC3961
func (v *slide) typingExtension(outer *opened) {
	start, before := len(v.buf), outer.items
	v.item(outer)
	v.buf = append(v.buf, `"typing":{`...)
	rooms := opened{}
	_ = v.perRoom(&rooms, v.q.Asked.Extensions.Typing, func(p *place) error {
		if p.m.Membership != "join" || p.base != everything && (!v.somebodyTyped || !v.typed(p)) {
			return nil
		}
		// That nobody is typing is news only to who may have heard the contrary.
		typing := v.edus.Typing(p.m.RoomID)
		if len(typing) > 0 || p.base != everything && v.since.Eph >= v.started {
			v.typingEvent(typing)
		}
		return nil
	})
	v.buf = append(v.buf, '}')
	if rooms.items == 0 {
		v.vanish(outer, start, before)
	}
}
