//go:build goolm

package tests

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/backup"
	"maunium.net/go/mautrix/crypto/ssss"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// encrypting is a context for a conversation of clients that encrypt, which has a dozen things to wait for.
func encrypting(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 12*hearthtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func TestMautrixEncryptsAcrossServers(t *testing.T) {
	t.Parallel()
	ctx := encrypting(t)
	_, a, b := pair(t)
	alice, bob := deviceOf(t, ctx, a, "PHONE"), deviceOf(t, ctx, b, "BOB")
	room := alice.encrypted(bob)
	first := alice.says(room, "the first")
	bob.hears("the first")
	bob.says(room, "an answer")
	alice.hears("an answer")
	stored := b.Get(path("rooms", room, "event", first))
	equal(t, "what the servers have", []string{stored.Get("type").Str, stored.Get("content.algorithm").Str},
		[]string{"m.room.encrypted", "m.megolm.v1.aes-sha2"})

	// Who comes later reads what is said from then on.
	tablet := deviceOf(t, ctx, b, "TABLET")
	alice.until("bob's new device", func() bool { return alice.knows(bob.UserID, "TABLET") })
	alice.says(room, "for both")
	bob.hears("for both")
	tablet.hears("for both")
	if e, err := tablet.GetEvent(ctx, room, first); err != nil || e.Content.ParseRaw(e.Type) != nil {
		t.Errorf("the first message: %v", err)
	} else if _, err := tablet.mach.DecryptMegolmEvent(ctx, e); !errors.Is(err, crypto.ErrNoSessionFound) {
		t.Errorf("a device that came later reads what was before it: %v", err)
	}
	equal(t, "given to the new device", alice.sharedWith(room, bob.UserID, "TABLET"), true)

	// Who leaves does not.
	_, err := tablet.Logout(ctx)
	tablet.must(err)
	alice.until("the device to go", func() bool { return !alice.knows(bob.UserID, "TABLET") })
	alice.says(room, "without it")
	bob.hears("without it")
	equal(t, "given to bob", alice.sharedWith(room, bob.UserID, "BOB"), true)
	equal(t, "given to the device that is gone", alice.sharedWith(room, bob.UserID, "TABLET"), false)
}

func TestMautrixVerifiesAcrossServers(t *testing.T) {
	t.Parallel()
	ctx := encrypting(t)
	_, a, b := pair(t)
	alice, bob := deviceOf(t, ctx, a, "PHONE"), deviceOf(t, ctx, b, "BOB")
	// The first keys of a user need no password.
	for _, d := range []*device{alice, bob} {
		_, err := d.mach.GenerateAndVerifyWithRecoveryKey(ctx)
		d.must(err)
	}
	room := alice.encrypted(bob)
	alice.says(room, "hi")
	bob.hears("hi")
	bob.says(room, "hi yourself")
	alice.hears("hi yourself")
	trusts := func(d, other *device) bool {
		trusted, err := d.mach.IsUserTrusted(ctx, other.UserID)
		d.must(err)
		return trusted
	}
	equal(t, "trusted before", []bool{trusts(alice, bob), trusts(bob, alice)}, []bool{false, false})
	alice.verifies(bob)
	equal(t, "trusted after", []bool{trusts(alice, bob), trusts(bob, alice)}, []bool{true, true})

	// A new device is verified by the old one; then others know that it is alice's own.
	laptop := deviceOf(t, ctx, a, "LAPTOP")
	bob.until("alice's new device", func() bool { return bob.knows(alice.UserID, "LAPTOP") })
	trusted := func() bool {
		laptop, err := bob.mach.CryptoStore.GetDevice(ctx, alice.UserID, "LAPTOP")
		bob.must(err)
		return bob.mach.IsDeviceTrusted(ctx, laptop)
	}
	equal(t, "a device that nobody has signed is trusted", trusted(), false)
	_, err := laptop.mach.FetchKeys(ctx, []id.UserID{alice.UserID}, true)
	laptop.must(err)
	alice.until("one's own new device", func() bool { return alice.knows(alice.UserID, "LAPTOP") })
	alice.verifies(laptop)
	bob.until("the signature", trusted)
}

func TestMautrixBacksKeysUp(t *testing.T) {
	t.Parallel()
	ctx := encrypting(t)
	_, a, b := pair(t)
	alice, bob := deviceOf(t, ctx, a, "PHONE"), deviceOf(t, ctx, b, "BOB")
	room := alice.encrypted(bob)
	messages := []id.EventID{alice.says(room, "one")}
	bob.hears("one")
	messages = append(messages, bob.says(room, "two"))
	alice.hears("two")

	recovery, err := alice.mach.GenerateAndVerifyWithRecoveryKey(ctx)
	alice.must(err)
	equal(t, "keys in the backup", alice.backsUp(recovery), 2)
	_, err = alice.Logout(ctx)
	alice.must(err)

	laptop := deviceOf(t, ctx, a, "LAPTOP")
	read := func(message id.EventID) (string, error) {
		e, err := laptop.GetEvent(ctx, room, message)
		laptop.must(err)
		laptop.must(e.Content.ParseRaw(e.Type))
		plain, err := laptop.mach.DecryptMegolmEvent(ctx, e)
		if err != nil {
			return "", err
		}
		return plain.Content.AsMessage().Body, nil
	}
	if _, err := read(messages[0]); !errors.Is(err, crypto.ErrNoSessionFound) {
		t.Errorf("the new device reads before it has the backup: %v", err)
	}
	laptop.must(laptop.mach.VerifyWithRecoveryKey(ctx, recovery))
	laptop.restores(recovery)
	for i, want := range []string{"one", "two"} {
		got, err := read(messages[i])
		laptop.must(err)
		equal(t, "message", got, want)
	}
	laptop.knowsRoom(room, bob.UserID)
	laptop.says(room, "three")
	bob.hears("three")
}

// secrets opens a user's secret storage.
func (d *device) secrets(recovery string) *ssss.Key {
	d.t.Helper()
	name, meta, err := d.mach.SSSS.GetDefaultKeyData(d.ctx)
	d.must(err)
	key, err := meta.VerifyRecoveryKey(name, recovery)
	d.must(err)
	return key
}

// backsUp makes a backup of all keys that the device has, with its key in the secret storage, and returns how many the server counts.
func (d *device) backsUp(recovery string) int {
	d.t.Helper()
	key, err := backup.NewMegolmBackupKey()
	d.must(err)
	d.must(d.mach.SSSS.SetEncryptedAccountData(d.ctx, event.AccountDataMegolmBackupKey, key.Bytes(), d.secrets(recovery)))
	made, err := d.CreateKeyBackupVersion(d.ctx, &mautrix.ReqRoomKeysVersionCreate[backup.MegolmAuthData]{
		Algorithm: id.KeyBackupAlgorithmMegolmBackupV1, AuthData: backup.MegolmAuthData{PublicKey: public(key)},
	})
	d.must(err)
	rooms := map[id.RoomID]mautrix.ReqRoomKeyBackup{}
	d.must(d.mach.CryptoStore.GetAllGroupSessions(d.ctx).Iter(func(s *crypto.InboundGroupSession) (bool, error) {
		session, err := s.Internal.Export(s.Internal.FirstKnownIndex())
		if err != nil {
			return false, err
		}
		sealed, err := backup.EncryptSessionData(key, backup.MegolmSessionData{
			Algorithm: id.AlgorithmMegolmV1, SenderKey: s.SenderKey, SenderClaimedKeys: backup.SenderClaimedKeys{Ed25519: s.SigningKey},
			SessionKey: string(session), ForwardingKeyChain: []string{},
		})
		if err != nil {
			return false, err
		}
		data, err := json.Marshal(sealed)
		if rooms[s.RoomID].Sessions == nil {
			rooms[s.RoomID] = mautrix.ReqRoomKeyBackup{Sessions: map[id.SessionID]mautrix.ReqKeyBackupData{}}
		}
		rooms[s.RoomID].Sessions[s.ID()] = mautrix.ReqKeyBackupData{FirstMessageIndex: int(s.Internal.FirstKnownIndex()), SessionData: data}
		return err == nil, err
	}))
	stored, err := d.PutKeysInBackup(d.ctx, made.Version, &mautrix.ReqKeyBackup{Rooms: rooms})
	d.must(err)
	return stored.Count
}

// restores takes all keys from the backup whose key is in the secret storage.
func (d *device) restores(recovery string) {
	d.t.Helper()
	raw, err := d.mach.SSSS.GetDecryptedAccountData(d.ctx, event.AccountDataMegolmBackupKey, d.secrets(recovery))
	d.must(err)
	key, err := backup.MegolmBackupKeyFromBytes(raw)
	d.must(err)
	_, err = d.mach.DownloadAndStoreLatestKeyBackup(d.ctx, key)
	d.must(err)
}

// public is what a backup is known by.
func public(key *backup.MegolmBackupKey) id.Ed25519 {
	return id.Ed25519(base64.RawStdEncoding.EncodeToString(key.PublicKey().Bytes()))
}
