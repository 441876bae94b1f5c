package visibility

import (
	"errors"
	"fmt"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Server is what another server may see of a room: what somebody of its users may see there. It belongs to the transaction that it was made
// in.
type Server struct {
	tx     *storage.ReadTx
	room   *storage.Room
	name   id.ServerName
	joined bool
	erased map[id.UserID]int64
	// users are those that the server has ever had in the room; nil until somebody asks.
	users []string
	sight map[int64]bool // by snapshot
}

// ForServer returns what another server may see of a room.
func ForServer(tx *storage.ReadTx, room *storage.Room, server id.ServerName) (*Server, error) {
	joined, err := tx.ServerInRoom(room.NID, server)
	if err != nil {
		return nil, fmt.Errorf("look for %s in %s: %w", server, room.ID, err)
	}
	erased, err := tx.ErasedUsers()
	if err != nil {
		return nil, fmt.Errorf("load the erased users: %w", err)
	}
	return &Server{tx: tx, room: room, name: server, joined: joined, erased: erased, sight: map[int64]bool{}}, nil
}

// Joined reports whether the server has users in the room now.
func (s *Server) Joined() bool { return s.joined }

// Sees reports whether the server may see an event of the room: whether its users were in the room at that moment in such a way that they may,
// or will find it in the history of the room that they are in now. Of events whose moment is not known, those that others need to judge who
// was allowed to do what, it may see all if it is in the room.
//
// Spec: client-server-api#room-history-visibility
func (s *Server) Sees(ev *storage.Event) (bool, error) {
	if ev.Room != s.room.NID {
		return false, nil
	}
	if ev.Status == storage.Outlier && ev.StateKey != nil {
		return s.joined, nil
	}
	if s.erased[ev.Sender] != 0 {
		// Spec: client-server-api#post_matrixclientv3accountdeactivate, only who has seen it already sees it still
		return s.hasMember(ev.StateAfter, "join")
	}
	if ev.StateAfter == 0 {
		return s.seesHistory()
	}
	ok, err := s.seesAt(ev.StateAfter)
	if ok || err != nil || ev.StateAfter == ev.StateBefore {
		return ok, err
	}
	// Changes of the visibility, and of memberships, are seen by who could see either side of them.
	if ev.Type == "m.room.history_visibility" || ev.Type == "m.room.member" {
		return s.seesAt(ev.StateBefore)
	}
	return false, nil
}

// seesHistory is Sees for history that was fetched from other servers, of whose moment nothing is known: what only some may see of it, nobody is
// shown by us.
func (s *Server) seesHistory() (bool, error) {
	switch visibility, err := s.visibilityAt(s.room.State); visibility {
	case "world_readable":
		return true, err
	case "invited", "joined":
		return false, err
	default:
		return s.joined, err
	}
}

// seesAt is Sees for what happens while the room's state is that of a snapshot.
func (s *Server) seesAt(snapshot int64) (bool, error) {
	if ok, known := s.sight[snapshot]; known {
		return ok, nil
	}
	ok, err := s.look(snapshot)
	if err == nil {
		s.sight[snapshot] = ok
	}
	return ok, err
}

func (s *Server) look(snapshot int64) (bool, error) {
	visibility, err := s.visibilityAt(snapshot)
	if err != nil {
		return false, err
	}
	switch visibility {
	case "world_readable":
		return true, nil
	case "invited":
		return s.hasMember(snapshot, "join", "invite")
	case "joined":
		return s.hasMember(snapshot, "join")
	}
	if s.joined {
		return true, nil
	}
	return s.hasMember(snapshot, "join")
}

// visibilityAt is the history visibility in a snapshot, empty where it says nothing.
func (s *Server) visibilityAt(snapshot int64) (string, error) {
	nid, err := s.tx.StateKeyAt(snapshot, storage.StateKey{Type: "m.room.history_visibility"})
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("load the history visibility of %s: %w", s.room.ID, err)
	}
	ev, err := s.tx.EventAt(nid)
	if err != nil {
		return "", fmt.Errorf("load the history visibility of %s: %w", s.room.ID, err)
	}
	return ev.Get("content.history_visibility").Str, nil
}

// hasMember reports whether a user of the server has one of some memberships in a snapshot.
func (s *Server) hasMember(snapshot int64, memberships ...string) (bool, error) {
	if s.users == nil {
		users, err := s.tx.UsersOfServer(s.room.NID, s.name)
		if err != nil {
			return false, fmt.Errorf("load the users of %s in %s: %w", s.name, s.room.ID, err)
		}
		s.users = make([]string, len(users))
		for i, u := range users {
			s.users[i] = string(u)
		}
	}
	if len(s.users) == 0 {
		return false, nil
	}
	events, err := s.tx.StateOfTypeAt(snapshot, "m.room.member", s.users)
	if err != nil {
		return false, fmt.Errorf("load the members of %s from %s: %w", s.room.ID, s.name, err)
	}
	for _, ev := range events {
		got := ev.Get("content.membership").Str
		for _, want := range memberships {
			if got == want {
				return true, nil
			}
		}
	}
	return false, nil
}
