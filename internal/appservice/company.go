package appservice

import (
	"maps"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// company finds out whose devices an application service that encrypts has to look at anew, and whom its users share no room with any more.
// Both may name somebody needlessly: that costs a question.
type company struct {
	interest *interest
	changed  map[id.UserID]bool
	parted   map[id.UserID]bool // left, unless there is another room
}

func newCompany(i *interest) *company {
	return &company{i, map[id.UserID]bool{}, map[id.UserID]bool{}}
}

// devices adds those whose devices have changed within a span of the stream.
func (c *company) devices(tx *storage.ReadTx, span storage.Span) error {
	users, err := tx.ChangedDeviceLists(span)
	if err != nil {
		return err
	}
	for _, u := range users {
		near, err := c.interest.near(tx, u)
		if err != nil {
			return err
		}
		if near {
			c.changed[u] = true
		}
	}
	return nil
}

// moved adds whom an event of a room that concerns the application service brings into the sight of its users, or takes out of it.
func (c *company) moved(tx *storage.ReadTx, e *storage.Event) error {
	if e.Type != "m.room.member" || e.StateKey == nil || e.Pos == 0 {
		return nil
	}
	then, err := tx.StateOfTypeAt(e.StateBefore, "m.room.member", []string{*e.StateKey})
	if err != nil {
		return err
	}
	user := id.UserID(*e.StateKey)
	was := slices.ContainsFunc(then, func(m *storage.Event) bool { return m.Get("content.membership").Str == "join" })
	is := e.Get("content.membership").Str == "join"
	if was == is {
		return nil
	}
	to := c.changed
	if was {
		to = c.parted
	}
	if !c.interest.to.HasUser(user) {
		to[user] = true
		return nil
	}
	// One of the application service's own. It is the first to come, or the last to go, if no other is there.
	own, err := c.interest.members(tx, e.Room)
	if err != nil || slices.ContainsFunc(own, func(m storage.LocalMembership) bool {
		return m.Membership == "join" && m.User != user && (was || m.Pos < e.Pos)
	}) {
		return err
	}
	all, err := tx.Members(e.Room, "join")
	for _, m := range all {
		to[m.User] = true
	}
	return err
}

// lists is the outcome, in order. Nobody is in both lists.
func (c *company) lists(tx *storage.ReadTx) (storage.DeviceLists, error) {
	for u := range c.parted {
		near, err := c.interest.near(tx, u)
		if err != nil {
			return storage.DeviceLists{}, err
		}
		if near {
			delete(c.parted, u)
		} else {
			delete(c.changed, u)
		}
	}
	return storage.DeviceLists{Changed: slices.Sorted(maps.Keys(c.changed)), Left: slices.Sorted(maps.Keys(c.parted))}, nil
}
