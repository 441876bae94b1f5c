package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Tree says which part of the rooms of a space is wanted.
type Tree struct {
	Root          id.RoomID
	Via           []id.ServerName // servers that may know the root, where it is not known here
	SuggestedOnly bool
	MaxDepth      int
	Limit         int
	From          string // a token of the page before
}

// Node is a room of a space with its own children, if it is a space too.
//
// Spec: client-server-api#get_matrixclientv1roomsroomidhierarchy
type Node struct {
	Summary
	Children []json.RawMessage `json:"children_state"`
}

// Branch is a page of the rooms of a space.
type Branch struct {
	Rooms []Node `json:"rooms"`
	Next  string `json:"next_batch,omitempty"`
}

// Bounds of a walk through a space.
const (
	maxTreeRooms = 5000 // on all pages together
	maxTreeDepth = 50
)

const spaceType = "m.space"

// step is a room that a walk comes to.
type step struct {
	room  id.RoomID
	via   []id.ServerName
	depth int
}

// Hierarchy walks the rooms of a space depth first; a room that is in it more than once is shown once. Rooms that are not known here are asked
// for at the servers that the space names: when that takes too long the page ends, and the next one goes on from there. The error is M_FORBIDDEN
// for a space that the user may not know of.
func (s *Service) Hierarchy(ctx context.Context, user id.UserID, q Tree) (Branch, error) {
	out := Branch{Rooms: []Node{}}
	q.MaxDepth = min(q.MaxDepth, maxTreeDepth)
	skip, err := q.offset()
	if err != nil {
		return out, err
	}
	w, err := s.newWalk(ctx, user, q.From != "")
	if err != nil {
		return out, err
	}
	seen := map[id.RoomID]bool{q.Root: true}
	count := 0
	for todo := []step{{q.Root, append(q.Via, q.Root.Server()), 0}}; len(todo) > 0; {
		next := todo[len(todo)-1]
		place, err := w.visit(ctx, next, todo)
		switch {
		case errors.Is(err, errTired) && len(out.Rooms) > 0, errors.Is(err, errTired) && count >= skip && next.room != q.Root:
			out.Next = q.token(count)
			return out, nil
		case errors.Is(err, storage.ErrNotFound), errors.Is(err, errTired):
			if next.room == q.Root {
				return out, merr.New(merr.Forbidden, "You are not allowed to view this room")
			}
			todo = todo[:len(todo)-1]
			continue
		case err != nil:
			return out, err
		}
		todo = todo[:len(todo)-1]
		links := wanted(place.links, q.SuggestedOnly)
		if count >= skip {
			if len(out.Rooms) == q.Limit || count >= maxTreeRooms {
				if count < maxTreeRooms {
					out.Next = q.token(count)
				}
				return out, nil
			}
			out.Rooms = append(out.Rooms, place.node(links))
		}
		count++
		if next.depth >= q.MaxDepth {
			continue
		}
		for _, l := range slices.Backward(links) {
			if !seen[l.room] {
				todo = append(todo, step{l.room, l.via, next.depth + 1})
			}
		}
		// A room is shown under the first space that names it, however often it is named: so circles come to an end.
		for _, l := range links {
			seen[l.room] = true
		}
	}
	return out, nil
}

// token names a place in the walk and the parameters that must not change.
func (q Tree) token(count int) string {
	return fmt.Sprintf("h%d_%d_%t", count, q.MaxDepth, q.SuggestedOnly)
}

func (q Tree) offset() (int, error) {
	if q.From == "" {
		return 0, nil
	}
	count, rest, ok := strings.Cut(strings.TrimPrefix(q.From, "h"), "_")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 0 || !strings.HasPrefix(q.From, "h") {
		return 0, merr.New(merr.InvalidParam, "The pagination token is not one of this server")
	}
	if rest != fmt.Sprintf("%d_%t", q.MaxDepth, q.SuggestedOnly) {
		return 0, merr.New(merr.InvalidParam, "suggested_only and max_depth must not change from page to page")
	}
	return n, nil
}

// place is a room of a space, with its children in order if it is a space too.
type place struct {
	Summary
	links []link
}

// node is the place with some of its children as clients are shown it.
func (p place) node(links []link) Node {
	n := Node{Summary: p.Summary, Children: make([]json.RawMessage, 0, len(links))}
	n.Membership = "" // part of the summary of a single room only
	for _, l := range links {
		n.Children = append(n.Children, l.event)
	}
	return n
}

// place describes a room of this server; storage.ErrNotFound where it is not for the user to know.
func (f *finder) place(room *storage.Room) (place, error) {
	summary, visible, err := f.summary(room)
	if err == nil && !visible {
		err = storage.ErrNotFound
	}
	if err != nil || room.Summary.Type != spaceType {
		return place{Summary: summary}, err
	}
	links, err := f.links(room.NID, false)
	return place{summary, links}, err
}

// links is the children of a space of this server, in order.
func (f *finder) links(room int64, suggestedOnly bool) ([]link, error) {
	events, err := f.tx.CurrentStateOfType(room, "m.space.child")
	return wanted(localLinks(events), suggestedOnly), err
}
