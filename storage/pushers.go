package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// Pusher is where a user wants to be notified of events, beside the clients that are open.
type Pusher struct {
	ID         int64
	User       id.UserID
	Kind       string // http or email
	AppID      string
	Pushkey    string      // of kind email: the address, in canonical form
	Secret     string      // of kind email: what the link that ends it has to say
	Device     id.DeviceID // of the session that has set it; empty, if that has none
	AppName    string
	DeviceName string
	ProfileTag string // empty for none
	Lang       string
	Data       json.RawMessage // an object
	SetTS      int64           // when it was last set, in ms since the epoch
}

// The kinds of pushers.
const (
	PusherHTTP  = "http"
	PusherEmail = "email"
)

const pusherColumns = `pusher, user_id, app_id, pushkey, coalesce(device_id, ''), app_name, device_name, profile_tag, lang, data, set_ts, kind, secret`

func scanPusher(r rowScanner) (p Pusher, err error) {
	err = r.Scan(&p.ID, &p.User, &p.AppID, &p.Pushkey, &p.Device, &p.AppName, &p.DeviceName, &p.ProfileTag, &p.Lang, &p.Data, &p.SetTS, &p.Kind, &p.Secret)
	return p, err
}

// Pusher finds a pusher by its number.
func (tx *ReadTx) Pusher(pusher int64) (Pusher, error) {
	return scanPusher(tx.queryRow(`select `+pusherColumns+` from pushers where pusher = $1`, pusher))
}

// PushersOf is the pushers of a user, oldest first.
func (tx *ReadTx) PushersOf(user id.UserID) ([]Pusher, error) {
	return collect(tx, scanPusher, `select `+pusherColumns+` from pushers where user_id = $1 order by pusher`, user)
}

// PusherOwners is the users who have pushers.
func (tx *ReadTx) PusherOwners() ([]id.UserID, error) {
	return collect(tx, scanOne[id.UserID], `select distinct user_id from pushers`)
}

// SetPusher makes a pusher, or changes the one that the user has with the same app id and pushkey, and returns its number.
func (tx *Tx) SetPusher(p Pusher) (pusher int64, err error) {
	var device *id.DeviceID
	if p.Device != "" {
		device = &p.Device
	}
	err = tx.queryRow(`insert into pushers (user_id, app_id, pushkey, device_id, app_name, device_name, profile_tag, lang, data, set_ts, kind,
		secret) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		on conflict (user_id, app_id, pushkey) do update set device_id = excluded.device_id, app_name = excluded.app_name,
		device_name = excluded.device_name, profile_tag = excluded.profile_tag, lang = excluded.lang, data = excluded.data,
		set_ts = excluded.set_ts, kind = excluded.kind, secret = case when pushers.secret = '' then excluded.secret else pushers.secret end
		returning pusher`,
		p.User, p.AppID, p.Pushkey, device, p.AppName, p.DeviceName, p.ProfileTag, p.Lang, p.Data, p.SetTS, p.Kind, p.Secret).Scan(&pusher)
	return pusher, err
}

// DeletePusher removes the pusher that a user has with an app id and a pushkey, with what waits for it.
func (tx *Tx) DeletePusher(user id.UserID, appID, pushkey string) error {
	_, err := tx.exec(`delete from pushers where user_id = $1 and app_id = $2 and pushkey = $3`, user, appID, pushkey)
	return err
}

// DeletePushersOfOthers removes the pushers with an app id and a pushkey that are not this user's.
func (tx *Tx) DeletePushersOfOthers(user id.UserID, appID, pushkey string) error {
	_, err := tx.exec(`delete from pushers where user_id <> $1 and app_id = $2 and pushkey = $3`, user, appID, pushkey)
	return err
}

// DeleteRejectedPusher removes a pusher, unless it has been set again since it was read, and reports whether it did.
func (tx *Tx) DeleteRejectedPusher(p Pusher) (bool, error) {
	n, err := tx.exec(`delete from pushers where pusher = $1 and set_ts = $2`, p.ID, p.SetTS)
	return n > 0, err
}

// LimitPushers removes all but so many pushers of a user: those that were set longest ago go.
func (tx *Tx) LimitPushers(user id.UserID, most int) error {
	_, err := tx.exec(`delete from pushers where user_id = $1 and pusher not in (
		select pusher from pushers where user_id = $1 order by set_ts desc, pusher desc limit $2)`, user, most)
	return err
}
