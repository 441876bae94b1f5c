package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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

// maxInbox is how much can wait for a device, in bytes: some ten thousand keys of rooms. What was taken is never removed again but with its
// device, so that nothing is lost for somebody who comes back after a long time; what is too much is not taken.
const maxInbox = 64 << 20

// SendToDevice puts messages of one type into the inboxes of devices, and of the servers of devices that are elsewhere. A repeated transaction
// changes nothing. Devices that are not there get nothing, nor do those whose inbox is full. The sender hears nothing of that: one device that never
// takes its messages must not keep others from theirs.
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
		if _, err := s.deliver(tx, txn.User, typ, local, messages); err != nil {
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

// deliver stores messages for local users, rings for their devices, and returns how many it has stored.
func (s *Service) deliver(tx *storage.Tx, sender id.UserID, typ string, users []id.UserID, messages Messages) (int, error) {
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
