package roomserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// CreateRequest is what a user wants a new room to be. Zero values mean the specification's defaults.
//
// Spec: client-server-api#post_matrixclientv3createroom
type CreateRequest struct {
	Creator      id.UserID
	Version      gomatrixserverlib.RoomVersion
	Preset       string // private_chat, public_chat or trusted_private_chat
	Published    bool   // visibility is public
	AliasName    string // the localpart of the alias
	Name, Topic  string
	Invite       []id.UserID
	Direct       bool
	Content      map[string]json.RawMessage // creation_content
	PowerLevels  map[string]json.RawMessage // power_level_content_override
	InitialState []InitialState
	Made         func(tx *storage.Tx, room id.RoomID) error // is called in the transaction that makes the room
	// Of a room that is being upgraded: membership events to copy, and the levels of users once the new room is set up.
	bans  []InitialState
	users json.RawMessage
}

// InitialState is one event of initial_state.
type InitialState struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// preset is what a preset sets. Where guests are empty they are forbidden, as they are in rooms that do not say anything of them.
type preset struct {
	joinRule, history, guests string
	invite                    int // the level for it
}

var presets = map[string]preset{
	"private_chat":         {spec.Invite, "shared", "can_join", 0},
	"trusted_private_chat": {spec.Invite, "shared", "can_join", 0},
	"public_chat":          {spec.Public, "shared", "", 50},
}

// maxInitial bounds the invites, and the events of initial_state, of a new room: all of them are made in one transaction, while which every
// other sender waits.
const maxInitial = 500

// Create makes a room and returns its id. It is there as a whole or not at all, but for users of other servers: they are invited afterwards, and
// those who cannot be are not. Errors: M_UNSUPPORTED_ROOM_VERSION, M_ROOM_IN_USE,
// M_INVALID_ROOM_STATE, M_INVALID_PARAM, M_BAD_JSON, M_BAD_ALIAS, M_FORBIDDEN and M_INVITE_BLOCKED.
func (s *Server) Create(ctx context.Context, r CreateRequest) (room id.RoomID, err error) {
	if len(r.Invite) > maxInitial || len(r.InitialState) > maxInitial {
		return "", merr.Newf(merr.InvalidParam, "A room begins with no more than %d invites and %d events of initial_state", maxInitial, maxInitial)
	}
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		h, err := s.create(tx, r)
		if err != nil {
			return err
		}
		room = h.room().ID
		if r.Made != nil {
			if err := r.Made(tx, room); err != nil {
				return err
			}
		}
		return h.finish()
	})
	if err == nil {
		s.inviteLater(ctx, room, r)
	}
	return room, err
}

