package hearthtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// CurrentState is the state of a room as somebody's server sees it: event ids by "type|key". It is nil for those who may not see it.
func (u *User) CurrentState(room id.RoomID) map[string]string {
	u.t.Helper()
	r := u.Do("GET", Path("rooms", room, "state"), nil)
	if !r.IsArray() {
		return nil
	}
	out := map[string]string{}
	for _, e := range Events(r.Result) {
		out[e.Type()+"|"+e.Get("state_key").Str] = e.ID()
	}
	return out
}

// WaitForMembership waits until somebody has a membership of a room as the user's server sees it.
func (u *User) WaitForMembership(room id.RoomID, of id.UserID, membership string) {
	u.t.Helper()
	u.WaitForState(room, "m.room.member", string(of), func(r Response) bool { return r.Get("membership").Str == membership })
}

// WaitForState waits until a piece of state fits as the user's server sees it, and returns its content.
func (u *User) WaitForState(room id.RoomID, eventType, key string, fits func(Response) bool) Response {
	u.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		r := u.Do("GET", Path("rooms", room, "state", eventType, key), nil)
		if fits(r) {
			return r
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("%s waited in vain for %s %q of %s; it is %d %s", u.ID, eventType, key, room, r.Status, r.Body)
		}
		u.pause()
	}
}

// pauseTime is how long a look at several servers waits for news of one.
const pauseTime = "100"

// pause waits a little for something to happen that the user's client is told.
func (u *User) pause() {
	u.t.Helper()
	u.view.paused = u.Sync("since", u.view.paused, "timeout", pauseTime, "filter", `{"room":{"timeline":{"limit":1}}}`).Next()
}

// Agree waits until the servers of some members of a room, at least one of each, see the same state and have the same history: all that the
// ends of the room come after on one of them, the others have as well, whether they accept it or not. What of it a server has not fetched yet it
// fetches when its member pages back.
func Agree(t testing.TB, room id.RoomID, members ...*User) {
	t.Helper()
	if difference := disagreement(room, members, Patience); difference != "" {
		t.Fatalf("%s: %s", room, difference)
	}
}

// Compare waits until the servers of some members of a room agree, as Agree does, but not for longer than limit, and returns what is different
// then.
func Compare(room id.RoomID, limit time.Duration, members ...*User) string {
	return disagreement(room, members, limit)
}

// disagreement waits until some servers agree, and says what is different when they do not.
func disagreement(room id.RoomID, members []*User, limit time.Duration) string {
	for deadline := time.Now().Add(limit); ; {
		difference := compare(room, members)
		if difference == "" || time.Now().After(deadline) {
			return difference
		}
		for _, u := range members {
			u.pause()
		}
	}
}

// compare says what is different, or nothing.
func compare(room id.RoomID, members []*User) string {
	first := members[0]
	want := first.CurrentState(room)
	for _, u := range members[1:] {
		if d := cmp.Diff(want, u.CurrentState(room)); d != "" {
			return fmt.Sprintf("%s (-) and %s (+) see another state:\n%s%s%s", first.ID, u.ID, d, first.server.Describe(room), u.server.Describe(room))
		}
	}
	all := map[id.EventID]*User{}
	for _, u := range members {
		for _, e := range u.server.history(room) {
			all[e] = u
		}
	}
	for _, u := range members {
		wanted := slices.Sorted(maps.Keys(all))
		if len(u.server.missing(wanted)) > 0 {
			u.PageBack(room)
		}
		if lost := u.server.missing(wanted); len(lost) > 0 {
			return fmt.Sprintf("%s lacks %v, which the server of %s has\n%s", u.server.Name, lost, all[lost[0]].ID, u.server.Describe(room))
		}
	}
	return ""
}

// maxPages is how often PageBack asks for more.
const maxPages = 200

