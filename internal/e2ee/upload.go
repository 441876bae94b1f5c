package e2ee

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// KeyUpload is what a device publishes; all of it may be missing.
type KeyUpload struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"` // by algorithm:id
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
}

// The keys that a device can have on the server. Clients keep about 50 one-time keys there.
const (
	maxOneTimeKeys  = 1000
	maxFallbackKeys = 20
)

// DefaultAlgorithm is the algorithm of one-time keys that every client uses. Counts always have it: clients that are not told that none are
// left upload none.
const DefaultAlgorithm = "signed_curve25519"

// UploadKeys publishes keys of a device and returns how many one-time keys it has by algorithm. What is published already is left alone; a
// one-time key whose id is taken by another one is M_INVALID_PARAM, and then nothing is published.
//
// Spec: client-server-api#post_matrixclientv3keysupload
func (s *Service) UploadKeys(ctx context.Context, user id.UserID, device id.DeviceID, up KeyUpload) (map[string]int, error) {
	if device == "" {
		return nil, merr.New(merr.InvalidParam, "Only devices have keys, and this request is not from one")
	}
	identity, oneTime, fallback, err := parseUpload(user, device, up)
	if err != nil {
		return nil, err
	}
	var counts map[string]int
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		if _, err := tx.Device(user, device); errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.UnknownToken, "The device has been logged out")
		} else if err != nil {
			return err
		}
		if identity != nil {
			if err := s.setDeviceKeys(tx, *identity); err != nil {
				return err
			}
		}
		counts, err = addKeys(tx, user, device, oneTime, fallback)
		return err
	})
	return counts, err
}

// parseUpload reads keys of a device; identity is nil if those are missing.
func parseUpload(user id.UserID, device id.DeviceID, up KeyUpload) (identity *storage.DeviceKeys, oneTime, fallback []storage.OneTimeKey, err error) {
	if present(up.DeviceKeys) {
		if identity, err = parseDeviceKeys(user, device, up.DeviceKeys); err != nil {
			return nil, nil, nil, err
		}
	}
	if oneTime, err = parseKeys(up.OneTimeKeys, maxOneTimeKeys); err != nil {
		return nil, nil, nil, err
	}
	if fallback, err = parseKeys(up.FallbackKeys, maxFallbackKeys); err != nil {
		return nil, nil, nil, err
	}
	for i := 1; i < len(fallback); i++ {
		if fallback[i].Algorithm == fallback[i-1].Algorithm {
			return nil, nil, nil, merr.Newf(merr.InvalidParam, "There are several fallback keys for %s", fallback[i].Algorithm)
		}
	}
	return identity, oneTime, fallback, nil
}

// parseDeviceKeys checks that an object is what the specification calls DeviceKeys, for this very device.
func parseDeviceKeys(user id.UserID, device id.DeviceID, raw json.RawMessage) (*storage.DeviceKeys, error) {
	object, err := parseSigned(raw)
	if err != nil {
		return nil, err
	}
	var claims struct {
		User       id.UserID         `json:"user_id"`
		Device     id.DeviceID       `json:"device_id"`
		Algorithms []string          `json:"algorithms"`
		Keys       map[string]string `json:"keys"`
	}
	if json.Unmarshal(object.canonical, &claims) != nil {
		return nil, merr.New(merr.BadJSON, "device_keys has members of a wrong type")
	}
	switch {
	case claims.User != user:
		return nil, merr.New(merr.InvalidParam, "The user_id of device_keys is not that of the user")
	case claims.Device != device:
		return nil, merr.New(merr.InvalidParam, "The device_id of device_keys is not that of the device")
	case claims.Algorithms == nil || claims.Keys == nil || object.signatures == nil:
		return nil, merr.New(merr.BadJSON, "device_keys needs algorithms, keys and signatures")
	}
	return &storage.DeviceKeys{User: user, Device: device, Keys: object.canonical, Signatures: object.signatures.of(user)}, nil
}