func (s *Server) create(tx *storage.Tx, r CreateRequest) (*head, error) {
	if r.Version == "" {
		r.Version = s.cfg.DefaultVersion
	}
	version, ok := s.versions[r.Version]
	if !ok {
		return nil, merr.New(merr.UnsupportedRoomVersion, "This server does not support that room version")
	}
	if r.Preset == "" {
		r.Preset = "private_chat"
		if r.Published {
			r.Preset = "public_chat"
		}
	}
	p, ok := presets[r.Preset]
	if !ok {
		return nil, merr.Newf(merr.InvalidParam, "There is no preset of this name")
	}
	row := &storage.Room{Version: r.Version, Extremities: []storage.Extremity{}}
	if !version.DomainlessRoomIDs() {
		row.ID = id.RoomID("!" + rand.Text()[:18] + ":" + string(s.cfg.Name))
	}
	h, err := s.head(tx, row)
	if err != nil {
		return nil, err
	}
	h.auth.snap = &snapshot{events: newStateEvents(), known: true, servers: []id.ServerName{}} // nobody is joined yet
	content, err := createContent(r, version)
	if err != nil {
		return nil, err
	}
	if err := h.set(r.Creator, spec.MRoomCreate, "", content); err != nil {
		return nil, asInvalidState(err)
	}
	if err := h.join(MemberRequest{Sender: r.Creator}); err != nil {
		return nil, err
	}
	levels, err := powerLevels(r, version)
	if err != nil {
		return nil, err
	}
	if err := h.set(r.Creator, spec.MRoomPowerLevels, "", levels); err != nil {
		return nil, asInvalidState(err)
	}
	if err := h.nameAlias(r); err != nil {
		return nil, err
	}
	if err := h.initialState(r, p); err != nil {
		return nil, err
	}
	for _, ban := range r.bans {
		if err := h.set(r.Creator, ban.Type, ban.StateKey, ban.Content); err != nil && !merr.HasCode(err, merr.Forbidden) {
			return nil, err
		}
	}
	for _, user := range r.Invite {
		if !s.local(user) {
			if _, alone := s.peers.Remote.(nobody); alone {
				return nil, errInviteAlone
			}
			continue // see inviteLater
		}
		if err := h.invite(MemberRequest{Sender: r.Creator, Target: user, Direct: r.Direct}); err != nil {
			return nil, err
		}
	}
	if r.Published {
		if err := tx.SetPublished(row.NID, true); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// asInvalidState says of an event that the server made from the request that the request is at fault.
func asInvalidState(err error) error {
	if merr.HasCode(err, merr.Forbidden) {
		return merr.New(merr.InvalidRoomState, err.Error())
	}
	return err
}

func (h *head) set(sender id.UserID, typ, key string, content json.RawMessage) error {
	_, err := h.add(draft{typ: typ, stateKey: &key, sender: sender, content: content})
	return err
}

// createContent is the content of the create event.
//
// Spec: client-server-api#mroomcreate
func createContent(r CreateRequest, version gomatrixserverlib.IRoomVersion) (json.RawMessage, error) {
	content := map[string]json.RawMessage{}
	for k, v := range r.Content {
		content[k] = v
	}
	delete(content, "creator")
	if version.CreatorInCreateEvent() {
		content["creator"] = must(r.Creator)
	}
	content["room_version"] = must(version.Version())
	if !version.PrivilegedCreators() {
		return must(content), checkCreateContent(content)
	}
	var extra []id.UserID
	if raw, ok := content["additional_creators"]; ok {
		if err := json.Unmarshal(raw, &extra); err != nil {
			return nil, merr.New(merr.BadJSON, "additional_creators must be a list of user ids")
		}
		for _, u := range extra {
			if _, err := id.ParseUserID(string(u)); err != nil {
				return nil, merr.New(merr.InvalidParam, "additional_creators must be a list of user ids")
			}
		}
	}
	if r.Preset == "trusted_private_chat" {
		extra = append(extra, r.Invite...)
	}
	seen := map[id.UserID]bool{r.Creator: true}
	extra = slices.DeleteFunc(extra, func(u id.UserID) bool {
		dup := seen[u]
		seen[u] = true
		return dup
	})
	delete(content, "additional_creators")
	if len(extra) > 0 {
		content["additional_creators"] = must(extra)
	}
	return must(content), checkCreateContent(content)
}

// checkCreateContent refuses what would make a room unusable: auth rules that cannot read its create event allow nothing.
func checkCreateContent(content map[string]json.RawMessage) error {
	var known gomatrixserverlib.CreateContent
	if err := json.Unmarshal(must(content), &known); err != nil {
		return merr.New(merr.BadJSON, "creation_content has members of wrong types")
	}
	return nil
}

// powerLevels is the content of the first power levels event.
//
// Spec: client-server-api#mroompower_levels
func powerLevels(r CreateRequest, version gomatrixserverlib.IRoomVersion) (json.RawMessage, error) {
	users := map[id.UserID]int64{}
	tombstone := int64(100)
	if version.PrivilegedCreators() {
		// So that creators, who cannot be listed, are alone with it.
		tombstone = max(150, gjson.ParseBytes(r.PowerLevels["state_default"]).Int()+1)
	} else {
		users[r.Creator] = 100
		if r.Preset == "trusted_private_chat" {
			for _, u := range r.Invite {
				users[u] = 100
			}
		}
	}
	content := map[string]json.RawMessage{
		"users":          must(users),
		"users_default":  must(0),
		"events_default": must(0),
		"state_default":  must(50),
		"ban":            must(50),
		"kick":           must(50),
		"redact":         must(50),
		"invite":         must(presets[r.Preset].invite),
		"historical":     must(100),
		"events": must(map[string]int64{
			spec.MRoomName: 50, spec.MRoomPowerLevels: 100, spec.MRoomHistoryVisibility: 100, spec.MRoomCanonicalAlias: 50,
			spec.MRoomAvatar: 50, "m.room.tombstone": tombstone, "m.room.server_acl": 100, spec.MRoomEncryption: 100,
		}),
	}
	for k, v := range r.PowerLevels {
		content[k] = v
	}
	return must(content), nil
}

// nameAlias takes the alias for the room and makes it the canonical one.
func (h *head) nameAlias(r CreateRequest) error {
	if r.AliasName == "" {
		return nil
	}
	alias, err := id.ParseRoomAlias("#" + r.AliasName + ":" + string(h.s.cfg.Name))
	if err != nil || alias.Localpart() != r.AliasName {
		return merr.New(merr.InvalidParam, "room_alias_name is not the localpart of an alias")
	}
	if _, err := h.tx.Alias(alias); err == nil {
		return merr.Newf(merr.RoomInUse, "The alias %s exists already", alias)
	} else if !isNotFound(err) {
		return err
	}
	if err := h.addAlias(r.Creator, alias); err != nil {
		return err
	}
	return asInvalidState(h.set(r.Creator, spec.MRoomCanonicalAlias, "", must(map[string]any{"alias": alias})))
}

// initialState sets what the preset, initial_state, name and topic ask for, the later ones taking precedence.
func (h *head) initialState(r CreateRequest, p preset) error {
	given := map[storage.StateKey]bool{}
	for _, e := range r.InitialState {
		given[storage.StateKey{Type: e.Type, Key: e.StateKey}] = true
	}
	for _, e := range []InitialState{
		{spec.MRoomJoinRules, "", must(map[string]string{"join_rule": p.joinRule})},
		{spec.MRoomHistoryVisibility, "", must(map[string]string{"history_visibility": p.history})},
		{spec.MRoomGuestAccess, "", must(map[string]string{"guest_access": p.guests})},
	} {
		if !given[storage.StateKey{Type: e.Type}] && (e.Type != spec.MRoomGuestAccess || p.guests != "") {
			if err := h.set(r.Creator, e.Type, e.StateKey, e.Content); err != nil {
				return asInvalidState(err)
			}
		}
	}
	for _, e := range r.InitialState {
		switch {
		case e.Type == spec.MRoomCreate || e.Type == spec.MRoomMember && e.StateKey == string(r.Creator):
			return merr.Newf(merr.InvalidRoomState, "initial_state may not contain %s", e.Type)
		case e.Type == spec.MRoomName && e.StateKey == "" && r.Name != "", e.Type == spec.MRoomTopic && e.StateKey == "" && r.Topic != "":
			continue
		}
		if err := h.checkState(draft{typ: e.Type, stateKey: &e.StateKey, sender: r.Creator, content: e.Content}); err != nil {
			return err
		}
		if err := h.set(r.Creator, e.Type, e.StateKey, e.Content); err != nil {
			return asInvalidState(err)
		}
	}
	if r.Name != "" {
		if err := h.set(r.Creator, spec.MRoomName, "", must(map[string]string{"name": r.Name})); err != nil {
			return asInvalidState(err)
		}
	}
	if r.Topic == "" {
		return nil
	}
	// Spec: client-server-api#mroomtopic
	return asInvalidState(h.set(r.Creator, spec.MRoomTopic, "", must(map[string]any{
		"topic":   r.Topic,
		"m.topic": map[string]any{"m.text": []map[string]string{{"body": r.Topic, "mimetype": "text/plain"}}},
	})))
}

// memberOf reads a field of a membership content.
func memberOf(content json.RawMessage, field string) string {
	return text(gjson.GetBytes(content, field))
}
