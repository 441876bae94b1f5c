package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// SlidingConnection is what is remembered of one connection of sliding sync. Seq is the number of the last answer that changed Rooms,
// Choices or Extras, Confirmed that of the last of which the client has shown that it got it: where they differ, what is called before is
// what held at Confirmed.
type SlidingConnection struct {
	NID                  int64
	User                 id.UserID
	Device               id.DeviceID
	Name                 string
	Seq, Confirmed       int64
	Extras, ExtrasBefore string
	Used                 int64 // in milliseconds
}

// SlidingRoom is what the client of a connection has been told of a room, in the words of who wrote it. The answer with the number Seq made
// Told of Before; empty is nothing.
type SlidingRoom struct {
	Room, Seq    int64
	Told, Before string
}

// SlidingChoice is a choice of state under the number that the texts of rooms refer to.
type SlidingChoice struct {
	Number int64
	Choice string
}

const slidingColumns = `nid, user_id, device_id, name, seq, confirmed, extras, extras_before, used_ts`

func scanSlidingConnection(r rowScanner) (c SlidingConnection, err error) {
	err = r.Scan(&c.NID, &c.User, &c.Device, &c.Name, &c.Seq, &c.Confirmed, &c.Extras, &c.ExtrasBefore, &c.Used)
	return c, err
}

// SlidingConnection finds the connection of a device under a name.
func (tx *ReadTx) SlidingConnection(user id.UserID, device id.DeviceID, name string) (SlidingConnection, error) {
	return scanSlidingConnection(tx.queryRow(`select `+slidingColumns+` from sliding_connections
		where user_id = $1 and device_id = $2 and name = $3`, user, device, name))
}

// SlidingRooms is what a connection remembers of rooms.
func (tx *ReadTx) SlidingRooms(connection int64) ([]SlidingRoom, error) {
	return collect(tx, func(r rowScanner) (v SlidingRoom, err error) {
		err = r.Scan(&v.Room, &v.Seq, &v.Told, &v.Before)
		return v, err
	}, `select room, seq, told, told_before from sliding_rooms where connection = $1 order by room`, connection)
}

// SlidingChoices is the choices of state of a connection.
func (tx *ReadTx) SlidingChoices(connection int64) ([]SlidingChoice, error) {
	return collect(tx, func(r rowScanner) (v SlidingChoice, err error) {
		err = r.Scan(&v.Number, &v.Choice)
		return v, err
	}, `select number, choice from sliding_choices where connection = $1 order by number`, connection)
}

// OpenSlidingConnection adds a connection in place of the one with its name, and of the device's least used ones if it has most others. It
// sets the connection's number; the error is ErrNotFound if there is no such device.
func (tx *Tx) OpenSlidingConnection(c *SlidingConnection, most int) error {
	if _, err := tx.exec(`delete from sliding_connections where user_id = $1 and device_id = $2 and (name = $3 or nid in
		(select nid from sliding_connections where user_id = $1 and device_id = $2 and name <> $3 order by used_ts desc, nid desc
			limit 1000 offset $4))`, c.User, c.Device, c.Name, most-1); err != nil {
		return err
	}
	return tx.queryRow(`insert into sliding_connections (user_id, device_id, name, seq, confirmed, extras, extras_before, used_ts)
		select d.user_id, d.device_id, $3, $4, $5, $6, $7, $8 from devices d where d.user_id = $1 and d.device_id = $2 returning nid`,
		c.User, c.Device, c.Name, c.Seq, c.Confirmed, c.Extras, c.ExtrasBefore, c.Used).Scan(&c.NID)
}

