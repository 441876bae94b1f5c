package roomserver

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage/storagetest"
)

func (f *fixture) upgrade(room id.RoomID, user id.UserID, version roomVersion) id.RoomID {
	f.t.Helper()
	fresh, err := f.Upgrade(context.Background(), UpgradeRequest{Room: room, User: user, Version: version})
	if err != nil {
		f.t.Fatal(err)
	}
	return fresh
}

func TestAnUpgradeLeavesPowerAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		from, to roomVersion
		by       id.UserID
		levels   string
		want     string
	}{
		"a moderator stays one": {"10", "11", bob, `{"events":{"m.room.tombstone":50},"users":{"@alice:hearth.test":100,"@bob:hearth.test":50}}`,
			`{"@alice:hearth.test":100,"@bob:hearth.test":50}`},
		"levels of strings become numbers": {"9", "10", alice,
			`{"ban":"60","events":{"m.x":"7"},"events_default":" 5 ","notifications":{"room":"20"},"users":{"@alice:hearth.test":"100"}}`,
			`{"@alice:hearth.test":100}`},
		"who made the room has no level in version 12": {"11", "12", alice, `{"users":{"@alice:hearth.test":100,"@bob:hearth.test":50}}`,
			`{"@bob:hearth.test":50}`},
		"who made the room of version 12 has one before": {"12", "11", alice, `{"users":{"@bob:hearth.test":50}}`,
			`{"@alice:hearth.test":100,"@bob:hearth.test":50}`},
		"creators of version 12 have to be named again": {"12", "12", bob, `{"users":{"@bob:hearth.test":150,"@carol:hearth.test":50}}`,
			`{"@carol:hearth.test":50}`},
		"others above stay above": {"10", "11", alice, `{"users":{"@alice:hearth.test":100,"@bob:hearth.test":100}}`,
			`{"@alice:hearth.test":100,"@bob:hearth.test":100}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, storagetest.Open(t))
			old := f.create(CreateRequest{Version: c.from, Preset: "public_chat"})
			if err := f.Join(context.Background(), MemberRequest{Room: old, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			f.mustSet(old, alice, spec.MRoomPowerLevels, "", c.levels)
			fresh := f.upgrade(old, c.by, c.to)
			got := f.state(fresh, spec.MRoomPowerLevels, "")
			if diff := cmp.Diff(c.want, got.Get("users").Raw); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if name == "levels of strings become numbers" {
				if got.Get("ban").Raw != "60" || got.Get("events.m\\.x").Raw != "7" || got.Get("events_default").Raw != "5" ||
					got.Get("notifications.room").Raw != "20" {
					t.Errorf("levels %s", got.Raw)
				}
			}
		})
	}
}

func TestAnUpgradeOpensTheRoomToNobody(t *testing.T) {
	f := start(t, storagetest.Open(t))
	old := f.create(CreateRequest{Preset: "public_chat"})
	f.mustSet(old, alice, spec.MRoomGuestAccess, "", `{}`) // which closes it to guests
	fresh := f.upgrade(old, alice, "11")
	if got := f.row(fresh).Summary.GuestAccess; got == "can_join" {
		t.Errorf("guest access is %q", got)
	}
}

func TestAnUpgradedSpaceKeepsTheChildrenThatItHas(t *testing.T) {
	f := start(t, storagetest.Open(t))
	old := f.create(CreateRequest{Content: raw("type", `"m.space"`)})
	f.mustSet(old, alice, "m.space.child", "!a:hearth.test", `{"via":["hearth.test"]}`)
	f.mustSet(old, alice, "m.space.child", "!b:hearth.test", `{}`) // removed
	fresh := f.upgrade(old, alice, "11")
	if got := f.state(fresh, "m.space.child", "!a:hearth.test").Raw; got != `{"via":["hearth.test"]}` {
		t.Errorf("the child is %q", got)
	}
	if got := f.state(fresh, "m.space.child", "!b:hearth.test").Raw; got != "" {
		t.Errorf("the removed child is %q", got)
	}
	if got := f.row(fresh).Summary.Type; got != "m.space" {
		t.Errorf("the type is %q", got)
	}
}

// Any room may claim to follow another; only that other room's tombstone makes it true.
func TestSettingsAreCarriedOverOnlyToTheRoomThatTheOldOneNames(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	old := f.create(CreateRequest{Preset: "public_chat"})
	claim := map[string]json.RawMessage{"predecessor": must(map[string]any{"room_id": old})}
	for _, u := range []id.UserID{bob, carol} {
		if err := f.Join(ctx, MemberRequest{Room: old, Sender: u}); err != nil {
			t.Fatal(err)
		}
	}
	trap := f.create(CreateRequest{Creator: carol, Preset: "public_chat", Content: claim})
	if err := f.Join(ctx, MemberRequest{Room: trap, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	if len(f.accounts.carried) != 0 {
		t.Errorf("carried over to a room that only claims to follow: %v", f.accounts.carried)
	}
	// An upgrade by hand: the new room first, then the tombstone.
	fresh := f.create(CreateRequest{Preset: "public_chat", Content: claim})
	f.mustSet(old, alice, "m.room.tombstone", "", `{"replacement_room":"`+string(fresh)+`"}`)
	if diff := cmp.Diff([]id.RoomID{old}, f.accounts.carried); diff != "" {
		t.Errorf("alice, who is in both rooms (-want +got):\n%s", diff)
	}
	if err := f.Join(ctx, MemberRequest{Room: fresh, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	if len(f.accounts.carried) != 2 {
		t.Errorf("after bob's join: %v", f.accounts.carried)
	}
}

// Spec: client-server-api#room-upgrades
func TestAnUpgradedRoomFallsSilent(t *testing.T) {
	f := start(t, storagetest.Open(t))
	old := f.create(CreateRequest{Preset: "public_chat"})
	f.mustSet(old, alice, spec.MRoomPowerLevels, "", `{"users":{"@alice:hearth.test":100},"users_default":60,"invite":70}`)
	f.upgrade(old, alice, "11")
	got := f.state(old, spec.MRoomPowerLevels, "")
	if got.Get("events_default").Int() != 61 || got.Get("invite").Int() != 70 {
		t.Errorf("levels %s", got.Raw)
	}
}
