package storage

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
)

// Room is a room's row. The summary is derived from the room's current state and written together with it.
type Room struct {
	NID         int64
	ID          id.RoomID
	Version     gomatrixserverlib.RoomVersion
	State       int64 // the snapshot after all extremities
	Extremities []Extremity
	LastPos     int64 // of the newest accepted event
	Published   bool  // in the room directory
	Notified    int64 // events of the main timeline that have notified everybody, see Unread
	Highlighted int64 // the same of highlights
	Summary     RoomSummary
}

// Extremity is an event that no other event of the room points back to: what the next event will have as prev_events.
type Extremity struct {
	ID    id.EventID `json:"id"`
	Pos   int64      `json:"pos"`
	Depth int64      `json:"depth"`
}

// RoomSummary is what lists of rooms show. Strings are empty where the state says nothing.
type RoomSummary struct {
	Name              string
	Topic             string
	CanonicalAlias    string
	AvatarURL         string
	JoinRule          string
	HistoryVisibility string
	GuestAccess       string
	Type              string
	Encryption        string // the algorithm
	Successor         string // replacement_room of the tombstone
	Joined, Invited   int64
}

const roomColumns = `nid, room_id, version, state, extremities, last_pos, published, name, topic, canonical_alias, avatar_url, join_rule,
	history_visibility, guest_access, room_type, encryption, successor, joined, invited, notified, highlighted`

func scanRoom(r rowScanner) (*Room, error) {
	var (
		room        Room
		extremities string
		s           = &room.Summary
	)
	err := r.Scan(&room.NID, &room.ID, &room.Version, &room.State, &extremities, &room.LastPos, &room.Published, &s.Name, &s.Topic,
		&s.CanonicalAlias, &s.AvatarURL, &s.JoinRule, &s.HistoryVisibility, &s.GuestAccess, &s.Type, &s.Encryption, &s.Successor,
		&s.Joined, &s.Invited, &room.Notified, &room.Highlighted)
	if err != nil {
		return nil, err
	}
	// Every request has to do with a room: by reflection this takes as long as the query.
	gjson.Parse(extremities).ForEach(func(_, e gjson.Result) bool {
		room.Extremities = append(room.Extremities, Extremity{id.EventID(e.Get("id").Str), e.Get("pos").Int(), e.Get("depth").Int()})
		return true
	})
	return &room, nil
}

// Room finds a room by its id.
func (tx *ReadTx) Room(room id.RoomID) (*Room, error) {
	if row, ok := tx.keptRoom(room); ok {
		return row, nil
	}
	return scanRoom(tx.queryRow(`select `+roomColumns+` from rooms where room_id = $1`, string(room)))
}

// RoomByNID finds a room by its number.
func (tx *ReadTx) RoomByNID(nid int64) (*Room, error) {
	return scanRoom(tx.queryRow(`select `+roomColumns+` from rooms where nid = $1`, nid))
}

// Rooms finds rooms by their numbers.
func (tx *ReadTx) Rooms(nids []int64) (map[int64]*Room, error) {
	rows, err := collect(tx, scanRoom, `select `+roomColumns+` from rooms where `+tx.inInts("nid", 1), list(nids))
	out := make(map[int64]*Room, len(rows))
	for _, r := range rows {
		out[r.NID] = r
	}
	return out, err
}

// RoomNID is the number of a room, from memory where possible.
func (tx *ReadTx) RoomNID(room id.RoomID) (int64, error) {
	return tx.cachedNID(tx.store.roomIDs, string(room), `select nid from rooms where room_id = $1`)
}

// RoomID is the id behind a room's number, from memory where possible.
func (tx *ReadTx) RoomID(nid int64) (id.RoomID, error) {
	s, err := tx.cachedName(tx.store.roomIDs, nid, `select room_id from rooms where nid = $1`)
	return id.RoomID(s), err
}

