package e2ee

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// userKeys is the keys of a user of another server, as far as the user's signatures and ids fit.
type userKeys struct {
	devices      []storage.DeviceKeys
	crossSigning []storage.CrossSigningKey
	version      int64 // the stream_id of the last update that is in it; 0: not known
}

const (
	// maxRemoteDevices is how many devices a user of another server can have. A list with more is not read.
	maxRemoteDevices = 1000
	// maxDeviceName is the length of a device's display name, in bytes. Of longer ones the beginning is kept.
	maxDeviceName = 255
)

// parseKeyAnswer reads an answer to /user/keys/query. What was not asked for, and devices and keys that are not what they are said to be, are
// left out.
//
// Spec: server-server-api#post_matrixfederationv1userkeysquery
func parseKeyAnswer(raw json.RawMessage, asked []id.UserID) (map[id.UserID]*userKeys, error) {
	var answer struct {
		Devices     map[id.UserID]json.RawMessage `json:"device_keys"`
		Master      map[id.UserID]json.RawMessage `json:"master_keys"`
		SelfSigning map[id.UserID]json.RawMessage `json:"self_signing_keys"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read an answer about keys: %w", err)
	}
	out := make(map[id.UserID]*userKeys, len(asked))
	for _, u := range asked {
		var devices map[id.DeviceID]json.RawMessage
		if json.Unmarshal(answer.Devices[u], &devices) != nil || devices == nil || len(devices) > maxRemoteDevices {
			continue
		}
		keys := &userKeys{}
		for d, object := range devices {
			keys.addDevice(u, d, object, displayName(object))
		}
		keys.addCrossSigning(u, storage.MasterKey, answer.Master[u])
		keys.addCrossSigning(u, storage.SelfSigningKey, answer.SelfSigning[u])
		out[u] = keys
	}
	return out, nil
}

// parseUserDevices reads an answer to /user/devices in the same way.
//
// Spec: server-server-api#get_matrixfederationv1userdevicesuserid
func parseUserDevices(raw json.RawMessage, user id.UserID) (*userKeys, error) {
	var answer struct {
		User    id.UserID   `json:"user_id"`
		Stream  json.Number `json:"stream_id"`
		Devices []struct {
			ID   id.DeviceID     `json:"device_id"`
			Keys json.RawMessage `json:"keys"`
			Name json.RawMessage `json:"device_display_name"`
		} `json:"devices"`
		crossSigning
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read the devices of a user: %w", err)
	}
	switch {
	case answer.User != user:
		return nil, fmt.Errorf("the answer is about another user")
	case answer.Devices == nil:
		return nil, errNoAnswer
	case len(answer.Devices) > maxRemoteDevices:
		return nil, fmt.Errorf("the user has more than %d devices", maxRemoteDevices)
	}
	keys := &userKeys{version: streamID(answer.Stream)}
	seen := map[id.DeviceID]bool{}
	for _, d := range answer.Devices {
		if !seen[d.ID] && present(d.Keys) {
			seen[d.ID] = true
			keys.addDevice(user, d.ID, d.Keys, text(d.Name))
		}
	}
	keys.addCrossSigning(user, storage.MasterKey, answer.Master)
	keys.addCrossSigning(user, storage.SelfSigningKey, answer.SelfSigning)
	return keys, nil
}

// streamID is a stream_id as a number, 0 if it is none that we can compare.
func streamID(n json.Number) int64 {
	v, err := n.Int64()
	if err != nil {
		return 0
	}
	return v
}

func (k *userKeys) addDevice(user id.UserID, device id.DeviceID, raw json.RawMessage, name *string) {
	if _, err := id.ParseDeviceID(string(device)); err != nil {
		return
	}
	if keys, err := parseDeviceKeys(user, device, raw); err == nil {
		keys.DisplayName = name
		k.devices = append(k.devices, *keys)
	}
}

func (k *userKeys) addCrossSigning(user id.UserID, usage string, raw json.RawMessage) {
	if !present(raw) {
		return
	}
	if key, err := parseCrossSigning(user, usage, raw); err == nil {
		k.crossSigning = append(k.crossSigning, key.CrossSigningKey)
	}
}

// displayName is what the server of a device says that it is called.
func displayName(object json.RawMessage) *string {
	var fields struct {
		Unsigned struct {
			Name json.RawMessage `json:"device_display_name"`
		} `json:"unsigned"`
	}
	if json.Unmarshal(object, &fields) != nil {
		return nil
	}
	return text(fields.Unsigned.Name)
}

// text reads a name as it can be stored, nil if there is none.
func text(raw json.RawMessage) *string {
	var name *string
	if json.Unmarshal(raw, &name) != nil || name == nil {
		return nil
	}
	short := strings.ReplaceAll(*name, "\x00", "")
	short = strings.ToValidUTF8(short[:min(len(short), maxDeviceName)], "")
	return &short
}

// listUpdateFrom reads an m.device_list_update of another server.
//
// Spec: server-server-api#mdevice_list_update
func listUpdateFrom(origin id.ServerName, content json.RawMessage) (*remoteUpdate, error) {
	var fields struct {
		User    id.UserID       `json:"user_id"`
		Device  id.DeviceID     `json:"device_id"`
		Name    json.RawMessage `json:"device_display_name"`
		Stream  json.Number     `json:"stream_id"`
		Prev    []json.Number   `json:"prev_id"`
		Deleted bool            `json:"deleted"`
		Keys    json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(content, &fields) != nil {
		return nil, merr.New(merr.BadJSON, "The update has members of a wrong type")
	}
	if err := ownedBy(origin, fields.User); err != nil {
		return nil, err
	}
	if _, err := id.ParseDeviceID(string(fields.Device)); err != nil {
		return nil, merr.New(merr.InvalidParam, "The device_id is not one")
	}
	u := &remoteUpdate{user: fields.User, device: fields.Device, stream: streamID(fields.Stream), deleted: fields.Deleted}
	if u.stream == 0 {
		return nil, merr.New(merr.InvalidParam, "The stream_id is not an integer")
	}
	// An update with more predecessors than this has some that we have not seen.
	for _, p := range fields.Prev[:min(len(fields.Prev), 2)] {
		u.prev = append(u.prev, streamID(p))
	}
	if present(fields.Keys) && !u.deleted {
		keys, err := parseDeviceKeys(u.user, u.device, fields.Keys)
		if err != nil {
			return nil, err
		}
		keys.DisplayName = text(fields.Name)
		u.keys = keys
	}
	return u, nil
}

// remoteUpdate is what has become of one device of another server.
type remoteUpdate struct {
	user    id.UserID
	device  id.DeviceID
	stream  int64
	prev    []int64
	deleted bool
	keys    *storage.DeviceKeys // nil: it has none
}

// signingUpdateFrom reads an m.signing_key_update of another server.
//
// Spec: server-server-api#msigning_key_update
func signingUpdateFrom(origin id.ServerName, content json.RawMessage) (id.UserID, []storage.CrossSigningKey, error) {
	var fields struct {
		User id.UserID `json:"user_id"`
		crossSigning
	}
	if json.Unmarshal(content, &fields) != nil {
		return "", nil, merr.New(merr.BadJSON, "The update has members of a wrong type")
	}
	if err := ownedBy(origin, fields.User); err != nil {
		return "", nil, err
	}
	var keys []storage.CrossSigningKey
	for _, part := range []struct { // the master key first
		usage string
		raw   json.RawMessage
	}{{storage.MasterKey, fields.Master}, {storage.SelfSigningKey, fields.SelfSigning}} {
		if !present(part.raw) {
			continue
		}
		k, err := parseCrossSigning(fields.User, part.usage, part.raw)
		if err != nil {
			return "", nil, err
		}
		keys = append(keys, k.CrossSigningKey)
	}
	return fields.User, keys, nil
}

// ownedBy makes sure that a server speaks for its own user.
func ownedBy(origin id.ServerName, user id.UserID) error {
	if _, err := id.ParseUserID(string(user)); err != nil {
		return merr.New(merr.InvalidParam, "The user is not a user id")
	}
	if user.Server() != origin {
		return merr.New(merr.Forbidden, "The user is of another server")
	}
	return nil
}
