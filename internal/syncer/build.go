package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// look is one look at the database for one client.
type look struct {
	*Syncer
	query
	answer
	tx       *storage.ReadTx
	now      time.Time
	unwanted wishes
	changed  map[int64]int64 // last positions of rooms with events after since, where the hub does not know; else nil
	global   []storage.AccountData
	rooms    map[id.RoomID][]storage.AccountData
	unread   map[int64][]storage.Unread // of all rooms, in an initial sync
	ahead    ahead
	cut      int64              // the last message to the device for which there was place, if there are more
	met      map[id.UserID]bool // who has come into a room that the user is in
	buf      []byte
}

// build writes the answer. In an incremental sync without anything to say it leaves buf empty.
func (l *look) build(ctx context.Context) error {
	l.now = l.clock.Now()
	var err error
	if l.unwanted, err = l.Syncer.wishes.load(l.tx, l.User, l.next.Pos); err != nil {
		return err
	}
	if err := l.loadAccountData(); err != nil {
		return err
	}
	if l.initial {
		l.members.forget(l.device())
		if l.unread, err = l.tx.UnreadRooms(l.User); err != nil {
			return fmt.Errorf("load unread counts: %w", err)
		}
		l.buf = make([]byte, 0, 64<<10)
	} else {
		l.buf = make([]byte, 0, 2048)
	}
	l.buf = append(l.buf, `{"next_batch":"`...)
	l.buf = l.next.Append(l.buf)
	l.buf = append(l.buf, `",`...)
	if err := l.accountData(); err != nil {
		return err
	}
	if err := l.allRooms(ctx); err != nil {
		return err
	}
	if err := l.presence(); err != nil {
		return err
	}
	if err := l.toDevice(); err != nil {
		return err
	}
	if err := l.deviceLists(); err != nil {
		return err
	}
	counts, err := l.tx.KeyCounts(l.User, l.Device)
	if err != nil {
		return fmt.Errorf("load key counts: %w", err)
	}
	l.buf = appendCounts(l.buf, counts)
	l.some = l.some || l.initial || l.FullState
	if !l.some {
		l.buf = nil
	}
	l.body = l.buf
	return nil
}

func (l *look) device() deviceKey { return deviceKey{l.User, l.Device, 0} }

// loadAccountData reads what the user keeps for their clients, as far as it is new.
func (l *look) loadAccountData() error {
	list, err := l.tx.AccountDataSince(l.User, l.since.Pos, l.next.Pos)
	if err != nil {
		return fmt.Errorf("load account data: %w", err)
	}
	for _, d := range list {
		if l.initial && d.Deleted() {
			continue // Spec: MSC3391#sync
		}
		if d.RoomID == "" {
			l.global = append(l.global, d)
			continue
		}
		if l.rooms == nil {
			l.rooms = map[id.RoomID][]storage.AccountData{}
		}
		l.rooms[d.RoomID] = append(l.rooms[d.RoomID], d)
	}
	return nil
}

// accountData writes the global account data.
func (l *look) accountData() error {
	o := l.openList(`"account_data":{"events":[`)
	for _, d := range l.global {
		if !l.Filter.AccountData.Match("", d.Type) {
			continue
		}
		if err := l.globalData(&o, d); err != nil {
			return err
		}
	}
	l.closeList(o, `]},`)
	l.some = l.some || o.items > 0
	return nil
}

// globalData appends an item of the global account data.
func (l *look) globalData(o *opened, d storage.AccountData) error {
	content := d.Content
	if d.Type == storage.PushRulesType {
		var err error
		if content, err = l.Syncer.rules.PushRulesContent(l.User, content); err != nil {
			return fmt.Errorf("show push rules: %w", err)
		}
	}
	l.item(o)
	l.contentEvent(d.Type, content)
	return nil
}

// contentEvent appends an event that is nothing but a type and a content.
func (l *look) contentEvent(typ string, content json.RawMessage) {
	l.buf = append(l.buf, `{"content":`...)
	l.buf = append(l.buf, content...)
	l.buf = append(l.buf, `,"type":`...)
	l.buf = gjson.AppendJSONString(l.buf, typ)
	l.buf = append(l.buf, '}')
}

// opened is a list or object in buf that vanishes again if nothing is put into it.
type opened struct {
	start int // of all of it
	items int
}

func (l *look) openList(text string) opened {
	o := opened{start: len(l.buf)}
	l.buf = append(l.buf, text...)
	return o
}

// item makes place for one more.
func (l *look) item(o *opened) {
	if o.items > 0 {
		l.buf = append(l.buf, ',')
	}
	o.items++
}

func (l *look) closeList(o opened, text string) {
	if o.items == 0 {
		l.buf = l.buf[:o.start]
		return
	}
	l.buf = append(l.buf, text...)
}

// sorted is the user's rooms by what a client is told of them.
type sorted struct{ join, invite, knock, leave []storage.Membership }

