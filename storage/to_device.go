package storage

import (
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
)

// AllDevices in the place of a device means every device that the user has.
const AllDevices id.DeviceID = "*"

// DeviceMessage is a message to a device.
type DeviceMessage struct {
	Pos     int64
	Sender  id.UserID
	Type    string
	Content json.RawMessage
}

// SendToDevice puts a message into the inbox of a device and reports whether there is such a device. m.Pos is one just taken with NextPos. Ring
// the device's key on commit.
func (tx *Tx) SendToDevice(user id.UserID, device id.DeviceID, m DeviceMessage) (bool, error) {
	n, err := tx.exec(`insert into to_device (user_id, device_id, pos, sender, type, content)
		select d.user_id, d.device_id, $3, $4, $5, $6 from devices d where d.user_id = $1 and d.device_id = $2`,
		user, device, m.Pos, m.Sender, m.Type, m.Content)
	if n > 0 {
		tx.OnCommit(func() { tx.store.inbox.put(deviceKey{user, device}, m.Pos, int64(len(m.Content))+messageOverhead) })
	}
	return n > 0, err
}

// ToDevice is up to limit messages to a device that it has not been told of when it comes with a token at the position since, in their
// order. more says that there are others: then the token of the answer must be told to CutToDevice.
//
// Spec: client-server-api#send-to-device-messaging
func (tx *ReadTx) ToDevice(user id.UserID, device id.DeviceID, since int64, limit int) (list []DeviceMessage, more bool, err error) {
	if tx.writer == nil && tx.store.inbox.unchanged(deviceKey{user, device}, since) {
		return nil, false, nil
	}
	upto, err := tx.toldUpTo(user, device, since)
	if err != nil {
		return nil, false, err
	}
	list, err = collect(tx, func(r rowScanner) (m DeviceMessage, err error) {
		err = r.Scan(&m.Pos, &m.Sender, &m.Type, &m.Content)
		return m, err
	}, `select pos, sender, type, content from to_device where user_id = $1 and device_id = $2 and pos > $3 order by pos limit $4`,
		user, device, upto, limit+1)
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return list, more, err
}

// toldUpTo is the position up to which a device that comes with a token has got its messages.
func (tx *ReadTx) toldUpTo(user id.UserID, device id.DeviceID, since int64) (int64, error) {
	var upto int64
	err := tx.queryRow(`select upto from to_device_cuts where user_id = $1 and device_id = $2 and pos = $3`, user, device, since).Scan(&upto)
	if errors.Is(err, ErrNotFound) {
		return since, nil
	}
	return upto, err
}

// CutToDevice notes that the answer with the token position at had no place for the messages after upto. It returns the position at which
// to ring the device's key on commit: the rest waits to be fetched.
func (tx *Tx) CutToDevice(user id.UserID, device id.DeviceID, at, upto int64) (int64, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return 0, err
	}
	tx.OnCommit(func() { tx.store.inbox.set(deviceKey{user, device}, pos) })
	// Two answers with the same token may have been cut at different places.
	_, err = tx.exec(`insert into to_device_cuts (user_id, device_id, pos, upto)
		select d.user_id, d.device_id, $3, $4 from devices d where d.user_id = $1 and d.device_id = $2
		on conflict (user_id, device_id, pos) do update set upto = excluded.upto where to_device_cuts.upto > excluded.upto`,
		user, device, at, upto)
	return pos, err
}

// HasAcknowledged reports whether a device that comes with a token at the position since thereby acknowledges messages that are still
// stored.
func (tx *ReadTx) HasAcknowledged(user id.UserID, device id.DeviceID, since int64) (bool, error) {
	upto, err := tx.toldUpTo(user, device, since)
	if err != nil {
		return false, err
	}
	var oldest int64
	err = tx.queryRow(`select pos from to_device where user_id = $1 and device_id = $2 order by pos limit 1`, user, device).Scan(&oldest)
	if !errors.Is(err, ErrNotFound) {
		return oldest <= upto, err
	}
	pos, err := tx.Position()
	if err == nil && tx.writer == nil {
		tx.store.inbox.emptyAt(deviceKey{user, device}, pos)
	}
	return false, err
}

// AckToDevice removes the messages that a device acknowledges by coming with a token at the position since.
//
// Spec: client-server-api#send-to-device-messaging
func (tx *Tx) AckToDevice(user id.UserID, device id.DeviceID, since int64) error {
	upto, err := tx.toldUpTo(user, device, since)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { tx.store.inbox.taken(deviceKey{user, device}) })
	if _, err := tx.exec(`delete from to_device where user_id = $1 and device_id = $2 and pos <= $3`, user, device, upto); err != nil {
		return err
	}
	_, err = tx.exec(`delete from to_device_cuts where user_id = $1 and device_id = $2 and pos < $3`, user, device, since)
	return err
}