// PageBack pages through the history of a room to its beginning and returns the events, latest first.
func (u *User) PageBack(room id.RoomID) []Event {
	u.t.Helper()
	var out []Event
	query := url.Values{"dir": {"b"}, "limit": {"100"}}
	for range maxPages {
		page := u.Get(Path("rooms", room, "messages") + "?" + query.Encode())
		out = append(out, Events(page.Get("chunk"))...)
		if !page.Get("end").Exists() {
			return out
		}
		query.Set("from", page.Get("end").Str)
	}
	u.t.Fatalf("%s pages back through %s without end", u.ID, room)
	return nil
}

// Consistent fails the test unless what the server keeps beside the state of its rooms says the same as that.
func (s *Server) Consistent() {
	s.t.Helper()
	storagetest.Consistent(s.t, s.app.Store(), s.Name)
}

// look reads what a server has stored.
func (s *Server) look(fn func(tx *storage.ReadTx) error) {
	s.t.Helper()
	if err := s.app.Store().View(context.WithoutCancel(s.t.Context()), fn); err != nil {
		s.t.Fatalf("read the database of %s: %v", s.Name, err)
	}
}

// Timeline are the events of a room that a server has accepted, and knows the place of.
func (s *Server) Timeline(room id.RoomID) []id.EventID {
	s.t.Helper()
	var out []id.EventID
	for _, e := range s.events(room) {
		out = append(out, e.ID)
	}
	return out
}

// history are the accepted events that the ends of a room come after on a server, and the ends. What only events refer to that the others do not
// accept is no part of it: who was not in the room when it was sent never hears of it.
func (s *Server) history(room id.RoomID) []id.EventID {
	s.t.Helper()
	known := map[id.EventID]*storage.Event{}
	for _, e := range s.events(room) {
		known[e.ID] = e
	}
	var out []id.EventID
	for todo := s.Extremities(room); len(todo) > 0; todo = todo[1:] {
		if e := known[todo[0]]; e != nil {
			delete(known, e.ID)
			out, todo = append(out, e.ID), append(todo, e.PrevEventIDs()...)
		}
	}
	return out
}

// maxTimeline is more than the events of any test.
const maxTimeline = 1 << 20

func (s *Server) events(room id.RoomID) []*storage.Event {
	s.t.Helper()
	var out []*storage.Event
	s.look(func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		out, err = tx.Timeline(nid, storage.Span{After: math.MinInt64, UpTo: math.MaxInt64}, maxTimeline, false)
		return err
	})
	return slices.DeleteFunc(out, func(e *storage.Event) bool { return e.Pos == 0 })
}

// missing are those of some events that a server has never got.
func (s *Server) missing(events []id.EventID) []id.EventID {
	s.t.Helper()
	var out []id.EventID
	s.look(func(tx *storage.ReadTx) error {
		for _, event := range events {
			switch _, err := tx.Event(event); {
			case err == nil:
			case errors.Is(err, storage.ErrNotFound):
				out = append(out, event)
			default:
				return err
			}
		}
		return nil
	})
	return out
}

// Extremities are the ends of a room as a server sees it.
func (s *Server) Extremities(room id.RoomID) []id.EventID {
	s.t.Helper()
	var out []id.EventID
	s.look(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		for _, x := range row.Extremities {
			out = append(out, x.ID)
		}
		slices.Sort(out)
		return nil
	})
	return out
}

// Describe tells what a server has of a room, for the text of an error.
func (s *Server) Describe(room id.RoomID) string {
	s.t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "%s has, with the ends %v:\n", s.Name, s.Extremities(room))
	for _, e := range s.events(room) {
		fmt.Fprintf(&out, "  %d depth %d %s %s", e.Pos, e.Depth, e.ID, e.Type)
		if e.StateKey != nil {
			fmt.Fprintf(&out, " %q", *e.StateKey)
		}
		fmt.Fprintf(&out, " by %s: %.120s\n", e.Sender, e.Content())
	}
	s.look(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		current, err := tx.CurrentState(row.NID, true)
		for _, e := range current {
			fmt.Fprintf(&out, "  now %s %q is %s: %.80s\n", e.Type, *e.StateKey, e.ID, e.Content())
		}
		return err
	})
	return out.String()
}
