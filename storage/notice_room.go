package storage

import "github.com/hearthd/hearth/internal/id"

// NoticeRoom is the room in which a user gets server notices.
func (tx *ReadTx) NoticeRoom(user id.UserID) (room id.RoomID, err error) {
	err = tx.queryRow(`select room_id from notice_rooms where user_id = $1`, user).Scan(&room)
	return room, err
}

// SetNoticeRoom makes a room the one in which a user gets server notices.
func (tx *Tx) SetNoticeRoom(user id.UserID, room id.RoomID) error {
	_, err := tx.exec(`insert into notice_rooms (user_id, room_id) values ($1, $2)
		on conflict (user_id) do update set room_id = excluded.room_id`, user, room)
	return err
}
