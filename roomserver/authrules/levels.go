package authrules

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Levels is the power levels of a room. Those of single users, events and notifications are read when they are asked for, because they may
// be very many.
type Levels struct {
	Ban, Invite, Kick, Redact                 int64
	UsersDefault, EventsDefault, StateDefault int64
	Creators                                  []string // where they stand above all levels

	content                      gjson.Result
	users, events, notifications gjson.Result
	integers                     bool
}

// User is the level of a user.
func (l Levels) User(user id.UserID) int64 {
	if slices.Contains(l.Creators, string(user)) {
		return math.MaxInt64
	}
	if n, ok := l.find(l.users, string(user)); ok {
		return n
	}
	return l.UsersDefault
}

// EventLevel is the level that it takes to send an event.
//
// Spec: server-server-api#definitions
func (l Levels) EventLevel(typ string, isState bool) int64 {
	if n, ok := l.find(l.events, typ); ok {
		return n
	}
	if isState {
		return l.StateDefault
	}
	return l.EventsDefault
}

func (l Levels) find(section gjson.Result, name string) (n int64, ok bool) {
	if name == "" { // which is no path
		n, ok = l.all(section)[name]
		return n, ok
	}
	return level(section.Get(gjson.Escape(name)), l.integers)
}

// Users is the levels of users who have one of their own; nil where the content does not speak of them.
func (l Levels) Users() map[string]int64 { return l.all(l.users) }

// Events is the levels of event types, likewise.
func (l Levels) Events() map[string]int64 { return l.all(l.events) }

// Notifications is the levels of notifications, likewise.
func (l Levels) Notifications() map[string]int64 { return l.all(l.notifications) }

func (l Levels) all(section gjson.Result) map[string]int64 {
	if !section.Exists() {
		return nil
	}
	out := map[string]int64{}
	section.ForEach(func(key, v gjson.Result) bool {
		if n, ok := level(v, l.integers); ok {
			out[key.Str] = n
		}
		return true
	})
	return out
}

// Power is the power levels by a state. A state without a create event has none: the error is storage.ErrNotFound.
func Power(version gomatrixserverlib.IRoomVersion, state State) (Levels, error) {
	create, err := state.Create()
	if err != nil || create == nil {
		return Levels{}, fmt.Errorf("the create event: %w", errors.Join(err, storage.ErrNotFound))
	}
	return powerOf(version, create, state)
}

func powerOf(version gomatrixserverlib.IRoomVersion, create Event, state State) (Levels, error) {
	e, err := state.PowerLevels()
	if err != nil {
		return Levels{}, fmt.Errorf("find the power levels: %w", err)
	}
	var out Levels
	switch read, done := e.(*levelled); {
	case done:
		out, err = read.levels, read.err
	case e != nil:
		out, err = readLevels(version, gjson.ParseBytes(e.Content()))
	default:
		out, err = readLevels(version, gjson.Result{})
		if !version.PrivilegedCreators() {
			first, _ := json.Marshal(map[id.UserID]int{creator(version, create): 100})
			out.users = gjson.ParseBytes(first)
		}
	}
	out.Creators = creators(version, create)
	return out, err
}

// levelled is a power levels event of which the levels have been read.
type levelled struct {
	Event
	levels Levels
	err    error
}

// ReadLevels is a power levels event, for a State that is asked for it again and again: its levels are read once.
func ReadLevels(version gomatrixserverlib.IRoomVersion, event Event) Event {
	out := &levelled{Event: event}
	out.levels, out.err = readLevels(version, gjson.ParseBytes(event.Content()))
	return out
}

// creator is who created the room.
func creator(version gomatrixserverlib.IRoomVersion, create Event) id.UserID {
	if version.CreatorInCreateEvent() {
		return id.UserID(text(gjson.GetBytes(create.Content(), "creator")))
	}
	return id.UserID(create.SenderID())
}

// creators is who stands above all levels.
//
// Spec: rooms/v12#authorization-rules
func creators(version gomatrixserverlib.IRoomVersion, create Event) []string {
	if !version.PrivilegedCreators() {
		return nil
	}
	out := []string{string(create.SenderID())}
	gjson.GetBytes(create.Content(), "additional_creators").ForEach(func(_, u gjson.Result) bool {
		out = append(out, text(u))
		return true
	})
	return out
}

