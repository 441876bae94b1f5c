package storage

import (
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
)

// What a cross-signing key is for.
//
// Spec: client-server-api#cross-signing
const (
	MasterKey      = "master"
	SelfSigningKey = "self_signing"
	UserSigningKey = "user_signing"
)

// CrossSigningKey is one of the three keys with which a user vouches for devices and other users.
type CrossSigningKey struct {
	User       id.UserID
	Usage      string
	PublicKey  string          // unpadded base64
	Keys       json.RawMessage // canonical, without signatures and unsigned
	Signatures json.RawMessage // those that came with the key
}

func scanCrossSigningKey(r rowScanner) (CrossSigningKey, error) {
	var k CrossSigningKey
	err := r.Scan(&k.User, &k.Usage, &k.PublicKey, &k.Keys, &k.Signatures)
	return k, err
}

// CrossSigningKeys is the keys of some users.
func (tx *ReadTx) CrossSigningKeys(users []id.UserID) ([]CrossSigningKey, error) {
	return collect(tx, scanCrossSigningKey, `select user_id, usage, public_key, keys, signatures from cross_signing_keys where `+
		tx.inTexts("user_id", 1)+` order by user_id, usage`, list(users))
}

// IsCrossSigningKey reports whether a user has a cross-signing key with this public key: no device may have the same name.
func (tx *ReadTx) IsCrossSigningKey(user id.UserID, public string) (bool, error) {
	return tx.exists(`select 1 from cross_signing_keys where user_id = $1 and public_key = $2`, user, public)
}

// SetCrossSigningKey stores a key in the place of one with the same usage.
func (tx *Tx) SetCrossSigningKey(k CrossSigningKey) error {
	_, err := tx.exec(`insert into cross_signing_keys (user_id, usage, public_key, keys, signatures) values ($1, $2, $3, $4, $5)
		on conflict (user_id, usage) do update set public_key = excluded.public_key, keys = excluded.keys, signatures = excluded.signatures`,
		k.User, k.Usage, k.PublicKey, k.Keys, k.Signatures)
	return err
}

// DeleteCrossSigningKey removes a key.
func (tx *Tx) DeleteCrossSigningKey(user id.UserID, usage string) error {
	_, err := tx.exec(`delete from cross_signing_keys where user_id = $1 and usage = $2`, user, usage)
	return err
}

// KeySignature is a signature of a device's keys or of a master key that was made after these were uploaded.
type KeySignature struct {
	User      id.UserID // whose key is signed
	KeyID     string    // the device, or the public master key
	Signer    id.UserID
	SignerKey string // the name of the signing key, such as ed25519:base64
	Signature string
}

// KeySignatures is the signatures of some users' keys that a viewer may see: their own, and those of the keys' owners.
//
// Spec: client-server-api#key-and-signature-security
func (tx *ReadTx) KeySignatures(users []id.UserID, viewer id.UserID) ([]KeySignature, error) {
	return collect(tx, func(r rowScanner) (s KeySignature, err error) {
		err = r.Scan(&s.User, &s.KeyID, &s.Signer, &s.SignerKey, &s.Signature)
		return s, err
	}, `select user_id, key_id, signer, signer_key, signature from key_signatures
		where `+tx.inTexts("user_id", 1)+` and (signer = user_id or signer = $2)`, list(users), viewer)
}

// SetKeySignature stores a signature; pos is one just taken with NextPos.
func (tx *Tx) SetKeySignature(s KeySignature, pos int64) error {
	_, err := tx.exec(`insert into key_signatures (user_id, key_id, signer, signer_key, signature, pos) values ($1, $2, $3, $4, $5, $6)
		on conflict (user_id, key_id, signer, signer_key) do update set signature = excluded.signature, pos = excluded.pos`,
		s.User, s.KeyID, s.Signer, s.SignerKey, s.Signature, pos)
	return err
}

// DeleteKeySignatures removes the signatures of keys that are no more.
func (tx *Tx) DeleteKeySignatures(user id.UserID, keyIDs []string) error {
	_, err := tx.exec(`delete from key_signatures where user_id = $1 and `+tx.inTexts("key_id", 2), user, list(keyIDs))
	return err
}
