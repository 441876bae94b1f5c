package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

func isNotFound(err error) bool { return errors.Is(err, storage.ErrNotFound) }

// AddAlias gives a room an alias of this server. Errors: 409 M_UNKNOWN if the alias is taken.
//
// Spec: client-server-api#put_matrixclientv3directoryroomroomalias
func (s *Server) AddAlias(ctx context.Context, user id.UserID, alias id.RoomAlias, room id.RoomID) error {
	if alias.Server() != s.cfg.Name {
		return merr.New(merr.InvalidParam, "The alias is not of this server")
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		h, err := s.open(tx, room)
		if err != nil {
			return err
		}
		if err := h.mustBeJoined(user); err != nil {
			return err
		}
		return h.addAlias(user, alias)
	})
}

func (h *head) addAlias(user id.UserID, alias id.RoomAlias) error {
	free, err := h.tx.AddAlias(storage.Alias{Alias: alias, Room: h.room().NID, Creator: user})
	if err == nil && !free {
		return merr.Newf(merr.Unknown, "The alias %s exists already", alias).WithStatus(409)
	}
	return err
}

// RemoveAlias removes an alias of this server. Its creator may do that, who may change the room's canonical alias, and admins. An alias that
// the room names in its canonical alias event is taken out there, if the user may.
//
// Spec: client-server-api#delete_matrixclientv3directoryroomroomalias
func (s *Server) RemoveAlias(ctx context.Context, user id.UserID, admin bool, alias id.RoomAlias) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		a, err := tx.Alias(alias)
		if isNotFound(err) {
			return merr.Newf(merr.NotFound, "There is no alias %s", alias)
		}
		if err != nil {
			return err
		}
		row, err := tx.RoomByNID(a.Room)
		if err != nil {
			return err
		}
		h, err := s.head(tx, row)
		if err != nil {
			return err
		}
		p, err := h.auth.power()
		if err != nil {
			return err
		}
		mayEdit := h.mustBeJoined(user) == nil && p.User(user) >= p.EventLevel(spec.MRoomCanonicalAlias, true)
		if a.Creator != user && !admin && !mayEdit {
			return merr.New(merr.Forbidden, "You may not remove this alias")
		}
		if err := tx.RemoveAlias(alias); err != nil {
			return err
		}
		if mayEdit {
			if err := h.dropCanonical(user, alias); err != nil {
				return err
			}
		}
		return h.finish()
	})
}

// dropCanonical takes an alias out of the canonical alias event.
func (h *head) dropCanonical(user id.UserID, alias id.RoomAlias) error {
	e, err := h.auth.get(storage.StateKey{Type: spec.MRoomCanonicalAlias})
	if err != nil || e == nil {
		return err
	}
	var content map[string]json.RawMessage
	if err := json.Unmarshal(e.pdu.Content(), &content); err != nil {
		return nil //nolint:nilerr // a broken event of somebody else names no alias
	}
	changed := false
	if text(gjson.ParseBytes(content["alias"])) == string(alias) {
		delete(content, "alias")
		changed = true
	}
	var rest []string
	for _, alt := range gjson.ParseBytes(content["alt_aliases"]).Array() {
		if text(alt) == string(alias) {
			changed = true
		} else {
			rest = append(rest, text(alt))
		}
	}
	if !changed {
		return nil
	}
	delete(content, "alt_aliases")
	if len(rest) > 0 {
		content["alt_aliases"] = must(rest)
	}
	_, err = h.add(draft{typ: spec.MRoomCanonicalAlias, stateKey: ptr(""), sender: user, content: must(content)})
	return err
}

// checkCanonicalAlias refuses aliases that do not lead to this room. Those that were in the event before are not looked at again.
//
// Spec: client-server-api#mroomcanonical_alias
func (h *head) checkCanonicalAlias(d draft) error {
	named := func(content gjson.Result) ([]string, error) {
		var out []string
		switch a := content.Get("alias"); {
		case !a.Exists(), a.Type == gjson.Null:
		case a.Type != gjson.String:
			return nil, merr.New(merr.InvalidParam, "alias must be an alias")
		case a.Str != "":
			out = append(out, a.Str)
		}
		alt := content.Get("alt_aliases")
		if alt.Exists() && !alt.IsArray() {
			return nil, merr.New(merr.BadJSON, "alt_aliases must be a list")
		}
		for _, a := range alt.Array() {
			if a.Type != gjson.String {
				return nil, merr.New(merr.InvalidParam, "alt_aliases must be a list of aliases")
			}
			out = append(out, a.Str)
		}
		return out, nil
	}
	wanted, err := named(gjson.ParseBytes(d.content))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	old, err := h.auth.get(storage.StateKey{Type: spec.MRoomCanonicalAlias})
	if err != nil {
		return err
	}
	if old != nil {
		if before, err := named(gjson.ParseBytes(old.pdu.Content())); err == nil {
			for _, a := range before {
				known[a] = true
			}
		}
	}
	for _, a := range wanted {
		alias, err := id.ParseRoomAlias(a)
		if err != nil {
			return merr.New(merr.InvalidParam, err.Error())
		}
		if known[a] || slices.Contains(d.aliases, alias) {
			continue
		}
		row, err := h.tx.Alias(alias)
		if isNotFound(err) || err == nil && row.Room != h.room().NID {
			return merr.Newf(merr.BadAlias, "%s does not lead to this room", alias)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SetPublished puts a room into this server's directory or takes it out. Whoever may change the canonical alias may do that.
//
// Spec: client-server-api#put_matrixclientv3directorylistroomroomid
func (s *Server) SetPublished(ctx context.Context, user id.UserID, admin bool, room id.RoomID, published bool) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		h, err := s.open(tx, room)
		if err != nil {
			return err
		}
		p, err := h.auth.power()
		if err != nil {
			return err
		}
		if !admin && (h.mustBeJoined(user) != nil || p.User(user) < p.EventLevel(spec.MRoomCanonicalAlias, true)) {
			return merr.New(merr.Forbidden, "You may not change whether this room is in the directory")
		}
		return tx.SetPublished(h.room().NID, published)
	})
}