// warmRooms brings the ids of many rooms into memory with one query, so that RoomID answers from there afterwards.
func (tx *ReadTx) warmRooms(nids []int64) error {
	var missing []int64
	for _, n := range nids {
		if _, ok := tx.store.roomIDs.name(n); !ok {
			missing = append(missing, n)
		}
	}
	if len(missing) < 2 || tx.writer != nil { // in an Update nothing read may be cached before the commit
		return nil
	}
	type pair struct {
		nid  int64
		room string
	}
	rows, err := collect(tx, func(r rowScanner) (p pair, err error) {
		err = r.Scan(&p.nid, &p.room)
		return p, err
	}, `select nid, room_id from rooms where `+tx.inInts("nid", 1), list(missing))
	for _, p := range rows {
		tx.store.roomIDs.add(p.nid, p.room)
	}
	return err
}

// LastPositions is the position of the newest event of every room that has one after pos.
func (tx *ReadTx) LastPositions(pos int64) (map[int64]int64, error) {
	type last struct{ room, pos int64 }
	rows, err := collect(tx, func(r rowScanner) (l last, err error) {
		err = r.Scan(&l.room, &l.pos)
		return l, err
	}, `select nid, last_pos from rooms where last_pos > $1`, pos)
	out := make(map[int64]int64, len(rows))
	for _, l := range rows {
		out[l.room] = l.pos
	}
	return out, err
}

// AddRoom adds a room without events and sets its NID.
func (tx *Tx) AddRoom(room *Room) error {
	return tx.queryRow(`insert into rooms (room_id, version) values ($1, $2) returning nid`, string(room.ID), string(room.Version)).Scan(&room.NID)
}

// SetRoomVersion corrects the version of a room of which nothing was known but an invite or a knock.
func (tx *Tx) SetRoomVersion(room int64, version gomatrixserverlib.RoomVersion) error {
	_, err := tx.exec(`update rooms set version = $2 where nid = $1`, room, string(version))
	return errors.Join(err, tx.dropRoom(room))
}

// SaveRoomHead writes what every event changes: state, extremities, last position, and whom it has notified.
func (tx *Tx) SaveRoomHead(room *Room) error {
	ext, err := json.Marshal(room.Extremities)
	if err != nil {
		return fmt.Errorf("write the extremities of %s: %w", room.ID, err)
	}
	_, err = tx.exec(`update rooms set state = $2, extremities = $3, last_pos = $4, notified = $5, highlighted = $6 where nid = $1`,
		room.NID, room.State, string(ext), room.LastPos, room.Notified, room.Highlighted)
	if err == nil {
		tx.keepRoom(room)
	}
	return err
}

// SaveRoomSummary writes the summary.
func (tx *Tx) SaveRoomSummary(room *Room) error {
	s := room.Summary
	_, err := tx.exec(`update rooms set name = $2, topic = $3, canonical_alias = $4, avatar_url = $5, join_rule = $6, history_visibility = $7,
		guest_access = $8, room_type = $9, encryption = $10, successor = $11, joined = $12, invited = $13 where nid = $1`,
		room.NID, s.Name, s.Topic, s.CanonicalAlias, s.AvatarURL, s.JoinRule, s.HistoryVisibility, s.GuestAccess, s.Type, s.Encryption,
		s.Successor, s.Joined, s.Invited)
	return errors.Join(err, tx.dropRoom(room.NID))
}

// SetPublished puts a room into the directory or takes it out.
func (tx *Tx) SetPublished(room int64, published bool) error {
	n := 0
	if published {
		n = 1
	}
	_, err := tx.exec(`update rooms set published = $2 where nid = $1`, room, n)
	return errors.Join(err, tx.dropRoom(room))
}

// PublishedRooms is the directory, largest rooms first.
func (tx *ReadTx) PublishedRooms() ([]*Room, error) {
	return collect(tx, scanRoom, `select `+roomColumns+` from rooms where published = 1 order by joined desc, nid`)
}
