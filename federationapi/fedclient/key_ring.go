package fedclient

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/flight"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

const (
	// Keys of a server are not fetched again within keyInterval, however many events name keys that nobody knows. After a failure it is
	// keyRetry, then twice as long each time, up to keyRetryMax: for so long a server that is back may not be heard.
	keyInterval = time.Minute
	keyRetry    = 10 * time.Second
	keyRetryMax = 10 * time.Minute
	keyTimeout  = 20 * time.Second
	// maxStrange is how many documents with keys that were not known before are stored at once, and strangeEvery after what time one more is.
	// Whoever has a domain can make up any number of servers with any number of keys; those that are too many are known in memory only.
	maxStrange   = 10_000
	strangeEvery = 10 * time.Second
)

// KeyRing knows what servers sign with. It is safe for concurrent use.
type KeyRing struct {
	client   *Client
	store    *storage.Store // nil: keys are kept in memory only
	clock    clock.Clock
	log      *slog.Logger
	notaries []id.ServerName
	own      ownKeys
	fetching flight.Group[*serverKeys]

	mu        sync.Mutex
	known     map[id.ServerName]*serverKeys
	strange   float64 // documents that may be stored now
	strangeAt time.Time
}

// NewKeyRing returns a KeyRing that fetches keys through client. store may be nil: then keys are forgotten with the ring. Notaries are asked,
// in order, for the keys of servers that do not answer themselves.
func NewKeyRing(client *Client, store *storage.Store, notaries []id.ServerName) *KeyRing {
	return &KeyRing{
		client: client, store: store, clock: client.clock, log: client.log, notaries: notaries, known: map[id.ServerName]*serverKeys{},
		strange: maxStrange, strangeAt: client.clock.Now(),
	}
}

// serverKeys is what is known of one server. It is not changed once it is made.
type serverKeys struct {
	keys     map[string]verifyKey
	asked    time.Time // when the server was last asked; zero: not since the start
	failures int       // how often in a row it then did not answer
}

// verifyKey is a key and when it may be used. Times are ms since the epoch.
type verifyKey struct {
	public     ed25519.PublicKey
	validUntil int64
	expired    int64 // 0: it is in use
	document   int64 // the number of the document it was last seen in, where there is a store
}

// usable says whether the key may have signed something at a moment. Where strict is false, as in room versions 1 to 4, a key is good until it
// is known to be retired.
//
// Spec: rooms/v5#signing-key-validity-period
func (k verifyKey) usable(at int64, strict bool) bool {
	if k.expired != 0 {
		return at < k.expired
	}
	return !strict || at <= k.validUntil
}

// get returns what is known of a server without asking it.
func (k *KeyRing) get(ctx context.Context, server id.ServerName) (*serverKeys, error) {
	if server == k.client.name {
		return k.client.ours, nil
	}
	k.mu.Lock()
	known := k.known[server]
	k.mu.Unlock()
	if known != nil {
		return known, nil
	}
	stored, err := k.load(ctx, server)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.known[server]; known != nil {
		return known, nil
	}
	known = &serverKeys{keys: verifyKeys(stored)}
	k.known[server] = known
	trim(k.known)
	return known, nil
}

func (k *KeyRing) load(ctx context.Context, server id.ServerName) ([]storage.ServerKey, error) {
	if k.store == nil {
		return nil, nil
	}
	var rows []storage.ServerKey
	err := k.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		rows, err = tx.ServerKeys(server)
		return err
	})
	return rows, err
}

func verifyKeys(rows []storage.ServerKey) map[string]verifyKey {
	keys := make(map[string]verifyKey, len(rows))
	for _, row := range rows {
		if public, ok := publicKey(row.Public); ok {
			keys[row.KeyID] = verifyKey{public: public, validUntil: row.ValidUntil, expired: row.Expired, document: row.Document}
		}
	}
	return keys
}

// fresh says whether the server may not be asked again yet.
func (s *serverKeys) fresh(now time.Time) bool {
	wait := keyInterval
	if s.failures > 0 {
		wait = min(keyRetry<<min(s.failures-1, 9), keyRetryMax)
	}
	return !s.asked.IsZero() && now.Before(s.asked.Add(wait))
}

