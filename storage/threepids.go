package storage

import "github.com/hearthd/hearth/internal/id"

// Threepid is an address of a user outside Matrix.
type Threepid struct {
	Medium      string // email or msisdn
	Address     string // canonical form
	ValidatedTS int64
	AddedTS     int64
}

// Threepids lists the third-party ids of a user.
func (tx *ReadTx) Threepids(user id.UserID) ([]Threepid, error) {
	return collect(tx, func(r rowScanner) (Threepid, error) {
		var t Threepid
		err := r.Scan(&t.Medium, &t.Address, &t.ValidatedTS, &t.AddedTS)
		return t, err
	}, "select medium, address, validated_ts, added_ts from threepids where user_id = $1 order by added_ts, medium, address", user)
}

// ThreepidUser returns the user who has a third-party id.
func (tx *ReadTx) ThreepidUser(medium, address string) (id.UserID, error) {
	var user id.UserID
	err := tx.queryRow("select user_id from threepids where medium = $1 and address = $2", medium, address).Scan(&user)
	return user, err
}

// InsertThreepid gives a user a third-party id and reports false if somebody has it already.
func (tx *Tx) InsertThreepid(user id.UserID, t Threepid) (bool, error) {
	n, err := tx.exec(`insert into threepids (medium, address, user_id, validated_ts, added_ts) values ($1, $2, $3, $4, $5)
		on conflict (medium, address) do nothing`, t.Medium, t.Address, user, t.ValidatedTS, t.AddedTS)
	return n == 1, err
}

// DeleteThreepid takes a third-party id from a user and reports whether the user had it.
func (tx *Tx) DeleteThreepid(user id.UserID, medium, address string) (bool, error) {
	n, err := tx.exec("delete from threepids where user_id = $1 and medium = $2 and address = $3", user, medium, address)
	return n == 1, err
}
