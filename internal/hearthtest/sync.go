package hearthtest

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hearthd/hearth/internal/id"
)

// pollTime is how long, in the server's time, one request of WaitUntil may wait.
const pollTime = 10 * time.Second

// view is what a client knows from its sync loop.
type view struct {
	since  string
	paused string                // the token of pause
	events map[id.RoomID][]Event // of timelines, in the order they came
}

// Sync makes one request to /sync, apart from the loop of the Wait methods. The query is given in pairs: Sync("since", token).
func (u *User) Sync(query ...string) Response {
	u.t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	return u.Get("sync?" + values.Encode())
}

// Next is the token that ends an answer to /sync.
func (r Response) Next() string { return r.Get("next_batch").Str }

// Timeline returns the events of a joined room in an answer to /sync.
func (r Response) Timeline(room id.RoomID) []Event {
	return Events(r.At("rooms", "join", room, "timeline", "events"))
}

// WaitUntil continues the sync loop of the user's client until it gets an answer that fits, and returns that. What names what is waited
// for. The first answer of a loop is the initial one.
func (u *User) WaitUntil(what string, fits func(Response) bool) Response {
	u.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		r := u.step()
		if fits(r) {
			return r
		}
		if time.Now().After(deadline) {
			u.t.Fatalf("%s waited in vain for %s; the last answer was %s", u.ID, what, r.Body)
		}
	}
}

// CatchUp makes the initial request of the loop, so that what is waited for afterwards is new.
func (u *User) CatchUp() Response {
	u.t.Helper()
	return u.WaitUntil("its initial sync", func(Response) bool { return true })
}

func (u *User) step() Response {
	u.t.Helper()
	query := []string{"timeout", fmt.Sprint(pollTime.Milliseconds())}
	if u.view.since != "" {
		query = append(query, "since", u.view.since)
	}
	r := u.Sync(query...)
	u.view.since = r.Next()
	if u.view.events == nil {
		u.view.events = map[id.RoomID][]Event{}
	}
	for room := range r.Get("rooms.join").Map() {
		u.view.events[id.RoomID(room)] = append(u.view.events[id.RoomID(room)], r.Timeline(id.RoomID(room))...)
	}
	return r
}

// WaitForEvent returns the first event of a room that fits, of all that the user's client has ever got, waiting for it if it must.
func (u *User) WaitForEvent(room id.RoomID, what string, fits func(Event) bool) Event {
	u.t.Helper()
	seen := 0
	var found Event
	look := func() bool {
		for _, e := range u.view.events[room][seen:] {
			seen++
			if fits(e) {
				found = e
				return true
			}
		}
		return false
	}
	if !look() {
		u.WaitUntil(what, func(Response) bool { return look() })
	}
	return found
}

// WaitFor returns the first event of a room whose body is the text, waiting for it if it must.
func (u *User) WaitFor(room id.RoomID, text string) Event {
	u.t.Helper()
	return u.WaitForEvent(room, fmt.Sprintf("%q", text), func(e Event) bool { return e.Body() == text })
}

// WaitForID returns an event once the user's client has got it.
func (u *User) WaitForID(room id.RoomID, event id.EventID) Event {
	u.t.Helper()
	return u.WaitForEvent(room, string(event), func(e Event) bool { return e.ID() == string(event) })
}

// WaitForInvite returns the stripped state of an invitation, waiting for it if it must.
func (u *User) WaitForInvite(room id.RoomID) []Event {
	u.t.Helper()
	r := u.WaitUntil("an invitation", func(r Response) bool { return r.At("rooms", "invite", room).Exists() })
	return Events(r.At("rooms", "invite", room, "invite_state", "events"))
}

// Bodies are the texts of events, for comparison.
func Bodies(events []Event) string {
	var out []string
	for _, e := range events {
		if b := e.Body(); b != "" {
			out = append(out, b)
		}
	}
	return strings.Join(out, " ")
}
