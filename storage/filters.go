package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Filter returns the definition of a filter that a user has uploaded.
func (tx *ReadTx) Filter(user id.UserID, filter int64) (json.RawMessage, error) {
	var definition string
	err := tx.queryRow("select definition from filters where user_id = $1 and filter_id = $2", user, filter).Scan(&definition)
	return json.RawMessage(definition), err
}

// FilterByHash returns the number of a filter that the user has uploaded before.
func (tx *ReadTx) FilterByHash(user id.UserID, hash TokenHash) (int64, error) {
	var filter int64
	err := tx.queryRow("select filter_id from filters where user_id = $1 and hash = $2", user, hash[:]).Scan(&filter)
	return filter, err
}

// PutFilter stores a filter, known by the SHA-256 of its definition, and returns its number. The same definition keeps its number. Of the user's
// filters, the newest keep ones stay.
func (tx *Tx) PutFilter(user id.UserID, hash TokenHash, definition json.RawMessage, keep int64) (int64, error) {
	_, err := tx.exec(`insert into filters (user_id, filter_id, hash, definition)
		values ($1, (select coalesce(max(filter_id), 0) + 1 from filters where user_id = $1), $2, $3)
		on conflict (user_id, hash) do nothing`, user, hash[:], string(definition))
	if err != nil {
		return 0, err
	}
	number, err := tx.FilterByHash(user, hash)
	if err == nil && number > keep {
		_, err = tx.exec("delete from filters where user_id = $1 and filter_id <= $2", user, number-keep)
	}
	return number, err
}
