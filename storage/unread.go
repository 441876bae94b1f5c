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

// CountUnread counts one more event of a thread for users, as a highlight or not. others is the members of the room who are not among them.
func (tx *Tx) CountUnread(room int64, thread id.EventID, users, others []id.UserID, highlight bool) error {
	h := 0
	if highlight {
		h = 1
	}
	then := `do update set notify = unread.notify + 1, highlight = unread.highlight + excluded.highlight`
	if thread == "" && 4*len(others) < len(users) {
		// The rows of nearly everybody lie side by side. The others are taken back: a condition with a list would have SQLite go through all rows
		// twice. Who has read everything has no row, and gets one below.
		counted, err := tx.exec(`update unread set notify = notify + 1, highlight = highlight + $2 where room = $1 and thread = ''`, room, h)
		if err != nil {
			return err
		}
		back, err := tx.exec(`update unread set notify = notify - 1, highlight = highlight - $2
			where room = $1 and thread = '' and `+tx.inTexts("user_id", 3), room, h, list(others))
		if err != nil || counted-back == int64(len(users)) {
			return err
		}
		then = `do nothing`
	}
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight)
		select value, cast($2 as bigint), $3, 1, cast($4 as bigint) from `+tx.texts(1)+` l where true
		on conflict (room, thread, user_id) `+then, list(users), room, string(thread), h)
	return err
}

// SetUnread replaces the counts of one user in one thread.
func (tx *Tx) SetUnread(user id.UserID, u Unread) error {
	if u.Notify == 0 && u.Highlight == 0 {
		_, err := tx.ReadThread(user, u.Room, u.Thread)
		return err
	}
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight) values ($1, $2, $3, $4, $5)
		on conflict (room, thread, user_id) do update set notify = excluded.notify, highlight = excluded.highlight`,
		string(user), u.Room, string(u.Thread), u.Notify, u.Highlight)
	return err
}

// ReadThread sets the counts of one user in one thread of a room to 0, and reports whether they were something else.
func (tx *Tx) ReadThread(user id.UserID, room int64, thread id.EventID) (bool, error) {
	n, err := tx.exec(`delete from unread where room = $1 and thread = $2 and user_id = $3`, room, string(thread), string(user))
	return n > 0, err
}

// ClearUnread forgets all counts of one user in one room, which the user has left.
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
