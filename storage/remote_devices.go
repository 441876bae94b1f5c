package storage

import (
	"cmp"
	"slices"

	"github.com/hearthd/hearth/internal/id"
)

// RemoteList is what is known about the device list of a user of another server.
type RemoteList struct {
	User     id.UserID
	Followed bool  // some local user shares a room with the user, so that the user's server tells us of changes
	Current  bool  // the list is stored, and the user was followed ever since it was asked for
	Stale    bool  // something is missing in it
	Version  int64 // the stream_id of the last update in it, 0: not known
	Changes  int64 // a count of what we have heard of it
	Fetched  int64 // where the stream was when it was asked for
	Tries    int64 // that failed since it is stale
}

// Usable reports whether the list can be given out.
func (l *RemoteList) Usable() bool { return l.Current && !l.Stale }

// A list is up to date only if we have been in the user's sight all the time. That is certain if the user and one of ours were in a room
// before it was asked for, and both still are.
const selectRemoteLists = `select w.value, coalesce(l.stale, 0), coalesce(l.version, 0), coalesce(l.changes, 0), coalesce(l.fetched, 0),
	coalesce(l.tries, 0), exists (select 1 from memberships m join memberships n on n.room = m.room
		where m.member = w.nid and m.membership = 'join' and n.membership = 'join' and n.local = 1),
	coalesce(l.fetched, 0) > 0 and exists (select 1 from memberships m join memberships n on n.room = m.room
		where m.member = w.nid and m.membership = 'join' and m.pos <= l.fetched
		and n.membership = 'join' and n.local = 1 and n.pos <= l.fetched) `

func scanRemoteList(r rowScanner) (l RemoteList, err error) {
	err = r.Scan(&l.User, &l.Stale, &l.Version, &l.Changes, &l.Fetched, &l.Tries, &l.Followed, &l.Current)
	return l, err
}

// RemoteLists is what is known about the device lists of users of other servers, by user. Of some of them nothing may be known at all.
func (tx *ReadTx) RemoteLists(users []id.UserID) (map[id.UserID]*RemoteList, error) {
	rows, err := collect(tx, scanRemoteList, selectRemoteLists+`from words w left join remote_device_lists l on l.member = w.nid where `+
		tx.inTexts("w.value", 1), list(users))
	out := make(map[id.UserID]*RemoteList, len(users))
	for i := range rows {
		out[rows[i].User] = &rows[i]
	}
	for _, u := range users {
		if out[u] == nil {
			out[u] = &RemoteList{User: u}
		}
	}
	return out, err
}

// StaleLists is up to limit stale lists whose next try is due at a time, in ms since the epoch, but none of some servers.
func (tx *ReadTx) StaleLists(now int64, except []id.ServerName, limit int) ([]RemoteList, error) {
	return collect(tx, scanRemoteList, selectRemoteLists+`from remote_device_lists l join words w on w.nid = l.member
		where l.stale = 1 and l.retry_at <= $1 and not `+tx.inTexts("l.server", 2)+` order by l.retry_at limit $3`, now, list(except), limit)
}

// NextResync is when the next try of a stale list is due, in ms since the epoch, but of none of some servers.
func (tx *ReadTx) NextResync(except []id.ServerName) (ts int64, err error) {
	err = tx.queryRow(`select retry_at from remote_device_lists where stale = 1 and not `+tx.inTexts("server", 1)+` order by retry_at limit 1`,
		list(except)).Scan(&ts)
	return ts, err
}

// RemoteDevices is the devices on the stored lists of some users, in the order of their ids.
func (tx *ReadTx) RemoteDevices(users []id.UserID) ([]DeviceKeys, error) {
	out, err := collect(tx, scanDeviceKeys, `select w.value, d.device_id, d.keys, d.signatures, d.display_name from words w
		join remote_devices d on d.member = w.nid where `+tx.inTexts("w.value", 1), list(users))
	slices.SortFunc(out, func(a, b DeviceKeys) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Device, b.Device)) })
	return out, err
}

// RemoteCrossSigningKeys is the keys on the stored lists of some users.
func (tx *ReadTx) RemoteCrossSigningKeys(users []id.UserID) ([]CrossSigningKey, error) {
	out, err := collect(tx, scanCrossSigningKey, `select w.value, k.usage, k.public_key, k.keys, k.signatures from words w
		join remote_cross_signing_keys k on k.member = w.nid where `+tx.inTexts("w.value", 1), list(users))
	slices.SortFunc(out, func(a, b CrossSigningKey) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Usage, b.Usage))
	})
	return out, err
}

