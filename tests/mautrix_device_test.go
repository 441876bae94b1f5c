//go:build goolm

package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// The tests of encryption run with the tag goolm, which lets mautrix-go use its Olm in Go; without it, it wants the C library (docs/clients.md).

// device is somebody's login with a client library that was not written for this server, and with its encryption. It syncs when the test
// waits for something: the library does not want its encryption to be used by two goroutines.
type device struct {
	*mautrix.Client
	t     *testing.T
	ctx   context.Context
	mach  *crypto.OlmMachine
	since string

	heard  []string       // texts that were encrypted for a room
	unread []*event.Event // what could not be decrypted yet

	verifying *verificationhelper.VerificationHelper
	// What the user is told while verifying.
	asked, ready, done id.VerificationTransactionID
	shown              string
}

// deviceOf logs somebody in at another device, which publishes its keys.
func deviceOf(t *testing.T, ctx context.Context, user *hearthtest.User, name id.DeviceID) *device {
	t.Helper()
	client, err := mautrix.NewClient(user.Server().URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	d := &device{Client: client, t: t, ctx: ctx}
	client.StateStore = mautrix.NewMemoryStateStore()
	_, err = client.Login(ctx, &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: user.ID.Localpart()},
		Password: hearthtest.Password, DeviceID: name, StoreCredentials: true,
	})
	d.must(err)
	d.mach = crypto.NewOlmMachine(client, nil, crypto.NewMemoryStore(nil), client.StateStore.(crypto.StateStore))
	t.Cleanup(d.mach.Destroy)
	d.must(d.mach.Load(ctx))
	d.must(d.mach.ShareKeys(ctx, 0))
	client.Crypto = cryptor{d}
	syncer := client.Syncer.(mautrix.ExtensibleSyncer)
	syncer.OnSync(d.mach.ProcessSyncResponse)
	syncer.OnSync(func(context.Context, *mautrix.RespSync, string) bool { d.retry(); return true })
	syncer.OnEvent(client.StateStoreSyncHandler)
	syncer.OnEventType(event.StateMember, d.mach.HandleMemberEvent)
	syncer.OnEventType(event.EventEncrypted, func(_ context.Context, e *event.Event) { d.read(e) })
	d.verifying = verificationhelper.NewVerificationHelper(client, d.mach, nil, d, false, false, true)
	d.must(d.verifying.Init(ctx))
	return d
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("%s: %v", d.DeviceID, err)
	}
}

// read decrypts an event, or keeps it for when its key has come: over federation, either can come first.
func (d *device) read(e *event.Event) {
	plain, err := d.mach.DecryptMegolmEvent(d.ctx, e)
	switch {
	case errors.Is(err, crypto.ErrNoSessionFound):
		d.unread = append(d.unread, e)
	case err != nil:
		d.t.Errorf("%s cannot read %s: %v", d.DeviceID, e.ID, err)
	default:
		d.heard = append(d.heard, plain.Content.AsMessage().Body)
	}
}

// retry runs when the keys in an answer have been taken, and before its events.
func (d *device) retry() {
	list := d.unread
	d.unread = nil
	for _, e := range list {
		d.read(e)
	}
}

// turn is how long a device waits for news, if there are others that may have some.
const turn = 200 * time.Millisecond

// until lets devices sync, one after another, until something has come about.
func until(what string, ok func() bool, devices ...*device) {
	for !ok() {
		for _, d := range devices {
			d.t.Helper()
			r, err := d.SyncRequest(d.ctx, int(turn.Milliseconds()), d.since, "", false, "")
			if d.ctx.Err() != nil {
				d.t.Fatalf("%s waited in vain for %s", d.DeviceID, what)
			}
			d.must(err)
			d.must(d.Syncer.ProcessResponse(d.ctx, r, d.since))
			d.since = r.NextBatch
		}
	}
}

func (d *device) until(what string, ok func() bool) {
	d.t.Helper()
	until(what, ok, d)
}

// hears waits for a text that was encrypted.
func (d *device) hears(text string) {
	d.t.Helper()
	d.until(text, func() bool { return slices.Contains(d.heard, text) })
}

func (d *device) says(room id.RoomID, text string) id.EventID {
	d.t.Helper()
	r, err := d.SendText(d.ctx, room, text)
	d.must(err)
	return r.EventID
}

