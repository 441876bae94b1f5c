// Package sliding reads the requests of sliding sync and says which rooms and which state they ask for. It is pure: values in, values out.
// What a request says is checked once, by Parse. It takes the form of the accepted proposal (MSC4186) and that of the experiments before it,
// which clients use today: the two differ in names, not in meaning. It refuses to know where rooms and events come from.
package sliding

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// What is not limited by the proposal is far above what clients use.
//
// Spec: MSC4186#top-level
const (
	maxLists         = 100
	maxSubscriptions = 100
	maxEarlier       = 1000 // subscriptions in the experiments, whose clients have never heard of a limit
	maxName          = 255  // bytes of the name of a connection or list
	maxRanges        = 100
	maxItems         = 2000 // of a list in a filter or a choice of state
	maxElements      = 5000 // of all choices of state together
	maxText          = 512  // bytes of a type, a state key, a tag
	maxTimeline      = 100
	maxToDevice      = 100
	maxThreads       = 100 // subscriptions to threads
)

// Request is what a client asks for. User is who "$ME" stands for.
type Request struct {
	Conn          string
	Pos           string // empty on a new connection
	Timeout       int64  // in milliseconds
	Presence      string // empty where nothing is said
	Lists         []List // by name
	Subscriptions map[id.RoomID]Config
	Extensions    Extensions
	Digest        [32]byte // the same for requests that ask for the same at different times
}

// List asks for the rooms at some places of the user's list of rooms, as a filter leaves it.
type List struct {
	Name   string
	Ranges []Range // nil for all
	Filter Filter
	Config
}

// Range is the places from First to Last, both included.
type Range struct{ First, Last int }

// Config is what to tell of a room.
type Config struct {
	Limit int // of the timeline
	State *Choice
}

// Extensions is what to tell beside rooms; nil is nothing.
type Extensions struct {
	ToDevice    *ToDevice
	E2EE        bool
	AccountData *Scope
	Receipts    *Scope
	Typing      *Scope
	Threads     int // how many subscriptions to threads; 0 where nothing is asked of them
}

// ToDevice asks for messages to the device.
type ToDevice struct {
	Limit int
	Since string // the token up to which the device has got its messages; empty where the position says it
}

// Scope is the rooms that an extension is about: those in lists, those subscribed to. Nil is all of them.
type Scope struct {
	Lists []string `json:"lists,omitempty"`
	Rooms []string `json:"rooms,omitempty"`
}

// Holds reports whether a room is meant that lists have at their places and that is subscribed to or not.
func (s *Scope) Holds(room id.RoomID, lists []string, subscribed bool) bool {
	if s.Lists == nil && (len(lists) > 0 || !subscribed) || s.Rooms == nil && subscribed {
		return true
	}
	for _, l := range s.Lists {
		if l == "*" && len(lists) > 0 || slices.Contains(lists, l) {
			return true
		}
	}
	return subscribed && slices.Contains(s.Rooms, "*") || slices.Contains(s.Rooms, string(room))
}

// Text is the same for equal scopes, and empty for none.
func (s *Scope) Text() string {
	if s == nil {
		return ""
	}
	out, err := json.Marshal([2][]string{s.Lists, s.Rooms})
	if err != nil { // lists of strings always marshal
		return "[]"
	}
	return string(out)
}

// body is the JSON of a request.
type body struct {
	Conn          string             `json:"conn_id"`
	Pos           string             `json:"pos"`
	Timeout       int64              `json:"timeout"`
	Presence      string             `json:"set_presence"`
	Lists         map[string]list    `json:"lists"`
	Subscriptions map[string]*config `json:"room_subscriptions"`
	Extensions    struct {
		ToDevice struct {
			Enabled bool   `json:"enabled"`
			Limit   *int   `json:"limit"`
			Since   string `json:"since"`
		} `json:"to_device"`
		E2EE struct {
			Enabled bool `json:"enabled"`
		} `json:"e2ee"`
		AccountData scope `json:"account_data"`
		Receipts    scope `json:"receipts"`
		Typing      scope `json:"typing"`
		Threads     struct {
			Enabled bool `json:"enabled"`
			Limit   *int `json:"limit"`
		} `json:"io.element.msc4308.thread_subscriptions"`
	} `json:"extensions"`
}

type config struct {
	Limit int         `json:"timeline_limit"`
	State stateChoice `json:"required_state"`
}

type list struct {
	config
	Range  *[2]int  `json:"range"`
	Ranges [][2]int `json:"ranges"` // in the experiments
	Filter *Filter  `json:"filters"`
}

type scope struct {
	Enabled bool     `json:"enabled"`
	Lists   []string `json:"lists"`
	Rooms   []string `json:"rooms"`
}

