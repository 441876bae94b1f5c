package syncer

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// room is what a look needs to know of one room that the user is, or was, in.
type room struct {
	*look
	m       storage.Membership
	history *visibility.History
	after   int64 // the client knows the room up to here; everything, for one that it does not know
	end     int64 // the client may know the room up to here
	full    bool  // all of the state is wanted
}

// open finds out since when the client knows a room.
func (l *look) open(m storage.Membership) (*room, error) {
	r := &room{look: l, m: m, after: l.since.Pos, end: l.next.Pos, full: l.FullState}
	if !l.initial && m.Pos <= l.since.Pos && m.Membership == "join" {
		r.history = visibility.Member(l.User)
		return r, nil
	}
	if r.history = l.ahead.histories[m.Room]; r.history == nil {
		var err error
		if r.history, err = visibility.Load(l.tx, m.Room, l.User); err != nil {
			return nil, err
		}
	}
	if l.initial || r.history.Membership(l.since.Pos) != "join" {
		r.after, r.full = everything, true
	}
	return r, nil
}

// joinedRoom writes a room that the user is in, and reports whether there was anything to say.
func (l *look) joinedRoom(m storage.Membership) (bool, error) {
	r, err := l.open(m)
	if err != nil {
		return false, err
	}
	var t timeline
	var state stateDelta
	if r.full || l.hasEvents(&m) {
		if t, err = r.timeline(storage.Span{After: r.after, UpTo: r.end}, l.wished()); err != nil {
			return false, err
		}
		// A room that is new to a client in the middle of a conversation has a past of which the client knows nothing.
		t.limited = t.limited || r.after == everything && !l.initial
		if state, err = r.state(&t); err != nil {
			return false, err
		}
		if err := r.meet(t.events, state.events); err != nil {
			return false, err
		}
	}
	receipts, err := r.receipts()
	if err != nil {
		return false, err
	}
	o := opened{start: len(l.buf)}
	l.buf = append(l.buf, '{')
	if err := r.events(&o, t, state); err != nil {
		return false, err
	}
	r.accountData(&o)
	own := r.ephemeral(&o, receipts)
	if state.summary != nil {
		r.summary(&o, state.summary)
	}
	if o.items == 0 && !r.full {
		return false, nil
	}
	if l.UseStateAfter && len(state.events) == 0 {
		r.member(&o, `"state_after":{"events":[]}`)
	}
	if len(t.events) > 0 || t.limited || own || r.full {
		if err := r.counts(&o); err != nil {
			return false, err
		}
	}
	l.buf = append(l.buf, '}')
	return true, nil
}

// leftRoom writes a room that the user has left or was banned from: what happened up to then.
//
// Spec: client-server-api#syncing
func (l *look) leftRoom(m storage.Membership) (bool, error) {
	r, err := l.open(m)
	if err != nil {
		return false, err
	}
	r.end = m.Pos
	if l.since.Pos >= m.Pos && !l.initial { // only with full_state: the timeline is that since the token
		r.full = true
		r.after = l.since.Pos
	}
	t, err := r.timeline(storage.Span{After: r.after, UpTo: r.end}, l.wished())
	if err != nil {
		return false, err
	}
	if m.Pos > l.since.Pos || l.initial {
		if err := r.outsideEnd(&t); err != nil {
			return false, err
		}
	}
	t.limited = t.limited || r.after == everything && !l.initial && r.history.EverJoined()
	// Who was never in the room is told of nothing but their own rejection.
	var state stateDelta
	if r.end = min(r.end, r.history.Until()); r.end > 0 {
		t.start = min(t.start, r.end)
		if state, err = r.state(&t); err != nil {
			return false, err
		}
	}
	o := opened{start: len(l.buf)}
	l.buf = append(l.buf, '{')
	if err := r.events(&o, t, state); err != nil {
		return false, err
	}
	r.accountData(&o)
	if l.UseStateAfter && len(state.events) == 0 {
		r.member(&o, `"state_after":{"events":[]}`)
	}
	l.buf = append(l.buf, '}')
	return true, nil
}

// outsideEnd adds to the timeline of a left room what ended an invite or a knock when this server was not in the room: such an event has no place
// in its history.
func (r *room) outsideEnd(t *timeline) error {
	if r.m.Event == 0 {
		return nil
	}
	ev, err := r.tx.EventAt(r.m.Event)
	if err != nil {
		return fmt.Errorf("load the end of a membership: %w", err)
	}
	if ev.Pos != 0 {
		return nil
	}
	shown, err := r.wanted([]*storage.Event{ev})
	t.events = append(t.events, shown...)
	return err
}

// member makes place for a member of the room's object.
func (r *room) member(o *opened, text string) {
	r.item(o)
	r.buf = append(r.buf, text...)
}

