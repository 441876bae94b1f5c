package storage

import "github.com/hearthd/hearth/internal/id"

// User is an account of this server.
type User struct {
	ID            id.UserID
	PasswordHash  string // PHC string; empty means that no password opens the account
	Type          string // empty for ordinary users
	Guest         bool
	Admin         bool
	Locked        bool
	Suspended     bool
	DeactivatedTS int64 // ms since the epoch; 0 while the account is alive
	Erased        bool
	CreatedTS     int64
}

// Deactivated reports whether nobody can use the account any more.
func (u User) Deactivated() bool { return u.DeactivatedTS != 0 }

const userColumns = "user_id, password_hash, user_type, guest, admin, locked, suspended, deactivated_ts, erased, created_ts"

func scanUser(r rowScanner) (User, error) {
	var u User
	err := r.Scan(&u.ID, &u.PasswordHash, &u.Type, &u.Guest, &u.Admin, &u.Locked, &u.Suspended, &u.DeactivatedTS, &u.Erased, &u.CreatedTS)
	return u, err
}

// User returns an account, also a deactivated one.
func (tx *ReadTx) User(user id.UserID) (User, error) {
	return scanUser(tx.queryRow("select "+userColumns+" from users where user_id = $1", user))
}

// HasUser reports whether the id was ever given to an account here, dead or alive.
func (tx *ReadTx) HasUser(user id.UserID) (bool, error) {
	return tx.exists("select 1 from users where user_id = $1", user)
}

// Users lists accounts in the order of their ids, starting after the given one, at most limit of them.
func (tx *ReadTx) Users(after id.UserID, limit int) ([]User, error) {
	return collect(tx, scanUser, "select "+userColumns+" from users where user_id > $1 order by user_id limit $2", after, limit)
}

// HasAdmin reports whether some living account is an administrator.
func (tx *ReadTx) HasAdmin() (bool, error) {
	return tx.exists("select 1 from users where admin = 1 and deactivated_ts = 0 limit 1")
}

// InsertUser makes an account. It reports false, and changes nothing, if the id was ever taken.
func (tx *Tx) InsertUser(u User) (bool, error) {
	n, err := tx.exec(`insert into users (user_id, password_hash, user_type, guest, admin, created_ts)
		values ($1, $2, $3, $4, $5, $6) on conflict (user_id) do nothing`,
		u.ID, u.PasswordHash, u.Type, u.Guest, u.Admin, u.CreatedTS)
	return n == 1, err
}

// SetPasswordHash replaces the password of an account.
func (tx *Tx) SetPasswordHash(user id.UserID, hash string) error {
	return tx.execOne("update users set password_hash = $2 where user_id = $1", user, hash)
}

// SetLocked locks or unlocks an account.
func (tx *Tx) SetLocked(user id.UserID, locked bool) error {
	return tx.execOne("update users set locked = $2 where user_id = $1", user, locked)
}

// SetSuspended suspends an account or lifts the suspension.
func (tx *Tx) SetSuspended(user id.UserID, suspended bool) error {
	return tx.execOne("update users set suspended = $2 where user_id = $1", user, suspended)
}

// SetAdmin makes an account that of an administrator, or an ordinary one.
func (tx *Tx) SetAdmin(user id.UserID, admin bool) error {
	return tx.execOne("update users set admin = $2 where user_id = $1", user, admin)
}

// PromoteGuest turns a guest into an ordinary user with a password.
func (tx *Tx) PromoteGuest(user id.UserID, passwordHash string) error {
	return tx.execOne("update users set guest = 0, password_hash = $2 where user_id = $1 and guest = 1", user, passwordHash)
}

// DeactivateUser takes away everything that makes an account usable and everything it has beside its events: devices with their tokens,
// profile, account data, filters, third-party ids, subscriptions to threads, pushers, keys and their backups. The user is marked as departing:
// see DepartingUsers.
func (tx *Tx) DeactivateUser(user id.UserID, ts int64, erase bool) error {
	err := tx.execOne("update users set password_hash = '', deactivated_ts = $2, admin = 0, departing = 1 where user_id = $1", user, ts)
	if err == nil && erase {
		err = tx.eraseUser(user)
	}
	if err == nil && erase {
		// Otherwise they stay, so that whoever closed the account does not get another one at the next login.
		_, err = tx.exec("delete from external_ids where user_id = $1", user)
	}
	if err != nil {
		return err
	}
	for _, table := range []string{"access_tokens", "refresh_tokens", "devices", "single_tokens", "profiles", "account_data", "filters", "threepids", "bound_threepids",
		"thread_subscriptions", "delayed_events", "pushers", "cross_signing_keys", "key_signatures", "room_keys", "key_backups"} {
		if _, err := tx.exec("delete from "+table+" where user_id = $1", user); err != nil {
			return err
		}
	}
	return nil
}

// DepartingUsers lists the users who were deactivated and have not yet left all their rooms.
func (tx *ReadTx) DepartingUsers() ([]id.UserID, error) {
	return collect(tx, scanOne[id.UserID], "select user_id from users where departing = 1 order by user_id")
}

// SetDeparted notes that a deactivated user is out of all rooms.
func (tx *Tx) SetDeparted(user id.UserID) error {
	return tx.execOne("update users set departing = 0 where user_id = $1", user)
}

// exists reports whether the query has a row.
func (tx *ReadTx) exists(sql string, args ...any) (bool, error) {
	var one int
	switch err := tx.queryRow(sql, args...).Scan(&one); err {
	case nil:
		return true, nil
	case ErrNotFound:
		return false, nil
	default:
		return false, err
	}
}

// execOne is exec for a statement that must change a row; it answers ErrNotFound if there is none.
func (tx *Tx) execOne(sql string, args ...any) error {
	n, err := tx.exec(sql, args...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
