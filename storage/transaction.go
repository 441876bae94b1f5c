package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// Txn names one request of a client that may be repeated: the same Txn must have the same effect only once. Endpoint is the
// request's method and path without the transaction id.
//
// Spec: client-server-api#transaction-identifiers
type Txn struct {
	User     id.UserID
	Device   id.DeviceID
	Endpoint string
	ID       string
}

// Sent is the message events of one type that requests of a device with this transaction id have sent to a room, newest first. Endpoint is not
// looked at.
func (tx *ReadTx) Sent(t Txn, room int64, typ string) ([]*Event, error) {
	sender, kind, err := tx.twoWords(string(t.User), typ)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	nids, err := collect(tx, scanOne[int64], `select nid from events where sender = $1 and room = $2 and txn_device = $3 and txn_id = $4 and txn_id <> ''
		and type = $5 and state_key is null order by nid desc`, sender, room, string(t.Device), t.ID, kind)
	if err != nil || len(nids) == 0 {
		return nil, err
	}
	return tx.EventsAt(nids)
}

// TxnAnswer is what the first request with this Txn was answered.
func (tx *ReadTx) TxnAnswer(t Txn) (string, error) {
	var answer string
	err := tx.queryRow(`select answer from transactions where user_id = $1 and device_id = $2 and endpoint = $3 and txn_id = $4`,
		string(t.User), string(t.Device), t.Endpoint, t.ID).Scan(&answer)
	return answer, err
}

// SaveTxnAnswer keeps the answer for repetitions; ts is in milliseconds.
func (tx *Tx) SaveTxnAnswer(t Txn, answer string, ts int64) error {
	_, err := tx.exec(`insert into transactions (user_id, device_id, endpoint, txn_id, answer, ts) values ($1, $2, $3, $4, $5, $6)`,
		string(t.User), string(t.Device), t.Endpoint, t.ID, answer, ts)
	return err
}

// ForgetTransactions removes up to limit answers given before ts, in milliseconds, the oldest first, and says how many.
func (tx *Tx) ForgetTransactions(ts int64, limit int) (int64, error) {
	return tx.exec(`delete from transactions where (user_id, device_id, endpoint, txn_id) in (
		select user_id, device_id, endpoint, txn_id from transactions where ts < $1 order by ts limit $2)`, ts, limit)
}
