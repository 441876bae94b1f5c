// Package visibility decides which events of a room a user may see: history visibility at the moment of each event, and ignored users. It
// decides from values; only Load and LoadIgnored read, once a room and request. It refuses to know why somebody asks and what is done with
// the answer.
package visibility

import (
	"cmp"
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
	key := storage.StateKey{Type: "m.room.history_visibility"}
	history, err := tx.StateHistory(room, key)
	if err != nil {
		return nil, fmt.Errorf("load the history visibility: %w", err)
	}
	visibility, first, err := versions(tx, history, "content.history_visibility")
	if err != nil {
		return nil, fmt.Errorf("load the history visibility: %w", err)
	}
	member := storage.StateKey{Type: "m.room.member", Key: string(viewer)}
	memberships, err := tx.StateHistory(room, member)
	if err != nil {
		return nil, fmt.Errorf("load the memberships of a user: %w", err)
	}
	if len(history) > 0 && (first == nil || first.Pos != history[0].Pos) {
		// This server came into the room when it was there already. What it fetched of the history since tells how things were then.
		if memberships, err = recalled(tx, room, member, memberships); err != nil {
			return nil, fmt.Errorf("load the memberships of a user: %w", err)
		}
		if history, err = recalled(tx, room, key, history); err == nil {
			visibility, _, err = versions(tx, history, "content.history_visibility")
		}
		if err != nil {
			return nil, fmt.Errorf("load the history visibility: %w", err)
		}
		// The first that is known held before, nobody knows since when.
		visibility[0].pos = none
	}
	membership, _, err := versions(tx, memberships, "content.membership")
	if err != nil {
		return nil, fmt.Errorf("load the memberships of a user: %w", err)
	}
	return newHistory(viewer, visibility, membership), nil
}

// recalled adds to the values of a piece of state those of the fetched history.
func recalled(tx *storage.ReadTx, room int64, key storage.StateKey, known []storage.StateVersion) ([]storage.StateVersion, error) {
	found, err := tx.RecalledState(room, key)
	out := slices.Concat(known, found)
	slices.SortStableFunc(out, func(a, b storage.StateVersion) int { return cmp.Compare(a.Pos, b.Pos) })
	return out, err
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

// versions reads the values of a piece of state, and the event of the first; a removed one is an empty value.
func versions(tx *storage.ReadTx, history []storage.StateVersion, path string) (out []version, first *storage.Event, err error) {
	if len(history) == 0 {
		return nil, nil, nil
	}
	nids := make([]int64, len(history))
	for i, v := range history {
		nids[i] = v.Event
	}
	events, err := tx.EventsAt(nids)
	if err != nil {
		return nil, nil, err
	}
	out = make([]version, len(history))
	for i, v := range history {
		out[i].pos = v.Pos
		if events[i] != nil {
			out[i].value = gjson.GetBytes(events[i].JSON, path).Str
		}
	}
	return out, events[0], nil
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
