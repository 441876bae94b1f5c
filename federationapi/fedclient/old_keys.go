package fedclient

import (
	"crypto/ed25519"
	"fmt"
	"math"
)

// OldKey is a key that this server signed with once. What it signed until then stays good.
type OldKey struct {
	// ID is what signatures name the key by, "ed25519:<version>".
	ID string
	// Public is the public key, in base64.
	Public string
	// Expired is when it was retired, in ms since the epoch.
	Expired int64
}

// ourKeys is what this server signs with, and has signed with, as it is known of other servers.
func ourKeys(o Options) (*serverKeys, error) {
	public, _ := o.Key.Public().(ed25519.PublicKey) // it always is one
	keys := map[string]verifyKey{string(o.KeyID): {public: public, validUntil: math.MaxInt64}}
	for _, old := range o.OldKeys {
		public, ok := publicKey(old.Public)
		switch {
		case !ok || !validKeyID(old.ID) || old.Expired <= 0:
			return nil, fmt.Errorf("the old key %s is not an ed25519 key with a name and the moment it was retired", old.ID)
		case old.ID == string(o.KeyID):
			return nil, fmt.Errorf("the old key %s has the name of the key in use", old.ID)
		}
		if _, again := keys[old.ID]; again {
			return nil, fmt.Errorf("there are two old keys with the name %s", old.ID)
		}
		keys[old.ID] = verifyKey{public: public, expired: old.Expired}
	}
	if len(o.OldKeys) > maxOldKeys {
		return nil, fmt.Errorf("there are %d old keys; other servers take %d", len(o.OldKeys), maxOldKeys)
	}
	return &serverKeys{keys: keys}, nil
}

// published says how the keys of this server appear in its key document: those in use, and those that were.
//
// Spec: server-server-api#publishing-keys
func (s *serverKeys) published() (current, old map[string]any) {
	current, old = map[string]any{}, map[string]any{}
	for keyID, key := range s.keys {
		if key.expired != 0 {
			old[keyID] = map[string]any{"key": encodeBase64(key.public), "expired_ts": key.expired}
			continue
		}
		current[keyID] = map[string]any{"key": encodeBase64(key.public)}
	}
	return current, old
}
