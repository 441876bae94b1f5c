package storage

import "github.com/hearthd/hearth/internal/id"

// BoundThreepid is an address that an identity server says is a user's, because this server has asked it to.
type BoundThreepid struct {
	Medium  string
	Address string // canonical form
	Server  id.ServerName
}

// BoundThreepids lists the addresses of a user that identity servers know.
func (tx *ReadTx) BoundThreepids(user id.UserID) ([]BoundThreepid, error) {
	return collect(tx, func(r rowScanner) (BoundThreepid, error) {
		var b BoundThreepid
		err := r.Scan(&b.Medium, &b.Address, &b.Server)
		return b, err
	}, "select medium, address, id_server from bound_threepids where user_id = $1 order by medium, address, id_server", user)
}

// InsertBoundThreepid notes that an identity server knows an address of a user. Doing it again changes nothing.
func (tx *Tx) InsertBoundThreepid(user id.UserID, b BoundThreepid) error {
	_, err := tx.exec("insert into bound_threepids (user_id, medium, address, id_server) values ($1, $2, $3, $4) on conflict do nothing",
		user, b.Medium, b.Address, b.Server)
	return err
}

// DeleteBoundThreepid notes that an identity server knows an address of a user no more.
func (tx *Tx) DeleteBoundThreepid(user id.UserID, b BoundThreepid) error {
	_, err := tx.exec("delete from bound_threepids where user_id = $1 and medium = $2 and address = $3 and id_server = $4",
		user, b.Medium, b.Address, b.Server)
	return err
}
