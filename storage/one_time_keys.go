package storage

import (
	"encoding/json"
	"errors"
	"sync"

	"github.com/hearthd/hearth/internal/id"
)

// OneTimeKey is a key of a device that another device can claim: once, unless it is a fallback key.
type OneTimeKey struct {
	Algorithm string
	ID        string
	Key       json.RawMessage // canonical
}

func scanOneTimeKey(r rowScanner) (OneTimeKey, error) {
	var k OneTimeKey
	err := r.Scan(&k.Algorithm, &k.ID, &k.Key)
	return k, err
}

// KeyCounts is what a device has left to be claimed. It may be shared: nobody may change it.
type KeyCounts struct {
	OneTime  map[string]int // by algorithm; those without keys are missing
	Fallback []string       // algorithms whose fallback key is unused, in order
}

// OneTimeKeys is those of a device's one-time keys that have one of some ids.
func (tx *ReadTx) OneTimeKeys(user id.UserID, device id.DeviceID, ids []string) ([]OneTimeKey, error) {
	return collect(tx, scanOneTimeKey, `select algorithm, key_id, key from one_time_keys where user_id = $1 and device_id = $2 and `+
		tx.inTexts("key_id", 3), user, device, list(ids))
}

// AddOneTimeKeys stores keys that are not there yet, to be given out after all that are. pos is one just taken with NextPos.
func (tx *Tx) AddOneTimeKeys(user id.UserID, device id.DeviceID, pos int64, keys []OneTimeKey) error {
	tx.keysChanged(user, device, pos)
	for _, k := range keys {
		_, err := tx.exec(`insert into one_time_keys (user_id, device_id, algorithm, pos, key_id, key) values ($1, $2, $3, $4, $5, $6)`,
			user, device, k.Algorithm, pos, k.ID, k.Key)
		if err != nil {
			return err
		}
	}
	return nil
}

// SetFallbackKey stores a device's fallback key for an algorithm as unused, unless it is already there. pos is one just taken with NextPos.
func (tx *Tx) SetFallbackKey(user id.UserID, device id.DeviceID, pos int64, k OneTimeKey) error {
	tx.keysChanged(user, device, pos)
	_, err := tx.exec(`insert into fallback_keys (user_id, device_id, algorithm, key_id, key) values ($1, $2, $3, $4, $5)
		on conflict (user_id, device_id, algorithm) do update set key_id = excluded.key_id, key = excluded.key, used = 0
		where fallback_keys.key_id <> excluded.key_id or fallback_keys.key <> excluded.key`, user, device, k.Algorithm, k.ID, k.Key)
	return err
}

// ClaimKey takes the oldest one-time key of an algorithm away from a device, or else lends its fallback key. pos is one just taken with
// NextPos. The error for a device that has neither is ErrNotFound.
//
// Spec: client-server-api#post_matrixclientv3keysclaim
func (tx *Tx) ClaimKey(user id.UserID, device id.DeviceID, algorithm string, pos int64) (OneTimeKey, error) {
	k, err := tx.ClaimOneTimeKey(user, device, algorithm, pos)
	if !errors.Is(err, ErrNotFound) {
		return k, err
	}
	k, err = scanOneTimeKey(tx.queryRow(`update fallback_keys set used = 1 where user_id = $1 and device_id = $2 and algorithm = $3
		returning algorithm, key_id, key`, user, device, algorithm))
	if err != nil {
		return k, err
	}
	return k, tx.keyClaimed(user, device, pos)
}

// ClaimOneTimeKey is ClaimKey without the fallback key.
func (tx *Tx) ClaimOneTimeKey(user id.UserID, device id.DeviceID, algorithm string, pos int64) (OneTimeKey, error) {
	k, err := scanOneTimeKey(tx.queryRow(`delete from one_time_keys where user_id = $1 and device_id = $2 and algorithm = $3 and key_id =
		(select o.key_id from one_time_keys o where o.user_id = $1 and o.device_id = $2 and o.algorithm = $3 order by o.pos, o.key_id limit 1)
		returning algorithm, key_id, key`, user, device, algorithm))
	if err != nil {
		return k, err
	}
	return k, tx.keyClaimed(user, device, pos)
}

func (tx *Tx) keyClaimed(user id.UserID, device id.DeviceID, pos int64) error {
	tx.keysChanged(user, device, pos)
	_, err := tx.exec(`update devices set claimed_pos = $3 where user_id = $1 and device_id = $2`, user, device, pos)
	return err
}

// KeyCounts is what a device has left to be claimed.
func (tx *ReadTx) KeyCounts(user id.UserID, device id.DeviceID) (*KeyCounts, error) {
	if tx.writer == nil {
		if c := tx.store.KnownKeyCounts(user, device); c != nil {
			return c, nil
		}
	}
	out := &KeyCounts{OneTime: map[string]int{}}
	type count struct {
		algorithm string
		keys      int
	}
	counts, err := collect(tx, func(r rowScanner) (c count, err error) {
		err = r.Scan(&c.algorithm, &c.keys)
		return c, err
	}, `select algorithm, count(*) from one_time_keys where user_id = $1 and device_id = $2 group by algorithm`, user, device)
	if err != nil {
		return nil, err
	}
	for _, c := range counts {
		out.OneTime[c.algorithm] = c.keys
	}
	out.Fallback, err = collect(tx, scanOne[string], `select algorithm from fallback_keys where user_id = $1 and device_id = $2 and used = 0
		order by algorithm`, user, device)
	if err != nil || tx.writer != nil {
		return out, err
	}
	pos, err := tx.Position()
	if err == nil {
		tx.store.keyCounts.add(deviceKey{user, device}, out, pos)
	}
	return out, err
}

// KnownKeyCounts is KeyCounts from memory alone, nil where that does not have it. It is as new as the last change of this process.
func (s *Store) KnownKeyCounts(user id.UserID, device id.DeviceID) *KeyCounts {
	return s.keyCounts.get(deviceKey{user, device})
}

func (tx *Tx) keysChanged(user id.UserID, device id.DeviceID, pos int64) {
	tx.OnCommit(func() { tx.store.keyCounts.drop(deviceKey{user, device}, pos) })
}

// deviceKey names a device.
type deviceKey struct {
	user   id.UserID
	device id.DeviceID
}

// keyCounts keeps what KeyCounts answers: every sync asks for it. A change drops the device's entry after its commit; a reader whose snapshot
// is older cannot put the old answer back, because the change is marked.
type keyCounts struct {
	mu      sync.Mutex
	devices map[deviceKey]*KeyCounts
	changed *marks[deviceKey]
}

const maxKeyCounts = 1 << 16

func newKeyCounts(floor int64) *keyCounts {
	return &keyCounts{devices: map[deviceKey]*KeyCounts{}, changed: newMarks[deviceKey](floor)}
}

func (c *keyCounts) get(k deviceKey) *KeyCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.devices[k]
}

// add keeps the counts of a snapshot at pos.
func (c *keyCounts) add(k deviceKey, counts *KeyCounts, pos int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed.unchanged(k, pos) {
		return
	}
	if len(c.devices) >= maxKeyCounts {
		clear(c.devices)
	}
	c.devices[k] = counts
}

// drop forgets the counts that a change at pos has made old.
func (c *keyCounts) drop(k deviceKey, pos int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.set(k, pos)
	delete(c.devices, k)
}
