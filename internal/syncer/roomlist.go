package syncer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// roomList is the rooms that a user has ever had to do with, those in which something happened last first. It does not change.
//
// Spec: MSC4186#activity-ordering
type roomList struct {
	pos         int64
	memberships []storage.Membership // that it was made of
	rooms       []listed
}

// listed is a room in the list.
type listed struct {
	m        *storage.Membership
	room     sliding.Room
	active   int64 // the position of the last event, or of how the user came to be no member
	touched  int64 // nothing has happened in the room after this position
	receipts int64 // the same of receipts
	put      bool  // others have put the user out of the room
}

// roomLists keeps the lists of users in memory, and brings them up to date by what the hub says.
type roomLists struct {
	mu    sync.Mutex
	users map[id.UserID]*roomList
	size  int
}

const maxListed = 1 << 20 // rooms in all lists: about 150 MB

func newRoomLists() *roomLists { return &roomLists{users: map[id.UserID]*roomList{}} }

func (c *roomLists) get(user id.UserID) *roomList {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users[user]
}

func (c *roomLists) put(user id.UserID, list *roomList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.users[user]
	if old != nil {
		if old.pos > list.pos {
			return
		}
		c.size -= len(old.rooms)
	}
	if c.size+len(list.rooms) > maxListed {
		clear(c.users)
		c.size = 0
	}
	c.users[user] = list
	c.size += len(list.rooms)
}

// roomList is the user's list as the snapshot has it.
func (l *look) roomList() (*roomList, error) {
	memberships, err := l.tx.MembershipsOf(l.User)
	if err != nil {
		return nil, fmt.Errorf("load memberships: %w", err)
	}
	old := l.lists.get(l.User)
	if old != nil && (old.pos > l.next.Pos || !same(old.memberships, memberships) || l.hub.ChangedSince(hub.Name('?', ""), old.pos)) {
		old = nil
	}
	if old != nil && !l.hub.ChangedSince(hub.User(l.User), old.pos) {
		return old, nil
	}
	list := &roomList{pos: l.next.Pos, memberships: memberships}
	if old == nil {
		err = l.fillList(list)
	} else {
		err = l.renewList(list, old)
	}
	if err != nil {
		return nil, fmt.Errorf("list the rooms: %w", err)
	}
	l.lists.put(l.User, list)
	return list, nil
}

func same(a, b []storage.Membership) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// fillList reads a list.
func (l *look) fillList(list *roomList) error {
	rows, err := l.tx.ListedRooms(l.User)
	if err != nil {
		return err
	}
	byNID := make(map[int64]storage.ListedRoom, len(rows))
	for _, row := range rows {
		byNID[row.Room] = row
	}
	list.rooms = make([]listed, len(list.memberships))
	for i := range list.memberships {
		r := &list.rooms[i]
		r.m = &list.memberships[i]
		r.receipts = list.pos
		r.fill(byNID[r.m.Room])
		if (r.m.Membership == "leave" || r.m.Membership == "ban") && r.m.Sender != l.User && !r.m.Forgotten {
			// Spec: MSC4186#lists
			h, err := visibility.Load(l.tx, r.m.Room, l.User)
			if err != nil {
				return err
			}
			r.put = h.EverJoined()
		}
	}
	list.order()
	return nil
}

// renewList makes a list of an older one.
func (l *look) renewList(list, old *roomList) error {
	list.rooms = slices.Clone(old.rooms)
	var changed []int64
	places := map[int64]int{}
	for i := range list.rooms {
		r := &list.rooms[i]
		if r.m.Membership != "join" {
			continue
		}
		if l.hub.ChangedSince(edu.ReceiptsKey(r.m.RoomID), old.pos) {
			r.receipts = list.pos
		}
		if l.hub.ChangedSince(hub.Room(r.m.RoomID), old.pos) {
			changed = append(changed, r.m.Room)
			places[r.m.Room] = i
		}
	}
	if len(changed) == 0 {
		return nil
	}
	rows, err := l.tx.ListedRoomsAt(changed)
	for _, row := range rows {
		r := &list.rooms[places[row.Room]]
		r.fill(row)
		r.touched = list.pos
	}
	list.order()
	return err
}

// order sorts the list, most of which is in order.
func (l *roomList) order() {
	slices.SortFunc(l.rooms, func(a, b listed) int { return cmp.Or(cmp.Compare(b.active, a.active), cmp.Compare(a.m.Room, b.m.Room)) })
}

// fill takes what lists need to know of a room: from the room, or from what came with an invite or a knock.
func (r *listed) fill(row storage.ListedRoom) {
	r.room = sliding.Room{ID: r.m.RoomID, Name: row.Name, Type: row.Type, Encrypted: row.Encrypted}
	r.active, r.touched = r.m.Pos, r.m.Pos
	switch r.m.Membership {
	case "join":
		r.active = max(row.LastPos, r.m.Pos)
		r.touched = r.active
	case "invite", "knock":
		r.room.Invited = r.m.Membership == "invite"
		for _, ev := range gjson.Parse(r.m.Stripped).Array() {
			switch ev.Get("type").Str {
			case "m.room.name":
				r.room.Name = ev.Get("content.name").Str
			case "m.room.create":
				r.room.Type = ev.Get("content.type").Str
			case "m.room.encryption":
				r.room.Encrypted = true
			}
		}
	}
}
