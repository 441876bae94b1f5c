package roomserver

import (
	"context"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

func TestInvitesAreRejectedOverFederation(t *testing.T) {
	ctx := context.Background()
	for _, version := range []roomVersion{"1", "3", "10", "12"} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			w, a, b, anna, bert, room := invited(t, CreateRequest{Version: version})
			for range 3 {
				if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert, Reason: "no tea"}); err != nil {
					t.Fatal(err)
				}
				w.wantMember(room, bert, spec.Leave, a, b)
				if e := b.stored(room, bert); e.Status != storage.Outlier || e.Get("content.reason").Str != "no tea" || e.ID != a.stored(room, bert).ID {
					t.Errorf("b has %s (%d)", e.JSON, e.Status)
				}
				// Who has left already is told of no error.
				if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
					t.Error(err)
				}
				if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bert}); err != nil {
					t.Fatal(err)
				}
				w.wantMember(room, bert, spec.Invite, a, b)
			}
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.sameState(room, a, b)
		})
	}
}

func TestInvitesAreRejectedWithoutTheirRoom(t *testing.T) {
	ctx := context.Background()
	for name, gone := range map[string]func(w *world, a *fixture, anna id.UserID, room id.RoomID){
		"nobody is in the room": func(_ *world, a *fixture, anna id.UserID, room id.RoomID) {
			if err := a.Leave(ctx, MemberRequest{Room: room, Sender: anna}); err != nil {
				a.t.Fatal(err)
			}
		},
		"its server is down":       func(w *world, _ *fixture, _ id.UserID, _ id.RoomID) { w.down["a.test"] = true },
		"its server has forgotten": func(w *world, _ *fixture, _ id.UserID, _ id.RoomID) { delete(w.servers, "a.test") },
		"its server does not let go": func(w *world, a *fixture, anna id.UserID, room id.RoomID) {
			w.between = func() {
				_ = a.Kick(ctx, MemberRequest{Room: room, Sender: anna, Target: "@bert:b.test"})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, anna, bert, room := invited(t, CreateRequest{Version: "12"})
			gone(w, a, anna, room)
			if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Leave, b)
			if e := b.stored(room, bert); e.Status != storage.Outlier || e.Get("content.membership").Str != spec.Leave || e.Sender != bert {
				t.Errorf("b has %s (%d)", e.JSON, e.Status)
			}
			if err := b.Forget(ctx, room, bert); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhoWasNeverInvitedCannotLeave(t *testing.T) {
	ctx := context.Background()
	_, _, b, _, _, room := invited(t, CreateRequest{})
	wantCode(t, b.Leave(ctx, MemberRequest{Room: room, Sender: b.user("bella")}), merr.NotFound)
	wantCode(t, b.Leave(ctx, MemberRequest{Room: "!no:a.test", Sender: "@bella:b.test"}), merr.NotFound)
}

func TestAnInviteIsTakenBackByWhoHasSentIt(t *testing.T) {
	ctx := context.Background()
	w, a, b, anna, bert, room := invited(t, CreateRequest{})
	other := a.user("other")
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: other}); err != nil {
		t.Fatal(err)
	}
	if err := a.Join(ctx, MemberRequest{Room: room, Sender: other}); err != nil {
		t.Fatal(err)
	}
	bella := b.user("bella")
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: other, Target: bella}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []id.UserID{bert, bella} {
		if err := a.Kick(ctx, MemberRequest{Room: room, Sender: anna, Target: user, Reason: "oops"}); err != nil {
			t.Fatal(err)
		}
	}
	w.deliver()
	w.wantMember(room, bert, spec.Leave, a, b)
	if e := b.stored(room, bert); e.Sender != anna || e.Get("content.reason").Str != "oops" {
		t.Errorf("b has %s", e.JSON)
	}
	// Whether others have the power for it cannot be seen from outside.
	w.wantMember(room, bella, spec.Leave, a)
	w.wantMember(room, bella, spec.Invite, b)
	// What cannot be accepted can still be rejected.
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bella}), merr.Forbidden)
	if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bella, spec.Leave, b)
}

func TestWhoIsDeactivatedLeavesRoomsEverywhere(t *testing.T) {
	ctx := context.Background()
	w, a, b, anna, bert, room := invited(t, CreateRequest{})
	public := a.create(CreateRequest{Creator: anna, Preset: "public_chat"})
	if err := b.Join(ctx, MemberRequest{Room: public, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	if err := b.LeaveAll(ctx, bert); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	for _, r := range []id.RoomID{room, public} {
		w.wantMember(r, bert, spec.Leave, a, b)
	}
}