// parseKeys reads one-time or fallback keys, in the order of algorithms and ids.
func parseKeys(keys map[string]json.RawMessage, most int) ([]storage.OneTimeKey, error) {
	if len(keys) > most {
		return nil, merr.Newf(merr.InvalidParam, "There are more than %d keys", most)
	}
	out := make([]storage.OneTimeKey, 0, len(keys))
	for name, raw := range keys {
		algorithm, keyID, ok := strings.Cut(name, ":")
		if !ok || !goodName(algorithm) || !goodName(keyID) {
			return nil, merr.New(merr.InvalidParam, "The name of a key is not an algorithm and an id with a colon between them")
		}
		if len(raw) > maxObject {
			return nil, merr.Newf(merr.TooLarge, "A key must not be longer than %d bytes", maxObject)
		}
		if raw[0] != '{' && raw[0] != '"' {
			return nil, merr.New(merr.BadJSON, "A key is neither an object nor a string")
		}
		key, err := canonical(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, storage.OneTimeKey{Algorithm: algorithm, ID: keyID, Key: key})
	}
	slices.SortFunc(out, func(a, b storage.OneTimeKey) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// setDeviceKeys stores a device's identity keys, if they are not those that it has.
func (s *Service) setDeviceKeys(tx *storage.Tx, k storage.DeviceKeys) error {
	// Spec: client-server-api#key-and-signature-security, names of devices and of cross-signing keys are in one space
	taken, err := tx.IsCrossSigningKey(k.User, string(k.Device))
	if err != nil {
		return err
	}
	if taken {
		return merr.New(merr.Forbidden, "The device has the name of a cross-signing key")
	}
	old, err := tx.DeviceKeys(k.User, k.Device)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	case bytes.Equal(old.Keys, k.Keys) && bytes.Equal(old.Signatures, k.Signatures):
		return nil
	case !bytes.Equal(old.Keys, k.Keys):
		if err := tx.DeleteKeySignatures(k.User, []string{string(k.Device)}); err != nil {
			return err
		}
	}
	if err := tx.SetDeviceKeys(k); err != nil {
		return err
	}
	return s.DevicesChanged(tx, k.User, k.Device)
}

// addKeys stores the one-time and fallback keys that a device does not have yet.
func addKeys(tx *storage.Tx, user id.UserID, device id.DeviceID, oneTime, fallback []storage.OneTimeKey) (map[string]int, error) {
	fresh, err := unknownKeys(tx, user, device, oneTime)
	if err != nil {
		return nil, err
	}
	if len(fresh)+len(fallback) > 0 {
		pos, err := tx.NextPos()
		if err != nil {
			return nil, err
		}
		if err := tx.AddOneTimeKeys(user, device, pos, fresh); err != nil {
			return nil, err
		}
		for _, k := range fallback {
			if err := tx.SetFallbackKey(user, device, pos, k); err != nil {
				return nil, err
			}
		}
	}
	counts, err := tx.KeyCounts(user, device)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, n := range counts.OneTime {
		total += n
	}
	if total > maxOneTimeKeys && len(fresh) > 0 {
		return nil, merr.Newf(merr.InvalidParam, "A device can have at most %d one-time keys", maxOneTimeKeys)
	}
	counts.OneTime[DefaultAlgorithm] += 0
	return counts.OneTime, nil
}

// unknownKeys is those of a device's new one-time keys that it has not uploaded before: clients that got no answer try again.
func unknownKeys(tx *storage.Tx, user id.UserID, device id.DeviceID, keys []storage.OneTimeKey) ([]storage.OneTimeKey, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	known, err := tx.OneTimeKeys(user, device, ids)
	if err != nil {
		return nil, err
	}
	has := map[string]json.RawMessage{}
	for _, k := range known {
		has[k.Algorithm+":"+k.ID] = k.Key
	}
	var fresh []storage.OneTimeKey
	for _, k := range keys {
		name := k.Algorithm + ":" + k.ID
		switch old, ok := has[name]; {
		case !ok:
			fresh = append(fresh, k)
		case !bytes.Equal(old, k.Key):
			// Clients of the Rust SDK read this text, so its form is that which they expect.
			return nil, merr.Newf(merr.InvalidParam, "One time key %s already exists. Old key: %s; new key: %s", name, old, k.Key)
		}
	}
	return fresh, nil
}
