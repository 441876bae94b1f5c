package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// DelayedEvent is an event that a user has had scheduled. All times are in milliseconds since the epoch.
type DelayedEvent struct {
	ID       string
	User     id.UserID
	Room     id.RoomID
	Type     string
	StateKey *string // nil for a message event
	Content  json.RawMessage
	TS       int64 // origin_server_ts that an application service gives it; 0 for the time at which it is sent
	Delay    int64
	Since    int64 // when it was scheduled or last restarted
	// What has become of it.
	Finalised int64 // 0: it is still scheduled
	Event     id.EventID
	Error     json.RawMessage // why it could not be sent; empty if it was sent or cancelled
}

// DelayedDevice stands for the device of events that were delayed. A real device of that name would be told delay ids of its own user.
const DelayedDevice id.DeviceID = "(delayed event)"

// SendAt is when it is to be sent.
func (d DelayedEvent) SendAt() int64 { return d.Since + d.Delay }

const delayedColumns = "delay_id, user_id, room_id, type, state_key, content, ts, delay, since, finalised, event_id, error"

func scanDelayed(r rowScanner) (d DelayedEvent, err error) {
	err = r.Scan(&d.ID, &d.User, &d.Room, &d.Type, &d.StateKey, &d.Content, &d.TS, &d.Delay, &d.Since, &d.Finalised, &d.Event, &d.Error)
	return d, err
}

// DelayedEvent returns a delayed event, also one that is finalised.
func (tx *ReadTx) DelayedEvent(delay string) (DelayedEvent, error) {
	return scanDelayed(tx.queryRow("select "+delayedColumns+" from delayed_events where delay_id = $1", delay))
}

// DelayedEventsOf is up to limit scheduled events of a user, in the order in which they are to be sent.
func (tx *ReadTx) DelayedEventsOf(user id.UserID, limit int) ([]DelayedEvent, error) {
	return collect(tx, scanDelayed, "select "+delayedColumns+` from delayed_events
		where user_id = $1 and finalised = 0 order by send_at, delay_id limit $2`, user, limit)
}

// DelayedEvents is up to limit scheduled events of all users, in the order in which they are to be sent, but for those of some rooms.
func (tx *ReadTx) DelayedEvents(limit int, without []id.RoomID) ([]DelayedEvent, error) {
	return collect(tx, scanDelayed, "select "+delayedColumns+` from delayed_events
		where finalised = 0 and not `+tx.inTexts("room_id", 2)+" order by send_at, delay_id limit $1", limit, list(without))
}

// CountDelayedEvents is how many events of a user are scheduled, and when the first of them is to be sent; 0 if none is.
func (tx *ReadTx) CountDelayedEvents(user id.UserID) (n int, first int64, err error) {
	err = tx.queryRow(`select count(*), coalesce(min(send_at), 0) from delayed_events where user_id = $1 and finalised = 0`, user).Scan(&n, &first)
	return n, first, err
}

// AddDelayedEvent schedules an event.
func (tx *Tx) AddDelayedEvent(d DelayedEvent) error {
	_, err := tx.exec(`insert into delayed_events (delay_id, user_id, room_id, type, state_key, content, ts, delay, since, send_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		d.ID, d.User, d.Room, d.Type, d.StateKey, d.Content, d.TS, d.Delay, d.Since, d.SendAt())
	return err
}

// RestartDelayedEvent counts the delay of a scheduled event from another time on.
func (tx *Tx) RestartDelayedEvent(delay string, since int64) error {
	_, err := tx.exec(`update delayed_events set since = $2, send_at = $2 + delay where delay_id = $1 and finalised = 0`, delay, since)
	return err
}

// FinaliseDelayedEvent notes what has become of a scheduled event: Finalised, Event and Error. It reports false if that has been decided before, or
// the event restarted since it was read.
func (tx *Tx) FinaliseDelayedEvent(d DelayedEvent) (bool, error) {
	n, err := tx.exec(`update delayed_events set finalised = $3, event_id = $4, error = $5 where delay_id = $1 and since = $2 and finalised = 0`,
		d.ID, d.Since, d.Finalised, d.Event, string(d.Error))
	return n == 1, err
}

// ForgetDelayedEvents removes up to limit events that were finalised before a time, the oldest first, and returns how many.
func (tx *Tx) ForgetDelayedEvents(before int64, limit int) (int64, error) {
	return tx.exec(`delete from delayed_events where delay_id in (
		select delay_id from delayed_events where finalised > 0 and finalised < $1 order by finalised limit $2)`, before, limit)
}

// LimitFinalisedEvents removes the oldest finalised events of a user, so that at most so many are left.
func (tx *Tx) LimitFinalisedEvents(user id.UserID, most int) error {
	_, err := tx.exec(`delete from delayed_events where user_id = $1 and finalised > 0 and finalised <= (
		select finalised from delayed_events where user_id = $1 and finalised > 0 order by finalised desc limit 1 offset $2)`, user, most)
	return err
}
