package storage

// RegistrationToken lets its holders make accounts.
type RegistrationToken struct {
	Token       string
	UsesAllowed *int64 // nil: any number
	Uses        int64
	ExpiresTS   int64 // ms since the epoch; 0: never
	Admin       bool  // the account becomes that of an administrator
	CreatedTS   int64
}

const registrationTokenValid = "(uses_allowed is null or uses < uses_allowed) and (expires_ts = 0 or expires_ts > $1)"

const registrationTokenColumns = "token, uses_allowed, uses, expires_ts, admin, created_ts"

func scanRegistrationToken(r rowScanner) (RegistrationToken, error) {
	var t RegistrationToken
	err := r.Scan(&t.Token, &t.UsesAllowed, &t.Uses, &t.ExpiresTS, &t.Admin, &t.CreatedTS)
	return t, err
}

// RegistrationToken returns a token that can be used at the time now.
func (tx *ReadTx) RegistrationToken(token string, now int64) (RegistrationToken, error) {
	return scanRegistrationToken(tx.queryRow("select "+registrationTokenColumns+" from registration_tokens where "+
		registrationTokenValid+" and token = $2", now, token))
}

// RegistrationTokens lists all tokens, also those that are used up.
func (tx *ReadTx) RegistrationTokens() ([]RegistrationToken, error) {
	return collect(tx, scanRegistrationToken, "select "+registrationTokenColumns+" from registration_tokens order by created_ts, token")
}

// AdminToken returns a token that makes an administrator and can be used at the time now.
func (tx *ReadTx) AdminToken(now int64) (RegistrationToken, error) {
	return scanRegistrationToken(tx.queryRow("select "+registrationTokenColumns+" from registration_tokens where "+
		registrationTokenValid+" and admin = 1 order by created_ts limit 1", now))
}

// InsertRegistrationToken stores a token and reports false if it exists already.
func (tx *Tx) InsertRegistrationToken(t RegistrationToken) (bool, error) {
	n, err := tx.exec(`insert into registration_tokens (token, uses_allowed, expires_ts, admin, created_ts) values ($1, $2, $3, $4, $5)
		on conflict (token) do nothing`, t.Token, t.UsesAllowed, t.ExpiresTS, t.Admin, t.CreatedTS)
	return n == 1, err
}

// UseRegistrationToken counts one use. It answers ErrNotFound if the token cannot be used at the time now.
func (tx *Tx) UseRegistrationToken(token string, now int64) (RegistrationToken, error) {
	return scanRegistrationToken(tx.queryRow("update registration_tokens set uses = uses + 1 where "+registrationTokenValid+
		" and token = $2 returning "+registrationTokenColumns, now, token))
}

// DeleteAdminTokens removes the tokens that make administrators.
func (tx *Tx) DeleteAdminTokens() error {
	_, err := tx.exec("delete from registration_tokens where admin = 1")
	return err
}

// DeleteRegistrationToken removes a token.
func (tx *Tx) DeleteRegistrationToken(token string) error {
	return tx.execOne("delete from registration_tokens where token = $1", token)
}

// UseNonce notes that a nonce was used and reports false if it had been used before. Nonces that expired by now are forgotten.
func (tx *Tx) UseNonce(nonce string, now, expiresTS int64) (bool, error) {
	if _, err := tx.exec("delete from used_nonces where expires_ts <= $1", now); err != nil {
		return false, err
	}
	n, err := tx.exec("insert into used_nonces (nonce, expires_ts) values ($1, $2) on conflict (nonce) do nothing", nonce, expiresTS)
	return n == 1, err
}
