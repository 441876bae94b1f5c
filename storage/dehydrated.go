package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// DehydratedDevice is a device that nobody is logged in at. It collects messages until the user's next device takes them over.
//
// Spec: MSC3814
type DehydratedDevice struct {
	Device id.DeviceID
	Data   json.RawMessage // how clients can make it work; encrypted, as far as it is secret
}

// DehydratedDevice is that of a user, who has one at most.
func (tx *ReadTx) DehydratedDevice(user id.UserID) (DehydratedDevice, error) {
	var d DehydratedDevice
	err := tx.queryRow(`select device_id, data from dehydrated_devices where user_id = $1`, user).Scan(&d.Device, &d.Data)
	return d, err
}

// SetDehydratedDevice makes a device that exists, and that has no tokens, the dehydrated one of a user. It stops to be that when it is deleted.
func (tx *Tx) SetDehydratedDevice(user id.UserID, d DehydratedDevice) error {
	_, err := tx.exec(`insert into dehydrated_devices (user_id, device_id, data) values ($1, $2, $3)
		on conflict (user_id) do update set device_id = excluded.device_id, data = excluded.data`, user, d.Device, d.Data)
	return err
}