// SaveSlidingConnection writes what every change of a connection changes. The error is ErrNotFound if the connection is gone.
func (tx *Tx) SaveSlidingConnection(c SlidingConnection) error {
	n, err := tx.exec(`update sliding_connections set seq = $2, confirmed = $3, extras = $4, extras_before = $5, used_ts = $6 where nid = $1`,
		c.NID, c.Seq, c.Confirmed, c.Extras, c.ExtrasBefore, c.Used)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// SaveSlidingRoom writes what a connection remembers of a room; nothing at all removes the row.
func (tx *Tx) SaveSlidingRoom(connection int64, r SlidingRoom) error {
	if r.Told == "" && r.Before == "" {
		_, err := tx.exec(`delete from sliding_rooms where connection = $1 and room = $2`, connection, r.Room)
		return err
	}
	_, err := tx.exec(`insert into sliding_rooms (connection, room, seq, told, told_before) values ($1, $2, $3, $4, $5)
		on conflict (connection, room) do update set seq = excluded.seq, told = excluded.told, told_before = excluded.told_before`,
		connection, r.Room, r.Seq, r.Told, r.Before)
	return err
}

// AddSlidingChoice gives a choice of state its number.
func (tx *Tx) AddSlidingChoice(connection int64, c SlidingChoice) error {
	_, err := tx.exec(`insert into sliding_choices (connection, number, choice) values ($1, $2, $3)
		on conflict (connection, number) do update set choice = excluded.choice`, connection, c.Number, c.Choice)
	return err
}

// DropIdleConnections removes up to limit connections that nobody has used since a time in milliseconds.
func (tx *Tx) DropIdleConnections(before int64, limit int) error {
	_, err := tx.exec(`delete from sliding_connections where nid in
		(select nid from sliding_connections where used_ts < $1 order by used_ts limit $2)`, before, limit)
	return err
}

// ListedRoom is what lists of a user's rooms are ordered and filtered by.
type ListedRoom struct {
	Room       int64
	LastPos    int64 // of the newest event
	Name, Type string
	Encrypted  bool
}

const listedColumns = `r.nid, r.last_pos, r.name, r.room_type, case when r.encryption = '' then 0 else 1 end`

func scanListedRoom(r rowScanner) (v ListedRoom, err error) {
	err = r.Scan(&v.Room, &v.LastPos, &v.Name, &v.Type, &v.Encrypted)
	return v, err
}

// ListedRooms is the rooms that a user has ever had to do with, in no order.
func (tx *ReadTx) ListedRooms(user id.UserID) ([]ListedRoom, error) {
	member, err := tx.wordNID(string(user))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return collect(tx, scanListedRoom, `select `+listedColumns+` from memberships m join rooms r on r.nid = m.room where m.member = $1`, member)
}

// ListedRoomsAt is ListedRooms for some rooms, whoever is in them.
func (tx *ReadTx) ListedRoomsAt(rooms []int64) ([]ListedRoom, error) {
	return collect(tx, scanListedRoom, `select `+listedColumns+` from rooms r where `+tx.inInts("r.nid", 1), list(rooms))
}

// maxBumpScan is how many events are looked at for the last one of some types.
const maxBumpScan = 1000

// LastOfTypes is the position of the newest event of some types in a room's timeline up to a position: 0 if there is none within the
// newest events of the room.
func (tx *ReadTx) LastOfTypes(room, upTo int64, types []string) (int64, error) {
	nids := make([]int64, 0, len(types))
	for _, t := range types {
		n, err := tx.wordNID(t)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		nids = append(nids, n)
	}
	for step, scanned := 8, 0; scanned < maxBumpScan; step *= 4 { // mostly it is among the first
		places, err := tx.TimelinePlaces(room, Span{After: 0, UpTo: upTo}, step, true)
		if err != nil || len(places) == 0 {
			return 0, err
		}
		var pos *int64
		err = tx.queryRow(`select max(pos) from events where `+tx.inInts("type", 1)+` and `+tx.inInts("nid", 2),
			list(nids), list(NIDs(places))).Scan(&pos)
		if err != nil {
			return 0, err
		}
		if pos != nil {
			return *pos, nil
		}
		if len(places) < step {
			return 0, nil
		}
		scanned += step
		upTo = places[len(places)-1].Pos - 1
	}
	return 0, nil
}
