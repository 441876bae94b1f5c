package storage

// AuthSession returns the sealed data of a user-interactive authentication that has not expired at the time now.
func (tx *ReadTx) AuthSession(hash TokenHash, now int64) ([]byte, error) {
	var data []byte
	err := tx.queryRow("select data from auth_sessions where hash = $1 and expires_ts > $2", hash[:], now).Scan(&data)
	return data, err
}

// PutAuthSession stores the sealed data of a user-interactive authentication.
func (tx *Tx) PutAuthSession(hash TokenHash, data []byte, expiresTS int64) error {
	_, err := tx.exec(`insert into auth_sessions (hash, data, expires_ts) values ($1, $2, $3)
		on conflict (hash) do update set data = excluded.data`, hash[:], data, expiresTS)
	return err
}

// DeleteAuthSession ends an authentication and reports whether it was still there, so that it is completed only once.
func (tx *Tx) DeleteAuthSession(hash TokenHash) (bool, error) {
	n, err := tx.exec("delete from auth_sessions where hash = $1", hash[:])
	return n == 1, err
}

// DeleteExpiredAuthSessions forgets authentications that were not completed in time.
func (tx *Tx) DeleteExpiredAuthSessions(now int64) error {
	_, err := tx.exec("delete from auth_sessions where expires_ts <= $1", now)
	return err
}
