package account

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Devices lists the devices of a user, with sightings as late as a minute ago.
func (s *Service) Devices(ctx context.Context, user id.UserID) ([]storage.Device, error) {
	var out []storage.Device
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.Devices(user)
		return err
	})
	for i := range out {
		s.seen.overlay(&out[i])
	}
	return out, err
}

var errNoDevice = merr.New(merr.NotFound, "There is no such device")

// Device returns one device of a user, or M_NOT_FOUND.
func (s *Service) Device(ctx context.Context, user id.UserID, device id.DeviceID) (storage.Device, error) {
	var out storage.Device
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.Device(user, device)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNoDevice
	}
	s.seen.overlay(&out)
	return out, err
}

// RenameDevice changes the display name of a device, or returns M_NOT_FOUND. Without a name it only looks whether the device exists.
func (s *Service) RenameDevice(ctx context.Context, user id.UserID, device id.DeviceID, name *string) error {
	if name == nil {
		_, err := s.Device(ctx, user, device)
		return err
	}
	if len(*name) > maxDeviceName {
		return merr.Newf(merr.InvalidParam, "The name of a device must not be longer than %d bytes", maxDeviceName)
	}
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.RenameDevice(user, device, deviceName(*name)); err != nil {
			return err
		}
		keyed, err := tx.KeyedDevices(user)
		if err != nil || !slices.Contains(keyed, device) {
			return err
		}
		return s.e2ee.DeviceRenamed(tx, user, device) // others see the name with the keys
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNoDevice
	}
	return err
}

// maxDeleted is the number of devices that one request can delete.
const maxDeleted = 1000

// DeleteDevice logs a device out once the user has confirmed it. One that is not there is no error.
//
// Spec: client-server-api#delete_matrixclientv3devicesdeviceid
func (s *Service) DeleteDevice(ctx context.Context, op Operation, device id.DeviceID) error {
	if _, err := s.confirmUser(ctx, op); err != nil {
		return err
	}
	return s.deleteDevices(ctx, op.User, []id.DeviceID{device})
}

// DeleteListedDevices logs the devices out that the request lists, once the user has confirmed it.
//
// Spec: client-server-api#post_matrixclientv3delete_devices
func (s *Service) DeleteListedDevices(ctx context.Context, op Operation) error {
	if _, err := listedDevices(op.Body); err != nil && !merr.HasCode(err, merr.MissingParam) {
		return err
	}
	c, err := s.confirmUser(ctx, op)
	if err != nil {
		return err
	}
	devices, err := listedDevices(c.Body)
	if err != nil {
		return err
	}
	return s.deleteDevices(ctx, op.User, devices)
}

func listedDevices(body json.RawMessage) ([]id.DeviceID, error) {
	var asked struct {
		Devices []id.DeviceID `json:"devices"`
	}
	if err := decode(body, &asked); err != nil {
		return nil, err
	}
	if asked.Devices == nil {
		return nil, merr.New(merr.MissingParam, "devices is missing")
	}
	if len(asked.Devices) > maxDeleted {
		return nil, merr.Newf(merr.InvalidParam, "At most %d devices can be deleted at once", maxDeleted)
	}
	// What is no device id names no device.
	return slices.DeleteFunc(asked.Devices, func(d id.DeviceID) bool {
		_, err := id.ParseDeviceID(string(d))
		return err != nil
	}), nil
}

func (s *Service) deleteDevices(ctx context.Context, user id.UserID, devices []id.DeviceID) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		tx.OnCommit(func() { s.loggedOut(user) })
		return s.removeDevices(tx, user, func() ([]id.DeviceID, error) { return tx.DeleteDevices(user, devices) })
	})
}

// removeDevices has devices of a user deleted. If some of them have published keys, others must hear of it.
func (s *Service) removeDevices(tx *storage.Tx, user id.UserID, remove func() ([]id.DeviceID, error)) error {
	keyed, err := tx.KeyedDevices(user)
	if err != nil {
		return err
	}
	gone, err := remove()
	if err != nil {
		return err
	}
	for _, d := range gone {
		if err := s.forgetSettings(tx, user, d); err != nil {
			return err
		}
	}
	if gone = slices.DeleteFunc(gone, func(d id.DeviceID) bool { return !slices.Contains(keyed, d) }); len(gone) == 0 {
		return nil
	}
	return s.e2ee.DevicesChanged(tx, user, gone...)
}

// forgetSettings deletes what a user's account data says of the notifications of a device that is gone.
//
// Spec: MSC3890
func (s *Service) forgetSettings(tx *storage.Tx, user id.UserID, device id.DeviceID) error {
	for _, prefix := range []string{"m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."} {
		d, err := tx.AccountData(user, "", prefix+string(device))
		if errors.Is(err, storage.ErrNotFound) || err == nil && d.Deleted() {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.setData(tx, user, storage.AccountData{Type: d.Type, Content: json.RawMessage(`{}`)}); err != nil {
			return err
		}
	}
	return nil
}

// Logout ends a session: the device goes with its tokens.
//
// Spec: client-server-api#post_matrixclientv3logout
func (s *Service) Logout(ctx context.Context, user id.UserID, device id.DeviceID) error {
	return s.deleteDevices(ctx, user, []id.DeviceID{device})
}

// LogoutAll ends all sessions of a user.
//
// Spec: client-server-api#post_matrixclientv3logoutall
func (s *Service) LogoutAll(ctx context.Context, user id.UserID) error {
	return s.store.Update(ctx, func(tx *storage.Tx) error { return s.logoutExcept(tx, user, "") })
}

// logoutExcept ends all sessions of a user but that of one device, which may be empty for none, and revokes the tokens that could start
// another one.
func (s *Service) logoutExcept(tx *storage.Tx, user id.UserID, keep id.DeviceID) error {
	tx.OnCommit(func() { s.loggedOut(user) })
	if err := s.removeDevices(tx, user, func() ([]id.DeviceID, error) { return tx.DeleteDevicesExcept(user, keep) }); err != nil {
		return err
	}
	return tx.DeleteSingleTokens(user)
}

// loggedOut forgets what is known of a user's sessions, and wakes the requests that wait for something to happen, so that they look again.
func (s *Service) loggedOut(user id.UserID) {
	s.sessions.drop(user)
	s.hub.Wake(hub.User(user))
}
