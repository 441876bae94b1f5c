package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// KeyAnswer is what is known of the keys of users, each object as it was uploaded and with the signatures that the asking user may see.
type KeyAnswer struct {
	DeviceKeys      map[id.UserID]map[id.DeviceID]json.RawMessage `json:"device_keys"`
	MasterKeys      map[id.UserID]json.RawMessage                 `json:"master_keys"`
	SelfSigningKeys map[id.UserID]json.RawMessage                 `json:"self_signing_keys"`
	UserSigningKeys map[id.UserID]json.RawMessage                 `json:"user_signing_keys"`
	Failures        map[id.ServerName]*merr.Error                 `json:"failures"`
}

func newKeyAnswer() *KeyAnswer {
	return &KeyAnswer{
		DeviceKeys: map[id.UserID]map[id.DeviceID]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{},
		SelfSigningKeys: map[id.UserID]json.RawMessage{}, UserSigningKeys: map[id.UserID]json.RawMessage{},
	}
}

// QueryKeys finds the keys of users: of the devices that are listed for them, or of all if none are. It waits for other servers as long as
// wait, within bounds; 0 is the usual time.
//
// Spec: client-server-api#post_matrixclientv3keysquery
func (s *Service) QueryKeys(ctx context.Context, viewer id.UserID, asked map[id.UserID][]id.DeviceID, wait time.Duration) (*KeyAnswer, error) {
	local, remote := s.split(slices.Sorted(maps.Keys(asked)))
	out := newKeyAnswer()
	found, failures, err := s.remoteKeys(ctx, remote, wait)
	if err != nil {
		return nil, err
	}
	out.Failures = failures
	if err := s.addRemoteKeys(ctx, out, viewer, found, asked); err != nil {
		return nil, err
	}
	return out, s.localKeys(ctx, out, viewer, local, asked, true)
}

// localKeys adds the keys of users of this server, as a viewer may see them, with or without the names of devices.
func (s *Service) localKeys(ctx context.Context, out *KeyAnswer, viewer id.UserID, users []id.UserID, asked map[id.UserID][]id.DeviceID,
	names bool) error {
	if len(users) == 0 {
		return nil
	}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		added, err := tx.KeySignatures(users, viewer)
		if err != nil {
			return err
		}
		later := laterSignatures(added)
		devices, err := tx.DeviceKeysOf(users)
		if err != nil {
			return err
		}
		for _, k := range devices {
			if !names {
				k.DisplayName = nil
			}
			out.addDevice(later, k, asked[k.User])
		}
		// Spec: client-server-api#post_matrixclientv3keysquery, unknown users are missing
		for _, u := range users {
			if out.DeviceKeys[u] != nil {
				continue
			}
			if _, err := tx.User(u); err == nil {
				out.DeviceKeys[u] = map[id.DeviceID]json.RawMessage{}
			} else if !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		keys, err := tx.CrossSigningKeys(users)
		for _, k := range keys {
			out.addCrossSigning(later, k, viewer)
		}
		return err
	})
	if err == nil {
		s.addBridged(ctx, out, viewer, users, asked)
	}
	return err
}

// addRemoteKeys adds the keys of users of other servers, with what the viewer has signed of them.
func (s *Service) addRemoteKeys(ctx context.Context, out *KeyAnswer, viewer id.UserID, found map[id.UserID]*userKeys,
	asked map[id.UserID][]id.DeviceID) error {
	if len(found) == 0 {
		return nil
	}
	var later later
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		added, err := tx.KeySignatures(slices.Collect(maps.Keys(found)), viewer)
		later = laterSignatures(added)
		return err
	})
	for u, keys := range found {
		out.DeviceKeys[u] = map[id.DeviceID]json.RawMessage{}
		for _, k := range keys.devices {
			out.addDevice(later, k, asked[u])
		}
		for _, k := range keys.crossSigning {
			out.addCrossSigning(later, k, viewer)
		}
	}
	return err
}

// addDevice adds a device, if it is one of those that are asked for.
func (a *KeyAnswer) addDevice(l later, k storage.DeviceKeys, asked []id.DeviceID) {
	if a.DeviceKeys[k.User] == nil {
		a.DeviceKeys[k.User] = map[id.DeviceID]json.RawMessage{}
	}
	if len(asked) == 0 || slices.Contains(asked, k.Device) {
		a.DeviceKeys[k.User][k.Device] = l.device(k)
	}
}

// addCrossSigning adds a key, if the viewer may see it.
func (a *KeyAnswer) addCrossSigning(l later, k storage.CrossSigningKey, viewer id.UserID) {
	switch object := l.crossSigning(k); {
	case k.Usage == storage.MasterKey:
		a.MasterKeys[k.User] = object
	case k.Usage == storage.SelfSigningKey:
		a.SelfSigningKeys[k.User] = object
	case k.User == viewer:
		a.UserSigningKeys[k.User] = object
	}
}

// later is the signatures that were made after the keys were uploaded, by whose key it is and which.
type later map[keyName][]storage.KeySignature

type keyName struct {
	user id.UserID
	key  string
}

func laterSignatures(list []storage.KeySignature) later {
	out := later{}
	for _, s := range list {
		k := keyName{s.User, s.KeyID}
		out[k] = append(out[k], s)
	}
	return out
}

// all is the signatures of a key.
func (l later) all(first json.RawMessage, user id.UserID, key string) signatures {
	sigs := stored(first)
	for _, s := range l[keyName{user, key}] {
		sigs.add(s.Signer, s.SignerKey, s.Signature)
	}
	return sigs
}

// device is a device's keys as others get them.
func (l later) device(k storage.DeviceKeys) json.RawMessage {
	unsigned := json.RawMessage(`{}`)
	if k.DisplayName != nil {
		if text, err := json.Marshal(map[string]string{"device_display_name": *k.DisplayName}); err == nil {
			unsigned = text
		}
	}
	return join(k.Keys, l.all(k.Signatures, k.User, string(k.Device)), unsigned)
}

func (l later) crossSigning(k storage.CrossSigningKey) json.RawMessage {
	return join(k.Keys, l.all(k.Signatures, k.User, k.PublicKey), nil)
}

// DeviceListChanges is whose devices have changed for a user since a position of the stream, and whom the user does not share a room with any
// more.
//
// Spec: client-server-api#get_matrixclientv3keyschanges
func (s *Service) DeviceListChanges(ctx context.Context, user id.UserID, since int64) (changed, left []id.UserID, err error) {
	err = s.store.View(ctx, func(tx *storage.ReadTx) error {
		pos, err := tx.Position()
		if err != nil {
			return err
		}
		if err := s.store.Settled(ctx, pos); err != nil {
			return err
		}
		changed, left, err = tx.DeviceListChanges(user, since)
		return err
	})
	return changed, left, err
}
