package e2ee

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// fullParcel is the length of the messages in one EDU, in bytes, beyond which the rest goes into another one.
	fullParcel = 48 << 10
	// maxMessageID is the length of the id of a message from another server, in bytes. The specification has 32 code points.
	maxMessageID = 255
	// maxReceived is how many messages one EDU can have.
	maxReceived = 10000
)

// directMessage is the content of m.direct_to_device.
type directMessage struct {
	Sender   id.UserID `json:"sender"`
	Type     string    `json:"type"`
	ID       string    `json:"message_id"`
	Messages Messages  `json:"messages"`
}

// parcel is an EDU with messages to devices of another server.
type parcel struct {
	to      id.ServerName
	content json.RawMessage
}

// parcels puts messages to users of other servers into EDUs. They can be delivered in any order, and each twice at most once.
//
// Spec: server-server-api#send-to-device-messaging
func (s *Service) parcels(sender id.UserID, typ string, users map[id.ServerName][]id.UserID, messages Messages) ([]parcel, error) {
	var out []parcel
	if s.outbound == nil {
		return nil, nil
	}
	for server, list := range users {
		m, size := Messages{}, 0
		flush := func() error {
			if len(m) == 0 {
				return nil
			}
			content, err := json.Marshal(directMessage{sender, typ, rand.Text(), m})
			out = append(out, parcel{server, content})
			m, size = Messages{}, 0
			return err
		}
		for _, u := range list {
			// What is said to all devices of a user must come with what is said to some of them instead.
			_, together := messages[u][storage.AllDevices]
			for i, d := range slices.Sorted(maps.Keys(messages[u])) {
				if size >= fullParcel && (!together || i == 0) {
					if err := flush(); err != nil {
						return nil, err
					}
				}
				if !goodName(string(d)) {
					continue
				}
				if m[u] == nil {
					m[u] = map[id.DeviceID]json.RawMessage{}
				}
				m[u][d] = messages[u][d]
				size += len(u) + len(d) + len(messages[u][d])
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ReceiveToDevice takes an m.direct_to_device of another server. The same one again changes nothing. Devices with too many messages get no more.
//
// Spec: server-server-api#send-to-device-messaging
func (s *Service) ReceiveToDevice(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	m, err := directMessageFrom(origin, content)
	if err != nil {
		return err
	}
	local, _ := s.split(slices.Sorted(maps.Keys(m.Messages)))
	return s.store.Update(ctx, func(tx *storage.Tx) error {
		fresh, err := tx.ReceiveMessage(origin, m.ID, s.clock.Now().UnixMilli())
		if err != nil || !fresh {
			return err
		}
		reached, err := s.deliver(tx, m.Sender, m.Type, local, m.Messages)
		if err == nil && reached == 0 {
			err = errNobody // nor is the message noted: the database could be filled with what nobody gets
		}
		return err
	})
}

var errNobody = merr.New(merr.NotFound, "There is no device that could take any of the messages")

func directMessageFrom(origin id.ServerName, content json.RawMessage) (*directMessage, error) {
	var m directMessage
	if json.Unmarshal(content, &m) != nil {
		return nil, merr.New(merr.BadJSON, "The message has members of a wrong type")
	}
	if err := ownedBy(origin, m.Sender); err != nil {
		return nil, err
	}
	count := 0
	for _, devices := range m.Messages {
		count += len(devices)
	}
	switch {
	case !goodName(m.Type):
		return nil, merr.New(merr.InvalidParam, "The type is missing or too long")
	case !goodName(m.ID) || len(m.ID) > maxMessageID:
		return nil, merr.New(merr.InvalidParam, "The message_id is missing or too long")
	case count > maxReceived:
		return nil, merr.Newf(merr.InvalidParam, "There are more than %d messages", maxReceived)
	}
	return &m, m.Messages.check()
}
