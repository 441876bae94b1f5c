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

// ClaimAnswer is the keys that were claimed, by algorithm:id.
type ClaimAnswer struct {
	OneTimeKeys map[id.UserID]map[id.DeviceID]map[string]json.RawMessage `json:"one_time_keys"`
	Failures    map[id.ServerName]*merr.Error                            `json:"failures"`
}

// claimBatch is how many keys are claimed in one transaction: one that takes thousands would keep all others waiting.
const claimBatch = 100

type wish struct {
	user      id.UserID
	device    id.DeviceID
	algorithm string
}

// ClaimKeys takes a key of the wanted algorithm from each of some devices. Devices that have none are left out.
//
// Spec: client-server-api#post_matrixclientv3keysclaim
func (s *Service) ClaimKeys(ctx context.Context, asked map[id.UserID]map[id.DeviceID]string) (*ClaimAnswer, error) {
	local, failures := s.splitLocal(slices.Sorted(maps.Keys(asked)))
	out := &ClaimAnswer{OneTimeKeys: map[id.UserID]map[id.DeviceID]map[string]json.RawMessage{}, Failures: failures}
	var wishes []wish
	for _, u := range local {
		for _, d := range slices.Sorted(maps.Keys(asked[u])) {
			if goodName(string(d)) && goodName(asked[u][d]) {
				wishes = append(wishes, wish{u, d, asked[u][d]})
			}
		}
	}
	for batch := range slices.Chunk(wishes, claimBatch) {
		var got []storage.OneTimeKey
		err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			got, err = claim(tx, batch)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i, k := range got {
			if k.ID != "" {
				out.add(batch[i], k)
			}
		}
	}
	return out, nil
}

// claim gives each wish a key; one without an id is none.
func claim(tx *storage.Tx, wishes []wish) ([]storage.OneTimeKey, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return nil, err
	}
	out := make([]storage.OneTimeKey, len(wishes))
	for i, w := range wishes {
		out[i], err = tx.ClaimKey(w.user, w.device, w.algorithm, pos)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	return out, nil
}

func (a *ClaimAnswer) add(w wish, k storage.OneTimeKey) {
	devices := a.OneTimeKeys[w.user]
	if devices == nil {
		devices = map[id.DeviceID]map[string]json.RawMessage{}
		a.OneTimeKeys[w.user] = devices
	}
	devices[w.device] = map[string]json.RawMessage{k.Algorithm + ":" + k.ID: k.Key}
}
