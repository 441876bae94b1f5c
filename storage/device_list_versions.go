package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// DeviceListVersion is the stream_id under which a local user's list of devices was last announced to other servers, 0 if it never was.
//
// Spec: server-server-api#device-management
func (tx *ReadTx) DeviceListVersion(user id.UserID) (int64, error) {
	member, err := tx.wordNID(string(user))
	var version int64
	if err == nil {
		err = tx.queryRow(`select stream_id from device_list_versions where member = $1`, member).Scan(&version)
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return version, err
}

// SetDeviceListVersion notes the stream_id of an announcement, which is a position just taken.
func (tx *Tx) SetDeviceListVersion(user id.UserID, version int64) error {
	member, err := tx.intern(string(user))
	if err != nil {
		return err
	}
	_, err = tx.exec(`insert into device_list_versions (member, stream_id) values ($1, $2)
		on conflict (member) do update set stream_id = excluded.stream_id`, member, version)
	return err
}

// ServersMet is the servers in a room that share no other room with a local user, in order: those for whom the user is new if the user has
// just joined it.
func (tx *ReadTx) ServersMet(user id.UserID, room int64) ([]id.ServerName, error) {
	return collect(tx, scanOne[id.ServerName], `select s.server from room_servers s where s.room = $1 and not exists
		(select 1 from words w join memberships m on m.member = w.nid join room_servers o on o.room = m.room
			where w.value = $2 and m.membership = 'join' and m.room <> $1 and o.server = s.server)
		order by s.server`, room, string(user))
}