// Parse reads the body of a request of a user, which may be from one of the experiments. Errors are M_BAD_JSON and M_INVALID_PARAM.
//
// Spec: MSC4186#request-body
func Parse(raw json.RawMessage, user id.UserID, experimental bool) (*Request, error) {
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			return nil, merr.Newf(merr.BadJSON, "%q has the wrong type", typ.Field)
		}
		if merr.HasCode(err, merr.BadJSON) {
			return nil, err
		}
		return nil, merr.Newf(merr.BadJSON, "The request cannot be read: %v", err)
	}
	if len(b.Conn) > maxName {
		return nil, merr.Newf(merr.InvalidParam, "conn_id is longer than %d bytes", maxName)
	}
	most := maxSubscriptions
	if experimental {
		most = maxEarlier
	}
	if len(b.Lists) > maxLists || len(b.Subscriptions) > most {
		return nil, merr.Newf(merr.InvalidParam, "There are more than %d lists or %d room subscriptions", maxLists, most)
	}
	r := &Request{Conn: b.Conn, Pos: b.Pos, Timeout: max(b.Timeout, 0), Presence: b.Presence}
	b.Pos, b.Timeout, b.Presence = "", 0, ""
	same, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	r.Digest = sha256.Sum256(same)
	c := compiler{user: user, experimental: experimental}
	for _, name := range slices.Sorted(maps.Keys(b.Lists)) {
		l, err := c.list(name, b.Lists[name])
		if err != nil {
			return nil, fmt.Errorf("list %q: %w", name, err)
		}
		r.Lists = append(r.Lists, l)
	}
	for name, s := range b.Subscriptions {
		room, err := id.ParseRoomID(name)
		if err != nil {
			return nil, merr.Newf(merr.InvalidParam, "room_subscriptions: %v", err)
		}
		if s == nil {
			continue // an experiment's way of ending a subscription
		}
		if r.Subscriptions == nil {
			r.Subscriptions = map[id.RoomID]Config{}
		}
		if r.Subscriptions[room], err = c.config(*s); err != nil {
			return nil, err
		}
	}
	return r, r.extensions(&b)
}

func (r *Request) extensions(b *body) error {
	x := &b.Extensions
	if x.ToDevice.Enabled {
		r.Extensions.ToDevice = &ToDevice{Limit: atMost(maxToDevice, x.ToDevice.Limit), Since: x.ToDevice.Since}
	}
	if x.Threads.Enabled {
		r.Extensions.Threads = atMost(maxThreads, x.Threads.Limit)
	}
	r.Extensions.E2EE = x.E2EE.Enabled
	for _, s := range []struct {
		from *scope
		to   **Scope
	}{{&x.AccountData, &r.Extensions.AccountData}, {&x.Receipts, &r.Extensions.Receipts}, {&x.Typing, &r.Extensions.Typing}} {
		if len(s.from.Lists) > maxItems || len(s.from.Rooms) > maxItems {
			return merr.Newf(merr.InvalidParam, "An extension names more than %d lists or rooms", maxItems)
		}
		if s.from.Enabled {
			*s.to = &Scope{Lists: s.from.Lists, Rooms: s.from.Rooms}
		}
	}
	return nil
}

// atMost is a limit that a client may have asked for, of at least 1.
func atMost(most int, asked *int) int {
	if asked == nil {
		return most
	}
	return max(1, min(*asked, most))
}

// compiler checks the parts of a request.
type compiler struct {
	user         id.UserID
	experimental bool
	elements     int
}

// opaque reports whether a name follows the grammar of opaque identifiers, but for its length.
//
// Spec: appendices#opaque-identifiers
func opaque(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-._~", r)
	})
}

func (c *compiler) list(name string, in list) (List, error) {
	out := List{Name: name}
	if name == "" || len(name) > maxName {
		return out, merr.Newf(merr.InvalidParam, "The name of a list is empty or longer than %d bytes", maxName)
	}
	if !c.experimental && !opaque(name) {
		return out, merr.New(merr.InvalidParam, "The name of a list may have letters of ASCII, digits and -._~ only")
	}
	ranges := in.Ranges
	if in.Range != nil {
		ranges = append(ranges, *in.Range)
	}
	if len(ranges) > maxRanges {
		return out, merr.Newf(merr.InvalidParam, "There are more than %d ranges", maxRanges)
	}
	for _, r := range ranges {
		if r[0] < 0 || r[1] < r[0] {
			return out, merr.Newf(merr.InvalidParam, "[%d, %d] is no range", r[0], r[1])
		}
		out.Ranges = append(out.Ranges, Range{r[0], r[1]})
	}
	if in.Ranges != nil && out.Ranges == nil {
		out.Ranges = []Range{} // no places at all
	}
	if in.Filter != nil {
		out.Filter = *in.Filter
	}
	if err := out.Filter.check(); err != nil {
		return out, err
	}
	var err error
	out.Config, err = c.config(in.config)
	return out, err
}

func (c *compiler) config(in config) (Config, error) {
	choice, err := in.State.compile(c.user)
	if err == nil {
		if c.elements += choice.size(); c.elements > maxElements {
			err = merr.Newf(merr.InvalidParam, "There are more than %d elements in required_state", maxElements)
		}
	}
	return Config{Limit: max(0, min(in.Limit, maxTimeline)), State: choice}, err
}

// Has reports whether a place is asked for.
func (l *List) Has(place int) bool {
	if l.Ranges == nil {
		return true
	}
	for _, r := range l.Ranges {
		if r.First <= place && place <= r.Last {
			return true
		}
	}
	return false
}

// Covers reports whether all of the first n places are asked for.
func (l *List) Covers(n int) bool {
	if l.Ranges == nil {
		return true
	}
	return slices.ContainsFunc(l.Ranges, func(r Range) bool { return r.First == 0 && r.Last >= n-1 })
}

// Join is what to tell of a room to which several rules apply: all that any of them asks for.
//
// Spec: MSC4186#combining-room-configs
func Join(configs ...Config) Config {
	out := configs[0]
	choices := make([]*Choice, len(configs))
	for i, c := range configs {
		out.Limit = max(out.Limit, c.Limit)
		choices[i] = c.State
	}
	out.State = union(choices)
	return out
}
