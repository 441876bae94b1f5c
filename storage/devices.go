package storage

import "github.com/hearthd/hearth/internal/id"

// Device is one login of a user.
type Device struct {
	UserID        id.UserID
	ID            id.DeviceID
	DisplayName   *string
	CreatedTS     int64
	LastSeenTS    int64 // 0: never
	LastSeenIP    string
	LastSeenAgent string
}

const deviceColumns = "user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip, last_seen_agent"

func scanDevice(r rowScanner) (Device, error) {
	var d Device
	err := r.Scan(&d.UserID, &d.ID, &d.DisplayName, &d.CreatedTS, &d.LastSeenTS, &d.LastSeenIP, &d.LastSeenAgent)
	return d, err
}

// Device returns a device of a user.
func (tx *ReadTx) Device(user id.UserID, device id.DeviceID) (Device, error) {
	return scanDevice(tx.queryRow("select "+deviceColumns+" from devices where user_id = $1 and device_id = $2", user, device))
}

// Devices lists the devices of a user in the order of their ids.
func (tx *ReadTx) Devices(user id.UserID) ([]Device, error) {
	return collect(tx, scanDevice, "select "+deviceColumns+" from devices where user_id = $1 order by device_id", user)
}

// InsertDevice makes a device and reports true, or leaves a known device as it is and reports false.
func (tx *Tx) InsertDevice(d Device) (bool, error) {
	n, err := tx.exec(`insert into devices (user_id, device_id, display_name, created_ts, last_seen_ts, last_seen_ip, last_seen_agent)
		values ($1, $2, $3, $4, $5, $6, $7) on conflict (user_id, device_id) do nothing`,
		d.UserID, d.ID, d.DisplayName, d.CreatedTS, d.LastSeenTS, d.LastSeenIP, d.LastSeenAgent)
	return n == 1, err
}

// RenameDevice changes the display name of a device.
func (tx *Tx) RenameDevice(user id.UserID, device id.DeviceID, name string) error {
	return tx.execOne("update devices set display_name = $3 where user_id = $1 and device_id = $2", user, device, name)
}

// TouchDevice notes when and from where a device was last seen, unless a later time is already noted.
func (tx *Tx) TouchDevice(d Device) error {
	_, err := tx.exec(`update devices set last_seen_ts = $3, last_seen_ip = $4, last_seen_agent = $5
		where user_id = $1 and device_id = $2 and last_seen_ts < $3`, d.UserID, d.ID, d.LastSeenTS, d.LastSeenIP, d.LastSeenAgent)
	return err
}

// DeleteDevices removes devices with their tokens, keys and messages, and returns those that were there.
func (tx *Tx) DeleteDevices(user id.UserID, devices []id.DeviceID) ([]id.DeviceID, error) {
	return tx.deleted(user, "delete from devices where user_id = $1 and "+tx.inTexts("device_id", 2)+" returning device_id", list(devices))
}

// DeleteDevicesExcept removes all devices of a user but one, which may be empty for none, and returns those that were there.
func (tx *Tx) DeleteDevicesExcept(user id.UserID, keep id.DeviceID) ([]id.DeviceID, error) {
	return tx.deleted(user, "delete from devices where user_id = $1 and device_id <> $2 returning device_id", keep)
}

// deleted runs a statement that removes devices, which takes along what refers to them, and then removes the rest.
func (tx *Tx) deleted(user id.UserID, sql string, arg any) ([]id.DeviceID, error) {
	gone, err := collect(&tx.ReadTx, scanOne[id.DeviceID], sql, user, arg)
	if err != nil || len(gone) == 0 {
		return gone, err
	}
	pos, err := tx.NextPos()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(gone))
	for i, d := range gone {
		names[i] = string(d)
		tx.keysChanged(user, d, pos)
		tx.OnCommit(func() { tx.store.inbox.taken(deviceKey{user, d}) })
	}
	return gone, tx.DeleteKeySignatures(user, names)
}
