package syncer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// maxToDevice is how many messages to a device one answer has.
//
// Spec: client-server-api#send-to-device-messaging
const maxToDevice = 100

// acknowledge removes the messages that a device has got, as it shows by coming with the token of the answer they were in.
//
// Spec: client-server-api#send-to-device-messaging
func (s *Syncer) acknowledge(ctx context.Context, q query) error {
	if q.initial || s.store.InboxEmpty(q.User, q.Device) {
		return nil
	}
	got := false
	err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		got, err = tx.HasAcknowledged(q.User, q.Device, q.since.Pos)
		return err
	})
	if err != nil || !got {
		return err
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error { return tx.AckToDevice(q.User, q.Device, q.since.Pos) })
}

// toDevice writes the messages to the device. If there are more than the answer has place for, cut is the position of the last.
func (l *look) toDevice() error {
	list, more, err := l.tx.ToDevice(l.User, l.Device, l.since.Pos, maxToDevice)
	if err != nil {
		return fmt.Errorf("load messages to the device: %w", err)
	}
	o := l.openList(`"to_device":{"events":[`)
	l.deviceMessages(&o, list)
	l.closeList(o, `]},`)
	l.some = l.some || o.items > 0
	if more {
		l.cut = list[len(list)-1].Pos
	}
	return nil
}

// deviceMessages appends messages to the device.
func (l *look) deviceMessages(o *opened, list []storage.DeviceMessage) {
	for _, m := range list {
		l.item(o)
		l.buf = append(l.buf, `{"content":`...)
		l.buf = append(l.buf, m.Content...)
		l.buf = append(l.buf, `,"sender":`...)
		l.buf = gjson.AppendJSONString(l.buf, string(m.Sender))
		l.buf = append(l.buf, `,"type":`...)
		l.buf = gjson.AppendJSONString(l.buf, m.Type)
		l.buf = append(l.buf, '}')
	}
}

// saveCut notes how far the device is told of its messages, and makes it fetch the rest.
func (l *look) saveCut(ctx context.Context) error {
	return l.store.Update(ctx, func(tx *storage.Tx) error {
		pos, err := tx.CutToDevice(l.User, l.Device, l.next.Pos, l.cut)
		tx.OnCommit(func() { l.hub.Ring(pos, hub.Device(l.User, l.Device)) })
		return err
	})
}

// deviceLists writes whose keys the client must fetch again, and whose it can forget.
//
// Spec: client-server-api#e2e-extensions-to-sync
func (l *look) deviceLists() error {
	if l.initial {
		return nil
	}
	changed, left, err := l.tx.DeviceListChanges(l.User, l.since.Pos)
	if err != nil {
		return fmt.Errorf("load device lists: %w", err)
	}
	if len(changed)+len(left) == 0 {
		return nil
	}
	l.some = true
	l.buf = append(l.buf, `"device_lists":{"changed":[`...)
	l.users(changed)
	l.buf = append(l.buf, `],"left":[`...)
	l.users(left)
	l.buf = append(l.buf, `]},`...)
	return nil
}

func (l *look) users(list []id.UserID) {
	for i, u := range list {
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.buf = gjson.AppendJSONString(l.buf, string(u))
	}
}

// appendCounts ends an answer with what keys the device has left. The usual algorithm is always there: clients that are not told that no
// one-time keys are left upload none.
//
// Spec: client-server-api#e2e-extensions-to-sync
func appendCounts(b []byte, c *storage.KeyCounts) []byte {
	b = append(b, `"device_one_time_keys_count":{"signed_curve25519":`...)
	b = strconv.AppendInt(b, int64(c.OneTime[usualAlgorithm]), 10)
	if n := len(c.OneTime); n > 1 || n == 1 && c.OneTime[usualAlgorithm] == 0 {
		for _, algorithm := range slices.Sorted(maps.Keys(c.OneTime)) {
			if algorithm != usualAlgorithm {
				b = append(gjson.AppendJSONString(append(b, ','), algorithm), ':')
				b = strconv.AppendInt(b, int64(c.OneTime[algorithm]), 10)
			}
		}
	}
	b = append(b, `},"device_unused_fallback_key_types":[`...)
	for i, algorithm := range c.Fallback {
		if i > 0 {
			b = append(b, ',')
		}
		b = gjson.AppendJSONString(b, algorithm)
	}
	return append(b, `]}`...)
}

const usualAlgorithm = "signed_curve25519"

// bytes is an answer as the client gets it.
func (s *Syncer) bytes(ctx context.Context, q query, a answer) ([]byte, error) {
	if a.body != nil {
		return a.body, nil
	}
	counts := s.store.KnownKeyCounts(q.User, q.Device)
	if counts == nil {
		err := s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
			counts, err = tx.KeyCounts(q.User, q.Device)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	buf := append(make([]byte, 0, 192), `{"next_batch":"`...)
	buf = a.next.Append(buf)
	return appendCounts(append(buf, `",`...), counts), nil
}
