package directory

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// treeKey names an answer: what a server says about a room is not what another one says.
type treeKey struct {
	server id.ServerName
	room   id.RoomID
}

// tree is what a server said about a room and, where it is a space, about the rooms in it; without a root, that it says nothing.
type tree struct {
	root     *place
	children map[id.RoomID]place
	hidden   map[id.RoomID]bool // rooms that this server may not see anywhere
	refused  bool               // without a root: the server answered, so that it may say something else in a moment
}

// Spec: server-server-api#get_matrixfederationv1hierarchyroomid
func (s *Service) askOne(ctx context.Context, server id.ServerName, room id.RoomID) tree {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-asking.Done():
		return tree{}
	}
	raw, err := s.remote.Hierarchy(asking, server, room, false)
	var t tree
	if err == nil {
		t, err = parseTree(room, raw)
	}
	if ctx.Err() != nil {
		return tree{} // that says nothing about the server
	}
	if err != nil {
		_, t.refused = refused(err)
	}
	s.trees.put(treeKey{server, room}, t, len(raw))
	return t
}

// Bounds of an answer.
const (
	maxTold   = 200      // rooms of a space that its server describes
	maxHidden = 1000     // rooms of a space that nobody can see
	maxChild  = 16 << 10 // bytes of a link
)

var errBadTree = errors.New("the answer is about another room, or about none")

// parseTree reads what a server says about a room. What makes no sense in it is left out.
func parseTree(room id.RoomID, raw json.RawMessage) (tree, error) {
	var answer struct {
		Room     json.RawMessage   `json:"room"`
		Children []json.RawMessage `json:"children"`
		Hidden   []string          `json:"inaccessible_children"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return tree{}, err
	}
	root, ok := parsePlace(answer.Room)
	if !ok || root.RoomID != room {
		return tree{}, errBadTree
	}
	t := tree{root: &root, children: map[id.RoomID]place{}, hidden: map[id.RoomID]bool{}}
	linked := map[id.RoomID]bool{}
	for _, l := range root.links {
		linked[l.room] = true
	}
	for _, c := range answer.Children[:min(len(answer.Children), maxTold)] {
		if p, ok := parsePlace(c); ok && linked[p.RoomID] {
			t.children[p.RoomID] = p
		}
	}
	for _, text := range answer.Hidden[:min(len(answer.Hidden), maxHidden)] {
		if child, err := id.ParseRoomID(text); err == nil && linked[child] {
			t.hidden[child] = true
		}
	}
	return t, nil
}

// parsePlace reads the description of one room.
func parsePlace(raw json.RawMessage) (place, bool) {
	var room struct {
		Summary
		Children []json.RawMessage `json:"children_state"`
	}
	if json.Unmarshal(raw, &room) != nil || !room.tidy() || len(room.Encryption) > maxWord || len(room.Version) > maxWord {
		return place{}, false
	}
	p := place{Summary: room.Summary}
	p.Membership = "" // whoever said this does not know the user
	if !p.restricted() {
		p.AllowedRooms = nil
	}
	p.AllowedRooms = slices.DeleteFunc(p.AllowedRooms[:min(len(p.AllowedRooms), maxAllowed)], func(other id.RoomID) bool {
		_, err := id.ParseRoomID(string(other))
		return err != nil
	})
	if p.Type != spaceType {
		return p, true
	}
	for _, child := range room.Children[:min(len(room.Children), maxChildren)] {
		if l, ok := remoteLink(child); ok {
			p.links = append(p.links, l)
		}
	}
	p.links = sorted(p.links)
	return p, true
}

// remoteLink reads a child as another server shows it, and writes it anew with nothing but what belongs there.
func remoteLink(raw json.RawMessage) (link, bool) {
	var ev struct {
		Type     string          `json:"type"`
		StateKey string          `json:"state_key"`
		Sender   id.UserID       `json:"sender"`
		Content  json.RawMessage `json:"content"`
		TS       int64           `json:"origin_server_ts"`
	}
	if len(raw) > maxChild || json.Unmarshal(raw, &ev) != nil || ev.Type != "m.space.child" {
		return link{}, false
	}
	if _, err := id.ParseUserID(string(ev.Sender)); err != nil {
		return link{}, false
	}
	l, ok := parseLink(ev.StateKey, ev.TS, gjson.ParseBytes(ev.Content))
	if !ok {
		return link{}, false
	}
	var err error
	l.event, err = json.Marshal(ev)
	return l, err == nil
}
