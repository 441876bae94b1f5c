package storage

// MailTold is the last letter that told a pusher of a room.
type MailTold struct {
	Room   int64
	Pos    int64 // of the last event that it told of
	SentTS int64 // ms since the epoch
	Pause  int64 // ms after it that the next letter has to wait while nothing of it is read
}

// MailTold is the last letters that told a pusher of rooms, by room.
func (tx *ReadTx) MailTold(pusher int64) (map[int64]MailTold, error) {
	rows, err := collect(tx, func(r rowScanner) (m MailTold, err error) {
		err = r.Scan(&m.Room, &m.Pos, &m.SentTS, &m.Pause)
		return m, err
	}, "select room, pos, sent_ts, pause from mail_told where pusher = $1", pusher)
	out := make(map[int64]MailTold, len(rows))
	for _, m := range rows {
		out[m.Room] = m
	}
	return out, err
}

// SetMailTold notes that a letter has told a pusher, which must still be there, of a room.
func (tx *Tx) SetMailTold(pusher int64, m MailTold) error {
	_, err := tx.exec(`insert into mail_told (pusher, room, pos, sent_ts, pause) values ($1, $2, $3, $4, $5)
		on conflict (pusher, room) do update set pos = excluded.pos, sent_ts = excluded.sent_ts, pause = excluded.pause`,
		pusher, m.Room, m.Pos, m.SentTS, m.Pause)
	return err
}
