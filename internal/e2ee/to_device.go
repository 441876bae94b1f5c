package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// Messages is contents by user and device, which may be storage.AllDevices.
type Messages map[id.UserID]map[id.DeviceID]json.RawMessage

const (
	// maxInbox is how much can wait for a device, in bytes: some ten thousand keys of rooms. What was taken is never removed again but with its
	// device, so that nothing is lost for somebody who comes back after a long time; what is too much is not taken.
	maxInbox = 64 << 20
	// awake is how long ago a device was seen that will surely fetch what waits for it. If it has too much, it is being flooded.
	awake = time.Hour
	// fetching is how long it may take such a device to fetch a part of it.
	fetching = 10 * time.Second
)

// SendToDevice puts messages of one type into the inboxes of devices, and of the servers of devices that are elsewhere. A repeated transaction
// changes nothing. Devices that are not there get nothing, nor do those that were away for so long that their inbox is full. If that of a device
// is full that is not away, nobody gets anything: M_LIMIT_EXCEEDED.
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
		if _, err := s.deliver(tx, txn.User, typ, local, messages, s.refuseIfAwake); err != nil {
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

// deliver stores messages for local users, rings for their devices, and returns how many it has stored. full decides about a device that has too
// much waiting for it already, which gets nothing: an error stops it all.
func (s *Service) deliver(tx *storage.Tx, sender id.UserID, typ string, users []id.UserID, messages Messages,
	full func(tx *storage.Tx, u id.UserID, d id.DeviceID) error) (int, error) {
	if len(users) == 0 {
		return 0, nil
	}
	pos, err := tx.NextPos()
	if err != nil {
		return 0, err
	}
	var keys []hub.Key
	for _, u := range users {
		contents, err := expand(tx, u, messages[u])
		if err != nil {
			return 0, err
		}
		for _, d := range slices.Sorted(maps.Keys(contents)) {
			size, err := tx.InboxSize(u, d)
			if err != nil {
				return 0, err
			}
			if size >= s.maxInbox {
				s.log.Info("a device has too many messages waiting", slog.String("user", string(u)), slog.String("device", string(d)))
				if err := full(tx, u, d); err != nil {
					return 0, err
				}
				continue
			}
			found, err := tx.SendToDevice(u, d, storage.DeviceMessage{Pos: pos, Sender: sender, Type: typ, Content: contents[d]})
			if err != nil {
				return 0, err
			}
			if found {
				keys = append(keys, hub.Device(u, d))
			}
		}
	}
	tx.OnCommit(func() { s.hub.Ring(pos, keys...) })
	return len(keys), nil
}

// expand gives what is for all devices to those that have no message of their own, and leaves out what cannot be a device.
func expand(tx *storage.Tx, user id.UserID, contents map[id.DeviceID]json.RawMessage) (map[id.DeviceID]json.RawMessage, error) {
	out := make(map[id.DeviceID]json.RawMessage, len(contents))
	if forAll, ok := contents[storage.AllDevices]; ok {
		devices, err := tx.Devices(user)
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			out[d.ID] = forAll
		}
	}
	for d, content := range contents {
		if d != storage.AllDevices && goodName(string(d)) {
			out[d] = content
		}
	}
	return out, nil
}

// refuseIfAwake tells whoever floods a device of this server to wait. To devices that are away the others' messages must not wait for them.
func (s *Service) refuseIfAwake(tx *storage.Tx, user id.UserID, device id.DeviceID) error {
	d, err := tx.Device(user, device)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil && d.LastSeenTS > s.clock.Now().Add(-awake).UnixMilli() {
		err = merr.New(merr.LimitExceeded, "Too many messages wait for a device").With("retry_after_ms", fetching.Milliseconds())
	}
	return err
}
