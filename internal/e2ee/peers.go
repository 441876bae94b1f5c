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

// What another server can ask for at once: users to query, keys to claim.
const (
	maxQueried = 5000
	maxClaimed = 5000
)

// DevicesForServer is the list of a user's devices as another server gets it, or M_NOT_FOUND.
//
// Spec: server-server-api#get_matrixfederationv1userdevicesuserid
func (s *Service) DevicesForServer(ctx context.Context, _ id.ServerName, user id.UserID) (any, error) {
	type device struct {
		ID   id.DeviceID     `json:"device_id"`
		Keys json.RawMessage `json:"keys"`
		Name *string         `json:"device_display_name,omitempty"`
	}
	answer := struct {
		User    id.UserID `json:"user_id"`
		Stream  int64     `json:"stream_id"`
		Devices []device  `json:"devices"`
		crossSigning
	}{User: user, Devices: []device{}}
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		_, err := tx.User(user)
		if errors.Is(err, storage.ErrNotFound) {
			return merr.New(merr.NotFound, "There is no such user")
		}
		if err != nil {
			return err
		}
		if answer.Stream, err = tx.DeviceListVersion(user); err != nil {
			return err
		}
		keys, err := tx.DeviceKeysOf([]id.UserID{user})
		if err != nil {
			return err
		}
		added, err := tx.KeySignatures([]id.UserID{user}, user)
		if err != nil {
			return err
		}
		later := laterSignatures(added)
		for _, k := range keys {
			d := device{ID: k.Device, Keys: join(k.Keys, later.all(k.Signatures, user, string(k.Device)), nil)}
			if s.deviceNames {
				d.Name = k.DisplayName
			}
			answer.Devices = append(answer.Devices, d)
		}
		answer.crossSigning, err = crossSigningOf(tx, user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// KeysForServer is the keys of users of this server as another server gets them. Others are left out.
//
// Spec: server-server-api#post_matrixfederationv1userkeysquery
func (s *Service) KeysForServer(ctx context.Context, _ id.ServerName, asked map[id.UserID][]id.DeviceID) (any, error) {
	if len(asked) > maxQueried {
		return nil, merr.Newf(merr.InvalidParam, "At most %d users can be asked for at once", maxQueried)
	}
	found := newKeyAnswer()
	local, _ := s.split(slices.Sorted(maps.Keys(asked)))
	if err := s.localKeys(ctx, found, "", local, asked, s.deviceNames); err != nil {
		return nil, err
	}
	return struct {
		DeviceKeys      map[id.UserID]map[id.DeviceID]json.RawMessage `json:"device_keys"`
		MasterKeys      map[id.UserID]json.RawMessage                 `json:"master_keys"`
		SelfSigningKeys map[id.UserID]json.RawMessage                 `json:"self_signing_keys"`
	}{found.DeviceKeys, found.MasterKeys, found.SelfSigningKeys}, nil
}

// ClaimForServer gives keys of devices of users of this server to another server.
//
// Spec: server-server-api#post_matrixfederationv1userkeysclaim
func (s *Service) ClaimForServer(ctx context.Context, _ id.ServerName, asked map[id.UserID]map[id.DeviceID]string) (any, error) {
	local, _ := s.split(slices.Sorted(maps.Keys(asked)))
	wishes := wishesFor(local, asked)
	if len(wishes) > maxClaimed {
		return nil, merr.Newf(merr.InvalidParam, "At most %d keys can be claimed at once", maxClaimed)
	}
	found := newClaimAnswer()
	if err := s.claimLocal(ctx, found, wishes); err != nil {
		return nil, err
	}
	return struct {
		OneTimeKeys map[id.UserID]map[id.DeviceID]map[string]json.RawMessage `json:"one_time_keys"`
	}{found.OneTimeKeys}, nil
}
