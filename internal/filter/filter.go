// Package filter reads the filters of the Client-Server API and applies them. It is pure: values in, values out. What a filter says is
// checked and compiled once, by Parse; matching is cheap. It refuses to know where events come from and what is done with the limits.
//
// The zero value of every filter lets everything through.
package filter

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/merr"
)

// The specification sets no limits. These are far above what clients use.
const (
	maxSize     = 128 << 10 // bytes of a filter
	maxItems    = 2000      // of a list
	maxType     = 512       // bytes of a type or a wildcard for types
	maxFields   = 200       // event fields
	maxFieldLen = 512       // bytes of an event field
	maxDepth    = 32        // names in an event field
	maxLimit    = 1<<31 - 1
)

// Filter is a filter for sync.
//
// Spec: client-server-api#post_matrixclientv3useruseridfilter
type Filter struct {
	EventFields *Fields // nil for all
	Federation  bool    // events are wanted in the federation format
	Presence    EventFilter
	AccountData EventFilter
	Room        RoomFilter
}

// RoomFilter is the part of a Filter that is about rooms.
type RoomFilter struct {
	rooms        list
	IncludeLeave bool // rooms that the user has left are wanted
	State        RoomEventFilter
	Timeline     RoomEventFilter
	Ephemeral    RoomEventFilter
	AccountData  RoomEventFilter
}

// MatchRoom reports whether the room is wanted at all. The filters for the parts of a room have room lists of their own, which Match of
// RoomEventFilter applies.
func (f *RoomFilter) MatchRoom(roomID string) bool { return f.rooms.match(roomID) }

// EventFilter is a filter for events that are in no room.
type EventFilter struct {
	limit   *int
	types   list
	senders list
}

// Match reports whether an event is wanted. The sender is empty for events that have none: they are from none of the wanted senders, if
// the filter names any.
func (f *EventFilter) Match(sender, eventType string) bool {
	return f.types.match(eventType) && f.senders.match(sender)
}

// MatchType reports whether events of a type can be wanted.
func (f *EventFilter) MatchType(eventType string) bool { return f.types.match(eventType) }

// Limit returns how many events are wanted, which may be 0: the filter's limit, or def without one, and never more than most.
func (f *EventFilter) Limit(def, most int) int {
	if f.limit != nil {
		def = *f.limit
	}
	return min(def, most)
}

// RoomEventFilter is a filter for events in rooms.
//
// Spec: client-server-api#post_matrixclientv3useruseridfilter_request_roomeventfilter
type RoomEventFilter struct {
	EventFilter
	LazyLoadMembers           bool
	IncludeRedundantMembers   bool // only with LazyLoadMembers
	UnreadThreadNotifications bool
	// RelatedByRelTypes and RelatedBySenders ask for events that other events relate to, in one of these ways or from one of these
	// senders. Nil is no such wish. Only the caller can know the relations: Match does not look at these.
	RelatedByRelTypes []string
	RelatedBySenders  []string

	rooms       list
	containsURL *bool
	relTypes    list
}

// Match reports whether an event is wanted. hasURL says whether its content has a key named url; the sender is empty for events that have
// none.
func (f *RoomEventFilter) Match(sender, eventType, roomID string, hasURL bool) bool {
	return f.EventFilter.Match(sender, eventType) && f.rooms.match(roomID) && (f.containsURL == nil || *f.containsURL == hasURL)
}

// MatchRoom reports whether events in the room can be wanted.
func (f *RoomEventFilter) MatchRoom(roomID string) bool { return f.rooms.match(roomID) }

// NeedsURL reports whether Match looks at hasURL, so that callers can save themselves the trouble of finding it out.
func (f *RoomEventFilter) NeedsURL() bool { return f.containsURL != nil }

// MatchRelType reports whether an event that relates to another in this way is wanted; relType is empty for one that relates to none.
//
// Spec: MSC3874
func (f *RoomEventFilter) MatchRelType(relType string) bool { return f.relTypes.match(relType) }

// NeedsRelType reports whether MatchRelType can say no.
func (f *RoomEventFilter) NeedsRelType() bool { return !f.relTypes.all() }

// Parse reads a filter for sync. Errors are M_BAD_JSON and M_TOO_LARGE, and say which part is wrong.
func Parse(raw json.RawMessage) (*Filter, error) {
	r := &reader{}
	o := r.top(raw)
	f := &Filter{
		EventFields: r.fields(o),
		Federation:  r.format(o),
		Presence:    r.events(o.object("presence")),
		AccountData: r.events(o.object("account_data")),
	}
	room := o.object("room")
	f.Room = RoomFilter{
		rooms:        room.ids("rooms", checkRoomID),
		IncludeLeave: room.boolean("include_leave"),
		State:        r.roomEvents(room.object("state")),
		Timeline:     r.roomEvents(room.object("timeline")),
		Ephemeral:    r.roomEvents(room.object("ephemeral")),
		AccountData:  r.roomEvents(room.object("account_data")),
	}
	if r.err != nil {
		return nil, r.err
	}
	return f, nil
}

// ParseRoomEvents reads the filter that /messages, /context and /search take. Errors are those of Parse.
func ParseRoomEvents(raw json.RawMessage) (*RoomEventFilter, error) {
	r := &reader{}
	f := r.roomEvents(r.top(raw))
	if r.err != nil {
		return nil, r.err
	}
	return &f, nil
}

func (r *reader) events(o object) EventFilter {
	return EventFilter{limit: o.limit(), types: o.types(), senders: o.ids("senders", checkUserID)}
}

func (r *reader) roomEvents(o object) RoomEventFilter {
	f := RoomEventFilter{
		EventFilter:               r.events(o),
		LazyLoadMembers:           o.boolean("lazy_load_members"),
		IncludeRedundantMembers:   o.boolean("include_redundant_members"),
		UnreadThreadNotifications: o.boolean("unread_thread_notifications"),
		RelatedByRelTypes:         o.strings("related_by_rel_types", checkType),
		RelatedBySenders:          o.strings("related_by_senders", checkUserID),
		rooms:                     o.ids("rooms", checkRoomID),
		containsURL:               o.optionalBoolean("contains_url"),
	}
	// Clients know MSC3874 by its prefix only.
	f.relTypes.only = newSet(o.strings("org.matrix.msc3874.rel_types", checkType))
	f.relTypes.not = newSet(o.strings("org.matrix.msc3874.not_rel_types", checkType))
	f.IncludeRedundantMembers = f.IncludeRedundantMembers && f.LazyLoadMembers
	return f
}

func (r *reader) format(o object) bool {
	switch format := o.text("event_format"); format {
	case "", "client":
		return false
	case "federation":
		return true
	}
	r.fail(merr.New(merr.BadJSON, `"event_format" must be "client" or "federation".`))
	return false
}
