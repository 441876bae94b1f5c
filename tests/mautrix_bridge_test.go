// mautrix-go registers listeners while its event processor runs, which the race detector reports.

//go:build goolm && !race

package tests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	hearthid "github.com/hearthd/hearth/internal/id"
)

// mautrixBridge is a server with an application service as the bridges of mautrix have them, and one with which these act as people.
type mautrixBridge struct {
	*appservice.AppService
	t       *testing.T
	ctx     context.Context
	server  *hearthtest.Server
	process *appservice.EventProcessor
	events  chan *event.Event // those whose types were given
}

const puppetToken = "puppet-secret"

// newMautrixBridge starts both. What the application service is sent of some types goes to events.
func newMautrixBridge(t *testing.T, ctx context.Context, types ...event.Type) *mautrixBridge {
	t.Helper()
	unlimited := false
	as := appservice.Create()
	listener := httptest.NewServer(http.HandlerFunc(as.Router.ServeHTTP))
	t.Cleanup(listener.Close)
	as.Registration = &appservice.Registration{
		ID: "bridge", URL: listener.URL, AppToken: "as-secret", ServerToken: "hs-secret", SenderLocalpart: "bridgebot", RateLimited: &unlimited,
		Namespaces: appservice.Namespaces{UserIDs: appservice.NamespaceList{
			{Regex: `^@bridgebot:.+$`, Exclusive: true}, {Regex: `^@bridge_.+:.+$`, Exclusive: true},
		}},
		SoruEphemeralEvents: true, EphemeralEvents: true, MSC3202: true, MSC4190: true,
	}
	puppets := &appservice.Registration{
		ID: "doublepuppet", AppToken: puppetToken, ServerToken: "unused", SenderLocalpart: "doublepuppet", RateLimited: &unlimited,
		Namespaces: appservice.Namespaces{UserIDs: appservice.NamespaceList{{Regex: `^@.*$`}}},
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "bridge.yaml"), filepath.Join(dir, "puppets.yaml")}
	for i, r := range []*appservice.Registration{as.Registration, puppets} {
		if err := r.Save(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	b := &mautrixBridge{AppService: as, t: t, ctx: ctx, events: make(chan *event.Event, 100)}
	b.server = hearthtest.Start(t, hearthtest.WithConfig(func(c *config.Config) { c.Appservices = files }))
	as.HomeserverDomain = string(b.server.Name)
	if err := as.SetHomeserverURL(b.server.URL); err != nil {
		t.Fatal(err)
	}
	b.process = appservice.NewEventProcessor(as)
	b.process.ExecMode = appservice.Sync
	for _, typ := range types {
		b.process.On(typ, func(_ context.Context, e *event.Event) { b.events <- e })
	}
	b.process.Start(ctx)
	t.Cleanup(b.process.Stop)
	return b
}

func (b *mautrixBridge) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestMautrixBridges(t *testing.T) {
	t.Parallel()
	ctx := encrypting(t)
	b := newMautrixBridge(t, ctx, event.StateMember, event.EventMessage, event.EphemeralEventTyping, event.EphemeralEventReceipt)
	alice := b.server.User("alice")
	bot := b.BotIntent()
	b.must(bot.EnsureRegistered(ctx))
	if _, err := bot.AppservicePing(ctx, "bridge", "hello"); err != nil {
		t.Errorf("ping: %v", err)
	}

	// A portal: the bot makes the room, and a ghost speaks in it.
	created, err := bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{id.UserID(alice.ID)}})
	b.must(err)
	room := hearthid.RoomID(created.RoomID)
	alice.Join(room)
	ghost := b.Intent(id.UserID("@bridge_bob:" + string(b.server.Name)))
	b.must(ghost.EnsureJoined(ctx, created.RoomID))
	b.must(ghost.SetDisplayName(ctx, "Bob (WhatsApp)"))
	_, err = ghost.SendMessageEvent(ctx, created.RoomID, event.EventMessage,
		&event.MessageEventContent{MsgType: event.MsgText, Body: "from afar"}, mautrix.ReqSendEvent{Timestamp: 1_600_000_000_000})
	b.must(err)
	equal(t, "who speaks", alice.WaitFor(room, "from afar").Sender(), string(ghost.UserID))

	// What people do reaches the bridge.
	said := alice.Say(room, "to afar")
	await(t, ctx, b.events, "the message", func(e *event.Event) bool { return e.ID == id.EventID(said) })
	alice.Must("PUT", path("rooms", room, "typing", alice.ID), fields{"typing": true, "timeout": 20_000})
	typing := await(t, ctx, b.events, "typing", func(e *event.Event) bool { return e.Type == event.EphemeralEventTyping })
	equal(t, "who types, and where", []string{string(typing.Content.AsTyping().UserIDs[0]), string(typing.RoomID)}, []string{string(alice.ID), string(room)})
	alice.Must("POST", path("rooms", room, "receipt", "m.read", said), fields{})
	read := await(t, ctx, b.events, "a receipt", func(e *event.Event) bool { return e.Type == event.EphemeralEventReceipt })
	equal(t, "what alice has read", len((*read.Content.AsReceipt())[id.EventID(said)][event.ReceiptTypeRead]), 1)

	// What alice writes on her phone appears here as hers.
	puppet, err := b.NewExternalMautrixClient(id.UserID(alice.ID), puppetToken, "")
	b.must(err)
	puppet.SetAppServiceUserID = true
	_, err = puppet.SendText(ctx, created.RoomID, "from the other phone")
	b.must(err)
	equal(t, "who speaks", alice.WaitFor(room, "from the other phone").Sender(), string(alice.ID))
}

