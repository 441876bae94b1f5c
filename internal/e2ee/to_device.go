package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Messages is contents by user and device, which may be storage.AllDevices.
type Messages map[id.UserID]map[id.DeviceID]json.RawMessage

// SendToDevice puts messages of one type into the queues of devices, and of the servers of devices that are elsewhere. A repeated transaction
// changes nothing. Devices that are not there get nothing.
//
// Spec: client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
func (s *Service) SendToDevice(ctx context.Context, txn storage.Txn, typ string, messages Messages) error {
	if !goodName(typ) {
		return merr.New(merr.InvalidParam, "The type is too long")
	}
	if err := messages.check(); err != nil {
		return err
	}
	local, remote := s.split(slices.Sorted(maps.Keys(messages)))
	edus, err := s.parcels(txn.User, typ, remote, messages)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		if _, err := tx.TxnAnswer(txn); !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		send := func(u id.UserID, d id.DeviceID, m storage.DeviceMessage) ([]id.DeviceID, error) {
			return tx.SendToDevice(u, d, m)
		}
		if err := s.deliver(tx, txn.User, typ, local, messages, send); err != nil {
			return err
		}
		for _, e := range edus {
			if err := tx.QueueEDU([]id.ServerName{e.to}, DirectToDevice, "", e.content); err != nil {
				return err
			}
			tx.OnCommit(func() { s.outbound.Wake([]id.ServerName{e.to}) })
		}
		return tx.SaveTxnAnswer(txn, "{}", s.clock.Now().UnixMilli())
	})
}

// check makes sure that messages can be stored.
func (m Messages) check() error {
	for _, devices := range m {
		for _, content := range devices {
			if len(content) == 0 || content[0] != '{' {
				return merr.New(merr.BadJSON, "The content of a message is not an object")
			}
			if !utf8.Valid(content) {
				return merr.New(merr.BadJSON, "The content of a message is not UTF-8")
			}
			if len(content) > maxObject {
				return merr.Newf(merr.TooLarge, "A message must not be longer than %d bytes", maxObject)
			}
		}
	}
	return nil
}

// deliver stores messages for local users by way of send, and rings for their devices.
func (s *Service) deliver(tx *storage.Tx, sender id.UserID, typ string, users []id.UserID, messages Messages,
	send func(id.UserID, id.DeviceID, storage.DeviceMessage) ([]id.DeviceID, error)) error {
	if len(users) == 0 {
		return nil
	}
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	var keys []hub.Key
	for _, u := range users {
		// All devices come last, and mean those that have no message of their own: a device gets only one.
		for _, d := range slices.SortedFunc(maps.Keys(messages[u]), allLast) {
			if !goodName(string(d)) {
				continue
			}
			devices, err := send(u, d, storage.DeviceMessage{Pos: pos, Sender: sender, Type: typ, Content: messages[u][d]})
			if err != nil {
				return err
			}
			for _, d := range devices {
				keys = append(keys, hub.Device(u, d))
			}
		}
	}
	tx.OnCommit(func() { s.hub.Ring(pos, keys...) })
	return nil
}

// allLast orders devices, and storage.AllDevices after them.
func allLast(a, b id.DeviceID) int {
	switch {
	case a == b:
		return 0
	case a == storage.AllDevices, b != storage.AllDevices && a > b:
		return 1
	}
	return -1
}
