package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

type roomVersion = gomatrixserverlib.RoomVersion

// withLevels makes a room of alice's with bob in it. levels is the power levels but for their users: alice has 100 there, bob 50.
func (f *fixture) withLevels(version roomVersion, levels string) id.RoomID {
	f.t.Helper()
	room := f.create(CreateRequest{Version: version, Preset: "public_chat"})
	if err := f.Join(context.Background(), MemberRequest{Room: room, Sender: bob}); err != nil {
		f.t.Fatal(err)
	}
	f.mustSet(room, alice, spec.MRoomPowerLevels, "", f.levels(version, levels))
	return room
}

func (f *fixture) levels(version roomVersion, levels string) string {
	users := map[id.UserID]int{alice: 100, bob: 50}
	if Versions()[version].PrivilegedCreators() {
		delete(users, alice)
	}
	return string(withField(json.RawMessage(levels), "users", users))
}

func TestPowerLevelsBoundWhatMayBeSet(t *testing.T) {
	const open = `"events":{"m.room.power_levels":50}`
	for name, c := range map[string]struct {
		versions  []roomVersion
		by        id.UserID
		from, to  string
		forbidden bool
	}{
		"nobody raises everybody above themselves": {[]roomVersion{"1", "10", "12"}, bob,
			`{` + open + `}`, `{"users_default":60,` + open + `}`, true},
		"nobody lowers everybody from above themselves": {[]roomVersion{"1", "10", "12"}, bob,
			`{"users_default":60,` + open + `}`, `{` + open + `}`, true},
		"everybody may be raised to one's own level": {[]roomVersion{"1", "10", "12"}, bob,
			`{` + open + `}`, `{"users_default":50,` + open + `}`, false},
		"a notification at one's own level may be changed": {[]roomVersion{"6", "10", "12"}, bob,
			`{"notifications":{"room":50},` + open + `}`, `{"notifications":{"room":20},` + open + `}`, false},
		"a notification above one's own level may not be changed": {[]roomVersion{"6", "10", "12"}, bob,
			`{"notifications":{"room":60},` + open + `}`, `{"notifications":{"room":20},` + open + `}`, true},
		"a notification may not be raised above one's own level": {[]roomVersion{"6", "10", "12"}, bob,
			`{"notifications":{"room":20},` + open + `}`, `{"notifications":{"room":60},` + open + `}`, true},
		"a notification above one's own level may not be removed": {[]roomVersion{"6", "10", "12"}, bob,
			`{"notifications":{"x":60},` + open + `}`, `{` + open + `}`, true},
		"notifications are free before version 6": {[]roomVersion{"1", "5"}, bob,
			`{"notifications":{"room":20},` + open + `}`, `{"notifications":{"room":60},` + open + `}`, false},
		"who made the room sets notifications": {[]roomVersion{"6", "10", "12"}, alice,
			`{"notifications":{"room":50}}`, `{"notifications":{"room":80}}`, false},
	} {
		for _, version := range c.versions {
			t.Run(name+" in version "+string(version), func(t *testing.T) {
				f := start(t, storagetest.Open(t))
				room := f.withLevels(version, c.from)
				_, err := f.set(room, c.by, spec.MRoomPowerLevels, "", f.levels(version, c.to))
				if c.forbidden {
					wantCode(t, err, merr.Forbidden)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Spec: rooms/v12#authorization-rules
func TestCreatorsHaveNoEntryInPowerLevels(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{Version: "12", Content: map[string]json.RawMessage{"additional_creators": must([]id.UserID{bob})}})
	for _, u := range []id.UserID{alice, bob} {
		_, err := f.set(room, alice, spec.MRoomPowerLevels, "", fmt.Sprintf(`{"users":{%q:100}}`, u))
		wantCode(t, err, merr.BadJSON)
	}
}

// Spec: rooms/v6#authorization-rules, where the rule for m.room.aliases went away
func TestAliasesEventsAreSpecialUpToVersionFive(t *testing.T) {
	ctx := context.Background()
	for _, version := range []roomVersion{"1", "5", "6", "11", "12"} {
		t.Run("version "+string(version), func(t *testing.T) {
			f := start(t, storagetest.Open(t))
			room := f.withLevels(version, `{}`)
			_, err := f.Send(ctx, SendRequest{Room: room, Sender: alice, Type: spec.MRoomAliases, Content: json.RawMessage(`{}`)})
			_, ordinary := f.set(room, alice, spec.MRoomAliases, "", `{"aliases":["#x:hearth.test"]}`)
			_, powerless := f.set(room, bob, spec.MRoomAliases, "hearth.test", `{"aliases":["#y:hearth.test"]}`)
			if version == "1" || version == "5" {
				wantCode(t, err, merr.Forbidden)
				wantCode(t, ordinary, merr.Forbidden)
			} else {
				if err != nil || ordinary != nil {
					t.Errorf("as a message %v, as state %v", err, ordinary)
				}
				// Bob has 50, the default for state; carol would have 0.
				if powerless != nil {
					t.Error(powerless)
				}
				if err := f.Join(ctx, MemberRequest{Room: room, Sender: carol}); err != nil {
					t.Fatal(err)
				}
				_, err = f.set(room, carol, spec.MRoomAliases, "hearth.test", `{}`)
				wantCode(t, err, merr.Forbidden)
			}
		})
	}
}

func TestStateOfOthersCannotBeSet(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.withLevels("11", `{}`)
	for _, typ := range []string{"m.x", spec.MRoomAliases} {
		_, err := f.set(room, alice, typ, string(bob), `{}`)
		wantCode(t, err, merr.Forbidden)
		if _, err := f.set(room, alice, typ, string(alice), `{}`); err != nil {
			t.Error(err)
		}
	}
}

func TestWhoMayKnockAndJoin(t *testing.T) {
	ctx := context.Background()
	allow := `,"allow":[{"type":"m.room_membership","room_id":"!club:hearth.test"}]`
	for name, c := range map[string]struct {
		versions []roomVersion
		rule     string
		knock    bool
	}{
		"knocking came with version 7":                {[]roomVersion{"7", "8", "9", "10", "11", "12"}, `"knock"`, true},
		"before, nobody could knock":                  {[]roomVersion{"1", "6"}, `"knock"`, false},
		"knocking beside restriction came with 10":    {[]roomVersion{"10", "11", "12"}, `"knock_restricted"` + allow, true},
		"before, knock_restricted opened nothing":     {[]roomVersion{"6", "7", "8", "9"}, `"knock_restricted"` + allow, false},
		"a restricted room hears no knocks":           {[]roomVersion{"8", "10", "12"}, `"restricted"` + allow, false},
		"a room for the invited hears no knocks":      {[]roomVersion{"7", "12"}, `"invite"`, false},
		"a join rule that nobody knows opens nothing": {[]roomVersion{"1", "10", "12"}, `"open"`, false},
	} {
		for _, version := range c.versions {
			t.Run(name+": version "+string(version), func(t *testing.T) {
				f := start(t, storagetest.Open(t))
				room := f.create(CreateRequest{Version: version})
				f.mustSet(room, alice, spec.MRoomJoinRules, "", `{"join_rule":`+c.rule+`}`)
				wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: bob}), merr.Forbidden)
				err := f.Knock(ctx, MemberRequest{Room: room, Sender: bob, Reason: "please"})
				if !c.knock {
					wantCode(t, err, merr.Forbidden)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: bob}), merr.Forbidden)
			})
		}
	}
}

func TestWhoHasKnockedMayJoinOnceTheRoomIsPublic(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{Version: "11"})
	f.mustSet(room, alice, spec.MRoomJoinRules, "", `{"join_rule":"knock"}`)
	if err := f.Knock(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	f.mustSet(room, alice, spec.MRoomJoinRules, "", `{"join_rule":"public"}`)
	if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Error(err)
	}
}

// What requests name is remembered, but not without end.
func TestASnapshotRemembersABoundedPartOfTheState(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.withLevels("11", `{}`)
	for i := range 2 * maxAuthEvents {
		_, err := f.set(room, bob, spec.MRoomPowerLevels, fmt.Sprint(i), `{}`)
		wantCode(t, err, merr.Forbidden)
	}
	f.view(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if n := f.cache.get(row.State).events.len(); n > maxAuthEvents {
			t.Errorf("%d events are remembered", n)
		}
		return err
	})
}
