// Package visibility decides which events of a room a user may see: history visibility at the moment of each event, and ignored users. It
// decides from values; only Load, LoadAll and LoadIgnored read, once a room and request. It refuses to know why somebody asks and what is done with
// the answer.
package visibility

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// History is how a room's history visibility and one user's membership of it have changed: all that decides about what of the room that
// user may see. It does not change and is safe for concurrent use.
type History struct {
	viewer     id.UserID
	visibility []version
	membership []version
	lastJoin   int64 // position of the newest version of membership that is join
}

// version is a value that holds from a position on.
type version struct {
	pos   int64
	value string
}

// none is before every position.
const none = math.MinInt64

// Load reads the history of a room for a viewer, who need not have anything to do with the room.
func Load(tx *storage.ReadTx, room int64, viewer id.UserID) (*History, error) {
	all, err := LoadAll(tx, []int64{room}, viewer)
	return all[room], err
}

// LoadAll is Load for some rooms, by room. The number of its queries does not grow with the rooms.
func LoadAll(tx *storage.ReadTx, rooms []int64, viewer id.UserID) (map[int64]*History, error) {
	visibility := pieces{tx: tx, key: storage.StateKey{Type: "m.room.history_visibility"}, path: "content.history_visibility"}
	if err := visibility.load(rooms); err != nil {
		return nil, fmt.Errorf("load the history visibility: %w", err)
	}
	membership := pieces{tx: tx, key: storage.StateKey{Type: "m.room.member", Key: string(viewer)}, path: "content.membership"}
	if err := membership.load(rooms); err != nil {
		return nil, fmt.Errorf("load the memberships of a user: %w", err)
	}
	// This server came into some rooms when they were there already. What it fetched of their history since tells how things were then.
	var elsewhere []int64
	for room, list := range visibility.versions {
		if first := visibility.events[list[0].Event]; first == nil || first.Pos != list[0].Pos {
			elsewhere = append(elsewhere, room)
		}
	}
	if len(elsewhere) > 0 {
		if err := errors.Join(visibility.recall(elsewhere), membership.recall(elsewhere)); err != nil {
			return nil, fmt.Errorf("load what was fetched of a history: %w", err)
		}
	}
	out := make(map[int64]*History, len(rooms))
	for _, room := range rooms {
		out[room] = newHistory(viewer, visibility.of(room), membership.of(room))
	}
	for _, room := range elsewhere {
		// The first that is known held before, nobody knows since when.
		out[room].visibility[0].pos = none
	}
	return out, nil
}

// pieces is the values that one key of the state has had in some rooms.
type pieces struct {
	tx       *storage.ReadTx
	key      storage.StateKey
	path     string // to the value in the events
	versions map[int64][]storage.StateVersion
	events   map[int64]*storage.Event // of the versions
}

func (p *pieces) load(rooms []int64) (err error) {
	if p.versions, err = p.tx.StateHistories(rooms, p.key); err != nil {
		return err
	}
	return p.loadEvents()
}

// recall adds the values of the fetched history.
func (p *pieces) recall(rooms []int64) error {
	found, err := p.tx.RecalledStates(rooms, p.key)
	if err != nil || len(found) == 0 {
		return err
	}
	for room, versions := range found {
		all := slices.Concat(p.versions[room], versions)
		slices.SortStableFunc(all, func(a, b storage.StateVersion) int { return cmp.Compare(a.Pos, b.Pos) })
		p.versions[room] = all
	}
	return p.loadEvents()
}

func (p *pieces) loadEvents() error {
	var nids []int64
	for _, list := range p.versions {
		for _, v := range list {
			if v.Event != 0 {
				nids = append(nids, v.Event)
			}
		}
	}
	events, err := p.tx.EventsAt(nids)
	p.events = make(map[int64]*storage.Event, len(events))
	for _, ev := range events {
		if ev != nil {
			p.events[ev.NID] = ev
		}
	}
	return err
}

// of is the values in a room; a removed one is empty.
func (p *pieces) of(room int64) []version {
	out := make([]version, len(p.versions[room]))
	for i, v := range p.versions[room] {
		out[i].pos = v.Pos
		if ev := p.events[v.Event]; ev != nil {
			out[i].value = gjson.GetBytes(ev.JSON, p.path).Str
		}
	}
	return out
}

// Member is the history of a viewer who has been joined all the time that is asked about.
func Member(viewer id.UserID) *History {
	return newHistory(viewer, nil, []version{{none, "join"}})
}

func newHistory(viewer id.UserID, visibility, membership []version) *History {
	h := &History{viewer: viewer, visibility: visibility, membership: membership, lastJoin: none}
	for _, v := range membership {
		if v.value == "join" {
			h.lastJoin = v.pos
		}
	}
	return h
}

