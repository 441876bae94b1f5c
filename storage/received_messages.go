package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// ReceiveMessage notes that a message to devices has come from another server, at a time in ms since the epoch, and reports whether it is the
// first time.
func (tx *Tx) ReceiveMessage(origin id.ServerName, messageID string, ts int64) (bool, error) {
	n, err := tx.exec(`insert into received_messages (origin, message_id, ts) values ($1, $2, $3) on conflict (origin, message_id) do nothing`,
		string(origin), messageID, ts)
	return n == 1, err
}

// ForgetMessages removes the notes of messages that came before ts, and those of the oldest if there are more than keep.
func (tx *Tx) ForgetMessages(ts int64, keep int) error {
	var oldest int64
	err := tx.queryRow(`select ts from received_messages order by ts desc limit 1 offset $1`, keep).Scan(&oldest)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = tx.exec(`delete from received_messages where ts < $1`, max(ts, oldest))
	return err
}