// allRooms writes the rooms.
func (l *look) allRooms(ctx context.Context) error {
	memberships, err := l.concerned()
	if err != nil {
		return fmt.Errorf("load memberships: %w", err)
	}
	var s sorted
	for i := range memberships {
		l.sort(&s, &memberships[i])
	}
	rooms := l.openList(`"rooms":{`)
	for _, section := range []struct {
		name  string
		list  []storage.Membership
		write func(m storage.Membership) (bool, error)
	}{
		{"join", s.join, l.joinedRoom},
		{"invite", s.invite, func(m storage.Membership) (bool, error) { return l.strippedRoom(m, `{"invite_state":{"events":`), nil }},
		{"knock", s.knock, func(m storage.Membership) (bool, error) { return l.strippedRoom(m, `{"knock_state":{"events":`), nil }},
		{"leave", s.leave, l.leftRoom},
	} {
		if len(section.list) == 0 {
			continue
		}
		before, items := len(l.buf), rooms.items
		l.item(&rooms)
		l.buf = append(append(append(l.buf, '"'), section.name...), `":{`...)
		o := opened{start: before}
		for i, m := range section.list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if section.name == "join" {
				if err := l.readAhead(section.list[i:]); err != nil {
					return err
				}
			}
			l.reserve(len(l.buf)-before, i, len(section.list)-i)
			start, count := len(l.buf), o.items
			l.item(&o)
			l.buf = gjson.AppendJSONString(l.buf, string(m.RoomID))
			l.buf = append(l.buf, ':')
			ok, err := section.write(m)
			if err != nil {
				return fmt.Errorf("show room %s: %w", m.RoomID, err)
			}
			if !ok {
				l.buf, o.items = l.buf[:start], count
			}
		}
		if o.items == 0 {
			rooms.items = items
		}
		l.closeList(o, `}`)
	}
	l.closeList(rooms, `},`)
	l.some = l.some || rooms.items > 0
	return nil
}

const (
	roomBytes    = 32 << 10 // most rooms take less
	reserveBytes = 8 << 20  // are reserved at a time, at most
)

// reserve makes place for the rooms that are left to write when buf is nearly full, by what those took that are written: a long answer is
// copied less often than if it grew by itself.
func (l *look) reserve(taken, written, left int) {
	if cap(l.buf)-len(l.buf) < roomBytes && written > 0 {
		l.buf = slices.Grow(l.buf, min(taken/written*left+roomBytes, reserveBytes))
	}
}

// fewRooms is how many rooms are looked at each rather than to find out which to look at.
const fewRooms = 4

// concerned is the memberships of those rooms that the answer may have something to say of.
func (l *look) concerned() ([]storage.Membership, error) {
	all, err := l.tx.MembershipsOf(l.User)
	if err != nil || l.initial {
		return all, err
	}
	if l.hub.ChangedSince(hub.Name('?', ""), l.since.Pos) {
		// The token is older than what the hub remembers: nobody ever rang that key.
		l.changed, err = l.tx.LastPositions(l.since.Pos)
		return all, err
	}
	if l.FullState || len(all) <= fewRooms {
		return all, nil
	}
	rung, ok := l.hub.Rung(l.since.Pos, len(all))
	typed, known := l.hub.RungEphemeral(l.since.Eph, len(all))
	if !ok || !known {
		return all, nil
	}
	rooms := slices.Collect(maps.Keys(l.rooms))
	for _, k := range slices.Concat(rung, typed) {
		if room, ok := k.Room(); ok {
			rooms = append(rooms, room)
		} else if room, ok := edu.ReceiptsRoom(k); ok {
			rooms = append(rooms, room)
		}
	}
	return l.tx.MembershipsTouched(l.User, l.since.Pos, rooms)
}

// sort puts a room into the section that it may have something to say in.
func (l *look) sort(s *sorted, m *storage.Membership) {
	fresh := l.initial || m.Pos > l.since.Pos
	if !l.Filter.Room.MatchRoom(string(m.RoomID)) {
		return
	}
	switch m.Membership {
	case "join":
		if fresh || l.FullState || l.touched(m) {
			s.join = append(s.join, *m)
		}
	case "invite":
		// Spec: client-server-api#ignoring-users, client-server-api#invite-permission
		if fresh && l.unwanted.invites.From(m.Sender) == visibility.Welcome {
			s.invite = append(s.invite, *m)
		}
	case "knock":
		if fresh {
			s.knock = append(s.knock, *m)
		}
	case "leave", "ban":
		// News is for everybody, or the other devices would never hear of what one has left and forgotten at once. What was left before is
		// for those who ask for it, and what was forgotten for nobody. Where others have put the user out, nobody needs to ask.
		news := !l.initial && m.Pos > l.since.Pos
		wanted := l.Filter.Room.IncludeLeave || l.initial && (m.Membership == "ban" || m.Sender != l.User)
		if news || (l.initial || l.FullState) && wanted && !m.Forgotten {
			s.leave = append(s.leave, *m)
		}
	}
}

// touched reports whether something may have happened in a joined room.
func (l *look) touched(m *storage.Membership) bool {
	return l.hasEvents(m) || l.hub.ChangedSince(edu.ReceiptsKey(m.RoomID), l.since.Pos) || l.hub.EphemeralSince(hub.Room(m.RoomID), l.since.Eph) ||
		l.rooms[m.RoomID] != nil
}

// hasEvents reports whether a room may have events after since.
func (l *look) hasEvents(m *storage.Membership) bool {
	if l.changed != nil {
		_, ok := l.changed[m.Room]
		return ok
	}
	return l.hub.ChangedSince(hub.Room(m.RoomID), l.since.Pos)
}

// strippedRoom writes a room that the user is not in but may come to be in.
//
// Spec: client-server-api#stripped-state
func (l *look) strippedRoom(m storage.Membership, open string) bool {
	l.buf = append(l.buf, open...)
	if m.Stripped == "" {
		l.buf = append(l.buf, `[]`...)
	} else {
		l.buf = append(l.buf, m.Stripped...)
	}
	l.buf = append(l.buf, `}}`...)
	return true
}

// viewer is who the events are shown to.
func (l *look) viewer() clientevent.Viewer { return clientevent.Viewer{User: l.User, Device: l.Device} }
