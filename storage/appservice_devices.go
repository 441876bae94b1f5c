package storage

import (
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// InboxPlace is where a message to a device is.
type InboxPlace struct {
	User   id.UserID
	Device id.DeviceID
	Pos    int64
}

// InboxPlaces is where the messages to all devices within a span of the stream are that nobody has acknowledged, in order. If there are more
// than limit of them, the span ends early, at the position that is returned; messages of one position are never parted.
func (tx *ReadTx) InboxPlaces(span Span, limit int) (places []InboxPlace, end int64, err error) {
	err = tx.queryRow(`select pos from to_device where pos > $1 and pos <= $2 order by pos limit 1 offset $3`,
		span.After, span.UpTo, limit-1).Scan(&end)
	if errors.Is(err, ErrNotFound) {
		end, err = span.UpTo, nil
	}
	if err != nil {
		return nil, 0, err
	}
	places, err = collect(tx, func(r rowScanner) (p InboxPlace, err error) {
		err = r.Scan(&p.User, &p.Device, &p.Pos)
		return p, err
	}, `select user_id, device_id, pos from to_device where pos > $1 and pos <= $2 order by pos, user_id, device_id`, span.After, end)
	return places, end, err
}

// MessageAt is the message at a place, or ErrNotFound if it was acknowledged or its device is gone.
func (tx *ReadTx) MessageAt(p InboxPlace) (DeviceMessage, error) {
	m := DeviceMessage{Pos: p.Pos}
	err := tx.queryRow(`select sender, type, content from to_device where user_id = $1 and device_id = $2 and pos = $3`,
		p.User, p.Device, p.Pos).Scan(&m.Sender, &m.Type, &m.Content)
	return m, err
}

// DeleteMessages removes the messages at some places.
func (tx *Tx) DeleteMessages(places []InboxPlace) error {
	for _, p := range places {
		tx.OnCommit(func() { tx.store.inbox.taken(deviceKey{p.User, p.Device}) })
		if _, err := tx.exec(`delete from to_device where user_id = $1 and device_id = $2 and pos = $3`, p.User, p.Device, p.Pos); err != nil {
			return err
		}
	}
	return nil
}

// DeviceName names a device of this server.
type DeviceName struct {
	User   id.UserID
	Device id.DeviceID
}

// ClaimedDevices is the devices of which a key was claimed within a span of the stream, and none later.
func (tx *ReadTx) ClaimedDevices(span Span) ([]DeviceName, error) {
	return collect(tx, func(r rowScanner) (d DeviceName, err error) {
		err = r.Scan(&d.User, &d.Device)
		return d, err
	}, `select user_id, device_id from devices where claimed_pos > $1 and claimed_pos <= $2 and claimed_pos > 0 order by user_id, device_id`,
		span.After, span.UpTo)
}

// ChangedDeviceLists is the users, here and elsewhere, whose devices changed within a span of the stream, and not later.
func (tx *ReadTx) ChangedDeviceLists(span Span) ([]id.UserID, error) {
	nids, err := collect(tx, scanOne[int64], `select member from device_list_changes where pos > $1 and pos <= $2 order by pos`, span.After, span.UpTo)
	if err != nil {
		return nil, err
	}
	return tx.userNames(nids)
}

// NextForDevices is NextInStream for what InboxPlaces, ClaimedDevices and ChangedDeviceLists find.
func (tx *ReadTx) NextForDevices(after int64) (int64, error) {
	var next int64
	err := tx.queryRow(`select coalesce(min(p), 0) from (
			select min(pos) as p from to_device where pos > $1
			union all select min(claimed_pos) from devices where claimed_pos > $1 and claimed_pos > 0
			union all select min(pos) from device_list_changes where pos > $1) places`, after).Scan(&next)
	if err == nil && next == 0 {
		err = ErrNotFound
	}
	return next, err
}
