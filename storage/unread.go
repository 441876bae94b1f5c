package storage

import (
	"github.com/hearthd/hearth/internal/id"
)

// Unread is how much a user has not read in one thread of a room; Thread is empty for the main timeline.
//
// Most events notify all who are in a room. Those of the main timeline are counted once, in the room's row (Room.Notified), and of a user is kept
// by how much their own count differs from that: what the room had counted when they came or had read everything, and what was counted for them
// alone. In threads everybody has a count of their own.
type Unread struct {
	Room              int64
	Thread            id.EventID
	Notify, Highlight int64
}

// unreadCounts is the columns of unread u, as counts, beside rooms r; unreadSome is the condition that there is anything.
const (
	unreadCounts = `u.notify + case when u.thread = '' then r.notified else 0 end, u.highlight + case when u.thread = '' then r.highlighted else 0 end`
	unreadSome   = `(u.thread <> '' or u.notify + r.notified > 0)`
)

// UnreadOf is the counts of one user in one room that are not 0.
func (tx *ReadTx) UnreadOf(user id.UserID, room int64) ([]Unread, error) {
	pos, err := tx.followed()
	if err != nil {
		return nil, err
	}
	if row, known := tx.counted(room, pos); known {
		return tx.unreadBeside(&row, unreadKey{user, room}, pos)
	}
	return collect(tx, scanUnread(room), `select u.thread, `+unreadCounts+` from unread u join rooms r on r.nid = u.room
		where u.user_id = $1 and u.room = $2 and `+unreadSome, string(user), room)
}

func scanUnread(room int64) func(r rowScanner) (Unread, error) {
	return func(r rowScanner) (Unread, error) {
		u := Unread{Room: room}
		err := r.Scan(&u.Thread, &u.Notify, &u.Highlight)
		return u, err
	}
}

type unreadKey struct {
	user id.UserID
	room int64
}

// unreadBeside is UnreadOf where it is known what the room has counted. What the user's own counts are, with the main timeline's as a difference,
// is asked once and then kept until they change.
func (tx *ReadTx) unreadBeside(room *Room, key unreadKey, pos int64) ([]Unread, error) {
	own, known := tx.store.unread.get(key, pos)
	if !known {
		var err error
		own, err = collect(tx, scanUnread(key.room), `select thread, notify, highlight from unread where user_id = $1 and room = $2`, string(key.user), key.room)
		if err != nil {
			return nil, err
		}
		const each = 50
		tx.store.unread.add(key, kept[[]Unread]{own, pos, 200 + each*len(own)}, tx.counts)
	}
	var out []Unread
	for _, u := range own {
		if u.Thread == "" {
			u.Notify, u.Highlight = u.Notify+room.Notified, u.Highlight+room.Highlighted
		}
		if u.Thread != "" || u.Notify > 0 {
			out = append(out, u)
		}
	}
	return out, nil
}

// unreadChanged keeps the cache from showing the counts of before this Update.
func (tx *Tx) unreadChanged(room int64, users ...id.UserID) {
	keys := make([]unreadKey, len(users))
	for i, u := range users {
		keys[i] = unreadKey{u, room}
	}
	tx.OnCommit(func() { tx.store.unread.drop(keys...) })
}

// UnreadUsers is the users for whom the main timeline of a room is counted, in order. It goes through all counts there are: it is for checks.
func (tx *ReadTx) UnreadUsers(room int64) ([]id.UserID, error) {
	return collect(tx, scanOne[id.UserID], `select user_id from unread where room = $1 and thread = '' order by user_id`, room)
}

// UnreadRooms is UnreadOf for all rooms of a user.
func (tx *ReadTx) UnreadRooms(user id.UserID) (map[int64][]Unread, error) {
	rows, err := collect(tx, func(r rowScanner) (u Unread, err error) {
		err = r.Scan(&u.Room, &u.Thread, &u.Notify, &u.Highlight)
		return u, err
	}, `select u.room, u.thread, `+unreadCounts+` from unread u join rooms r on r.nid = u.room
		where u.user_id = $1 and `+unreadSome, string(user))
	out := map[int64][]Unread{}
	for _, u := range rows {
		out[u.Room] = append(out[u.Room], u)
	}
	return out, err
}

