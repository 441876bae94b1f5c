package storage

import (
	"github.com/hearthd/hearth/internal/id"
)

// ServersInRoom is the other servers that have users who are joined to a room, in order.
func (tx *ReadTx) ServersInRoom(room int64) ([]id.ServerName, error) {
	return collect(tx, scanOne[id.ServerName], `select server from room_servers where room = $1 order by server`, room)
}

// ServerInRoom reports whether a server other than this one has users who are joined to a room.
func (tx *ReadTx) ServerInRoom(room int64, server id.ServerName) (found bool, err error) {
	err = tx.queryRow(`select exists(select 1 from room_servers where room = $1 and server = $2)`, room, string(server)).Scan(&found)
	return found, err
}

// ServersSharing is the other servers that have users in a room with a user of this server, in order.
func (tx *ReadTx) ServersSharing(user id.UserID) ([]id.ServerName, error) {
	return collect(tx, scanOne[id.ServerName], `select distinct s.server from memberships m join words w on w.nid = m.member
		join room_servers s on s.room = m.room where w.value = $1 and m.membership = 'join' order by s.server`, string(user))
}

// CountServer notes that n users of another server more, or fewer, are joined to a room.
func (tx *Tx) CountServer(room int64, server id.ServerName, n int64) error {
	_, err := tx.exec(`insert into room_servers (room, server, joined) values ($1, $2, $3)
		on conflict (room, server) do update set joined = room_servers.joined + excluded.joined`, room, string(server), n)
	if err == nil && n < 0 {
		_, err = tx.exec(`delete from room_servers where room = $1 and server = $2 and joined <= 0`, room, string(server))
	}
	return err
}
