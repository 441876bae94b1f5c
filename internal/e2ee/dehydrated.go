package e2ee

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// DehydratedUpload is a device that a user leaves behind, to collect messages while the user is logged out everywhere.
type DehydratedUpload struct {
	Device id.DeviceID     `json:"device_id"`
	Data   json.RawMessage `json:"device_data"`
	Name   json.RawMessage `json:"initial_device_display_name"`
	KeyUpload
}

// dehydratedBatch is how many messages to a dehydrated device one answer has.
const dehydratedBatch = 100

var errNotDehydrated = merr.New(merr.NotFound, "There is no dehydrated device")

// SetDehydrated stores a user's dehydrated device with its keys, in the place of the one before. It is a device like others, but has no tokens.
//
// Spec: MSC3814, dehydrating a device
func (s *Service) SetDehydrated(ctx context.Context, user id.UserID, up DehydratedUpload) error {
	if err := up.check(); err != nil {
		return err
	}
	identity, oneTime, fallback, err := parseUpload(user, up.Device, up.KeyUpload)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if err := s.replaceDehydrated(tx, user, up.Device); err != nil {
			return err
		}
		row := storage.Device{UserID: user, ID: up.Device, DisplayName: text(up.Name), CreatedTS: s.clock.Now().UnixMilli()}
		if _, err := tx.InsertDevice(row); err != nil {
			return err
		}
		if err := tx.SetDehydratedDevice(user, storage.DehydratedDevice{Device: up.Device, Data: up.Data}); err != nil {
			return err
		}
		if err := s.setDeviceKeys(tx, *identity); err != nil {
			return err
		}
		_, err := addKeys(tx, user, up.Device, oneTime, fallback)
		return err
	})
}

func (up *DehydratedUpload) check() error {
	if _, err := id.ParseDeviceID(string(up.Device)); err != nil {
		return merr.New(merr.InvalidParam, "device_id is missing, or is none")
	}
	var data struct {
		Algorithm string `json:"algorithm"`
	}
	switch {
	case !present(up.Data) || !present(up.DeviceKeys):
		return merr.New(merr.MissingParam, "A dehydrated device needs device_data and device_keys")
	case len(up.Data) > maxObject:
		return merr.Newf(merr.TooLarge, "device_data must not be longer than %d bytes", maxObject)
	case json.Unmarshal(up.Data, &data) != nil || data.Algorithm == "":
		return merr.New(merr.BadJSON, "device_data is not an object with an algorithm")
	}
	return nil
}

// replaceDehydrated removes a user's dehydrated device, unless it is the same one that comes again. A device at which somebody is logged in is
// not replaced.
func (s *Service) replaceDehydrated(tx *storage.Tx, user id.UserID, with id.DeviceID) error {
	old, err := tx.DehydratedDevice(user)
	switch {
	case err == nil && old.Device == with:
		return nil
	case err == nil:
		err = s.removeDehydrated(tx, user, old.Device)
	case errors.Is(err, storage.ErrNotFound):
		err = nil
	}
	if err != nil {
		return err
	}
	switch _, err := tx.Device(user, with); {
	case err == nil:
		return merr.New(merr.Forbidden, "The device is not a dehydrated one")
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return nil
}

func (s *Service) removeDehydrated(tx *storage.Tx, user id.UserID, device id.DeviceID) error {
	gone, err := tx.DeleteDevices(user, []id.DeviceID{device})
	if err != nil {
		return err
	}
	return s.DevicesChanged(tx, user, gone...)
}

// Dehydrated is a user's dehydrated device, or M_NOT_FOUND.
//
// Spec: MSC3814, rehydrating a device
func (s *Service) Dehydrated(ctx context.Context, user id.UserID) (storage.DehydratedDevice, error) {
	var out storage.DehydratedDevice
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		out, err = tx.DehydratedDevice(user)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNotDehydrated
	}
	return out, err
}

// DeleteDehydrated removes a user's dehydrated device and returns which it was, or M_NOT_FOUND.
//
// Spec: MSC3814, deleting a dehydrated device
func (s *Service) DeleteDehydrated(ctx context.Context, user id.UserID) (id.DeviceID, error) {
	var device id.DeviceID
	err := s.store.Update(ctx, func(tx *storage.Tx) error {
		old, err := tx.DehydratedDevice(user)
		if err != nil {
			return err
		}
		device = old.Device
		return s.removeDehydrated(tx, user, device)
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = errNotDehydrated
	}
	return device, err
}

// DehydratedMessages is messages to a user's dehydrated device after a position, 0 for the first. They stay: whoever takes them over may fail,
// and another device try again. more says that there are others, after the last one's position. For another device it is M_FORBIDDEN.
//
// Spec: MSC3814, rehydrating a device
func (s *Service) DehydratedMessages(ctx context.Context, user id.UserID, device id.DeviceID, after int64) (list []storage.DeviceMessage, more bool, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		d, err := tx.DehydratedDevice(user)
		if errors.Is(err, storage.ErrNotFound) || err == nil && d.Device != device {
			return merr.New(merr.Forbidden, "This is not the dehydrated device")
		}
		if err != nil {
			return err
		}
		list, more, err = tx.ToDevice(user, device, after, dehydratedBatch)
		return err
	})
	return list, more, err
}
