package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

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

// QueryKeys finds the keys of users: of the devices that are listed for them, or of all if none are.
//
// Spec: client-server-api#post_matrixclientv3keysquery
func (s *Service) QueryKeys(ctx context.Context, viewer id.UserID, asked map[id.UserID][]id.DeviceID) (*KeyAnswer, error) {
	local, failures := s.splitLocal(slices.Sorted(maps.Keys(asked)))
	out := &KeyAnswer{
		DeviceKeys: map[id.UserID]map[id.DeviceID]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{},
		SelfSigningKeys: map[id.UserID]json.RawMessage{}, UserSigningKeys: map[id.UserID]json.RawMessage{}, Failures: failures,
	}
	if len(local) == 0 {
		return out, nil
	}
	return out, s.store.View(ctx, func(tx *storage.ReadTx) error {
		added, err := tx.KeySignatures(local, viewer)
		if err != nil {
			return err
		}
		later := laterSignatures(added)
		devices, err := tx.DeviceKeysOf(local)
		if err != nil {
			return err
		}
		for _, k := range devices {
			if out.DeviceKeys[k.User] == nil {
				out.DeviceKeys[k.User] = map[id.DeviceID]json.RawMessage{}
			}
			if list := asked[k.User]; len(list) == 0 || slices.Contains(list, k.Device) {
				out.DeviceKeys[k.User][k.Device] = later.device(k)
			}
		}
		// Spec: client-server-api#post_matrixclientv3keysquery, unknown users are missing
		for _, u := range local {
			if out.DeviceKeys[u] != nil {
				continue
			}
			if _, err := tx.User(u); err == nil {
				out.DeviceKeys[u] = map[id.DeviceID]json.RawMessage{}
			} else if !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		keys, err := tx.CrossSigningKeys(local)
		if err != nil {
			return err
		}
		for _, k := range keys {
			switch object := later.crossSigning(k); {
			case k.Usage == storage.MasterKey:
				out.MasterKeys[k.User] = object
			case k.Usage == storage.SelfSigningKey:
				out.SelfSigningKeys[k.User] = object
			case k.User == viewer:
				out.UserSigningKeys[k.User] = object
			}
		}
		return nil
	})
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
