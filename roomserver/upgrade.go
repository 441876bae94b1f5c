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
		if p.user(r.User) < p.EventLevel("m.room.tombstone", true) {
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
		if err := fresh.finish(); err != nil {
			return err
		}
		return old.finish()
	})
	return replacement, err
}

// replacement is the request for the room that takes the place of this one.
func (h *head) replacement(r UpgradeRequest, p power) (CreateRequest, error) {
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
		}
	}
	// A space keeps its children. Spec: client-server-api#spaces
	if h.room().Summary.Type == "m.space" {
		children, err := h.tx.CurrentStateOfType(h.room().NID, "m.space.child")
		if err != nil {
			return out, err
		}
		for _, c := range children {
			out.InitialState = append(out.InitialState, InitialState{c.Type, *c.StateKey, c.Content()})
		}
	}
	if out.PowerLevels, err = h.transferredLevels(r, p, version); err != nil {
		return out, err
	}
	out.bans, err = h.transferredBans()
	return out, err
}

// transferredLevels is the old room's power levels, made fit for the new room's version.
func (h *head) transferredLevels(r UpgradeRequest, p power, version gomatrixserverlib.IRoomVersion) (map[string]json.RawMessage, error) {
	e, err := h.auth.PowerLevels()
	if err != nil || e == nil {
		return nil, err
	}
	levels := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.Content(), &levels); err != nil {
		return nil, merr.New(merr.InvalidRoomState, "The room's power levels cannot be read")
	}
	users := map[string]int64{}
	for u, l := range p.Users {
		users[u] = l
	}
	for _, u := range p.creators { // from a version where creators have no level to one where they may need it
		users[u] = 100
	}
	if version.PrivilegedCreators() {
		delete(users, string(r.User))
		for _, u := range r.Creators {
			delete(users, string(u))
		}
		events := map[string]int64{}
		for t, l := range p.Events {
			events[t] = l
		}
		events["m.room.tombstone"] = max(150, p.StateDefault+1)
		levels["events"] = must(events)
	} else if users[string(r.User)] < 100 {
		users[string(r.User)] = 100
	}
	levels["users"] = must(users)
	return levels, nil
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
	content := json.RawMessage(e.Content())
	if p.EventsDefault < level {
		content = withField(content, "events_default", level)
	}
	if p.Invite < level {
		content = withField(content, "invite", level)
	}
	return allowFailure(h.set(user, spec.MRoomPowerLevels, "", content))
}

// allowFailure lets a step be skipped that the user has no power for.
func allowFailure(err error) error {
	if merr.HasCode(err, merr.Forbidden) {
		return nil
	}
	return err
}