// HearOfRemoteList counts that something was heard of a user's list, so that whoever is fetching it at the time knows.
func (tx *Tx) HearOfRemoteList(user id.UserID) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into remote_device_lists (member, server, changes) values ($1, $2, 1)
		on conflict (member) do update set changes = remote_device_lists.changes + 1`, member, string(user.Server()))
	return err
}

// SetRemoteList notes that a list has been fetched, with the Version, Fetched and Stale of l; the next try is due at once. What is on it is
// written with PutRemoteDevice and the like.
func (tx *Tx) SetRemoteList(l RemoteList, now int64) error {
	member, err := tx.intern(string(l.User))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into remote_device_lists (member, server, version, fetched, stale, retry_at) values ($1, $2, $3, $4, $5, $6)
		on conflict (member) do update set version = excluded.version, fetched = excluded.fetched, stale = excluded.stale, tries = 0,
		retry_at = excluded.retry_at`, member, string(l.User.Server()), l.Version, l.Fetched, l.Stale, now)
	return err
}

// SetRemoteVersion notes which update of a list was applied last.
func (tx *Tx) SetRemoteVersion(user id.UserID, version int64) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`update remote_device_lists set version = $2 where member = $1`, member, version)
	return err
}

// PostponeResync marks a list as stale. It will be fetched again at a time in ms since the epoch.
func (tx *Tx) PostponeResync(user id.UserID, tries, retryAt int64) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`update remote_device_lists set stale = 1, tries = $2, retry_at = $3 where member = $1`, member, tries, retryAt)
	return err
}

// HurryResyncs lets all stale lists of a server be fetched now: it answers.
func (tx *Tx) HurryResyncs(server id.ServerName, now int64) error {
	_, err := tx.exec(`update remote_device_lists set retry_at = $2 where server = $1 and stale = 1 and retry_at > $2`, string(server), now)
	return err
}

// PutRemoteDevice writes one device of a list.
func (tx *Tx) PutRemoteDevice(k DeviceKeys) error {
	member, err := tx.intern(string(k.User))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into remote_devices (member, device_id, keys, signatures, display_name) values ($1, $2, $3, $4, $5)
		on conflict (member, device_id) do update set keys = excluded.keys, signatures = excluded.signatures,
		display_name = excluded.display_name`, member, k.Device, k.Keys, k.Signatures, k.DisplayName)
	return err
}

// DeleteRemoteDevice removes one device from a list.
func (tx *Tx) DeleteRemoteDevice(user id.UserID, device id.DeviceID) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`delete from remote_devices where member = $1 and device_id = $2`, member, device)
	return err
}

// PutRemoteCrossSigningKey writes a key in the place of one with the same usage.
func (tx *Tx) PutRemoteCrossSigningKey(k CrossSigningKey) error {
	member, err := tx.intern(string(k.User))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into remote_cross_signing_keys (member, usage, public_key, keys, signatures) values ($1, $2, $3, $4, $5)
		on conflict (member, usage) do update set public_key = excluded.public_key, keys = excluded.keys, signatures = excluded.signatures`,
		member, k.Usage, k.PublicKey, k.Keys, k.Signatures)
	return err
}

// DeleteRemoteCrossSigningKey removes a key.
func (tx *Tx) DeleteRemoteCrossSigningKey(user id.UserID, usage string) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`delete from remote_cross_signing_keys where member = $1 and usage = $2`, member, usage)
	return err
}

// DropRemoteList forgets a user's list and all that is on it.
func (tx *Tx) DropRemoteList(user id.UserID) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`delete from remote_device_lists where member = $1`, member)
	return err
}

// UnfollowedLists is up to limit users about whose lists something is stored although nobody shares a room with them.
func (tx *ReadTx) UnfollowedLists(limit int) ([]id.UserID, error) {
	return collect(tx, scanOne[id.UserID], `select w.value from remote_device_lists l join words w on w.nid = l.member
		where not exists (select 1 from memberships m join memberships n on n.room = m.room
			where m.member = l.member and m.membership = 'join' and n.membership = 'join' and n.local = 1)
		order by l.member limit $1`, limit)
}
