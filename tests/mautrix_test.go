package tests

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// mautrixClient logs a user in with a client library that was not written for this server. What its sync loop gets goes to the channel.
func mautrixClient(t *testing.T, ctx context.Context, a *hearthtest.Server, user *hearthtest.User) (*mautrix.Client, <-chan *event.Event) {
	t.Helper()
	client, err := mautrix.NewClient(a.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	login, err := client.Login(ctx, &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: user.ID.Localpart()},
		Password: hearthtest.Password, DeviceID: "MAUTRIX", StoreCredentials: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "user", string(login.UserID), string(user.ID))
	events := make(chan *event.Event, 100)
	client.Syncer.(mautrix.ExtensibleSyncer).OnEvent(func(ctx context.Context, e *event.Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	})
	ctx, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- client.SyncWithContext(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; !errors.Is(err, context.Canceled) && !errors.Is(err, mautrix.MUnknownToken) {
			t.Errorf("sync loop of %s: %v", user.ID, err)
		}
	})
	return client, events
}

// await returns the first event that fits.
func await(t *testing.T, ctx context.Context, events <-chan *event.Event, what string, fits func(*event.Event) bool) *event.Event {
	t.Helper()
	for {
		select {
		case e := <-events:
			if fits(e) {
				return e
			}
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestMautrix(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hearthtest.Patience)
	defer cancel()
	a := hearthtest.Start(t)
	alice, _ := mautrixClient(t, ctx, a, a.User("alice"))
	bob, events := mautrixClient(t, ctx, a, a.User("bob"))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	byID := func(want id.EventID) func(*event.Event) bool {
		return func(e *event.Event) bool { return e.ID == want }
	}

	versions, err := bob.Versions(ctx)
	must(err)
	equal(t, "authenticated media is advertised", versions.Supports(mautrix.FeatureAuthenticatedMedia), true)
	created, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Name: "Kitchen", Invite: []id.UserID{bob.UserID}, IsDirect: true})
	must(err)
	room := created.RoomID
	invited := await(t, ctx, events, "the invitation", func(e *event.Event) bool {
		return e.Type == event.StateMember && e.GetStateKey() == string(bob.UserID) && e.Content.AsMember().Membership == event.MembershipInvite
	})
	equal(t, "inviter", invited.Sender, alice.UserID)
	equal(t, "a direct chat", invited.Content.AsMember().IsDirect, true)
	_, err = bob.JoinRoomByID(ctx, room)
	must(err)

	said, err := alice.SendText(ctx, room, "teh soup")
	must(err)
	equal(t, "text", await(t, ctx, events, "the message", byID(said.EventID)).Content.AsMessage().Body, "teh soup")

	better := &event.MessageEventContent{MsgType: event.MsgText, Body: "the soup"}
	better.SetEdit(said.EventID)
	edited, err := alice.SendMessageEvent(ctx, room, event.EventMessage, better)
	must(err)
	edit := await(t, ctx, events, "the edit", byID(edited.EventID)).Content.AsMessage()
	equal(t, "what it replaces", edit.RelatesTo.GetReplaceID(), said.EventID)
	equal(t, "new text", edit.NewContent.Body, "the soup")

	reacted, err := bob.SendReaction(ctx, room, said.EventID, "👍")
	must(err)
	reaction := await(t, ctx, events, "the reaction", byID(reacted.EventID)).Content.AsReaction()
	equal(t, "reaction", []string{string(reaction.RelatesTo.EventID), reaction.RelatesTo.Key}, []string{string(said.EventID), "👍"})

	content := picture(t, 64, 48)
	uploaded, err := alice.UploadBytesWithName(ctx, content, "image/png", "soup.png")
	must(err)
	shared, err := alice.SendMessageEvent(ctx, room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgImage, Body: "soup.png", URL: uploaded.ContentURI.CUString(), Info: &event.FileInfo{MimeType: "image/png", Width: 64, Height: 48},
	})
	must(err)
	uri, err := await(t, ctx, events, "the picture", byID(shared.EventID)).Content.AsMessage().URL.Parse()
	must(err)
	downloaded, err := bob.DownloadBytes(ctx, uri)
	must(err)
	equal(t, "the picture", bytes.Equal(downloaded, content), true)
	stranger, err := mautrix.NewClient(a.URL, "", "")
	must(err)
	if _, err := stranger.DownloadBytes(ctx, uri); !errors.Is(err, mautrix.MMissingToken) {
		t.Errorf("a stranger who downloads gets %v", err)
	}

	must(bob.MarkRead(ctx, room, shared.EventID))
	history, err := bob.Messages(ctx, room, "", "", mautrix.DirectionBackward, nil, 1)
	must(err)
	equal(t, "end of the history", history.Chunk[0].ID, shared.EventID)
	_, err = bob.Logout(ctx)
	must(err)
	if _, err := bob.Whoami(ctx); !errors.Is(err, mautrix.MUnknownToken) {
		t.Errorf("who has logged out gets %v", err)
	}
}
