package e2ee

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// The EDUs of this package.
//
// Spec: server-server-api#mdevice_list_update
const (
	DeviceListUpdate         = "m.device_list_update"
	SigningKeyUpdate         = "m.signing_key_update"
	UnstableSigningKeyUpdate = "org.matrix.signing_key_update" // what servers knew it as before Matrix 1.1, and still listen to
	DirectToDevice           = "m.direct_to_device"
)

// listUpdate is the content of m.device_list_update.
type listUpdate struct {
	User        id.UserID       `json:"user_id"`
	Device      id.DeviceID     `json:"device_id"`
	DisplayName *string         `json:"device_display_name,omitempty"`
	Stream      int64           `json:"stream_id"`
	Prev        []int64         `json:"prev_id"`
	Deleted     bool            `json:"deleted,omitempty"`
	Keys        json.RawMessage `json:"keys,omitempty"`
}

// maxAnnounced is how many devices are announced one by one. Of more than that, only the last is: other servers see that something is missing
// and fetch the list.
const maxAnnounced = 10

// DevicesChanged notes that the keys of some of a user's devices have changed, or that the devices are gone, and tells everybody who follows
// them, here and on other servers.
//
// Spec: server-server-api#device-management
func (s *Service) DevicesChanged(tx *storage.Tx, user id.UserID, devices ...id.DeviceID) error {
	pos, err := s.changed(tx, user)
	if err != nil {
		return err
	}
	prev, err := tx.DeviceListVersion(user)
	if err != nil {
		return err
	}
	servers, err := s.audience(tx, user)
	if err != nil {
		return err
	}
	for i, device := range devices {
		if i > 0 {
			if pos, err = tx.NextPos(); err != nil {
				return err
			}
		}
		if len(devices) <= maxAnnounced || i == len(devices)-1 {
			if err := s.announce(tx, servers, user, device, pos, prev); err != nil {
				return err
			}
		}
		prev = pos
	}
	return tx.SetDeviceListVersion(user, pos)
}

// DeviceRenamed is DevicesChanged for a device that has another name: none of other servers' business unless they are told names.
func (s *Service) DeviceRenamed(tx *storage.Tx, user id.UserID, device id.DeviceID) error {
	if s.deviceNames {
		return s.DevicesChanged(tx, user, device)
	}
	_, err := s.changed(tx, user)
	return err
}

// changed tells those users of this server who follow a user's devices and keys, and returns the position of the change.
//
// Spec: client-server-api#tracking-the-device-list-for-a-user
func (s *Service) changed(tx *storage.Tx, user id.UserID) (int64, error) {
	pos, followers, err := tx.ChangeDeviceList(user)
	tx.OnCommit(func() { s.hub.Ring(pos, hub.Users(followers)...) })
	return pos, err
}

// audience is the other servers that follow a user.
func (s *Service) audience(tx *storage.Tx, user id.UserID) ([]id.ServerName, error) {
	if s.outbound == nil {
		return nil, nil
	}
	return tx.ServersSharing(user)
}

// announce queues what there is to say about a device under a stream_id. prev is the one before it, 0 for none.
func (s *Service) announce(tx *storage.Tx, to []id.ServerName, user id.UserID, device id.DeviceID, stream, prev int64) error {
	if len(to) == 0 {
		return nil
	}
	update := listUpdate{User: user, Device: device, Stream: stream, Prev: []int64{}}
	if prev != 0 {
		update.Prev = append(update.Prev, prev)
	}
	row, err := tx.Device(user, device)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		update.Deleted = true
	case err != nil:
		return err
	default:
		if update.Keys, err = signedKeys(tx, user, device); err != nil {
			return err
		}
		if s.deviceNames {
			update.DisplayName = row.DisplayName
		}
	}
	// One device is announced only once at a time. If that leaves a gap, the other server fetches the list.
	return s.queue(tx, to, DeviceListUpdate, DeviceListUpdate+"|"+string(user)+"|"+string(device), update)
}

// signedKeys is the keys of a device with the user's own signatures, nil if it has none.
func signedKeys(tx *storage.Tx, user id.UserID, device id.DeviceID) (json.RawMessage, error) {
	keys, err := tx.DeviceKeys(user, device)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	added, err := tx.KeySignatures([]id.UserID{user}, user)
	return join(keys.Keys, laterSignatures(added).all(keys.Signatures, user, string(device)), nil), err
}

// queue puts an EDU into the outboxes of servers.
func (s *Service) queue(tx *storage.Tx, to []id.ServerName, typ, key string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { s.outbound.Wake(to) })
	return tx.QueueEDU(to, typ, key, text)
}

// crossSigning is the content of m.signing_key_update, and a part of the answer about a user's devices.
type crossSigning struct {
	Master      json.RawMessage `json:"master_key,omitempty"`
	SelfSigning json.RawMessage `json:"self_signing_key,omitempty"`
}

// crossSigningOf is those cross-signing keys of a user of this server that concern other servers, with the user's own signatures.
func crossSigningOf(tx *storage.ReadTx, user id.UserID) (crossSigning, error) {
	var out crossSigning
	keys, err := tx.CrossSigningKeys([]id.UserID{user})
	if err != nil || len(keys) == 0 {
		return out, err
	}
	added, err := tx.KeySignatures([]id.UserID{user}, user)
	if err != nil {
		return out, err
	}
	later := laterSignatures(added)
	for _, k := range keys {
		switch k.Usage {
		case storage.MasterKey:
			out.Master = later.crossSigning(k)
		case storage.SelfSigningKey:
			out.SelfSigning = later.crossSigning(k)
		}
	}
	return out, nil
}

// crossSigningChanged tells everybody who follows a user of other cross-signing keys, or of new signatures of them.
//
// Spec: server-server-api#msigning_key_update
func (s *Service) crossSigningChanged(tx *storage.Tx, user id.UserID) error {
	if _, err := s.changed(tx, user); err != nil {
		return err
	}
	servers, err := s.audience(tx, user)
	if err != nil || len(servers) == 0 {
		return err
	}
	keys, err := crossSigningOf(&tx.ReadTx, user)
	if err != nil {
		return err
	}
	content := struct {
		User id.UserID `json:"user_id"`
		crossSigning
	}{user, keys}
	for _, typ := range []string{SigningKeyUpdate, UnstableSigningKeyUpdate} {
		if err := s.queue(tx, servers, typ, typ+"|"+string(user), content); err != nil {
			return err
		}
	}
	return nil
}

// Joined tells the servers in a room that a user of ours has just joined, and that shared no room with the user before, that there are devices
// to be followed: with one of them, from which the others cannot be known, so that they fetch the list if they care.
//
// Spec: server-server-api#device-management
func (s *Service) Joined(tx *storage.Tx, user id.UserID, room int64) error {
	if s.outbound == nil {
		return nil
	}
	servers, err := tx.ServersMet(user, room)
	if err != nil || len(servers) == 0 {
		return err
	}
	devices, err := tx.KeyedDevices(user)
	if err != nil {
		return err
	}
	if len(devices) == 0 {
		all, err := tx.Devices(user)
		if err != nil || len(all) == 0 {
			return err
		}
		devices = []id.DeviceID{all[0].ID}
	}
	version, err := tx.DeviceListVersion(user)
	if err != nil {
		return err
	}
	if version == 0 {
		if version, err = tx.NextPos(); err != nil {
			return err
		}
		if err := tx.SetDeviceListVersion(user, version); err != nil {
			return err
		}
	}
	return s.announce(tx, servers, user, slices.Max(devices), version, 0)
}
