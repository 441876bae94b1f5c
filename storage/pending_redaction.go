package storage

import "github.com/hearthd/hearth/internal/id"

// AddPendingRedaction notes a redaction, by its number, whose target is not in the timeline here.
func (tx *Tx) AddPendingRedaction(target id.EventID, redaction int64) error {
	_, err := tx.exec(`insert into pending_redactions (target, redaction) values ($1, $2) on conflict do nothing`, string(target), redaction)
	return err
}

// PendingRedactions is the redactions of an event that came before it, in order.
func (tx *ReadTx) PendingRedactions(target id.EventID) ([]int64, error) {
	return collect(tx, scanOne[int64], `select redaction from pending_redactions where target = $1 order by redaction`, string(target))
}

// DropPendingRedactions forgets the redactions of an event.
func (tx *Tx) DropPendingRedactions(target id.EventID) error {
	_, err := tx.exec(`delete from pending_redactions where target = $1`, string(target))
	return err
}
