package directory

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// Children is a room with the rooms that it has as a space, as another server gets to see them.
//
// Spec: server-server-api#get_matrixfederationv1hierarchyroomid
type Children struct {
	Room         Node        `json:"room"`
	Children     []Summary   `json:"children"`
	Inaccessible []id.RoomID `json:"inaccessible_children"`
}

// ForServer describes a room to another server, which sees what any of its users could see. storage.ErrNotFound: there is no such room, or it is
// not for that server to know.
func ForServer(tx *storage.ReadTx, server id.ServerName, room id.RoomID, suggestedOnly bool) (Children, error) {
	out := Children{Room: Node{Children: []json.RawMessage{}}, Children: []Summary{}, Inaccessible: []id.RoomID{}}
	f := &finder{tx: tx, members: map[id.RoomID]string{}}
	s, err := f.forServer(room, server)
	if err == nil && !s.visible {
		err = storage.ErrNotFound
	}
	if err != nil {
		return out, err
	}
	out.Room.Summary = s.Summary
	if s.Type != spaceType {
		return out, nil
	}
	links, err := f.links(s.nid, suggestedOnly)
	if err != nil {
		return out, err
	}
	for _, l := range links {
		out.Room.Children = append(out.Room.Children, l.event)
		child, err := f.forServer(l.room, server)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return out, err
		case child.visible:
			out.Children = append(out.Children, child.Summary)
		default:
			out.Inaccessible = append(out.Inaccessible, l.room)
		}
	}
	return out, nil
}

// outward is a summary for another server.
type outward struct {
	Summary
	nid     int64
	visible bool
}

// forServer is summary for another server. A room that this server is not in itself, so that it knows at best how it was once, is not there.
func (f *finder) forServer(room id.RoomID, server id.ServerName) (outward, error) {
	row, err := f.tx.Room(room)
	if err != nil {
		return outward{}, err
	}
	if here, err := f.tx.LocalJoined(row.NID); err != nil || len(here) == 0 {
		return outward{}, errors.Join(err, storage.ErrNotFound)
	}
	out := outward{nid: row.NID}
	if out.Summary, out.visible, err = f.summary(row); err != nil || out.visible {
		return out, err
	}
	rooms := []int64{row.NID}
	for _, other := range out.AllowedRooms {
		nid, err := f.tx.RoomNID(other)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		rooms = append(rooms, nid)
	}
	for _, nid := range rooms {
		if out.visible, err = f.tx.ServerInRoom(nid, server); err != nil || out.visible {
			return out, err
		}
	}
	out.visible, err = f.invited(row.NID, server)
	return out, err
}

// invited reports whether somebody of a server is invited to a room.
func (f *finder) invited(room int64, server id.ServerName) (bool, error) {
	invited, err := f.tx.Members(room, "invite")
	return slices.ContainsFunc(invited, func(m storage.Membership) bool { return m.User.Server() == server }), err
}
