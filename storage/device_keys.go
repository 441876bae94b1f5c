package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// DeviceKeys is the identity keys of a device.
type DeviceKeys struct {
	User        id.UserID
	Device      id.DeviceID
	Keys        json.RawMessage // canonical, without signatures and unsigned
	Signatures  json.RawMessage // those that came with the keys
	DisplayName *string         // of the device; not written
}

func scanDeviceKeys(r rowScanner) (DeviceKeys, error) {
	var k DeviceKeys
	err := r.Scan(&k.User, &k.Device, &k.Keys, &k.Signatures, &k.DisplayName)
	return k, err
}

const selectDeviceKeys = `select k.user_id, k.device_id, k.keys, k.signatures, d.display_name from device_keys k
	join devices d on d.user_id = k.user_id and d.device_id = k.device_id where `

// DeviceKeys is the keys of one device.
func (tx *ReadTx) DeviceKeys(user id.UserID, device id.DeviceID) (DeviceKeys, error) {
	return scanDeviceKeys(tx.queryRow(selectDeviceKeys+`k.user_id = $1 and k.device_id = $2`, user, device))
}

// DeviceKeysOf is the keys of all devices of some users, in the order of their ids. Devices without keys are left out.
func (tx *ReadTx) DeviceKeysOf(users []id.UserID) ([]DeviceKeys, error) {
	return collect(tx, scanDeviceKeys, selectDeviceKeys+tx.inTexts("k.user_id", 1)+` order by k.user_id, k.device_id`, list(users))
}

// KeyedDevices is the devices of a user that have published keys.
func (tx *ReadTx) KeyedDevices(user id.UserID) ([]id.DeviceID, error) {
	return collect(tx, scanOne[id.DeviceID], `select device_id from device_keys where user_id = $1 order by device_id`, user)
}

// SetDeviceKeys stores the keys of a device that exists.
func (tx *Tx) SetDeviceKeys(k DeviceKeys) error {
	_, err := tx.exec(`insert into device_keys (user_id, device_id, keys, signatures) values ($1, $2, $3, $4)
		on conflict (user_id, device_id) do update set keys = excluded.keys, signatures = excluded.signatures`,
		k.User, k.Device, k.Keys, k.Signatures)
	return err
}
