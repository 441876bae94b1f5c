package storage

import "github.com/hearthd/hearth/internal/id"

// Destination is a server that failed to answer. Times are ms since the epoch.
type Destination struct {
	Server id.ServerName
	// Failures is how often in a row it failed, FailedAt when it last did.
	Failures, FailedAt int64
	// RetryAt is when it may be asked again.
	RetryAt int64
}

func scanDestination(r rowScanner) (Destination, error) {
	var d Destination
	err := r.Scan(&d.Server, &d.Failures, &d.FailedAt, &d.RetryAt)
	return d, err
}

// Destination returns what is known of a server that failed. One that answers is ErrNotFound.
func (tx *ReadTx) Destination(server id.ServerName) (Destination, error) {
	return scanDestination(tx.queryRow("select server, failures, failed_at, retry_at from destinations where server = $1", server))
}

// PutDestination stores that a server failed.
func (tx *Tx) PutDestination(d Destination) error {
	_, err := tx.exec(`insert into destinations (server, failures, failed_at, retry_at) values ($1, $2, $3, $4)
		on conflict (server) do update set failures = excluded.failures, failed_at = excluded.failed_at, retry_at = excluded.retry_at`,
		d.Server, d.Failures, d.FailedAt, d.RetryAt)
	return err
}

// DeleteDestination forgets that a server failed: it has answered.
func (tx *Tx) DeleteDestination(server id.ServerName) error {
	_, err := tx.exec("delete from destinations where server = $1", server)
	return err
}