// prepare reads what is needed to show events.
func (r *room) prepare(bundle bool, lists ...[]*storage.Event) (*clientevent.Batch, error) {
	batch, err := clientevent.Prepare(r.tx, r.viewer(), slices.Concat(lists...), clientevent.Options{
		Now: r.now, WithoutRoomID: true, Bundle: bundle, Federation: r.Filter.Federation, Ignored: r.unwanted.ignored,
		Histories: map[int64]*visibility.History{r.m.Room: r.history}, Fields: r.Filter.EventFields,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare events: %w", err)
	}
	return batch, nil
}

// list writes events, with commas between them.
func (r *room) list(batch *clientevent.Batch, events []*storage.Event) {
	for i, ev := range events {
		if i > 0 {
			r.buf = append(r.buf, ',')
		}
		r.buf = batch.Append(r.buf, ev)
	}
}

// events writes timeline and state.
func (r *room) events(o *opened, t timeline, state stateDelta) error {
	batch, err := r.prepare(t.limited || r.full, t.events, state.events)
	if err != nil {
		return err
	}
	if len(state.events) > 0 {
		name := `"state":{"events":[`
		if r.UseStateAfter {
			name = `"state_after":{"events":[`
		}
		r.member(o, name)
		r.list(batch, state.events)
		r.buf = append(r.buf, `]}`...)
	}
	if len(t.events) == 0 && !t.limited && !r.full {
		return nil
	}
	r.member(o, `"timeline":{"events":[`)
	r.list(batch, t.events)
	r.buf = append(r.buf, `],"limited":`...)
	r.buf = strconv.AppendBool(r.buf, t.limited)
	r.buf = append(r.buf, `,"prev_batch":"`...)
	r.buf = append(r.buf, t.before().String()...)
	r.buf = append(r.buf, `"}`...)
	return nil
}

// accountData writes what the user keeps for the room, as far as it is new to the client. A room that is new to it has the list, be it empty.
func (r *room) accountData(o *opened) {
	list := slices.DeleteFunc(slices.Clone(r.rooms[r.m.RoomID]), func(d storage.AccountData) bool {
		return !r.Filter.Room.AccountData.Match("", d.Type, string(r.m.RoomID), false)
	})
	if len(list) == 0 && r.after != everything {
		return
	}
	r.member(o, `"account_data":{"events":[`)
	inner := opened{}
	for _, d := range list {
		r.item(&inner)
		r.contentEvent(d.Type, d.Content)
	}
	r.buf = append(r.buf, `]}`...)
}

// receipts reads the receipts that are new to the client.
func (r *room) receipts() ([]storage.Receipt, error) {
	f := &r.Filter.Room.Ephemeral
	known := r.after != everything
	if known && !r.FullState && !r.hub.ChangedSince(edu.ReceiptsKey(r.m.RoomID), r.since.Pos) || !f.Match("", "m.receipt", string(r.m.RoomID), false) {
		return nil, nil
	}
	list, err := r.tx.ReceiptsSince(r.m.Room, storage.Span{After: r.after, UpTo: r.next.Pos}, r.User)
	if err != nil {
		return nil, fmt.Errorf("load receipts: %w", err)
	}
	return list, nil
}

// ephemeral writes typing and receipts, and reports whether the user has read something.
func (r *room) ephemeral(o *opened, receipts []storage.Receipt) (own bool) {
	known := r.after != everything
	var typing []id.UserID
	told := false
	if r.Filter.Room.Ephemeral.Match("", "m.typing", string(r.m.RoomID), false) && (!known || r.hub.EphemeralSince(hub.Room(r.m.RoomID), r.since.Eph)) {
		typing = r.edus.Typing(r.m.RoomID)
		// That nobody is typing is news only to who may have heard the contrary.
		told = len(typing) > 0 || known && r.since.Eph >= r.started
	}
	if !told && len(receipts) == 0 && known { // a room that is new to the client has the list, be it empty
		return false
	}
	r.member(o, `"ephemeral":{"events":[`)
	inner := opened{}
	if told {
		r.item(&inner)
		r.typingEvent(typing)
	}
	for _, d := range receipts {
		own = own || d.User == r.User
	}
	for len(receipts) > 0 {
		r.item(&inner)
		receipts = r.receiptEvent(receipts)
	}
	r.buf = append(r.buf, `]}`...)
	return own
}

// typingEvent appends who is typing in a room.
func (l *look) typingEvent(typing []id.UserID) {
	l.buf = append(l.buf, `{"content":{"user_ids":[`...)
	l.users(typing)
	l.buf = append(l.buf, `]},"type":"m.typing"}`...)
}

// counts writes how much is unread. Zeros are written too: badges are cleared by them.
//
// Spec: client-server-api#receiving-notifications
func (r *room) counts(o *opened) error {
	list, loaded := r.unread[r.m.Room], r.unread != nil
	if !loaded {
		var err error
		if list, err = r.tx.UnreadOf(r.User, r.m.Room); err != nil {
			return fmt.Errorf("load unread counts: %w", err)
		}
	}
	threads := r.Filter.Room.Timeline.UnreadThreadNotifications
	var main storage.Unread
	others := opened{}
	for _, u := range list {
		if u.Thread == "" || !threads {
			main.Notify += u.Notify
			main.Highlight += u.Highlight
			continue
		}
		if others.items == 0 {
			r.member(o, `"unread_thread_notifications":{`)
		}
		r.item(&others)
		r.buf = gjson.AppendJSONString(r.buf, string(u.Thread))
		r.buf = append(r.buf, ':')
		r.count(u)
	}
	if others.items > 0 {
		r.buf = append(r.buf, '}')
	}
	r.member(o, `"unread_notifications":`)
	r.count(main)
	return nil
}

func (r *room) count(u storage.Unread) {
	r.buf = append(r.buf, `{"highlight_count":`...)
	r.buf = strconv.AppendInt(r.buf, u.Highlight, 10)
	r.buf = append(r.buf, `,"notification_count":`...)
	r.buf = strconv.AppendInt(r.buf, u.Notify, 10)
	r.buf = append(r.buf, '}')
}
