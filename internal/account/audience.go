package account

import (
	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
)

// audience is the members of a room, sorted by how to find out what an event is to them.
type audience struct {
	members []storage.Member       // the list that it was made of
	names   map[id.UserID]string   // in the room
	apart   map[id.UserID]struct{} // who must always be asked for: they have rules of their own, ignore somebody, or speak of threads
	held    int                    // bytes, as counted
	index   push.Index             // of the others
}

// size estimates the bytes of an audience. The strings are those of the list, which the cache of states counts.
func (a *audience) size() int { return 300 + 200*len(a.names) }

// audiences keeps audiences by the number of their room, in order of nothing: when they are too many, all go.
type audiences struct {
	share  *budget.Share
	bytes  int
	byRoom map[int64]*audience
}

func newAudiences(share *budget.Share) audiences {
	return audiences{share: share, byRoom: map[int64]*audience{}}
}

func (s *audiences) put(room int64, a *audience) {
	s.bytes += a.size() - a.held
	a.held = a.size()
	if !s.share.Hold(s.bytes) {
		clear(s.byRoom)
		s.bytes = a.held
		s.share.Hold(s.bytes)
	}
	s.byRoom[room] = a
}

// forget has a user asked for in every room from now on.
func (s *audiences) forget(user id.UserID) {
	for _, a := range s.byRoom {
		if name, ok := a.names[user]; ok {
			a.index.Remove(push.Recipient{ID: user, DisplayName: name})
			a.apart[user] = struct{}{}
		}
	}
}

// audience brings the audience of a room up to date with its members. It is used by Updates, which run one after the other.
func (n *Notifier) audience(tx *storage.ReadTx, room int64, members []storage.Member) (*audience, error) {
	n.mu.Lock()
	a := n.audiences.byRoom[room]
	n.audiences.share.Asked(a != nil)
	n.mu.Unlock()
	if a != nil && same(a.members, members) {
		return a, nil
	}
	if a == nil {
		a = &audience{names: map[id.UserID]string{}, apart: map[id.UserID]struct{}{}}
	}
	// Mostly one has come, gone or changed the name.
	gone, come := a.members, members
	for len(gone) > 0 && len(come) > 0 && gone[0] == come[0] {
		gone, come = gone[1:], come[1:]
	}
	for len(gone) > 0 && len(come) > 0 && gone[len(gone)-1] == come[len(come)-1] {
		gone, come = gone[:len(gone)-1], come[:len(come)-1]
	}
	plain := make([]bool, len(come))
	for i, m := range come {
		l, err := n.listener(tx, m.User)
		if err != nil {
			return nil, err
		}
		plain[i] = l.plain(n.book)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range gone {
		a.index.Remove(push.Recipient{ID: m.User, DisplayName: m.Name})
		delete(a.names, m.User)
		delete(a.apart, m.User)
	}
	for i, m := range come {
		a.names[m.User] = m.Name
		if plain[i] {
			a.index.Add(push.Recipient{ID: m.User, DisplayName: m.Name})
		} else {
			a.apart[m.User] = struct{}{}
		}
	}
	a.members = members
	n.audiences.put(room, a)
	return a, nil
}

// same reports whether two lists that are never changed in place are one.
func same(a, b []storage.Member) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
