package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Profile returns the fields of a local user's profile by name. A user without any, or without an account, has an empty map.
func (tx *ReadTx) Profile(user id.UserID) (map[string]json.RawMessage, error) {
	rs, err := tx.query("select field, value from profiles where user_id = $1", user)
	if err != nil {
		return nil, err
	}
	defer rs.Close()
	out := map[string]json.RawMessage{}
	for rs.Next() {
		var field, value string
		if err := rs.Scan(&field, &value); err != nil {
			return nil, err
		}
		out[field] = json.RawMessage(value)
	}
	return out, rs.Err()
}

// ProfileField returns one field of a local user's profile.
func (tx *ReadTx) ProfileField(user id.UserID, field string) (json.RawMessage, error) {
	var value string
	err := tx.queryRow("select value from profiles where user_id = $1 and field = $2", user, field).Scan(&value)
	return json.RawMessage(value), err
}

// MemberProfile is the part of a profile that membership events carry. Empty strings stand for fields that are not set.
type MemberProfile struct {
	DisplayName string
	AvatarURL   string
}

// MemberProfile returns the display name and avatar of a local user.
func (tx *ReadTx) MemberProfile(user id.UserID) (MemberProfile, error) {
	var p MemberProfile
	rs, err := tx.query("select field, value from profiles where user_id = $1 and field in ('displayname', 'avatar_url')", user)
	if err != nil {
		return p, err
	}
	defer rs.Close()
	for rs.Next() {
		var field, value, text string
		if err := rs.Scan(&field, &value); err != nil {
			return p, err
		}
		if json.Unmarshal([]byte(value), &text) != nil {
			continue // the edge lets only strings in; null counts as not set
		}
		if field == "displayname" {
			p.DisplayName = text
		} else {
			p.AvatarURL = text
		}
	}
	return p, rs.Err()
}

// SetProfileField stores a field of a profile; value is any JSON.
func (tx *Tx) SetProfileField(user id.UserID, field string, value json.RawMessage) error {
	_, err := tx.exec(`insert into profiles (user_id, field, value) values ($1, $2, $3)
		on conflict (user_id, field) do update set value = excluded.value`, user, field, string(value))
	return err
}

// DeleteProfileField removes a field and reports whether it was there.
func (tx *Tx) DeleteProfileField(user id.UserID, field string) (bool, error) {
	n, err := tx.exec("delete from profiles where user_id = $1 and field = $2", user, field)
	return n == 1, err
}
