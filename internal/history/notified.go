package history

import (
	"cmp"
	"math"
	"slices"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// Judge says what a user's push rules make of an event.
type Judge func(tx *storage.ReadTx, room *storage.Room, ev *storage.Event, member storage.Member) (push.Outcome, error)

// Notice is an event that has notified a user.
type Notice struct {
	Room    *Room
	Event   *storage.Event
	Outcome push.Outcome
	Read    bool
}

// Bounds of a look for notifications: events and stretches of rooms that are looked at for one page.
const (
	maxJudged    = 1000
	maxStretches = 100
)

// Notified finds the events of the rooms that a user is joined to that would notify the user, newest first: at most limit of those at or
// before the point from. Nothing is stored for this: the push rules are asked again. It returns the point to go on from, and whether there
// is anything left to look at.
//
// Spec: client-server-api#get_matrixclientv3notifications
func Notified(tx *storage.ReadTx, user id.UserID, from int64, limit int, only func(push.Outcome) bool, judge Judge) (found []Notice, next int64, more bool, err error) {
	n := notified{search: search{tx: tx, user: user, rooms: map[int64]*Room{}}, names: map[int64]storage.Member{}, read: map[int64]map[string]int64{}}
	if err := n.start(from); err != nil {
		return nil, 0, false, err
	}
	judged := 0
	for range maxStretches {
		events, end, err := n.stretch()
		if err != nil {
			return nil, 0, false, err
		}
		for _, ev := range events {
			if len(found) == limit || judged == maxJudged {
				return found, from, true, nil
			}
			from = ev.Pos - 1
			judged++
			notice, ok, err := n.judge(ev, judge)
			if err != nil {
				return nil, 0, false, err
			}
			if ok && only(notice.Outcome) {
				found = append(found, notice)
			}
		}
		if len(n.heads) == 0 {
			return found, from, false, nil
		}
		from = min(from, end)
	}
	return found, from, true, nil
}

type notified struct {
	search
	heads []headOfRoom
	names map[int64]storage.Member
	read  map[int64]map[string]int64 // by room and thread, the position up to which the user has read
}

// headOfRoom is a room with a position that everything left in it is at or before.
type headOfRoom struct{ room, pos int64 }

func (n *notified) start(from int64) error {
	memberships, err := n.tx.MembershipsOf(n.user)
	if err != nil {
		return err
	}
	last, err := n.tx.LastPositions(math.MinInt64)
	if err != nil {
		return err
	}
	for _, m := range memberships {
		if m.Membership == "join" {
			n.names[m.Room] = storage.Member{User: m.User, Name: m.Name}
			n.heads = append(n.heads, headOfRoom{m.Room, min(from, last[m.Room])})
		}
	}
	return nil
}

// stretch reads the newest events that are left: those of the room with the highest head, down to the next head. It also returns the point
// behind what is still to be read.
func (n *notified) stretch() ([]*storage.Event, int64, error) {
	if len(n.heads) == 0 {
		return nil, Beginning, nil
	}
	slices.SortFunc(n.heads, func(a, b headOfRoom) int { return cmp.Compare(b.pos, a.pos) })
	head, next := &n.heads[0], int64(Beginning)
	span := storage.Span{After: Beginning, UpTo: head.pos}
	if len(n.heads) > 1 {
		next = n.heads[1].pos
		span.After = next - 1 // no two events have the same position
	}
	places, err := n.tx.TimelinePlaces(head.room, span, minBatch, true)
	if err != nil {
		return nil, 0, err
	}
	if len(places) == minBatch {
		head.pos = places[minBatch-1].Pos - 1
		next = max(next, head.pos)
	} else if err := n.lower(span.After); err != nil {
		return nil, 0, err
	}
	events, err := n.tx.EventsAt(storage.NIDs(places))
	return slices.DeleteFunc(events, func(ev *storage.Event) bool { return ev == nil }), next, err
}

// lower moves the first head to the newest event at or before a position, and drops it if there is none.
func (n *notified) lower(to int64) error {
	below, err := n.tx.TimelinePlaces(n.heads[0].room, storage.Span{After: Beginning, UpTo: to}, 1, true)
	if err != nil {
		return err
	}
	if len(below) == 0 {
		n.heads = n.heads[1:]
	} else {
		n.heads[0].pos = below[0].Pos
	}
	return nil
}

// judge asks the user's push rules about an event that the user may see.
func (n *notified) judge(ev *storage.Event, judge Judge) (Notice, bool, error) {
	if ev.Sender == n.user || ev.RedactedBy != 0 {
		return Notice{}, false, nil
	}
	room, err := n.room(ev.Room)
	if err != nil || room == nil || !room.shows(ev) {
		return Notice{}, false, err
	}
	outcome, err := judge(n.tx, room.Room, ev, n.names[ev.Room])
	if err != nil || !outcome.Notify {
		return Notice{}, false, err
	}
	read, err := n.isRead(ev)
	return Notice{Room: room, Event: ev, Outcome: outcome, Read: read}, true, err
}

// isRead reports whether a receipt of the user covers the event: one for its thread, or one for all of them.
func (n *notified) isRead(ev *storage.Event) (bool, error) {
	upTo := n.read[ev.Room]
	if upTo == nil {
		receipts, err := n.tx.ReceiptsOf(ev.Room, n.user)
		if err != nil {
			return false, err
		}
		upTo = map[string]int64{}
		for _, r := range receipts {
			upTo[r.Thread] = max(upTo[r.Thread], r.At)
		}
		n.read[ev.Room] = upTo
	}
	thread := storage.MainThread
	if to := ev.Get("content.m\\.relates_to"); to.Get("rel_type").Str == "m.thread" {
		thread = to.Get("event_id").Str
	}
	return ev.Pos <= max(upTo[""], upTo[thread]), nil
}

// ShowNotices renders the events of notices.
func ShowNotices(tx *storage.ReadTx, viewer clientevent.Viewer, notices []Notice, opts clientevent.Options) (*clientevent.Batch, error) {
	events := make([]*storage.Event, len(notices))
	found := make([]Found, len(notices))
	for i, n := range notices {
		events[i] = n.Event
		found[i] = Found{Room: n.Room}
	}
	opts.Histories = Histories(found)
	return clientevent.Prepare(tx, viewer, events, opts)
}
