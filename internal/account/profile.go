package account

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// The fields of profiles that the specification defines.
const (
	fieldDisplayName = "displayname"
	fieldAvatarURL   = "avatar_url"
	fieldTimeZone    = "m.tz"
)

const (
	maxProfile      = 64 << 10 // bytes of the whole profile as JSON
	maxProfileKey   = 255      // bytes
	maxProfileText  = 1000     // bytes of the fields that are copied into every membership event
	maxTimeZoneName = 255
)

var errNoProfile = merr.New(merr.NotFound, "Profile not found")

// Profile returns all fields of a local user's profile, or M_NOT_FOUND if there is no such user.
func (s *Service) Profile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		u, err := tx.User(user)
		if errors.Is(err, storage.ErrNotFound) || err == nil && u.Deactivated() {
			return errNoProfile
		}
		if err != nil {
			return err
		}
		out, err = tx.Profile(user)
		return err
	})
	return out, err
}

// ProfileField returns one field of a local user's profile, or M_NOT_FOUND.
func (s *Service) ProfileField(ctx context.Context, user id.UserID, field string) (json.RawMessage, error) {
	if err := CheckProfileKey(field); err != nil {
		return nil, err
	}
	var out json.RawMessage
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.ProfileField(user, field)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNoProfile
	}
	return out, err
}

// SetProfileField stores a field of a user's own profile.
//
// Spec: client-server-api#put_matrixclientv3profileuseridkeyname
func (s *Service) SetProfileField(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	if err := CheckProfileKey(field); err != nil {
		return err
	}
	if err := checkProfileValue(field, value); err != nil {
		return err
	}
	changed := false
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		profile, err := tx.Profile(user)
		if err != nil {
			return err
		}
		changed = string(profile[field]) != string(value)
		profile[field] = value
		whole, err := json.Marshal(profile)
		if err != nil {
			return err
		}
		if len(whole) >= maxProfile {
			return merr.New(merr.ProfileTooLarge, "The profile would be larger than 64 KiB")
		}
		return tx.SetProfileField(user, field, value)
	})
	if err == nil && changed {
		s.profileChanged(ctx, user, field)
	}
	return err
}

// DeleteProfileField removes a field of a user's own profile. One that is not there is no error.
func (s *Service) DeleteProfileField(ctx context.Context, user id.UserID, field string) error {
	if err := CheckProfileKey(field); err != nil {
		return err
	}
	var there bool
	err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
		there, err = tx.DeleteProfileField(user, field)
		return err
	})
	if err == nil && there {
		s.profileChanged(ctx, user, field)
	}
	return err
}

// profileChanged lets rooms know of what they show.
func (s *Service) profileChanged(ctx context.Context, user id.UserID, field string) {
	if s.profiles == nil || field != fieldDisplayName && field != fieldAvatarURL {
		return
	}
	// The profile is stored: rooms must follow even if the client goes away now, and their trouble is not the client's.
	if err := s.profiles.ProfileChanged(context.WithoutCancel(ctx), user); err != nil {
		s.log.Error("rooms do not show a changed profile", "user", user, "error", err)
	}
}

// CheckProfileKey checks the name of a field: M_KEY_TOO_LARGE, M_INVALID_PARAM.
//
// Spec: appendices#common-namespaced-identifier-grammar
func CheckProfileKey(field string) error {
	if len(field) > maxProfileKey {
		return merr.Newf(merr.KeyTooLarge, "The name of a profile field must not be longer than %d bytes", maxProfileKey)
	}
	for i, c := range []byte(field) {
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0)) {
			return merr.New(merr.InvalidParam, "Invalid profile key.")
		}
	}
	if field == "" {
		return merr.New(merr.InvalidParam, "Invalid profile key.")
	}
	return nil
}

// checkProfileValue checks a value. Those of fields that the server does not know can be anything, also null.
func checkProfileValue(field string, value json.RawMessage) error {
	if len(value) >= maxProfile {
		return merr.New(merr.ProfileTooLarge, "The profile would be larger than 64 KiB")
	}
	most := maxProfileText
	switch field {
	case fieldDisplayName, fieldAvatarURL:
	case fieldTimeZone:
		most = maxTimeZoneName
	default:
		return nil
	}
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return merr.Newf(merr.InvalidParam, "%s must be a string", field)
	}
	// The value of avatar_url ought to be an MXC URI; other servers store what they are given and tests hold them to it.
	if len(*text) > most || !utf8.ValidString(*text) {
		return merr.Newf(merr.InvalidParam, "%s must not be longer than %d bytes", field, most)
	}
	return nil
}
