package roomserver

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func (f *fixture) aliases(room id.RoomID) (list []id.RoomAlias) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) (err error) {
		list, err = tx.AliasesOf(f.rowIn(tx, room).NID)
		return err
	})
	return list
}

func TestAliasesAreAddedByMembersAndRemovedByWhoMay(t *testing.T) {
	ctx := context.Background()
	const home, den, cave = id.RoomAlias("#home:hearth.test"), id.RoomAlias("#den:hearth.test"), id.RoomAlias("#cave:hearth.test")
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{Preset: "public_chat", AliasName: "home"})
		wantCode(t, f.AddAlias(ctx, bob, den, room), merr.Forbidden)
		wantCode(t, f.AddAlias(ctx, alice, "#den:elsewhere.test", room), merr.InvalidParam)
		wantCode(t, f.AddAlias(ctx, alice, home, room), merr.Unknown)
		wantCode(t, f.AddAlias(ctx, alice, den, "!no:hearth.test"), merr.NotFound)
		for _, u := range []id.UserID{bob, carol} {
			if err := f.Join(ctx, MemberRequest{Room: room, Sender: u}); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range []id.RoomAlias{den, cave} {
			if err := f.AddAlias(ctx, bob, a, room); err != nil {
				t.Fatal(err)
			}
		}
		f.mustSet(room, alice, spec.MRoomCanonicalAlias, "", `{"alias":"#home:hearth.test","alt_aliases":["#den:hearth.test","#cave:hearth.test"],"x":1}`)

		wantCode(t, f.RemoveAlias(ctx, carol, false, den), merr.Forbidden)
		wantCode(t, f.RemoveAlias(ctx, carol, false, "#no:hearth.test"), merr.NotFound)
		// Bob made it, but may not change the state; alice may do both.
		if err := f.RemoveAlias(ctx, bob, false, den); err != nil {
			t.Error(err)
		}
		if err := f.RemoveAlias(ctx, alice, false, home); err != nil {
			t.Error(err)
		}
		content := f.state(room, spec.MRoomCanonicalAlias, "").Raw
		if diff := cmp.Diff(`{"alt_aliases":["#den:hearth.test","#cave:hearth.test"],"x":1}`, content); diff != "" {
			t.Errorf("canonical alias (-want +got):\n%s", diff)
		}
		if err := f.RemoveAlias(ctx, carol, true, cave); err != nil {
			t.Errorf("an administrator: %v", err)
		}
		if got := f.aliases(room); len(got) != 0 {
			t.Errorf("aliases %v", got)
		}
	})
}

func TestWhoMayPutARoomIntoTheDirectory(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{Preset: "public_chat"})
	if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, f.SetPublished(ctx, bob, false, room, true), merr.Forbidden)
	wantCode(t, f.SetPublished(ctx, carol, false, room, true), merr.Forbidden)
	wantCode(t, f.SetPublished(ctx, alice, false, "!no:hearth.test", true), merr.NotFound)
	for user, admin := range map[id.UserID]bool{alice: false, carol: true} {
		for _, published := range []bool{true, false} {
			if err := f.SetPublished(ctx, user, admin, room, published); err != nil {
				t.Error(err)
			}
			if f.row(room).Published != published {
				t.Errorf("published is %t", !published)
			}
		}
	}
}