func TestMautrixBridgesEncrypt(t *testing.T) {
	t.Parallel()
	ctx := encrypting(t)
	b := newMautrixBridge(t, ctx)
	b.must(b.BotIntent().EnsureRegistered(ctx))
	bot := b.NewMautrixClient(b.BotMXID())
	b.must(bot.CreateDeviceMSC4190(ctx, "", "Bridge"))
	mach := crypto.NewOlmMachine(bot, nil, crypto.NewMemoryStore(nil), b.StateStore.(crypto.StateStore))
	t.Cleanup(mach.Destroy)
	b.must(mach.Load(ctx))
	b.must(mach.ShareKeys(ctx, 0))
	// Keys that are there already are replaced without anybody's being asked.
	for range 2 {
		_, err := mach.GenerateAndVerifyWithRecoveryKey(ctx)
		b.must(err)
	}
	mach.AddAppserviceListener(b.process)

	// The bot answers in its own words, which are encrypted too.
	heard := make(chan string, 10)
	b.process.On(event.StateMember, mach.HandleMemberEvent)
	b.process.On(event.StateMember, func(ctx context.Context, e *event.Event) {
		if e.GetStateKey() == string(bot.UserID) && e.Content.AsMember().Membership == event.MembershipInvite {
			_, err := bot.JoinRoomByID(ctx, e.RoomID)
			if err == nil {
				_, err = bot.State(ctx, e.RoomID) // who else is there: the client keeps it
			}
			if err != nil {
				t.Errorf("join: %v", err)
			}
		}
	})
	b.process.On(event.EventEncrypted, func(ctx context.Context, e *event.Event) {
		if e.Sender == bot.UserID {
			return
		}
		content := e.Content.AsEncrypted()
		mach.WaitForSession(ctx, e.RoomID, content.SenderKey, content.SessionID, hearthtest.Patience)
		plain, err := mach.DecryptMegolmEvent(ctx, e)
		if err != nil {
			t.Errorf("the bot cannot read %s: %v", e.ID, err)
			return
		}
		text := plain.Content.AsMessage().Body
		heard <- text
		answer, err := cryptor{&device{Client: bot, mach: mach}}.Encrypt(ctx, e.RoomID, event.EventMessage,
			&event.MessageEventContent{MsgType: event.MsgText, Body: strings.ToUpper(text)})
		if err == nil {
			_, err = bot.SendMessageEvent(ctx, e.RoomID, event.EventEncrypted, answer)
		}
		if err != nil {
			t.Errorf("the bot cannot answer: %v", err)
		}
	})

	user := b.server.User("alice")
	alice := deviceOf(t, ctx, user, "PHONE")
	created, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{bot.UserID}, InitialState: []*event.Event{{
		Type: event.StateEncryption, Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
	}}})
	alice.must(err)
	alice.knowsRoom(created.RoomID, bot.UserID)
	alice.says(created.RoomID, "hello bridge")
	alice.hears("HELLO BRIDGE")
	equal(t, "what the bot heard", <-heard, "hello bridge")
	stored := user.Get(path("rooms", created.RoomID, "messages") + "?dir=b&limit=1").Get("chunk.0")
	equal(t, "what the server has", []string{stored.Get("type").Str, stored.Get("sender").Str}, []string{"m.room.encrypted", string(bot.UserID)})

	// The bot learns of a new device by the next transaction, and then speaks to it.
	tablet := deviceOf(t, ctx, user, "TABLET")
	follows := func() bool {
		devices, err := mach.CryptoStore.GetDevices(ctx, alice.UserID)
		b.must(err)
		return devices["TABLET"] != nil
	}
	eventually(t, ctx, "the bot to know the new device", follows)
	alice.until("alice's new device", func() bool { return alice.knows(alice.UserID, "TABLET") })
	alice.says(created.RoomID, "for all")
	tablet.hears("FOR ALL")

	// Keys that are taken from it are replaced.
	claim := fields{"one_time_keys": fields{string(bot.UserID): fields{string(bot.DeviceID): "signed_curve25519"}}}
	for range 30 {
		user.Must("POST", "keys/claim", claim)
	}
	eventually(t, ctx, "new one-time keys", func() bool {
		r, err := bot.UploadKeys(ctx, &mautrix.ReqUploadKeys{})
		b.must(err)
		return r.OneTimeKeyCounts.SignedCurve25519 > 40
	})
}

// eventually waits for something that comes about elsewhere.
func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