// at is the value of the last version at or before pos.
func at(list []version, pos int64) string {
	i := sort.Search(len(list), func(i int) bool { return list[i].pos > pos })
	if i == 0 {
		return ""
	}
	return list[i-1].value
}

// Membership is the viewer's membership at a position, including what happened at it; leave for somebody who was never there.
func (h *History) Membership(pos int64) string {
	if m := at(h.membership, pos); m != "" {
		return m
	}
	return "leave"
}

// Joined reports whether the viewer is joined now.
func (h *History) Joined() bool { return h.Membership(math.MaxInt64) == "join" }

// EverJoined reports whether the viewer is, or was once, joined.
func (h *History) EverJoined() bool {
	for _, v := range h.membership {
		if v.value == "join" {
			return true
		}
	}
	return false
}

// JoinedBefore reports whether the viewer was joined at some time before a position.
func (h *History) JoinedBefore(pos int64) bool {
	for _, v := range h.membership {
		if v.pos >= pos {
			break
		}
		if v.value == "join" {
			return true
		}
	}
	return false
}

// Until is the last position at which the viewer was in the room: the largest number for somebody who is joined now, the position at which a
// former member left, and 0 for somebody who was never joined.
func (h *History) Until() int64 {
	until, joined := int64(0), false
	for _, v := range h.membership {
		if joined && v.value != "join" {
			until = v.pos
		}
		joined = v.value == "join"
	}
	if joined {
		return math.MaxInt64
	}
	return until
}

// LastVisible is the last position at or before pos at which there may be something that the viewer may see; the smallest number where there
// is none. So walks can pass over stretches of hidden history.
func (h *History) LastVisible(pos int64) int64 {
	for !h.VisibleAt(pos) {
		start := h.start(pos)
		if start == none {
			return none
		}
		// What ends a visible stretch may itself be visible: see Visible.
		if h.VisibleAt(start - 1) {
			return start
		}
		pos = start - 1
	}
	return pos
}

// FirstVisible is the first position at or after pos at which there may be something that the viewer may see; the largest number where there
// is none.
func (h *History) FirstVisible(pos int64) int64 {
	for !h.VisibleAt(pos) {
		if start := h.start(pos); start == pos && start != none && h.VisibleAt(start-1) {
			return pos
		}
		next := int64(math.MaxInt64)
		for _, list := range [][]version{h.visibility, h.membership} {
			if i := sort.Search(len(list), func(i int) bool { return list[i].pos > pos }); i < len(list) {
				next = min(next, list[i].pos)
			}
		}
		if next == math.MaxInt64 {
			return next
		}
		pos = next
	}
	return pos
}

// start is where the stretch with pos begins in which neither the visibility nor the membership changes.
func (h *History) start(pos int64) int64 {
	start := int64(none)
	for _, list := range [][]version{h.visibility, h.membership} {
		if i := sort.Search(len(list), func(i int) bool { return list[i].pos > pos }); i > 0 {
			start = max(start, list[i-1].pos)
		}
	}
	return start
}

// WorldReadable reports whether everybody may see what happens in the room now.
func (h *History) WorldReadable() bool { return at(h.visibility, math.MaxInt64) == "world_readable" }

// VisibleAt reports whether the viewer may see what happened at a position, for anything but the events that Visible makes exceptions for.
func (h *History) VisibleAt(pos int64) bool {
	return h.allows(at(h.visibility, pos), at(h.membership, pos), pos)
}

// MayShow reports whether the viewer may see something of what happened at a position when nothing is known yet of what did: it may turn out that
// the viewer was invited then.
func (h *History) MayShow(pos int64) bool {
	return h.VisibleAt(pos) || at(h.visibility, pos) == "invited"
}

// Visible reports whether the viewer may see an event of the room.
//
// Spec: client-server-api#room-history-visibility
func (h *History) Visible(ev *storage.Event) bool {
	if h.VisibleAt(ev.Pos) {
		return true
	}
	// Changes of the visibility and of the own membership are seen by who could see either side of them.
	visibility, membership := at(h.visibility, ev.Pos), at(h.membership, ev.Pos)
	switch {
	case ev.IsState("m.room.history_visibility", ""):
		visibility = at(h.visibility, ev.Pos-1)
	case ev.IsState("m.room.member", string(h.viewer)):
		membership = at(h.membership, ev.Pos-1)
	default:
		return false
	}
	return h.allows(visibility, membership, ev.Pos)
}

// allows is the five rules.
func (h *History) allows(visibility, membership string, pos int64) bool {
	switch visibility {
	case "world_readable":
		return true
	case "invited":
		return membership == "join" || membership == "invite"
	case "joined":
		return membership == "join"
	}
	return membership == "join" || h.lastJoin > pos
}
