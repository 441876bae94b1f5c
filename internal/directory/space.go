package directory

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clientevent"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Tree says which part of the rooms of a space is wanted.
type Tree struct {
	Root          id.RoomID
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
	maxChildren  = 1000 // of one space
)

const spaceType = "m.space"

// Hierarchy walks the rooms of a space depth first; a room that is in it more than once is shown once. The error is M_FORBIDDEN for a space
// that the user may not know of.
func Hierarchy(tx *storage.ReadTx, user id.UserID, q Tree) (Branch, error) {
	out := Branch{Rooms: []Node{}}
	q.MaxDepth = min(q.MaxDepth, maxTreeDepth)
	skip, err := q.offset()
	if err != nil {
		return out, err
	}
	f, err := newFinder(tx, user)
	if err != nil {
		return out, err
	}
	type step struct {
		room  id.RoomID
		depth int
	}
	seen := map[id.RoomID]bool{q.Root: true}
	count := 0
	for todo := []step{{q.Root, 0}}; len(todo) > 0; {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		node, visible, children, err := f.node(next.room, q.SuggestedOnly)
		if err != nil {
			return out, err
		}
		if !visible {
			if next.room == q.Root {
				return out, merr.New(merr.Forbidden, "You are not allowed to view this room")
			}
			continue
		}
		if count >= skip {
			if len(out.Rooms) == q.Limit || count >= maxTreeRooms {
				if count < maxTreeRooms {
					out.Next = q.token(count)
				}
				return out, nil
			}
			out.Rooms = append(out.Rooms, node)
		}
		count++
		if next.depth >= q.MaxDepth {
			continue
		}
		for _, child := range slices.Backward(children) {
			if !seen[child] {
				todo = append(todo, step{child, next.depth + 1})
			}
		}
		// A room is shown under the first space that names it, however often it is named: so circles come to an end.
		for _, child := range children {
			seen[child] = true
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

// node describes a room of a space and names its children in order. A room that is not here is not visible.
func (f *finder) node(room id.RoomID, suggestedOnly bool) (n Node, visible bool, children []id.RoomID, err error) {
	row, err := f.tx.Room(room)
	if errors.Is(err, storage.ErrNotFound) {
		return n, false, nil, nil
	}
	if err != nil {
		return n, false, nil, err
	}
	n = Node{Children: []json.RawMessage{}}
	if n.Summary, visible, err = f.summary(row); err != nil || !visible {
		return n, false, nil, err
	}
	n.Membership = "" // part of the summary of a single room only
	if row.Summary.Type != spaceType {
		return n, true, nil, nil
	}
	events, err := f.tx.CurrentStateOfType(row.NID, "m.space.child")
	if err != nil {
		return n, false, nil, err
	}
	links := make([]link, 0, len(events))
	for _, ev := range events {
		if l, ok := parseLink(ev); ok && (l.suggested || !suggestedOnly) {
			links = append(links, l)
		}
	}
	slices.SortFunc(links, link.compare)
	for _, l := range links[:min(len(links), maxChildren)] {
		stripped := clientevent.AppendStripped(nil, l.event)
		stripped = append(stripped[:len(stripped)-1], `,"origin_server_ts":`...)
		n.Children = append(n.Children, append(strconv.AppendInt(stripped, l.event.TS, 10), '}'))
		children = append(children, l.room)
	}
	return n, true, children, nil
}

// link is a space's child.
type link struct {
	event     *storage.Event
	room      id.RoomID
	order     string
	suggested bool
}

// maxOrder is how long an order may be.
const maxOrder = 50

// parseLink reads an m.space.child event; one without via is no link.
//
// Spec: client-server-api#mspacechild
func parseLink(ev *storage.Event) (link, bool) {
	if ev == nil || ev.StateKey == nil {
		return link{}, false
	}
	room, err := id.ParseRoomID(*ev.StateKey)
	content := gjson.ParseBytes(ev.Content())
	if err != nil || !content.Get("via").IsArray() {
		return link{}, false
	}
	l := link{event: ev, room: room, suggested: content.Get("suggested").Type == gjson.True}
	if order := content.Get("order"); order.Type == gjson.String && len(order.Str) <= maxOrder {
		printable := !strings.ContainsFunc(order.Str, func(r rune) bool { return r < 0x20 || r > 0x7e })
		if printable {
			l.order = order.Str
		}
	}
	return l, true
}

// Spec: client-server-api#ordering-of-children-within-a-space
func (l link) compare(m link) int {
	if (l.order == "") != (m.order == "") {
		if l.order == "" {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(l.order, m.order), cmp.Compare(l.event.TS, m.event.TS), cmp.Compare(l.room, m.room))
}