// readLevels reads the content of a power levels event. It refuses what the room version does not take for power levels, but does not look
// at those of single users, events and notifications.
func readLevels(version gomatrixserverlib.IRoomVersion, content gjson.Result) (Levels, error) {
	out := Levels{Ban: 50, Kick: 50, Redact: 50, StateDefault: 50, content: content, integers: levelsAreIntegers(version)}
	var err error
	content.ForEach(func(key, v gjson.Result) bool {
		to := &out.Ban
		switch key.Str {
		case "ban":
		case "invite":
			to = &out.Invite
		case "kick":
			to = &out.Kick
		case "redact":
			to = &out.Redact
		case "users_default":
			to = &out.UsersDefault
		case "events_default":
			to = &out.EventsDefault
		case "state_default":
			to = &out.StateDefault
		case "users":
			out.users = v
			return true
		case "events":
			out.events = v
			return true
		case "notifications":
			out.notifications = v
			return true
		default:
			return true
		}
		n, ok := level(v, out.integers)
		if !ok {
			err = refuse("The power level %s is none that the room version knows", key.Str)
		}
		*to = n
		return ok
	})
	return out, err
}

// check refuses levels of single users, events and notifications that the room version does not know.
func (l Levels) check(version gomatrixserverlib.IRoomVersion) error {
	for name, section := range l.sections(version) {
		switch {
		case !section.Exists():
			continue
		case !section.IsObject():
			return refuse("The power levels of %s must be an object", name)
		}
		ok := true
		section.ForEach(func(_, v gjson.Result) bool {
			_, ok = level(v, l.integers)
			return ok
		})
		if !ok {
			return refuse("The power levels of %s are none that the room version knows", name)
		}
	}
	return nil
}

// sections is the levels that the rules guard, but for those at the top.
func (l Levels) sections(version gomatrixserverlib.IRoomVersion) map[string]gjson.Result {
	out := map[string]gjson.Result{"users": l.users, "events": l.events}
	if notificationsAreLevels(version) {
		out["notifications"] = l.notifications
	}
	return out
}

// level reads one power level, which may also be a float or a string in early room versions.
//
// Spec: rooms/v1#mroompower_levels-events-accept-values-as-strings, rooms/v10#values-in-mroompower_levels-events-must-be-integers
func level(v gjson.Result, integer bool) (n int64, ok bool) {
	switch {
	case v.Type == gjson.Number:
		n, err := strconv.ParseInt(v.Raw, 10, 64)
		if err == nil || integer {
			return n, err == nil
		}
		f, err := strconv.ParseFloat(v.Raw, 64)
		switch {
		case err != nil:
			return 0, false
		case f >= math.MaxInt64:
			return math.MaxInt64, true
		case f <= math.MinInt64:
			return math.MinInt64, true
		}
		return int64(f), true
	case v.Type == gjson.String && !integer:
		// Of a number that is too large, ParseInt returns the nearest one that is not.
		n, err := strconv.ParseInt(strings.TrimSpace(v.Str), 10, 64)
		return n, err == nil || errors.Is(err, strconv.ErrRange)
	}
	return 0, false
}

// powerLevels is the rules for m.room.power_levels. Levels are compared as they are written: one that is added or removed is a change, even
// if it is the default.
//
// Spec: rooms/v12#authorization-rules, rule 10
func (r *rules) powerLevels(now Levels) error {
	next, err := readLevels(r.version, r.content)
	if err != nil {
		return err
	}
	if err := next.check(r.version); err != nil {
		return err
	}
	for user := range next.Users() {
		if _, err := id.ParseUserID(user); err != nil {
			return refuse("%q is no user id", user)
		}
		if slices.Contains(now.Creators, user) {
			return merr.New(merr.BadJSON, "Creators stand above all power levels")
		}
	}
	if !now.content.Exists() {
		return nil // there were none
	}
	level := now.User(r.sender)
	before, after := now.written(r.version), next.written(r.version)
	for name, was := range before {
		is, kept := after[name]
		if kept && is == was {
			continue
		}
		own := name == entry{"users", string(r.sender)}
		if was > level || name.section == "users" && was == level && !own {
			return refuse("You may not change a power level that is above your own: %s", name)
		}
	}
	for name, is := range after {
		if was, known := before[name]; (!known || is != was) && is > level {
			return refuse("You may not set a power level that is above your own: %s", name)
		}
	}
	return nil
}

// entry is the place of a power level in the content: section is empty for those at the top.
type entry struct{ section, name string }

// String returns the path of the entry.
func (e entry) String() string { return strings.TrimPrefix(e.section+"."+e.name, ".") }

// written is the power levels that the content has, and the rules guard.
func (l Levels) written(version gomatrixserverlib.IRoomVersion) map[entry]int64 {
	out := map[entry]int64{}
	for name, n := range map[string]int64{
		"ban": l.Ban, "invite": l.Invite, "kick": l.Kick, "redact": l.Redact, "users_default": l.UsersDefault,
		"events_default": l.EventsDefault, "state_default": l.StateDefault,
	} {
		if l.content.Get(name).Exists() {
			out[entry{"", name}] = n
		}
	}
	for section, levels := range l.sections(version) {
		for name, n := range l.all(levels) {
			out[entry{section, name}] = n
		}
	}
	return out
}
