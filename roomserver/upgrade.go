package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/roomserver/authrules"
	"github.com/hearthd/hearth/storage"
)

// UpgradeRequest replaces a room by one of another version.
type UpgradeRequest struct {
	Room     id.RoomID
	User     id.UserID
	Version  gomatrixserverlib.RoomVersion
	Creators []id.UserID // additional_creators
}

// transferred is the state that an upgraded room takes along.
//
// Spec: client-server-api#room-upgrades
var transferred = []string{
	"m.room.server_acl", spec.MRoomEncryption, spec.MRoomName, spec.MRoomAvatar, spec.MRoomTopic, spec.MRoomGuestAccess,
	spec.MRoomHistoryVisibility, spec.MRoomJoinRules,
}

// Upgrade makes the replacement room, moves aliases and the directory entry to it, leaves a tombstone in the old room and closes that to
// those without power. Errors: M_UNSUPPORTED_ROOM_VERSION, M_FORBIDDEN, M_NOT_FOUND.
//
// Spec: client-server-api#room-upgrades
func (s *Server) Upgrade(ctx context.Context, r UpgradeRequest) (replacement id.RoomID, err error) {
	if _, ok := s.versions[r.Version]; !ok {
		return "", merr.New(merr.UnsupportedRoomVersion, "This server does not support that room version")
	}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		old, err := s.open(tx, r.Room)
		if err != nil {
			return err
		}
		if err := old.mustBeJoined(r.User); err != nil {
			return err
		}
		p, err := old.auth.power()
		if err != nil {
			return err
		}
		if p.User(r.User) < p.EventLevel("m.room.tombstone", true) {
			return merr.New(merr.Forbidden, "You may not upgrade this room")
		}
		create, err := old.replacement(r, p)
		if err != nil {
			return err
		}
		fresh, err := s.create(tx, create)
		if err != nil {
			return err
		}
		replacement = fresh.room().ID
		if err := old.handOver(r.User, fresh); err != nil {
			return err
		}
		if err := fresh.setUsers(r.User, create.users); err != nil {
			return err
		}
		if err := fresh.finish(); err != nil {
			return err
		}
		return old.finish()
	})
	return replacement, err
}

// replacement is the request for the room that takes the place of this one.
func (h *head) replacement(r UpgradeRequest, p authrules.Levels) (CreateRequest, error) {
	out := CreateRequest{Creator: r.User, Version: r.Version, Preset: "private_chat", Content: map[string]json.RawMessage{}}
	version := h.s.versions[r.Version]
	create, err := h.auth.Create()
	if err != nil {
		return out, err
	}
	for name, value := range gjson.ParseBytes(create.Content()).Map() {
		switch name {
		case "creator", "room_version", "predecessor", "additional_creators":
		default:
			out.Content[name] = json.RawMessage(value.Raw)
		}
	}
	predecessor := map[string]any{"room_id": h.room().ID}
	if !version.PrivilegedCreators() { // Since room version 12 the event id may be left out: it is not known yet when the id is made.
		predecessor["event_id"] = h.room().Extremities[0].ID
	}
	out.Content["predecessor"] = must(predecessor)
	if version.PrivilegedCreators() && len(r.Creators) > 0 {
		out.Content["additional_creators"] = must(r.Creators)
	}
	for _, typ := range transferred {
		e, err := h.auth.get(storage.StateKey{Type: typ})
		if err != nil {
			return out, err
		}
		if e != nil {
			out.InitialState = append(out.InitialState, InitialState{typ, "", e.pdu.Content()})
		} else if typ == spec.MRoomGuestAccess { // which the preset would open
			out.InitialState = append(out.InitialState, InitialState{typ, "", must(map[string]string{"guest_access": "forbidden"})})
		}
	}
	// A space keeps its children. Spec: client-server-api#spaces
	if h.room().Summary.Type == "m.space" {
		children, err := h.tx.CurrentStateOfType(h.room().NID, "m.space.child")
		if err != nil {
			return out, err
		}
		for _, c := range children {
			if !c.Get("content.via").IsArray() { // one that has been removed
				continue
			}
			out.InitialState = append(out.InitialState, InitialState{c.Type, *c.StateKey, c.Content()})
		}
	}
	if out.PowerLevels, err = h.transferredLevels(r, p, version); err != nil {
		return out, err
	}
	if out.PowerLevels != nil && !version.PrivilegedCreators() {
		out.users = out.PowerLevels["users"]
		out.PowerLevels["users"] = withPowerFor(r.User, out.PowerLevels)
	}
	out.bans, err = h.transferredBans()
	return out, err
}

