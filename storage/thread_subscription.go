package storage

import "github.com/hearthd/hearth/internal/id"

// ThreadSubscription is what a user has said of a thread: that they want to hear of it, or that they do not (not any more).
type ThreadSubscription struct {
	User       id.UserID
	Room       int64
	RoomID     id.RoomID // only read
	Root       id.EventID
	Subscribed bool
	Automatic  bool  // a client of theirs has subscribed for them
	Pos        int64 // when they said so
}

const threadSubscriptionSQL = `select t.user_id, t.room, r.room_id, t.root, t.subscribed, t.automatic, t.pos
	from thread_subscriptions t join rooms r on r.nid = t.room where `

func scanThreadSubscription(r rowScanner) (v ThreadSubscription, err error) {
	err = r.Scan(&v.User, &v.Room, &v.RoomID, &v.Root, &v.Subscribed, &v.Automatic, &v.Pos)
	return v, err
}

// ThreadSubscription is what a user has said of a thread, or ErrNotFound.
func (tx *ReadTx) ThreadSubscription(user id.UserID, room int64, root id.EventID) (ThreadSubscription, error) {
	return scanThreadSubscription(tx.queryRow(threadSubscriptionSQL+`t.user_id = $1 and t.room = $2 and t.root = $3`, string(user), room, string(root)))
}

// ThreadSubscriptionsSince is up to limit things that a user has said of threads within a span, the newest first, and whether there are more.
func (tx *ReadTx) ThreadSubscriptionsSince(user id.UserID, span Span, limit int) (list []ThreadSubscription, more bool, err error) {
	if tx.writer == nil && tx.store.personal.unchanged(user, span.After) {
		return nil, false, nil
	}
	list, err = collect(tx, scanThreadSubscription, threadSubscriptionSQL+`t.user_id = $1 and t.pos > $2 and t.pos <= $3 order by t.pos desc limit $4`,
		string(user), span.After, span.UpTo, limit+1)
	if len(list) > limit {
		return list[:limit], true, err
	}
	return list, false, err
}

// SubscribersOf is everything that users have said of one thread.
func (tx *ReadTx) SubscribersOf(room int64, root id.EventID) ([]ThreadSubscription, error) {
	return collect(tx, scanThreadSubscription, threadSubscriptionSQL+`t.room = $1 and t.root = $2`, room, string(root))
}

// HasThreadSubscriptions reports whether a user has ever said anything of a thread.
func (tx *ReadTx) HasThreadSubscriptions(user id.UserID) (bool, error) {
	return tx.exists(`select 1 from thread_subscriptions where user_id = $1 limit 1`, string(user))
}

// SetThreadSubscription stores what a user says of a thread; Pos is a position just taken with NextPos. Ring the user's key on commit.
func (tx *Tx) SetThreadSubscription(v ThreadSubscription) error {
	tx.OnCommit(func() { tx.store.personal.set(v.User, v.Pos) })
	_, err := tx.exec(`insert into thread_subscriptions (user_id, room, root, subscribed, automatic, pos) values ($1, $2, $3, $4, $5, $6)
		on conflict (user_id, room, root) do update set subscribed = excluded.subscribed, automatic = excluded.automatic, pos = excluded.pos`,
		string(v.User), v.Room, string(v.Root), v.Subscribed, v.Automatic, v.Pos)
	return err
}
