package storage

import "github.com/hearthd/hearth/internal/id"

// TokenHash is the SHA-256 of a token, the only form in which tokens are stored.
type TokenHash [32]byte

// AccessToken opens the Client-Server API for one device.
type AccessToken struct {
	Hash      TokenHash
	UserID    id.UserID
	DeviceID  id.DeviceID
	Refresh   *TokenHash // the refresh token it was issued with
	CreatedTS int64
	ExpiresTS int64 // ms since the epoch; 0: never
}

// RefreshToken is exchanged for a new access token.
type RefreshToken struct {
	Hash      TokenHash
	UserID    id.UserID
	DeviceID  id.DeviceID
	Previous  *TokenHash // the refresh token that this one replaces as soon as it, or its access token, is used
	ExpiresTS int64
}

// Session is what an access token stands for: all that a request needs to know of its caller.
type Session struct {
	UserID    id.UserID
	DeviceID  id.DeviceID
	ExpiresTS int64
	Guest     bool
	Admin     bool
	Locked    bool
	Suspended bool
	// Replaces is the refresh token that must be revoked because this access token is used; see RefreshToken.Previous.
	Replaces *TokenHash
}

// Session looks an access token up, also an expired one.
func (tx *ReadTx) Session(hash TokenHash) (Session, error) {
	var s Session
	var previous []byte
	err := tx.queryRow(`select a.user_id, a.device_id, a.expires_ts, u.guest, u.admin, u.locked, u.suspended, r.previous
		from access_tokens a join users u on u.user_id = a.user_id left join refresh_tokens r on r.hash = a.refresh_hash
		where a.hash = $1 and u.deactivated_ts = 0`, hash[:]).
		Scan(&s.UserID, &s.DeviceID, &s.ExpiresTS, &s.Guest, &s.Admin, &s.Locked, &s.Suspended, &previous)
	s.Replaces = tokenHash(previous)
	return s, err
}

// InsertAccessToken stores an access token; its device must exist.
func (tx *Tx) InsertAccessToken(t AccessToken) error {
	_, err := tx.exec(`insert into access_tokens (hash, user_id, device_id, refresh_hash, created_ts, expires_ts)
		values ($1, $2, $3, $4, $5, $6)`, t.Hash[:], t.UserID, t.DeviceID, hashBytes(t.Refresh), t.CreatedTS, t.ExpiresTS)
	return err
}

// RefreshToken looks a refresh token up, also an expired one.
func (tx *ReadTx) RefreshToken(hash TokenHash) (RefreshToken, error) {
	t := RefreshToken{Hash: hash}
	var previous []byte
	err := tx.queryRow("select user_id, device_id, previous, expires_ts from refresh_tokens where hash = $1", hash[:]).
		Scan(&t.UserID, &t.DeviceID, &previous, &t.ExpiresTS)
	t.Previous = tokenHash(previous)
	return t, err
}

// InsertRefreshToken stores a refresh token; its device must exist.
func (tx *Tx) InsertRefreshToken(t RefreshToken) error {
	_, err := tx.exec("insert into refresh_tokens (hash, user_id, device_id, previous, expires_ts) values ($1, $2, $3, $4, $5)",
		t.Hash[:], t.UserID, t.DeviceID, hashBytes(t.Previous), t.ExpiresTS)
	return err
}

// RevokeReplaced removes a refresh token that was replaced, with the access tokens issued with it.
func (tx *Tx) RevokeReplaced(previous TokenHash) error {
	if _, err := tx.exec("update refresh_tokens set previous = null where previous = $1", previous[:]); err != nil {
		return err
	}
	_, err := tx.exec("delete from refresh_tokens where hash = $1", previous[:])
	return err
}

// DeleteSuccessors removes the refresh tokens made from one that is being used again, with their access tokens: the client never got
// them.
func (tx *Tx) DeleteSuccessors(previous TokenHash) error {
	_, err := tx.exec("delete from refresh_tokens where previous = $1", previous[:])
	return err
}

// DeleteDeviceTokens revokes all tokens of a device and leaves the device.
func (tx *Tx) DeleteDeviceTokens(user id.UserID, device id.DeviceID) error {
	if _, err := tx.exec("delete from access_tokens where user_id = $1 and device_id = $2", user, device); err != nil {
		return err
	}
	_, err := tx.exec("delete from refresh_tokens where user_id = $1 and device_id = $2", user, device)
	return err
}

// TokenPurpose says what a single token is good for.
type TokenPurpose string

// The purposes of single tokens.
const (
	LoginToken  TokenPurpose = "login"
	OpenIDToken TokenPurpose = "openid"
)

// InsertSingleToken stores a token of limited life.
func (tx *Tx) InsertSingleToken(hash TokenHash, purpose TokenPurpose, user id.UserID, expiresTS int64) error {
	_, err := tx.exec("insert into single_tokens (hash, purpose, user_id, expires_ts) values ($1, $2, $3, $4)", hash[:], purpose, user, expiresTS)
	return err
}

// SingleTokenUser returns whose token this is, if it is valid at the time now.
func (tx *ReadTx) SingleTokenUser(hash TokenHash, purpose TokenPurpose, now int64) (id.UserID, error) {
	var user id.UserID
	err := tx.queryRow("select user_id from single_tokens where hash = $1 and purpose = $2 and expires_ts > $3", hash[:], purpose, now).Scan(&user)
	return user, err
}

// TakeSingleToken is SingleTokenUser for a token that is thereby used up.
func (tx *Tx) TakeSingleToken(hash TokenHash, purpose TokenPurpose, now int64) (id.UserID, error) {
	var user id.UserID
	err := tx.queryRow("delete from single_tokens where hash = $1 and purpose = $2 and expires_ts > $3 returning user_id", hash[:], purpose, now).Scan(&user)
	return user, err
}

// DeleteSingleTokens revokes the single tokens of a user.
func (tx *Tx) DeleteSingleTokens(user id.UserID) error {
	_, err := tx.exec("delete from single_tokens where user_id = $1", user)
	return err
}

// DeleteExpiredSingleTokens forgets single tokens that have expired.
func (tx *Tx) DeleteExpiredSingleTokens(now int64) error {
	_, err := tx.exec("delete from single_tokens where expires_ts <= $1", now)
	return err
}

func tokenHash(b []byte) *TokenHash {
	if len(b) != len(TokenHash{}) {
		return nil
	}
	return (*TokenHash)(b)
}

// hashBytes is the argument for a hash that may be absent.
func hashBytes(h *TokenHash) any {
	if h == nil {
		return nil
	}
	return h[:]
}
