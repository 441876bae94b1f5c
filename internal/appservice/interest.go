package appservice

import (
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxKnownRooms is the number of rooms of which a worker remembers whether they concern its application service.
const maxKnownRooms = 10_000

// interest decides which events an application service is sent. It remembers what it has found out about rooms. That stays right because it
// sees all events in order, those through which a user of the application service comes into a room among them. It belongs to one worker.
type interest struct {
	to    *Registration
	rooms map[int64]knownRoom
}

// knownRoom is what is remembered of a room.
type knownRoom struct {
	// nobody: no user of the application service has ever had to do with the room.
	nobody bool
	// witness is one that was joined when somebody last looked.
	witness id.UserID
}

func newInterest(to *Registration) *interest {
	return &interest{to, map[int64]knownRoom{}}
}

// in reports whether an event is to be sent: it was sent by a user of the application service, it is the membership of one, or it happened in
// a room that is in a namespace, or where one was joined at the time.
//
// Spec: application-service-api#registration
func (i *interest) in(tx *storage.ReadTx, e *storage.Event) (bool, error) {
	if e.Type == "m.room.member" && e.StateKey != nil && i.to.HasUser(id.UserID(*e.StateKey)) {
		delete(i.rooms, e.Room)
		return true, nil
	}
	if i.to.HasUser(e.Sender) || i.to.HasRoom(e.RoomID) {
		return true, nil
	}
	if e.Pos == 0 {
		return false, nil // an invite or a knock in a room of which nothing else is known
	}
	named, err := i.hasAliasOf(tx, e.Room)
	if err != nil || named {
		return named, err
	}
	return i.joined(tx, e)
}

// room reports whether a room concerns the application service now.
//
// Spec: application-service-api#pushing-ephemeral-data
func (i *interest) room(tx *storage.ReadTx, room int64, name id.RoomID) (bool, error) {
	if i.to.HasRoom(name) {
		return true, nil
	}
	named, err := i.hasAliasOf(tx, room)
	if err != nil || named {
		return named, err
	}
	known := i.rooms[room]
	if known.nobody {
		return false, nil
	}
	if known.witness != "" {
		m, err := tx.Membership(room, known.witness)
		if err != nil || m.Membership == "join" {
			return err == nil, err
		}
	}
	members, err := i.members(tx, room)
	if err != nil {
		return false, err
	}
	known = knownRoom{nobody: len(members) == 0}
	if k := slices.IndexFunc(members, func(m storage.LocalMembership) bool { return m.Membership == "join" }); k >= 0 {
		known.witness = members[k].User
	}
	i.know(room, known)
	return known.witness != "", nil
}

// near reports whether a user, here or elsewhere, is one of the application service's or in a room that concerns it.
func (i *interest) near(tx *storage.ReadTx, user id.UserID) (bool, error) {
	if i.to.HasUser(user) {
		return true, nil
	}
	rooms, err := tx.MembershipsOf(user)
	if err != nil {
		return false, err
	}
	for _, m := range rooms {
		if m.Membership != "join" {
			continue
		}
		if yes, err := i.room(tx, m.Room, m.RoomID); err != nil || yes {
			return yes, err
		}
	}
	return false, nil
}

func (i *interest) hasAliasOf(tx *storage.ReadTx, room int64) (bool, error) {
	if len(i.to.aliases) == 0 {
		return false, nil
	}
	aliases, err := tx.AliasesOf(room)
	return slices.ContainsFunc(aliases, i.to.HasAlias), err
}

// members is the users of the application service who have ever had to do with a room.
func (i *interest) members(tx *storage.ReadTx, room int64) ([]storage.LocalMembership, error) {
	members, err := tx.LocalMemberships(room)
	return slices.DeleteFunc(members, func(m storage.LocalMembership) bool { return !i.to.HasUser(m.User) }), err
}

func (i *interest) know(room int64, known knownRoom) {
	if len(i.rooms) >= maxKnownRooms {
		clear(i.rooms)
	}
	i.rooms[room] = known
}

// joined reports whether a user of the application service was joined to the room of an event when that happened.
func (i *interest) joined(tx *storage.ReadTx, e *storage.Event) (bool, error) {
	known := i.rooms[e.Room]
	if known.nobody {
		return false, nil
	}
	if known.witness != "" {
		m, err := tx.Membership(e.Room, known.witness)
		if err != nil {
			return false, err
		}
		if m.Membership == "join" && m.Pos <= e.Pos {
			return true, nil
		}
	}
	members, err := i.members(tx, e.Room)
	if err != nil {
		return false, err
	}
	known = knownRoom{nobody: len(members) == 0}
	var later []string // those who were something else before
	for _, m := range members {
		if m.Pos > e.Pos {
			later = append(later, string(m.User))
		} else if m.Membership == "join" {
			known.witness = m.User
			break
		}
	}
	i.know(e.Room, known)
	if known.witness != "" || len(later) == 0 {
		return known.witness != "", nil
	}
	// They have come, gone or changed their names since: the worker is behind.
	then, err := tx.StateOfTypeAt(e.StateBefore, "m.room.member", later)
	return slices.ContainsFunc(then, func(m *storage.Event) bool { return m.Get("content.membership").Str == "join" }), err
}
