package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// PushRulesType is the type of global account data whose Content is not what clients see: it is the user's push.Stored, from which
// push.Book.Effective makes the content to send. Every account has it from the start.
const PushRulesType = "m.push_rules"

// AccountData is something a user keeps for all their clients, for themselves as a whole (no room) or for a room.
type AccountData struct {
	RoomID  id.RoomID // empty: global
	Type    string
	Content json.RawMessage
	Pos     int64
}

// Deleted reports whether the data is gone: it is kept without content, so that clients that know of it hear of its end.
//
// Spec: MSC3391
func (d *AccountData) Deleted() bool { return string(d.Content) == "{}" && d.Type != PushRulesType }

func scanAccountData(r rowScanner) (AccountData, error) {
	var d AccountData
	var content string
	err := r.Scan(&d.RoomID, &d.Type, &content, &d.Pos)
	d.Content = json.RawMessage(content)
	return d, err
}

// AccountData returns what a user keeps under a type; an empty room means the global data.
func (tx *ReadTx) AccountData(user id.UserID, room id.RoomID, typ string) (AccountData, error) {
	return scanAccountData(tx.queryRow("select room_id, type, content, pos from account_data where user_id = $1 and room_id = $2 and type = $3",
		user, room, typ))
}

// AccountDataSince lists global and room account data that was set after the position from and not after to, in the order of the stream.
// From 0 gives all of it.
func (tx *ReadTx) AccountDataSince(user id.UserID, from, to int64) ([]AccountData, error) {
	if tx.writer == nil && tx.store.personal.unchanged(user, from) {
		return nil, nil
	}
	return collect(tx, scanAccountData, `select room_id, type, content, pos from account_data
		where user_id = $1 and pos > $2 and pos <= $3 order by pos`, user, from, to)
}

// RoomAccountData lists what a user keeps for a room; an empty room means the global data.
func (tx *ReadTx) RoomAccountData(user id.UserID, room id.RoomID) ([]AccountData, error) {
	return collect(tx, scanAccountData, "select room_id, type, content, pos from account_data where user_id = $1 and room_id = $2 order by type",
		user, room)
}

// AccountDataSize is how much account data a user has, in bytes.
func (tx *ReadTx) AccountDataSize(user id.UserID) (size int64, err error) {
	err = tx.queryRow(`select coalesce(sum(octet_length(content) + octet_length(type) + octet_length(room_id)), 0) from account_data
		where user_id = $1`, user).Scan(&size)
	return size, err
}

// SetAccountData stores account data, whose Pos is a position just taken with NextPos. Ring the user's key on commit.
func (tx *Tx) SetAccountData(user id.UserID, d AccountData) error {
	tx.OnCommit(func() { tx.store.personal.set(user, d.Pos) })
	_, err := tx.exec(`insert into account_data (user_id, room_id, type, content, pos) values ($1, $2, $3, $4, $5)
		on conflict (user_id, room_id, type) do update set content = excluded.content, pos = excluded.pos`,
		user, d.RoomID, d.Type, string(d.Content), d.Pos)
	return err
}
