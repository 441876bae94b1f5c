package e2ee

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// CrossSigningUpload is the keys that a user publishes; each may be missing.
type CrossSigningUpload struct {
	Master      json.RawMessage `json:"master_key"`
	SelfSigning json.RawMessage `json:"self_signing_key"`
	UserSigning json.RawMessage `json:"user_signing_key"`
}

// IsEmpty reports whether there is no key at all.
func (u *CrossSigningUpload) IsEmpty() bool {
	return !present(u.Master) && !present(u.SelfSigning) && !present(u.UserSigning)
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// ErrUnconfirmed says that keys would be replaced or added, which the user has to confirm.
var ErrUnconfirmed = errors.New("e2ee: other cross-signing keys have to be confirmed by the user")

// crossSigningKey is a key of a request.
type crossSigningKey struct {
	storage.CrossSigningKey
	object signed
}

// UploadCrossSigning publishes a user's cross-signing keys. Where the user has a master key already, new keys need to be confirmed:
// ErrUnconfirmed. Keys that are there already are no new ones. Errors besides those of malformed keys: M_MISSING_PARAM if there is no master
// key, M_INVALID_SIGNATURE for a key that it has not signed, M_FORBIDDEN for a key that has the name of a device.
//
// Spec: client-server-api#post_matrixclientv3keysdevice_signingupload
func (s *Service) UploadCrossSigning(ctx context.Context, user id.UserID, up CrossSigningUpload, confirmed bool) error {
	var keys []crossSigningKey
	for _, part := range []struct { // the master key first
		usage string
		raw   json.RawMessage
	}{{storage.MasterKey, up.Master}, {storage.SelfSigningKey, up.SelfSigning}, {storage.UserSigningKey, up.UserSigning}} {
		if !present(part.raw) {
			continue
		}
		k, err := parseCrossSigning(user, part.usage, part.raw)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return merr.New(merr.MissingParam, "There is no key")
	}
	return s.store.Update(ctx, func(tx *storage.Tx) error { return s.setCrossSigning(tx, user, keys, confirmed) })
}

func parseCrossSigning(user id.UserID, usage string, raw json.RawMessage) (crossSigningKey, error) {
	object, err := parseSigned(raw)
	if err != nil {
		return crossSigningKey{}, err
	}
	var claims struct {
		User  id.UserID         `json:"user_id"`
		Usage []string          `json:"usage"`
		Keys  map[string]string `json:"keys"`
	}
	if json.Unmarshal(object.canonical, &claims) != nil {
		return crossSigningKey{}, merr.Newf(merr.BadJSON, "The %s key has members of a wrong type", usage)
	}
	switch {
	case claims.User != user:
		return crossSigningKey{}, merr.Newf(merr.InvalidParam, "The user_id of the %s key is not that of the user", usage)
	case len(claims.Usage) != 1 || claims.Usage[0] != usage:
		return crossSigningKey{}, merr.Newf(merr.InvalidParam, "The usage of the %s key is another one", usage)
	case len(claims.Keys) != 1:
		return crossSigningKey{}, merr.Newf(merr.InvalidParam, "The %s key must have exactly one public key", usage)
	}
	out := crossSigningKey{storage.CrossSigningKey{User: user, Usage: usage, Keys: object.canonical}, object}
	for name, public := range claims.Keys {
		if name != edPrefix+public || publicKey(public) == nil {
			return crossSigningKey{}, merr.Newf(merr.InvalidParam, "The %s key must be an ed25519 key under its own name", usage)
		}
		out.PublicKey = public
	}
	out.Signatures = object.signatures.of(user)
	return out, nil
}

func (s *Service) setCrossSigning(tx *storage.Tx, user id.UserID, keys []crossSigningKey, confirmed bool) error {
	rows, err := tx.CrossSigningKeys([]id.UserID{user})
	if err != nil {
		return err
	}
	old := map[string]storage.CrossSigningKey{}
	for _, k := range rows {
		old[k.Usage] = k
	}
	had, hadMaster := old[storage.MasterKey]
	master := had.PublicKey
	if keys[0].Usage == storage.MasterKey {
		master = keys[0].PublicKey
	}
	var fresh []crossSigningKey
	for _, k := range keys {
		// Under another master key everything is new.
		if known, ok := old[k.Usage]; !ok || !bytes.Equal(known.Keys, k.Keys) || master != had.PublicKey {
			fresh = append(fresh, k)
		}
	}
	if master == "" {
		return merr.New(merr.MissingParam, "There is no master key")
	}
	if len(fresh) == 0 {
		return nil
	}
	for _, k := range fresh {
		if err := checkCrossSigning(tx, k, master); err != nil {
			return err
		}
	}
	if hadMaster && !confirmed {
		return ErrUnconfirmed
	}
	if hadMaster && master != had.PublicKey {
		// Keys and signatures that only the old master key vouched for are worth nothing now.
		for usage := range old {
			if err := tx.DeleteCrossSigningKey(user, usage); err != nil {
				return err
			}
		}
		if err := tx.DeleteKeySignatures(user, []string{had.PublicKey}); err != nil {
			return err
		}
	}
	for _, k := range fresh {
		if err := tx.SetCrossSigningKey(k.CrossSigningKey); err != nil {
			return err
		}
	}
	return s.crossSigningChanged(tx, user)
}

// checkCrossSigning makes sure that the master key has signed a new key, and that no device has its name.
func checkCrossSigning(tx *storage.Tx, k crossSigningKey, master string) error {
	if k.Usage != storage.MasterKey && !k.object.verify(publicKey(master), k.object.signatures[k.User][edPrefix+master]) {
		return merr.Newf(merr.InvalidSignature, "The %s key is not signed by the master key", k.Usage).WithStatus(400)
	}
	// Spec: client-server-api#key-and-signature-security
	switch _, err := tx.Device(k.User, id.DeviceID(k.PublicKey)); {
	case err == nil:
		return merr.New(merr.Forbidden, "Key ID in use")
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	return nil
}
