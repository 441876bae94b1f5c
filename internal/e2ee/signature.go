package e2ee

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// SignatureFailures is why signatures were not published, by user and key.
type SignatureFailures map[id.UserID]map[string]*merr.Error

func (f SignatureFailures) add(user id.UserID, key string, err error) {
	if f[user] == nil {
		f[user] = map[string]*merr.Error{}
	}
	f[user][key] = merr.From(err)
}

// maxSigned is how many keys can be signed in one request.
const maxSigned = 1000

var (
	errNoKey        = merr.New(merr.NotFound, "There is no such key")
	errOtherKey     = merr.New(merr.InvalidParam, "What is signed is not the key that was uploaded")
	errBadSignature = merr.New(merr.InvalidSignature, "Invalid signature").WithStatus(400)
)

// UploadSignatures publishes signatures that a user has made: with the self-signing key of the user's devices, with the devices of the user's
// master key, and with the user-signing key of others' master keys. Each object that is signed stands or falls alone.
//
// Spec: client-server-api#post_matrixclientv3keyssignaturesupload
func (s *Service) UploadSignatures(ctx context.Context, user id.UserID, objects map[id.UserID]map[string]json.RawMessage) (SignatureFailures, error) {
	failures := SignatureFailures{}
	count := 0
	for _, list := range objects {
		count += len(list)
	}
	if count > maxSigned {
		return nil, merr.Newf(merr.InvalidParam, "At most %d keys can be signed at once", maxSigned)
	}
	local, remote := s.split(slices.Sorted(maps.Keys(objects)))
	found, unreached, err := s.remoteKeys(ctx, remote, 0)
	if err != nil {
		return nil, err
	}
	targets := local
	for server, users := range remote {
		why := errNoKey
		if unreached[server] != nil {
			why = unreachable
		}
		for _, u := range users {
			if found[u] != nil {
				targets = append(targets, u)
				continue
			}
			for key := range objects[u] {
				failures.add(u, key, why)
			}
		}
	}
	slices.Sort(targets)
	return failures, s.store.Update(ctx, func(tx *storage.Tx) error {
		book, err := openBook(tx, user, targets, found)
		if err != nil {
			return err
		}
		var good []storage.KeySignature
		for _, u := range targets {
			for _, key := range slices.Sorted(maps.Keys(objects[u])) {
				sigs, err := book.check(u, key, objects[u][key])
				if err != nil {
					failures.add(u, key, err)
				}
				good = append(good, sigs...)
			}
		}
		if len(good) == 0 {
			return nil
		}
		return s.addSignatures(tx, book, good)
	})
}

func (s *Service) addSignatures(tx *storage.Tx, b *book, list []storage.KeySignature) error {
	pos, err := tx.NextPos()
	if err != nil {
		return err
	}
	var devices []id.DeviceID
	master := false
	for _, sig := range list {
		if err := tx.SetKeySignature(sig, pos); err != nil {
			return err
		}
		if sig.User != b.user {
			continue
		}
		if _, isDevice := b.devices[keyName{sig.User, sig.KeyID}]; !isDevice {
			master = true
		} else if d := id.DeviceID(sig.KeyID); !slices.Contains(devices, d) {
			devices = append(devices, d)
		}
	}
	if master {
		if err := s.crossSigningChanged(tx, b.user); err != nil {
			return err
		}
	}
	if len(devices) > 0 {
		if err := s.DevicesChanged(tx, b.user, devices...); err != nil {
			return err
		}
	}
	if !master && len(devices) == 0 {
		// What a user thinks of others is nobody else's business.
		tx.ChangeDeviceListFor(b.user, pos)
		tx.OnCommit(func() { s.hub.Ring(pos, hub.User(b.user)) })
	}
	return nil
}

// book is the keys that a request to sign is about, and those that can sign.
type book struct {
	user    id.UserID
	devices map[keyName]storage.DeviceKeys
	masters map[keyName]storage.CrossSigningKey
	self    string // the public self-signing and user-signing keys of the user
	others  string
	later   later
}

// openBook looks the keys up; those of users of other servers it is given.
func openBook(tx *storage.Tx, user id.UserID, targets []id.UserID, remote map[id.UserID]*userKeys) (*book, error) {
	b := &book{user: user, devices: map[keyName]storage.DeviceKeys{}, masters: map[keyName]storage.CrossSigningKey{}}
	devices, err := tx.DeviceKeysOf([]id.UserID{user})
	if err != nil {
		return nil, err
	}
	for _, k := range devices {
		b.devices[keyName{k.User, string(k.Device)}] = k
	}
	keys, err := tx.CrossSigningKeys(append([]id.UserID{user}, targets...))
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		switch {
		case k.Usage == storage.MasterKey:
			b.masters[keyName{k.User, k.PublicKey}] = k
		case k.User == user && k.Usage == storage.SelfSigningKey:
			b.self = k.PublicKey
		case k.User == user && k.Usage == storage.UserSigningKey:
			b.others = k.PublicKey
		}
	}
	for _, theirs := range remote {
		for _, k := range theirs.crossSigning {
			if k.Usage == storage.MasterKey {
				b.masters[keyName{k.User, k.PublicKey}] = k
			}
		}
	}
	added, err := tx.KeySignatures(targets, user)
	b.later = laterSignatures(added)
	return b, err
}

// check finds the signatures of one object that are new, all of which have to be valid.
func (b *book) check(owner id.UserID, key string, raw json.RawMessage) ([]storage.KeySignature, error) {
	object, err := parseSigned(raw)
	if err != nil {
		return nil, err
	}
	keys, first, signer, err := b.target(owner, key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(keys, object.canonical) {
		return nil, errOtherKey
	}
	known := b.later.all(first, owner, key)[b.user]
	var out []storage.KeySignature
	for name, signature := range object.signatures[b.user] {
		if known[name] == signature {
			continue
		}
		if !goodName(name) || !object.verify(signer(name), signature) {
			return nil, errBadSignature
		}
		out = append(out, storage.KeySignature{User: owner, KeyID: key, Signer: b.user, SignerKey: name, Signature: signature})
	}
	return out, nil
}

// target is the key that is signed, the signatures it was uploaded with, and what finds the public keys that may sign it, by their names.
//
// Spec: client-server-api#key-and-signature-security
func (b *book) target(owner id.UserID, key string) (keys, first json.RawMessage, signer func(name string) ed25519.PublicKey, err error) {
	only := func(public string) func(string) ed25519.PublicKey {
		return func(name string) ed25519.PublicKey {
			if public == "" || name != edPrefix+public {
				return nil
			}
			return publicKey(public)
		}
	}
	master, isMaster := b.masters[keyName{owner, key}]
	device, isDevice := b.devices[keyName{owner, key}]
	switch {
	case owner == b.user && isDevice:
		return device.Keys, device.Signatures, only(b.self), nil
	case owner == b.user && isMaster:
		return master.Keys, master.Signatures, b.deviceKey, nil
	case isMaster:
		return master.Keys, master.Signatures, only(b.others), nil
	}
	return nil, nil, nil, errNoKey
}

// deviceKey finds the signing key of one of the user's devices by its name.
func (b *book) deviceKey(name string) ed25519.PublicKey {
	device, ok := strings.CutPrefix(name, edPrefix)
	if !ok {
		return nil
	}
	var claims struct {
		Keys map[string]string `json:"keys"`
	}
	if json.Unmarshal(b.devices[keyName{b.user, device}].Keys, &claims) != nil {
		return nil
	}
	return publicKey(claims.Keys[name])
}
