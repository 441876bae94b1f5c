package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// KeyBackup is a place for a user's encrypted room keys.
type KeyBackup struct {
	Version   int64
	Algorithm string
	AuthData  json.RawMessage
	Keys      int64 // how many there are
	ETag      int64 // grows with every change of the keys
	Deleted   bool
}

func scanKeyBackup(r rowScanner) (KeyBackup, error) {
	var b KeyBackup
	err := r.Scan(&b.Version, &b.Algorithm, &b.AuthData, &b.Keys, &b.ETag, &b.Deleted)
	return b, err
}

const selectKeyBackup = `select version, algorithm, auth_data, keys, etag, deleted from key_backups where user_id = $1 and `

// KeyBackup is one backup of a user, which may be a deleted one.
func (tx *ReadTx) KeyBackup(user id.UserID, version int64) (KeyBackup, error) {
	return scanKeyBackup(tx.queryRow(selectKeyBackup+`version = $2`, user, version))
}

// CurrentKeyBackup is the newest backup of a user that is not deleted.
func (tx *ReadTx) CurrentKeyBackup(user id.UserID) (KeyBackup, error) {
	return scanKeyBackup(tx.queryRow(selectKeyBackup+`deleted = 0 order by version desc limit 1`, user))
}

// AddKeyBackup makes a backup, which becomes the current one, and returns its version.
func (tx *Tx) AddKeyBackup(user id.UserID, algorithm string, authData json.RawMessage) (int64, error) {
	var version int64
	err := tx.queryRow(`insert into key_backups (user_id, version, algorithm, auth_data)
		select $1, coalesce(max(version), 0) + 1, $2, $3 from key_backups where user_id = $1 returning version`,
		user, algorithm, authData).Scan(&version)
	return version, err
}

// SetKeyBackupAuthData replaces what tells clients how to use a backup.
func (tx *Tx) SetKeyBackupAuthData(user id.UserID, version int64, authData json.RawMessage) error {
	return tx.execOne(`update key_backups set auth_data = $3 where user_id = $1 and version = $2 and deleted = 0`, user, version, authData)
}

// DeleteKeyBackup removes a backup with its keys; its version is not used again.
func (tx *Tx) DeleteKeyBackup(user id.UserID, version int64) error {
	if _, err := tx.exec(`delete from room_keys where user_id = $1 and version = $2`, user, version); err != nil {
		return err
	}
	return tx.execOne(`update key_backups set deleted = 1, auth_data = '{}', keys = 0 where user_id = $1 and version = $2`, user, version)
}

// RoomKey is the encrypted key of a session in a backup.
type RoomKey struct {
	Room         id.RoomID
	Session      string
	FirstMessage int64
	Forwarded    int64
	Verified     bool
	Data         json.RawMessage
}

func scanRoomKey(r rowScanner) (RoomKey, error) {
	var k RoomKey
	err := r.Scan(&k.Room, &k.Session, &k.FirstMessage, &k.Forwarded, &k.Verified, &k.Data)
	return k, err
}

const selectRoomKeys = `select room_id, session_id, first_message_index, forwarded_count, is_verified, session_data from room_keys
	where user_id = $1 and version = $2`

// RoomKeys is the keys of a backup, of one room unless room is empty, and of one session unless session is empty, in the order of both.
func (tx *ReadTx) RoomKeys(user id.UserID, version int64, room id.RoomID, session string) ([]RoomKey, error) {
	switch {
	case room == "":
		return collect(tx, scanRoomKey, selectRoomKeys+` order by room_id, session_id`, user, version)
	case session == "":
		return collect(tx, scanRoomKey, selectRoomKeys+` and room_id = $3 order by session_id`, user, version, room)
	}
	return collect(tx, scanRoomKey, selectRoomKeys+` and room_id = $3 and session_id = $4`, user, version, room, session)
}

// SetRoomKeys stores keys in a backup, unless it has better ones for the same sessions: a verified key is better than one that is not, then
// one that reaches further back, then one that was forwarded less often. It returns the backup as it is afterwards.
//
// Spec: client-server-api#server-side-key-backups
func (tx *Tx) SetRoomKeys(user id.UserID, version int64, keys []RoomKey) (KeyBackup, error) {
	var added, changed int64
	for _, k := range keys {
		n, err := tx.exec(`insert into room_keys
			(user_id, version, room_id, session_id, first_message_index, forwarded_count, is_verified, session_data)
			values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (user_id, version, room_id, session_id) do nothing`,
			user, version, k.Room, k.Session, k.FirstMessage, k.Forwarded, k.Verified, k.Data)
		added += n
		if err == nil && n == 0 {
			n, err = tx.exec(`update room_keys set first_message_index = $5, forwarded_count = $6, is_verified = $7, session_data = $8
				where user_id = $1 and version = $2 and room_id = $3 and session_id = $4 and ($7 > is_verified or $7 = is_verified and
				($5 < first_message_index or $5 = first_message_index and $6 < forwarded_count))`,
				user, version, k.Room, k.Session, k.FirstMessage, k.Forwarded, k.Verified, k.Data)
		}
		if err != nil {
			return KeyBackup{}, err
		}
		changed += n
	}
	return tx.countRoomKeys(user, version, added, changed)
}

// DeleteRoomKeys removes keys from a backup, chosen like those of RoomKeys, and returns the backup as it is afterwards.
func (tx *Tx) DeleteRoomKeys(user id.UserID, version int64, room id.RoomID, session string) (KeyBackup, error) {
	var n int64
	var err error
	switch {
	case room == "":
		n, err = tx.exec(`delete from room_keys where user_id = $1 and version = $2`, user, version)
	case session == "":
		n, err = tx.exec(`delete from room_keys where user_id = $1 and version = $2 and room_id = $3`, user, version, room)
	default:
		n, err = tx.exec(`delete from room_keys where user_id = $1 and version = $2 and room_id = $3 and session_id = $4`,
			user, version, room, session)
	}
	if err != nil {
		return KeyBackup{}, err
	}
	return tx.countRoomKeys(user, version, -n, n)
}

func (tx *Tx) countRoomKeys(user id.UserID, version, added, changed int64) (KeyBackup, error) {
	if changed > 0 {
		_, err := tx.exec(`update key_backups set keys = keys + $3, etag = etag + 1 where user_id = $1 and version = $2`, user, version, added)
		if err != nil {
			return KeyBackup{}, err
		}
	}
	return tx.KeyBackup(user, version)
}
