package storage

import "github.com/hearthd/hearth/internal/id"

// Report is what a user has told the administrators about a room, an event of a room, or a user.
type Report struct {
	NID      int64
	Reporter id.UserID
	Room     id.RoomID
	Event    id.EventID
	User     id.UserID
	Reason   string
	TS       int64 // in milliseconds
}

// AddReport keeps a report and gives it a number.
func (tx *Tx) AddReport(r Report) (nid int64, err error) {
	err = tx.queryRow(`insert into reports (reporter, room_id, event_id, user_id, reason, ts) values ($1, $2, $3, $4, $5, $6) returning nid`,
		string(r.Reporter), string(r.Room), string(r.Event), string(r.User), r.Reason, r.TS).Scan(&nid)
	return nid, err
}

// Reports is up to limit reports with numbers below before, newest first.
func (tx *ReadTx) Reports(before int64, limit int) ([]Report, error) {
	return collect(tx, func(r rowScanner) (v Report, err error) {
		err = r.Scan(&v.NID, &v.Reporter, &v.Room, &v.Event, &v.User, &v.Reason, &v.TS)
		return v, err
	}, `select nid, reporter, room_id, event_id, user_id, reason, ts from reports where nid < $1 order by nid desc limit $2`, before, limit)
}