// UnreadTotal is how many events a user has not read in all rooms together.
func (tx *ReadTx) UnreadTotal(user id.UserID) (n int64, err error) {
	err = tx.queryRow(`select coalesce(sum(u.notify + case when u.thread = '' then r.notified else 0 end), 0)
		from unread u join rooms r on r.nid = u.room where u.user_id = $1`, string(user)).Scan(&n)
	return n, err
}

// CountUnread counts events of the main timeline of a room for some users alone: more of them than of the room's own count, or fewer.
func (tx *Tx) CountUnread(room int64, users []id.UserID, notify, highlight int64) error {
	tx.unreadChanged(room, users...)
	where, arg := "user_id = $4", ""
	if len(users) == 1 { // as it mostly is, the sender: a list is slower
		arg = string(users[0])
	} else {
		where, arg = tx.inTexts("user_id", 4), list(users)
	}
	_, err := tx.exec(`update unread set notify = notify + $2, highlight = highlight + $3 where room = $1 and thread = '' and `+where,
		room, notify, highlight, arg)
	return err
}

// CountInThread counts one more event of a thread for users.
func (tx *Tx) CountInThread(room int64, thread id.EventID, users []id.UserID, highlight bool) error {
	tx.unreadChanged(room, users...)
	h := 0
	if highlight {
		h = 1
	}
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight)
		select value, cast($2 as bigint), $3, 1, cast($4 as bigint) from `+tx.texts(1)+` l where true
		on conflict (user_id, room, thread) do update set notify = unread.notify + 1, highlight = unread.highlight + excluded.highlight`,
		list(users), room, string(thread), h)
	return err
}

// SetUnread replaces the counts of one user in one thread of a room. Who comes into a room is set to 0 in its main timeline, and counts from there.
func (tx *Tx) SetUnread(user id.UserID, room *Room, u Unread) error {
	if u.Thread == "" {
		u.Notify, u.Highlight = u.Notify-room.Notified, u.Highlight-room.Highlighted
	} else if u.Notify == 0 && u.Highlight == 0 {
		_, err := tx.ReadThread(user, room, u.Thread)
		return err
	}
	tx.unreadChanged(room.NID, user)
	_, err := tx.exec(`insert into unread (user_id, room, thread, notify, highlight) values ($1, $2, $3, $4, $5)
		on conflict (user_id, room, thread) do update set notify = excluded.notify, highlight = excluded.highlight`,
		string(user), room.NID, string(u.Thread), u.Notify, u.Highlight)
	return err
}

// ReadThread sets the counts of one user in one thread of a room to 0, and reports whether they were something else.
func (tx *Tx) ReadThread(user id.UserID, room *Room, thread id.EventID) (some bool, err error) {
	var n int64
	if thread == "" {
		n, err = tx.exec(`update unread set notify = $3, highlight = $4
			where room = $1 and thread = '' and user_id = $2 and (notify <> $3 or highlight <> $4)`,
			room.NID, string(user), -room.Notified, -room.Highlighted)
	} else {
		n, err = tx.exec(`delete from unread where room = $1 and thread = $2 and user_id = $3`, room.NID, string(thread), string(user))
	}
	if n > 0 {
		tx.unreadChanged(room.NID, user)
	}
	return n > 0, err
}

// ClearUnread forgets all counts of one user in one room, which the user has left.
func (tx *Tx) ClearUnread(user id.UserID, room int64) error {
	tx.unreadChanged(room, user)
	_, err := tx.exec(`delete from unread where user_id = $1 and room = $2`, string(user), room)
	return err
}