// transferredLevels is the old room's power levels, made fit for the new room's version: as numbers, without creators where these have no level,
// and with a level for them where they need one. Creators of the old room who are to be creators of the new one have to be named: without that
// they are ordinary users there.
func (h *head) transferredLevels(r UpgradeRequest, p authrules.Levels, version gomatrixserverlib.IRoomVersion) (map[string]json.RawMessage, error) {
	e, err := h.auth.PowerLevels()
	if err != nil || e == nil {
		return nil, err
	}
	levels := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.Content(), &levels); err != nil {
		return nil, merr.New(merr.InvalidRoomState, "The room's power levels cannot be read")
	}
	users, events := p.Users(), p.Events()
	if users == nil {
		users = map[string]int64{}
	}
	if !version.PrivilegedCreators() {
		for _, u := range p.Creators {
			users[u] = 100
		}
	} else {
		delete(users, string(r.User))
		for _, u := range r.Creators {
			delete(users, string(u))
		}
		if events == nil {
			events = map[string]int64{}
		}
		events["m.room.tombstone"] = max(150, p.StateDefault+1)
	}
	for name, level := range map[string]int64{
		"ban": p.Ban, "invite": p.Invite, "kick": p.Kick, "redact": p.Redact, "users_default": p.UsersDefault, "events_default": p.EventsDefault,
		"state_default": p.StateDefault,
	} {
		levels[name] = must(level)
	}
	if _, set := levels["notifications"]; set {
		levels["notifications"] = must(p.Notifications())
	}
	if events != nil {
		levels["events"] = must(events)
	}
	levels["users"] = must(users)
	return levels, nil
}

// withPowerFor is the levels of users under which one of them can set up the new room, whatever they could do in the old one.
func withPowerFor(user id.UserID, levels map[string]json.RawMessage) json.RawMessage {
	content := gjson.ParseBytes(must(levels))
	highest := content.Get("users").Get(escapePath(string(user))).Int()
	for _, level := range []string{"state_default", "events_default", "ban", "invite"} {
		highest = max(highest, content.Get(level).Int())
	}
	content.Get("events").ForEach(func(_, level gjson.Result) bool {
		highest = max(highest, level.Int())
		return true
	})
	return withField(levels["users"], string(user), highest)
}

// setUsers gives everybody the power that they had in the old room, once the new one is set up. users may be nil.
func (h *head) setUsers(by id.UserID, users json.RawMessage) error {
	e, err := h.auth.PowerLevels()
	if err != nil || e == nil || users == nil || gjson.GetBytes(e.Content(), "users").Raw == string(users) {
		return err
	}
	return h.set(by, spec.MRoomPowerLevels, "", withField(e.Content(), "users", users))
}

func (h *head) transferredBans() ([]InitialState, error) {
	banned, err := h.tx.Members(h.room().NID, spec.Ban)
	if err != nil {
		return nil, err
	}
	out := make([]InitialState, 0, len(banned))
	for _, m := range banned {
		content := map[string]string{"membership": spec.Ban}
		e, err := h.auth.get(storage.StateKey{Type: spec.MRoomMember, Key: string(m.User)})
		if err != nil {
			return nil, err
		}
		if e != nil && memberOf(e.pdu.Content(), "reason") != "" {
			content["reason"] = memberOf(e.pdu.Content(), "reason")
		}
		out = append(out, InitialState{spec.MRoomMember, string(m.User), must(content)})
	}
	return out, nil
}

