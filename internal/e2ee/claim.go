package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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

func newClaimAnswer() *ClaimAnswer {
	return &ClaimAnswer{OneTimeKeys: map[id.UserID]map[id.DeviceID]map[string]json.RawMessage{}, Failures: map[id.ServerName]*merr.Error{}}
}

// ClaimKeys takes a key of the wanted algorithm from each of some devices. Devices that have none are left out. It waits for other servers as
// long as wait, within bounds; 0 is the usual time.
//
// Spec: client-server-api#post_matrixclientv3keysclaim
func (s *Service) ClaimKeys(ctx context.Context, asked map[id.UserID]map[id.DeviceID]string, wait time.Duration) (*ClaimAnswer, error) {
	local, remote := s.split(slices.Sorted(maps.Keys(asked)))
	out := newClaimAnswer()
	if err := s.claimRemote(ctx, out, remote, asked, wait); err != nil {
		return nil, err
	}
	return out, s.claimLocal(ctx, out, wishesFor(local, asked))
}

// wishesFor is what is asked for of the devices of some users.
func wishesFor(users []id.UserID, asked map[id.UserID]map[id.DeviceID]string) []wish {
	var out []wish
	for _, u := range users {
		for _, d := range slices.Sorted(maps.Keys(asked[u])) {
			if goodName(string(d)) && goodName(asked[u][d]) {
				out = append(out, wish{u, d, asked[u][d]})
			}
		}
	}
	return out
}

// claimLocal adds keys of devices of this server.
func (s *Service) claimLocal(ctx context.Context, out *ClaimAnswer, wishes []wish) error {
	wishes, err := s.claimBridged(ctx, out, wishes)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(wishes, claimBatch) {
		var got []storage.OneTimeKey
		err := s.store.Update(ctx, func(tx *storage.Tx) (err error) {
			got, err = s.claim(tx, batch)
			return err
		})
		if err != nil {
			return err
		}
		for i, k := range got {
			if k.ID != "" {
				out.add(batch[i], k)
			}
		}
	}
	return nil
}

// claimRemote adds keys of devices of other servers, all of which are asked at once.
func (s *Service) claimRemote(ctx context.Context, out *ClaimAnswer, users map[id.ServerName][]id.UserID,
	asked map[id.UserID]map[id.DeviceID]string, wait time.Duration) error {
	type answer struct {
		server id.ServerName
		wishes []wish
		keys   []storage.OneTimeKey
		err    error
	}
	answers := make(chan answer, len(users)) // nobody who answers late is held up
	waiting := 0
	for server, list := range users {
		wishes := wishesFor(list, asked)
		if len(wishes) == 0 {
			continue
		}
		out.Failures[server] = unreachable
		if s.remote == nil {
			continue
		}
		err := s.work.Start(ctx, bounded(wait), func(ctx context.Context) {
			keys, err := s.claimFrom(ctx, server, wishes)
			answers <- answer{server, wishes, keys, err}
		})
		if err != nil {
			return err
		}
		waiting++
	}
	ctx, cancel := context.WithTimeout(ctx, bounded(wait))
	defer cancel()
	for range waiting {
		select {
		case a := <-answers:
			if a.err != nil {
				continue
			}
			delete(out.Failures, a.server)
			for i, k := range a.keys {
				if k.ID != "" {
					out.add(a.wishes[i], k)
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// claimFrom gives each wish a key of another server; one without an id is none.
//
// Spec: server-server-api#post_matrixfederationv1userkeysclaim
func (s *Service) claimFrom(ctx context.Context, server id.ServerName, wishes []wish) ([]storage.OneTimeKey, error) {
	leave, err := s.fetches.enter(ctx, server)
	if err != nil {
		return nil, err
	}
	defer leave()
	claims := map[id.UserID]map[id.DeviceID]string{}
	for _, w := range wishes {
		if claims[w.user] == nil {
			claims[w.user] = map[id.DeviceID]string{}
		}
		claims[w.user][w.device] = w.algorithm
	}
	body, err := json.Marshal(struct {
		Keys map[id.UserID]map[id.DeviceID]string `json:"one_time_keys"`
	}{claims})
	if err != nil {
		return nil, err
	}
	raw, err := s.remote.ClaimKeys(ctx, server, body)
	if err != nil {
		return nil, err
	}
	return parseClaimed(raw, wishes)
}

// parseClaimed reads an answer to /user/keys/claim. What was not asked for, or is no key, is left out.
func parseClaimed(raw json.RawMessage, wishes []wish) ([]storage.OneTimeKey, error) {
	var answer struct {
		Keys map[id.UserID]map[id.DeviceID]json.RawMessage `json:"one_time_keys"`
	}
	var mistyped *json.UnmarshalTypeError
	if err := json.Unmarshal(raw, &answer); err != nil && !errors.As(err, &mistyped) {
		return nil, fmt.Errorf("read claimed keys: %w", err)
	}
	out := make([]storage.OneTimeKey, len(wishes))
	for i, w := range wishes {
		var keys map[string]json.RawMessage
		if json.Unmarshal(answer.Keys[w.user][w.device], &keys) != nil {
			continue
		}
		if list, err := parseKeys(keys, 1); err == nil && len(list) == 1 && list[0].Algorithm == w.algorithm {
			out[i] = list[0]
		}
	}
	return out, nil
}

// claim gives each wish a key; one without an id is none.
func (s *Service) claim(tx *storage.Tx, wishes []wish) ([]storage.OneTimeKey, error) {
	pos, err := tx.NextPos()
	if err != nil {
		return nil, err
	}
	tx.OnCommit(func() { s.hub.Ring(pos) }) // for those who follow the stream: devices see their counts with whatever they are told
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
