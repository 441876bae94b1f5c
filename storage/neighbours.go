package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// Neighbours is the users of this server who are in a room together with a user, and the user, if they are in any room.
func (tx *ReadTx) Neighbours(user id.UserID) ([]id.UserID, error) {
	member, err := tx.wordNID(string(user))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	nids, err := collect(tx, scanOne[int64], `select distinct n.member from memberships m join memberships n on n.room = m.room
		where m.member = $1 and m.membership = 'join' and n.membership = 'join' and n.local = 1`, member)
	if err != nil {
		return nil, err
	}
	if err := tx.warmWords(nids); err != nil {
		return nil, err
	}
	out := make([]id.UserID, len(nids))
	for i, n := range nids {
		s, err := tx.word(n)
		if err != nil {
			return nil, err
		}
		out[i] = id.UserID(s)
	}
	return out, nil
}
