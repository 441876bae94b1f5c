package authrules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Levels is the power levels of a room.
type Levels struct {
	gomatrixserverlib.PowerLevelContent
	Creators []string // where they stand above all levels
	content  gjson.Result
}

// User is the level of a user.
func (l Levels) User(user id.UserID) int64 {
	if slices.Contains(l.Creators, string(user)) {
		return math.MaxInt64
	}
	return l.UserLevel(spec.SenderID(user))
}

// Power is the power levels by a state. A state without a create event has none: the error is storage.ErrNotFound.
func Power(version gomatrixserverlib.IRoomVersion, state gomatrixserverlib.AuthEventProvider) (Levels, error) {
	create, err := state.Create()
	if err != nil || create == nil {
		return Levels{}, fmt.Errorf("the create event: %w", errors.Join(err, storage.ErrNotFound))
	}
	return powerOf(version, create, state)
}

func powerOf(version gomatrixserverlib.IRoomVersion, create gomatrixserverlib.PDU, state gomatrixserverlib.AuthEventProvider) (Levels, error) {
	e, err := state.PowerLevels()
	if err != nil {
		return Levels{}, fmt.Errorf("find the power levels: %w", err)
	}
	var out Levels
	if e != nil {
		if out, err = readLevels(version, gjson.ParseBytes(e.Content())); err != nil {
			return Levels{}, err
		}
	} else {
		out.Defaults()
		if !version.PrivilegedCreators() {
			out.Users = map[string]int64{string(creator(version, create)): 100}
		}
	}
	out.Creators = creators(version, create)
	return out, nil
}

// creator is who created the room.
func creator(version gomatrixserverlib.IRoomVersion, create gomatrixserverlib.PDU) id.UserID {
	if version.CreatorInCreateEvent() {
		return id.UserID(text(gjson.GetBytes(create.Content(), "creator")))
	}
	return id.UserID(create.SenderID())
}

// creators is who stands above all levels.
//
// Spec: rooms/v12#authorization-rules
func creators(version gomatrixserverlib.IRoomVersion, create gomatrixserverlib.PDU) []string {
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

// readLevels reads the content of a power levels event. It refuses what the room version does not take for power levels.
func readLevels(version gomatrixserverlib.IRoomVersion, content gjson.Result) (Levels, error) {
	out := Levels{content: content}
	out.Defaults()
	integers := levelsAreIntegers(version)
	read := func(name string, v gjson.Result) (int64, error) {
		n, ok := level(v, integers)
		if !ok {
			return 0, refuse("The power level %s is none that the room version knows", name)
		}
		return n, nil
	}
	for name, to := range map[string]*int64{
		"ban": &out.Ban, "invite": &out.Invite, "kick": &out.Kick, "redact": &out.Redact, "users_default": &out.UsersDefault,
		"events_default": &out.EventsDefault, "state_default": &out.StateDefault,
	} {
		v := content.Get(name)
		if !v.Exists() {
			continue
		}
		n, err := read(name, v)
		if err != nil {
			return Levels{}, err
		}
		*to = n
	}
	for name, to := range map[string]*map[string]int64{"users": &out.Users, "events": &out.Events, "notifications": &out.Notifications} {
		v := content.Get(name)
		strict := name != "notifications" || notificationsAreLevels(version)
		switch {
		case !v.Exists():
			continue
		case !v.IsObject() && strict:
			return Levels{}, refuse("The power levels of %s must be an object", name)
		}
		*to = map[string]int64{}
		var err error
		v.ForEach(func(key, v gjson.Result) bool {
			n, bad := read(name+"."+key.Str, v)
			if bad == nil {
				(*to)[key.Str] = n
			} else if strict {
				err = bad
			}
			return err == nil
		})
		if err != nil {
			return Levels{}, err
		}
	}
	return out, nil
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

// powerLevels is the rules for m.room.power_levels. Levels are compared as they are written: one that is added or removed is a change, even if
// it is the default.
//
// Spec: rooms/v12#authorization-rules, rule 10
func (r *rules) powerLevels(now Levels) error {
	next, err := readLevels(r.version, r.content)
	if err != nil {
		return err
	}
	for user := range next.Users {
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
	sections := map[string]map[string]int64{"users": l.Users, "events": l.Events}
	if notificationsAreLevels(version) && l.content.Get("notifications").Exists() {
		sections["notifications"] = l.Notifications
	}
	for section, levels := range sections {
		for name, n := range levels {
			out[entry{section, name}] = n
		}
	}
	return out
}