// refresh asks a server for its keys, unless it was asked a short while ago, and returns what is known then. urgent: it is asked even if it is
// being left alone.
func (k *KeyRing) refresh(ctx context.Context, server id.ServerName, urgent bool) (*serverKeys, error) {
	before, err := k.get(ctx, server)
	if err != nil || server == k.client.name || before.fresh(k.clock.Now()) {
		return before, err
	}
	after, err := k.fetching.Do(ctx, k.client.work, string(server), keyTimeout, func(ctx context.Context) (*serverKeys, error) {
		before, err := k.get(ctx, server)
		if err != nil || before.fresh(k.clock.Now()) { // somebody has, since
			return before, err
		}
		after := k.renew(ctx, server, before, urgent)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.known[server] = after
		trim(k.known)
		return after, nil
	})
	if err != nil {
		return before, err
	}
	return after, nil
}

// renew fetches the keys of a server and returns what is known then.
func (k *KeyRing) renew(ctx context.Context, server id.ServerName, before *serverKeys, urgent bool) *serverKeys {
	document, err := k.fetch(ctx, server, urgent)
	now := k.clock.Now()
	if errors.Is(err, ErrBackoff) || err != nil && k.client.work.Stopping() {
		return before // it was not asked
	}
	k.client.metrics.fetchedKeys(err)
	if err != nil {
		k.log.Debug("keys of a server not fetched", slog.String("server", string(server)), slog.Any("error", err))
		return &serverKeys{keys: before.keys, asked: now, failures: before.failures + 1}
	}
	if k.store == nil || !k.mayStore(before, document, now) {
		keys := verifyKeys(document.keys)
		for keyID, key := range before.keys {
			if _, again := keys[keyID]; !again && (key.document != 0 || k.store == nil) {
				keys[keyID] = key
			}
		}
		return &serverKeys{keys: keys, asked: now}
	}
	var rows []storage.ServerKey
	err = k.store.Update(ctx, func(tx *storage.Tx) (err error) {
		if err = tx.PutServerKeys(server, document.keys, document.raw); err != nil {
			return err
		}
		rows, err = tx.ServerKeys(server)
		return err
	})
	if err != nil {
		k.log.Warn("keys of a server not stored", slog.String("server", string(server)), slog.Any("error", err))
		rows = document.keys
	}
	return &serverKeys{keys: verifyKeys(rows), asked: now}
}

// mayStore says whether a document may be stored, in view of what is stored of its server.
func (k *KeyRing) mayStore(before *serverKeys, document keyDocument, now time.Time) bool {
	news := false
	for _, key := range document.keys {
		news = news || before.keys[key.KeyID].document == 0
	}
	if !news {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.strange = min(maxStrange, k.strange+max(now.Sub(k.strangeAt), 0).Seconds()/strangeEvery.Seconds())
	k.strangeAt = now
	if k.strange < 1 {
		return false
	}
	k.strange--
	return true
}

// fetch gets the keys of a server: from itself, else from the first notary that knows them.
func (k *KeyRing) fetch(ctx context.Context, server id.ServerName, urgent bool) (keyDocument, error) {
	document, err := k.client.keys(ctx, server, urgent, k.clock.Now())
	for _, notary := range k.notaries {
		if err == nil {
			break
		}
		if notary == server || notary == k.client.name {
			continue
		}
		if found, nerr := k.fetchFrom(ctx, notary, server); nerr == nil {
			return found, nil
		} else {
			err = errors.Join(err, nerr)
		}
	}
	return document, err
}

// fetchFrom asks a notary for the keys of a server.
//
// Spec: server-server-api#querying-keys-through-another-server
func (k *KeyRing) fetchFrom(ctx context.Context, notary, server id.ServerName) (keyDocument, error) {
	now := k.clock.Now()
	answers, err := k.client.queryKeys(ctx, notary, server)
	if err != nil {
		return keyDocument{}, err
	}
	err = errKeyDocument
	var best keyDocument
	for _, raw := range answers {
		found, perr := parseKeyDocument(server, raw, now)
		if perr != nil {
			continue
		}
		if perr = k.VerifyJSON(ctx, notary, raw, now.UnixMilli()); perr != nil {
			err = perr
			continue
		}
		if best.keys == nil || found.keys[0].ValidUntil > best.keys[0].ValidUntil {
			best = found
		}
	}
	if best.keys == nil {
		return keyDocument{}, err
	}
	return best, nil
}

// keyAnswer is the answer of a notary.
type keyAnswer struct {
	ServerKeys []json.RawMessage `json:"server_keys"`
}
