package storage

import "github.com/hearthd/hearth/internal/id"

// EmailValidation is an address that somebody has to confirm, or has confirmed and may yet use.
type EmailValidation struct {
	SID         string
	Purpose     string // what the address is confirmed for; it is good for nothing else
	Address     string // canonical form
	Secret      TokenHash
	User        id.UserID // who asked; empty for somebody who is not logged in
	Attempt     int64     // the number that the client gave the last letter
	Token       TokenHash // of the last letter
	NextLink    string    // where to go after it, empty for nowhere
	ValidatedTS int64     // 0: not yet
	ExpiresTS   int64
}

const emailValidationColumns = "sid, purpose, address, secret, user_id, send_attempt, token, next_link, validated_ts, expires_ts"

func scanEmailValidation(r rowScanner) (v EmailValidation, err error) {
	var secret, token []byte
	err = r.Scan(&v.SID, &v.Purpose, &v.Address, &secret, &v.User, &v.Attempt, &token, &v.NextLink, &v.ValidatedTS, &v.ExpiresTS)
	copy(v.Secret[:], secret)
	copy(v.Token[:], token)
	return v, err
}

// EmailValidation finds a validation by its id that has not expired at the time now.
func (tx *ReadTx) EmailValidation(sid string, now int64) (EmailValidation, error) {
	return scanEmailValidation(tx.queryRow("select "+emailValidationColumns+" from email_validations where sid = $1 and expires_ts > $2", sid, now))
}

// EmailValidationFor finds the validation of an address that was begun by somebody with a secret, if it has not expired at the time now.
func (tx *ReadTx) EmailValidationFor(address, purpose string, secret TokenHash, user id.UserID, now int64) (EmailValidation, error) {
	return scanEmailValidation(tx.queryRow("select "+emailValidationColumns+` from email_validations
		where address = $1 and purpose = $2 and secret = $3 and user_id = $4 and expires_ts > $5`, address, purpose, secret[:], user, now))
}

// PutEmailValidation stores a validation, in the place of the one that the same somebody has for the address.
func (tx *Tx) PutEmailValidation(v EmailValidation) error {
	_, err := tx.exec("insert into email_validations ("+emailValidationColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		on conflict (address, purpose, secret, user_id) do update set sid = excluded.sid, send_attempt = excluded.send_attempt,
		token = excluded.token, next_link = excluded.next_link, validated_ts = excluded.validated_ts, expires_ts = excluded.expires_ts`,
		v.SID, v.Purpose, v.Address, v.Secret[:], v.User, v.Attempt, v.Token[:], v.NextLink, v.ValidatedTS, v.ExpiresTS)
	return err
}

// DeleteEmailValidation forgets the validation of a letter that was not sent, and reports whether it was there: not if another letter was sent
// since, nor if the address was confirmed.
func (tx *Tx) DeleteEmailValidation(sid string, token TokenHash) (bool, error) {
	n, err := tx.exec("delete from email_validations where sid = $1 and token = $2 and validated_ts = 0", sid, token[:])
	return n > 0, err
}

// ConfirmEmail notes that an address was confirmed, for use until expiresTS.
func (tx *Tx) ConfirmEmail(sid string, ts, expiresTS int64) error {
	return tx.execOne("update email_validations set validated_ts = $2, expires_ts = $3 where sid = $1", sid, ts, expiresTS)
}

// TakeEmailValidation uses up a validation of a confirmed address, or returns ErrNotFound if it is gone or has expired at the time now.
func (tx *Tx) TakeEmailValidation(sid string, now int64) error {
	return tx.execOne("delete from email_validations where sid = $1 and validated_ts > 0 and expires_ts > $2", sid, now)
}

// DeleteEmailValidations forgets all validations of an address for a purpose.
func (tx *Tx) DeleteEmailValidations(address, purpose string) error {
	_, err := tx.exec("delete from email_validations where address = $1 and purpose = $2", address, purpose)
	return err
}

// DeleteExpiredEmailValidations forgets validations that have expired.
func (tx *Tx) DeleteExpiredEmailValidations(now int64) error {
	_, err := tx.exec("delete from email_validations where expires_ts <= $1", now)
	return err
}
