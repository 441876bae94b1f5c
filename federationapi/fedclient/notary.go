package fedclient

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	// ownValidity is how long other servers may believe our keys without asking again.
	ownValidity = 24 * time.Hour
	// ownLifetime is how long one document is given out.
	ownLifetime   = time.Hour
	maxNotarized  = 100 // servers of one request
	notaryTimeout = 15 * time.Second
)

// ownKeys is the document with the keys of this server, while it lasts.
type ownKeys struct {
	mu    sync.Mutex
	raw   json.RawMessage
	until time.Time
}

// Own returns the document with the keys of this server.
//
// Spec: server-server-api#publishing-keys
func (k *KeyRing) Own() (json.RawMessage, error) {
	k.own.mu.Lock()
	defer k.own.mu.Unlock()
	now := k.clock.Now()
	if k.own.raw != nil && now.Before(k.own.until) {
		return k.own.raw, nil
	}
	current, old := k.client.ours.published()
	document, err := json.Marshal(map[string]any{
		"server_name":     k.client.name,
		"verify_keys":     current,
		"old_verify_keys": old,
		"valid_until_ts":  now.Add(ownValidity).UnixMilli(),
	})
	if err != nil {
		return nil, fmt.Errorf("write the key document: %w", err)
	}
	raw, err := k.client.sign(document)
	if err != nil {
		return nil, fmt.Errorf("sign the key document: %w", err)
	}
	k.own.raw, k.own.until = raw, now.Add(ownLifetime)
	return raw, nil
}

// sign adds the signature of this server to an object.
//
// Spec: appendices#signing-json
func (c *Client) sign(raw json.RawMessage) (json.RawMessage, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	if o.signatures == nil {
		o.signatures = map[string]map[string]string{}
	}
	ours := maps.Clone(o.signatures[string(c.name)])
	if ours == nil {
		ours = map[string]string{}
	}
	ours[string(c.keyID)] = encodeBase64(ed25519.Sign(c.key, o.message))
	o.signatures[string(c.name)] = ours
	if o.members["signatures"], err = json.Marshal(o.signatures); err != nil {
		return nil, err
	}
	whole, err := json.Marshal(o.members)
	if err != nil {
		return nil, err
	}
	return canonjson.Canonical(whole)
}

// Notary returns the key documents of servers, with the signature of this server beside theirs. wanted says by which key ids, and until when, in
// ms since the epoch, they should be valid; no key ids: all. A server that does not answer is represented by what it said before.
//
// Spec: server-server-api#querying-keys-through-another-server
func (k *KeyRing) Notary(ctx context.Context, wanted map[id.ServerName]map[gomatrixserverlib.KeyID]int64) []json.RawMessage {
	servers := slices.Sorted(maps.Keys(wanted))
	servers = servers[:min(len(servers), maxNotarized)]
	found := make([][]json.RawMessage, len(servers))
	ctx, cancel := context.WithTimeout(ctx, notaryTimeout)
	defer cancel()
	var all sync.WaitGroup
	places := make(chan struct{}, 16)
	for i, server := range servers {
		places <- struct{}{} // those before end with ctx at the latest
		all.Go(func() {
			defer func() { <-places }()
			found[i] = k.notarize(ctx, server, wanted[server])
		})
	}
	all.Wait()
	return slices.Concat(found...)
}

// notarize is Notary for one server.
func (k *KeyRing) notarize(ctx context.Context, server id.ServerName, wanted map[gomatrixserverlib.KeyID]int64) []json.RawMessage {
	if server == k.client.name {
		own, err := k.Own()
		if err != nil {
			return nil
		}
		return []json.RawMessage{own}
	}
	known, err := k.get(ctx, server)
	if err == nil && !known.satisfy(wanted, k.clock.Now().UnixMilli()) {
		if renewed, rerr := k.refresh(ctx, server, false); rerr == nil {
			known = renewed
		}
	}
	if err != nil || k.store == nil {
		return nil
	}
	documents := map[int64]bool{}
	for keyID, key := range known.keys {
		if _, ok := wanted[gomatrixserverlib.KeyID(keyID)]; ok || len(wanted) == 0 {
			documents[key.document] = true
		}
	}
	if len(documents) == 0 { // what is known may help all the same
		for _, key := range known.keys {
			documents[key.document] = true
		}
	}
	var out []json.RawMessage
	// Who asked may have gone, or the time may be up for others: what is stored is still worth reading.
	err = k.store.View(context.WithoutCancel(ctx), func(tx *storage.ReadTx) error {
		for _, nid := range slices.Sorted(maps.Keys(documents)) {
			raw, err := tx.ServerKeyDocument(nid)
			if errors.Is(err, storage.ErrNotFound) {
				continue // a newer one has come since
			}
			if err != nil {
				return err
			}
			out = append(out, raw)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	signed := out[:0]
	for _, raw := range out {
		if raw, err := k.client.sign(raw); err == nil {
			signed = append(signed, raw)
		}
	}
	return signed
}

// satisfy says whether what is known covers a question, so that the server need not be asked.
func (s *serverKeys) satisfy(wanted map[gomatrixserverlib.KeyID]int64, now int64) bool {
	if len(wanted) == 0 {
		for _, key := range s.keys {
			if key.expired == 0 && key.validUntil >= now {
				return true
			}
		}
		return false
	}
	for keyID, until := range wanted {
		key, ok := s.keys[string(keyID)]
		if !ok || key.expired == 0 && key.validUntil < until {
			return false
		}
	}
	return true
}
