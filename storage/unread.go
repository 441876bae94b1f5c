package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Unread is how much a user has not read in one thread of a room; Thread is empty for the main timeline.
type Unread struct {
	Room              int64
	Thread            id.EventID
	Notify, Highlight int64
}

// Notification says that an event notifies a user.
type Notification struct {
	User      id.UserID
	Highlight bool
	Actions   json.RawMessage // of the push rule that matched, for pushers; shared: nobody may change it
}

// UnreadOf is the counts of one user in one room that are not 0.
func (tx *ReadTx) UnreadOf(user id.UserID, room int64) ([]Unread, error) {
	return collect(tx, func(r rowScanner) (Unread, error) {
		u := Unread{Room: room}
		err := r.Scan(&u.Thread, &u.Notify, &u.Highlight)
		return u, err
	}, `select thread, notify, highlight from unread where user_id = $1 and room = $2`, string(user), room)
}

// CountUnread counts one more event of a thread for users, as a highlight or not.
func (tx *Tx) CountUnread(room int64, thread id.EventID, users []id.UserID, highlight bool) error {
	h := 0
	if highlight {
		h = 1
	}
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight)
		select value, cast($2 as bigint), $3, 1, cast($4 as bigint) from `+tx.texts(1)+` l where true
		on conflict (room, thread, user_id) do update set notify = unread.notify + 1, highlight = unread.highlight + excluded.highlight`,
		list(users), room, string(thread), h)
	return err
}

// SetUnread replaces the counts of one user in one thread.
func (tx *Tx) SetUnread(user id.UserID, u Unread) error {
	if u.Notify == 0 && u.Highlight == 0 {
		_, err := tx.exec(`delete from unread where user_id = $1 and room = $2 and thread = $3`, string(user), u.Room, string(u.Thread))
		return err
	}
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight) values ($1, $2, $3, $4, $5)
		on conflict (room, thread, user_id) do update set notify = excluded.notify, highlight = excluded.highlight`,
		string(user), u.Room, string(u.Thread), u.Notify, u.Highlight)
	return err
}

// ClearUnread forgets all counts of one user in one room.
func (tx *Tx) ClearUnread(user id.UserID, room int64) error {
	_, err := tx.exec(`delete from unread where user_id = $1 and room = $2`, string(user), room)
	return err
}

// UnreadRooms is UnreadOf for all rooms of a user.
func (tx *ReadTx) UnreadRooms(user id.UserID) (map[int64][]Unread, error) {
	rows, err := collect(tx, func(r rowScanner) (u Unread, err error) {
		err = r.Scan(&u.Room, &u.Thread, &u.Notify, &u.Highlight)
		return u, err
	}, `select room, thread, notify, highlight from unread where user_id = $1`, string(user))
	out := map[int64][]Unread{}
	for _, u := range rows {
		out[u.Room] = append(out[u.Room], u)
	}
	return out, err
}

// UnreadTotal is how many events a user has not read in all rooms together.
func (tx *ReadTx) UnreadTotal(user id.UserID) (n int64, err error) {
	err = tx.queryRow(`select coalesce(sum(notify), 0) from unread where user_id = $1`, string(user)).Scan(&n)
	return n, err
}
