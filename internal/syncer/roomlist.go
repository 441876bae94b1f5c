package syncer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/budget"
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
	rooms       []*listed            // in order
	members     []*listed            // in the order of the memberships
	keys        map[hub.Key]roomKey
	shape       *shape
}

// shape is the same for lists that have the same rooms, of which filters say the same unless they look at something else than rooms.
type shape struct{ _ byte }

// roomKey is what a ring is about: the membership with a number, or the receipts of its room.
type roomKey struct {
	member   int
	receipts bool
}

// listed is a room in the list.
type listed struct {
	m        *storage.Membership
	member   int // its place among the memberships
	room     sliding.Room
	active   int64 // the position of the last event, or of how the user came to be no member
	touched  int64 // nothing has happened in the room after this position
	receipts int64 // the same of receipts
	put      bool  // others have put the user out of the room
}

// roomLists keeps the lists of users in memory, and brings them up to date by what the hub says.
type roomLists struct {
	mu    sync.Mutex
	share *budget.Share
	users map[id.UserID]*roomList
	size  int // rooms in all lists
}

// listedBytes is what a room in a list takes.
const listedBytes = 150

func newRoomLists(share *budget.Share) *roomLists {
	return &roomLists{share: share, users: map[id.UserID]*roomList{}}
}

func (c *roomLists) get(user id.UserID) *roomList {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.users[user]
	c.share.Asked(list != nil)
	return list
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
	c.users[user] = list
	c.size += len(list.rooms)
	for other, l := range c.users {
		if c.share.Hold(listedBytes * c.size) {
			break
		}
		if other != user {
			c.size -= len(l.rooms)
			delete(c.users, other)
		}
	}
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
	all := make([]listed, len(list.memberships))
	list.rooms, list.members = make([]*listed, len(all)), make([]*listed, len(all))
	list.keys, list.shape = make(map[hub.Key]roomKey, 2*len(all)), new(shape)
	for i := range list.memberships {
		r := &all[i]
		r.m, r.member, r.receipts = &list.memberships[i], i, list.pos
		r.fill(byNID[r.m.Room])
		if (r.m.Membership == "leave" || r.m.Membership == "ban") && r.m.Sender != l.User && !r.m.Forgotten {
			// Spec: MSC4186#lists
			h, err := visibility.Load(l.tx, r.m.Room, l.User)
			if err != nil {
				return err
			}
			r.put = h.EverJoined()
		}
		list.rooms[i], list.members[i] = r, r
		if r.m.Membership == "join" {
			list.keys[hub.Room(r.m.RoomID)] = roomKey{i, false}
			list.keys[edu.ReceiptsKey(r.m.RoomID)] = roomKey{i, true}
		}
	}
	slices.SortFunc(list.rooms, byActivity)
	return nil
}

// renewList makes a list of an older one.
func (l *look) renewList(list, old *roomList) error {
	list.keys, list.shape = old.keys, old.shape
	rung, ok := l.hub.Rung(old.pos, len(old.keys))
	if !ok {
		for k := range old.keys {
			if l.hub.ChangedSince(k, old.pos) {
				rung = append(rung, k)
			}
		}
	}
	news := map[int]*listed{}
	var changed []int64
	for _, k := range rung {
		key, mine := old.keys[k]
		if !mine {
			continue
		}
		r := news[key.member]
		if r == nil {
			clone := *old.members[key.member]
			r = &clone
			news[key.member] = r
		}
		if key.receipts {
			r.receipts = list.pos
		} else if r.touched != list.pos {
			r.touched = list.pos
			changed = append(changed, r.m.Room)
		}
	}
	if len(news) == 0 {
		list.rooms, list.members = old.rooms, old.members
		return nil
	}
	rows, err := l.tx.ListedRoomsAt(changed)
	if err != nil {
		return err
	}
	byNID := make(map[int64]storage.ListedRoom, len(rows))
	for _, row := range rows {
		byNID[row.Room] = row
	}
	list.members = slices.Clone(old.members)
	fresh := make([]*listed, 0, len(news))
	for i, r := range news {
		if row, ok := byNID[r.m.Room]; ok {
			was := r.room
			r.fill(row)
			r.touched = list.pos
			if r.room != was {
				list.shape = new(shape)
			}
		}
		list.members[i] = r
		fresh = append(fresh, r)
	}
	slices.SortFunc(fresh, byActivity)
	list.rooms = make([]*listed, 0, len(old.rooms))
	for _, r := range old.rooms { // which are in order: the two are merged
		if list.members[r.member] != r {
			continue
		}
		for len(fresh) > 0 && byActivity(fresh[0], r) < 0 {
			list.rooms, fresh = append(list.rooms, fresh[0]), fresh[1:]
		}
		list.rooms = append(list.rooms, r)
	}
	list.rooms = append(list.rooms, fresh...)
	return nil
}

func byActivity(a, b *listed) int {
	return cmp.Or(cmp.Compare(b.active, a.active), cmp.Compare(a.m.Room, b.m.Room))
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
