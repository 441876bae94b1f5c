package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// claimBridged adds one-time keys of users who belong to application services: those that are stored here, and else those that the
// application services keep. It returns the wishes that are left, for which there may be a fallback key.
//
// Spec: MSC3983
func (s *Service) claimBridged(ctx context.Context, out *ClaimAnswer, wishes []wish) ([]wish, error) {
	var rest, bridged []wish
	for _, w := range wishes {
		if s.bridges.MayClaim(w.user) {
			bridged = append(bridged, w)
		} else {
			rest = append(rest, w)
		}
	}
	for batch := range slices.Chunk(bridged, claimBatch) {
		missing, err := s.claimStored(ctx, out, batch)
		if err != nil {
			return nil, err
		}
		wanted := map[id.UserID]map[id.DeviceID][]string{}
		for _, w := range missing {
			if wanted[w.user] == nil {
				wanted[w.user] = map[id.DeviceID][]string{}
			}
			wanted[w.user][w.device] = []string{w.algorithm}
		}
		for _, a := range s.bridges.Claim(ctx, wanted) {
			theirs := slices.DeleteFunc(slices.Clone(missing), func(w wish) bool { return !slices.Contains(a.Users, w.user) })
			keys, err := parseClaimed(slices.Concat(json.RawMessage(`{"one_time_keys":`), a.Body, json.RawMessage(`}`)), theirs)
			if err != nil {
				continue
			}
			for i, k := range keys {
				if k.ID != "" {
					out.add(theirs[i], k)
				}
			}
		}
		for _, w := range missing {
			if out.OneTimeKeys[w.user][w.device] == nil {
				rest = append(rest, w)
			}
		}
	}
	return rest, nil
}

// claimStored adds one-time keys that are stored here, and returns the wishes that are left.
func (s *Service) claimStored(ctx context.Context, out *ClaimAnswer, wishes []wish) (missing []wish, err error) {
	got := make([]storage.OneTimeKey, len(wishes))
	err = s.store.Update(ctx, func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { s.hub.Ring(pos) })
		for i, w := range wishes {
			if got[i], err = tx.ClaimOneTimeKey(w.user, w.device, w.algorithm, pos); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, k := range got {
		if k.ID == "" {
			missing = append(missing, wishes[i])
		} else {
			out.add(wishes[i], k)
		}
	}
	return missing, nil
}

// addBridged lays what application services say of the keys of their users over what is stored of them, device by device.
//
// Spec: MSC3984
func (s *Service) addBridged(ctx context.Context, out *KeyAnswer, viewer id.UserID, users []id.UserID, asked map[id.UserID][]id.DeviceID) {
	if s.bridges == nil {
		return
	}
	wanted := map[id.UserID][]id.DeviceID{}
	for _, u := range users {
		wanted[u] = append([]id.DeviceID{}, asked[u]...)
	}
	for _, a := range s.bridges.Query(ctx, wanted) {
		found, err := parseKeyAnswer(a.Body, a.Users)
		if err != nil {
			continue
		}
		for u, keys := range found {
			for _, k := range keys.devices {
				out.addDevice(nil, k, asked[u])
			}
			for _, k := range keys.crossSigning {
				out.addCrossSigning(nil, k, viewer)
			}
		}
	}
}