// handOver moves what belongs to the room as such to its replacement.
func (h *head) handOver(user id.UserID, fresh *head) error {
	from, to := h.room(), fresh.room()
	// Still in the old room: the tombstone tells everybody where it goes on.
	tombstone := map[string]any{"body": "This room has been replaced", "replacement_room": to.ID}
	if err := h.set(user, "m.room.tombstone", "", must(tombstone)); err != nil {
		return err
	}
	canonical, err := h.auth.get(storage.StateKey{Type: spec.MRoomCanonicalAlias})
	if err != nil {
		return err
	}
	if err := h.tx.MoveAliases(from.NID, to.NID); err != nil {
		return err
	}
	if canonical != nil && len(canonical.pdu.Content()) > len("{}") {
		if err := fresh.set(user, spec.MRoomCanonicalAlias, "", canonical.pdu.Content()); err != nil {
			return err
		}
		if err := allowFailure(h.set(user, spec.MRoomCanonicalAlias, "", json.RawMessage("{}"))); err != nil {
			return err
		}
	}
	if from.Published {
		if err := errors.Join(h.tx.SetPublished(from.NID, false), h.tx.SetPublished(to.NID, true)); err != nil {
			return err
		}
	}
	return h.mute(user)
}

// mute raises the levels for talking and inviting in the old room, if the user may.
//
// Spec: client-server-api#room-upgrades
func (h *head) mute(user id.UserID) error {
	e, err := h.auth.PowerLevels()
	if err != nil || e == nil {
		return err
	}
	p, err := h.auth.power()
	if err != nil {
		return err
	}
	level := max(50, p.UsersDefault+1)
	if p.EventsDefault >= level && p.Invite >= level {
		return nil
	}
	content := json.RawMessage(e.Content())
	if p.EventsDefault < level {
		content = withField(content, "events_default", level)
	}
	if p.Invite < level {
		content = withField(content, "invite", level)
	}
	return allowFailure(h.set(user, spec.MRoomPowerLevels, "", content))
}

// succeeded carries over what those have set for this room who are in the room that replaces it already: who has made that. All others follow
// when they join it.
func (h *head) succeeded() error {
	nid, err := h.tx.RoomNID(id.RoomID(h.room().Summary.Successor))
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	create, err := h.tx.CurrentStateKey(nid, storage.StateKey{Type: spec.MRoomCreate})
	if isNotFound(err) { // of which nothing is known but that somebody was invited
		return nil
	}
	if err != nil || text(create.Get("content.predecessor.room_id")) != string(h.room().ID) {
		return err
	}
	members, err := h.tx.LocalJoined(nid)
	if err != nil {
		return err
	}
	for _, m := range members {
		membership, _, err := h.auth.membership(m.User)
		if err == nil && membership == spec.Join {
			err = h.s.accounts.CarryOver(h.tx, m.User, h.room().ID, id.RoomID(h.room().Summary.Successor))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// carryOver brings what a user who joins has set for the room's predecessor along, if the user is in that. A room may claim any predecessor;
// it is one if it names this room as its successor.
//
// Spec: client-server-api#room-upgrades
func (h *head) carryOver(user id.UserID) error {
	create, err := h.auth.Create()
	if err != nil || create == nil {
		return err
	}
	from := id.RoomID(text(gjson.GetBytes(create.Content(), "predecessor.room_id")))
	if from == "" {
		return nil
	}
	old, err := h.tx.Room(from)
	if isNotFound(err) || err == nil && old.Summary.Successor != string(h.room().ID) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := h.tx.Membership(old.NID, user)
	if isNotFound(err) || err == nil && m.Membership != spec.Join {
		return nil
	}
	if err != nil {
		return err
	}
	return h.s.accounts.CarryOver(h.tx, user, from, h.room().ID)
}

// allowFailure lets a step be skipped that the user has no power for.
func allowFailure(err error) error {
	if merr.HasCode(err, merr.Forbidden) {
		return nil
	}
	return err
}