// encrypted makes a room in which all is encrypted, with somebody else in it.
func (d *device) encrypted(other *device) id.RoomID {
	d.t.Helper()
	created, err := d.CreateRoom(d.ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{other.UserID}, InitialState: []*event.Event{{
		Type: event.StateEncryption, Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
	}}})
	d.must(err)
	other.until("the invitation", func() bool { return other.StateStore.IsInvited(d.ctx, created.RoomID, other.UserID) })
	_, err = other.JoinRoomByID(d.ctx, created.RoomID)
	other.must(err)
	d.knowsRoom(created.RoomID, other.UserID)
	other.knowsRoom(created.RoomID, d.UserID)
	return created.RoomID
}

// knowsRoom waits until the device knows that a room is encrypted and who else is in it.
func (d *device) knowsRoom(room id.RoomID, other id.UserID) {
	d.t.Helper()
	d.until("the room", func() bool {
		encrypted, err := d.StateStore.IsEncrypted(d.ctx, room)
		d.must(err)
		return encrypted && d.StateStore.IsMembership(d.ctx, room, other, event.MembershipJoin)
	})
}

// knows reports whether a device knows of another one that it follows.
func (d *device) knows(user id.UserID, name id.DeviceID) bool {
	devices, err := d.mach.CryptoStore.GetDevices(d.ctx, user)
	d.must(err)
	return devices[name] != nil
}

// sharedWith reports whether the key that a device encrypts with today was given to a device.
func (d *device) sharedWith(room id.RoomID, user id.UserID, name id.DeviceID) bool {
	d.t.Helper()
	session, err := d.mach.CryptoStore.GetOutboundGroupSession(d.ctx, room)
	d.must(err)
	return session != nil && session.Users[crypto.UserDevice{UserID: user, DeviceID: name}] == crypto.OGSAlreadyShared
}

// cryptor is what the client calls to encrypt what it sends.
type cryptor struct{ d *device }

func (c cryptor) Encrypt(ctx context.Context, room id.RoomID, typ event.Type, content any) (*event.EncryptedEventContent, error) {
	out, err := c.d.mach.EncryptMegolmEvent(ctx, room, typ, content)
	if !crypto.IsShareError(err) {
		return out, err
	}
	members, err := c.d.StateStore.GetRoomJoinedOrInvitedMembers(ctx, room)
	if err == nil {
		err = c.d.mach.ShareGroupSession(ctx, room, members)
	}
	if err != nil {
		return nil, err
	}
	return c.d.mach.EncryptMegolmEvent(ctx, room, typ, content)
}

func (c cryptor) Decrypt(ctx context.Context, e *event.Event) (*event.Event, error) {
	return c.d.mach.DecryptMegolmEvent(ctx, e)
}

func (c cryptor) WaitForSession(ctx context.Context, room id.RoomID, key id.SenderKey, session id.SessionID, wait time.Duration) bool {
	return c.d.mach.WaitForSession(ctx, room, key, session, wait)
}

func (cryptor) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

func (cryptor) Init(context.Context) error { return nil }

func (d *device) VerificationRequested(_ context.Context, txn id.VerificationTransactionID, _ id.UserID, _ id.DeviceID) {
	d.asked = txn
}

func (d *device) VerificationReady(_ context.Context, txn id.VerificationTransactionID, _ id.DeviceID, _, _ bool, _ *verificationhelper.QRCode) {
	d.ready = txn
}

func (d *device) VerificationCancelled(_ context.Context, _ id.VerificationTransactionID, code event.VerificationCancelCode, reason string) {
	d.t.Errorf("%s: the verification was cancelled: %s %s", d.DeviceID, code, reason)
}

func (d *device) VerificationDone(_ context.Context, txn id.VerificationTransactionID, _ event.VerificationMethod) {
	d.done = txn
}

func (d *device) ShowSAS(_ context.Context, _ id.VerificationTransactionID, emojis []rune, _ []string, decimals []int) {
	d.shown = fmt.Sprint(string(emojis), decimals)
}

// verifies compares emojis with another device, and both find them equal.
func (d *device) verifies(other *device) {
	d.t.Helper()
	txn, err := d.verifying.StartVerification(d.ctx, other.UserID)
	d.must(err)
	other.until("a request to verify", func() bool { return other.asked == txn })
	other.must(other.verifying.AcceptVerification(d.ctx, txn))
	d.until("the other one to be ready", func() bool { return d.ready == txn })
	d.must(d.verifying.StartSAS(d.ctx, txn))
	d.shown, other.shown = "", ""
	until("emojis", func() bool { return d.shown != "" && other.shown != "" }, other, d)
	equal(d.t, "emojis", other.shown, d.shown)
	d.must(d.verifying.ConfirmSAS(d.ctx, txn))
	other.must(other.verifying.ConfirmSAS(d.ctx, txn))
	until("the end of the verification", func() bool { return d.done == txn && other.done == txn }, other, d)
}
