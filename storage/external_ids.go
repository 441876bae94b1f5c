package storage

import "github.com/hearthd/hearth/internal/id"

// ExternalID is who a user is at a provider of single sign-on.
type ExternalID struct {
	Provider string // its id in the configuration
	Subject  string // the provider's name for the user
}

// ExternalIDs lists who a user is elsewhere.
func (tx *ReadTx) ExternalIDs(user id.UserID) ([]ExternalID, error) {
	return collect(tx, func(r rowScanner) (ExternalID, error) {
		var e ExternalID
		err := r.Scan(&e.Provider, &e.Subject)
		return e, err
	}, "select provider, subject from external_ids where user_id = $1 order by provider, subject", user)
}

// ExternalUser returns who somebody at a provider is here.
func (tx *ReadTx) ExternalUser(e ExternalID) (id.UserID, error) {
	var user id.UserID
	err := tx.queryRow("select user_id from external_ids where provider = $1 and subject = $2", e.Provider, e.Subject).Scan(&user)
	return user, err
}

// InsertExternalID ties a user to somebody at a provider, and reports false if that one is tied to somebody already.
func (tx *Tx) InsertExternalID(user id.UserID, e ExternalID, createdTS int64) (bool, error) {
	n, err := tx.exec(`insert into external_ids (provider, subject, user_id, created_ts) values ($1, $2, $3, $4)
		on conflict (provider, subject) do nothing`, e.Provider, e.Subject, user, createdTS)
	return n == 1, err
}
