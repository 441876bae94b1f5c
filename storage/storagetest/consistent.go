package storagetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Consistent fails a test unless all that is kept beside the state of rooms says the same as the state: the current state, memberships, the
// servers in the rooms, for whom is counted what they have not read, and the counts of their summaries. own is the server whose store it is.
func Consistent(t testing.TB, s *storage.Store, own id.ServerName) {
	t.Helper()
	err := s.View(context.Background(), func(tx *storage.ReadTx) error {
		rooms, err := tx.LastPositions(0)
		for nid := range rooms {
			if err == nil {
				err = consistent(t, tx, nid, own)
			}
		}
		return err
	})
	if err != nil {
		t.Errorf("compare the rooms of %s: %v", own, err)
	}
}

// standing is what the state and the memberships have in common of a user.
type standing struct {
	Membership string
	Event      int64
	Name       string
}

func consistent(t testing.TB, tx *storage.ReadTx, nid int64, own id.ServerName) error {
	t.Helper()
	room, err := tx.RoomByNID(nid)
	if err != nil {
		return err
	}
	compare := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("on %s, %s of %s (-of the state +as kept):\n%s", own, what, room.ID, diff)
		}
	}
	state, err := tx.StateAt(room.State)
	if err != nil {
		return fmt.Errorf("load the state of %s: %w", room.ID, err)
	}
	events, err := tx.CurrentState(nid, true)
	if err != nil {
		return err
	}
	current := map[storage.StateKey]int64{}
	members := map[id.UserID]standing{}
	servers := map[id.ServerName]bool{}
	counted := []id.UserID{} // of our users
	var joined, invited int64
	for _, e := range events {
		if e.Status == storage.Rejected {
			t.Errorf("on %s, the state of %s has the rejected event %s (%s)", own, room.ID, e.ID, e.Type)
		}
		current[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.NID
		if e.Type != "m.room.member" {
			continue
		}
		user, m := id.UserID(*e.StateKey), e.Get("content.membership").Str
		members[user] = standing{m, e.NID, e.Get("content.displayname").Str}
		switch m {
		case "join":
			joined++
			servers[user.Server()] = true
			if user.Server() == own {
				counted = append(counted, user)
			}
		case "invite":
			invited++
		}
	}
	compare("the current state", state, current)
	compare("the number of the joined", joined, room.Summary.Joined)
	compare("the number of the invited", invited, room.Summary.Invited)

	kept := map[id.UserID]standing{}
	for _, membership := range []string{"join", "invite", "knock", "leave", "ban"} {
		list, err := tx.Members(nid, membership)
		if err != nil {
			return err
		}
		for _, m := range list {
			_, known := members[m.User]
			outside := m.User.Server() == own && m.Membership != "join" && members[m.User].Membership != "join" && members[m.User].Event != m.Event
			switch {
			case outside: // as other servers have told it
				delete(members, m.User)
			case known || m.Membership != "leave":
				kept[m.User] = standing{m.Membership, m.Event, m.Name}
			}
		}
	}
	compare("the memberships", members, kept)

	delete(servers, own)
	want := []id.ServerName{}
	for server := range servers {
		want = append(want, server)
	}
	slices.Sort(want)
	there, err := tx.ServersInRoom(nid)
	if err != nil {
		return err
	}
	slices.Sort(there)
	compare("the servers", want, there)

	slices.Sort(counted)
	unread, err := tx.UnreadUsers(nid)
	if err != nil {
		return err
	}
	compare("for whom is counted", counted, unread)

	for _, x := range room.Extremities {
		e, err := tx.Event(x.ID)
		if err != nil {
			return fmt.Errorf("load the end %s of %s: %w", x.ID, room.ID, err)
		}
		if e.Room != nid || e.Status != storage.Accepted || e.StateAfter == 0 {
			t.Errorf("on %s, %s ends with %s, which has the status %d", own, room.ID, e.ID, e.Status)
		}
	}
	if len(room.Extremities) == 0 {
		t.Errorf("on %s, %s has no end", own, room.ID)
	}
	return nil
}
