package storage

import (
	"maps"
	"sync"

	"github.com/hearthd/hearth/internal/id"
)

// erasures remembers the few users who asked for their content to be erased, since whoever shows an event has to know. It is filled by the
// first who asks.
type erasures struct {
	mu     sync.Mutex
	loaded bool
	at     map[id.UserID]int64 // replaced as a whole, never changed
}

// put notes erasures that are durable.
func (e *erasures) put(more map[id.UserID]int64, all bool) map[id.UserID]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := make(map[id.UserID]int64, len(e.at)+len(more))
	maps.Copy(next, e.at)
	maps.Copy(next, more)
	e.at, e.loaded = next, e.loaded || all
	return next
}

// ErasedUsers is the users who asked for erasure, with the positions at which they did. Nobody may change it.
func (tx *ReadTx) ErasedUsers() (map[id.UserID]int64, error) {
	e := &tx.store.erased
	e.mu.Lock()
	at, loaded := e.at, e.loaded
	e.mu.Unlock()
	if loaded {
		return at, nil
	}
	type erased struct {
		user id.UserID
		pos  int64
	}
	rows, err := collect(tx, func(r rowScanner) (u erased, err error) {
		err = r.Scan(&u.user, &u.pos)
		return u, err
	}, "select user_id, erased_pos from users where erased_pos <> 0")
	if err != nil {
		return nil, err
	}
	found := make(map[id.UserID]int64, len(rows))
	for _, u := range rows {
		found[u.user] = u.pos
	}
	return e.put(found, true), nil
}

// eraseUser notes that a user asks for erasure now, unless they have before.
func (tx *Tx) eraseUser(user id.UserID) error {
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	n, err := tx.exec("update users set erased = 1, erased_pos = $2 where user_id = $1 and erased_pos = 0", user, pos)
	if n > 0 {
		tx.OnCommit(func() { tx.store.erased.put(map[id.UserID]int64{user: pos}, false) })
	}
	return err
}
