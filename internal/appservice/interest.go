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
	if len(i.to.aliases) > 0 {
		aliases, err := tx.AliasesOf(e.Room)
		if err != nil || slices.ContainsFunc(aliases, i.to.HasAlias) {
			return err == nil, err
		}
	}
	return i.joined(tx, e)
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
	members, err := tx.LocalMemberships(e.Room)
	if err != nil {
		return false, err
	}
	members = slices.DeleteFunc(members, func(m storage.LocalMembership) bool { return !i.to.HasUser(m.User) })
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
	if len(i.rooms) >= maxKnownRooms {
		clear(i.rooms)
	}
	i.rooms[e.Room] = known
	if known.witness != "" || len(later) == 0 {
		return known.witness != "", nil
	}
	// They have come, gone or changed their names since: the worker is behind.
	then, err := tx.StateOfTypeAt(e.StateBefore, "m.room.member", later)
	return slices.ContainsFunc(then, func(m *storage.Event) bool { return m.Get("content.membership").Str == "join" }), err
}
