package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func raw(pairs ...string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return out
}

func users(n int) []id.UserID {
	out := make([]id.UserID, n)
	for i := range out {
		out[i] = id.UserID(fmt.Sprintf("@u%d:hearth.test", i))
	}
	return out
}

func TestRoomsThatCannotBeMade(t *testing.T) {
	state := func(typ, key, content string) []InitialState {
		return []InitialState{{typ, key, json.RawMessage(content)}}
	}
	f := start(t, storagetest.Open(t))
	for name, c := range map[string]struct {
		request CreateRequest
		code    merr.Code
	}{
		"m.federate is no boolean":              {CreateRequest{Content: raw("m.federate", `"yes"`)}, merr.BadJSON},
		"the type is no string":                 {CreateRequest{Content: raw("type", `5`)}, merr.BadJSON},
		"the predecessor is no object":          {CreateRequest{Content: raw("predecessor", `"!a:b"`)}, merr.BadJSON},
		"creators of version 12 are no list":    {CreateRequest{Version: "12", Content: raw("additional_creators", `"@a:b"`)}, merr.BadJSON},
		"a creator of version 12 is no user":    {CreateRequest{Version: "12", Content: raw("additional_creators", `["bob"]`)}, merr.InvalidParam},
		"an unknown version":                    {CreateRequest{Version: "99"}, merr.UnsupportedRoomVersion},
		"an unknown preset":                     {CreateRequest{Preset: "chat"}, merr.InvalidParam},
		"an alias with a colon":                 {CreateRequest{AliasName: "a:b"}, merr.InvalidParam},
		"no power to name the alias":            {CreateRequest{AliasName: "a", PowerLevels: raw("users", `{}`)}, merr.InvalidRoomState},
		"no power to name the room":             {CreateRequest{Name: "a", PowerLevels: raw("events", `{"m.room.name":101}`)}, merr.InvalidRoomState},
		"no power to invite":                    {CreateRequest{Invite: []id.UserID{bob}, PowerLevels: raw("invite", `101`)}, merr.Forbidden},
		"levels of strings in version 10":       {CreateRequest{Version: "10", PowerLevels: raw("ban", `"50"`)}, merr.InvalidRoomState},
		"a creator of version 12 has a level":   {CreateRequest{Version: "12", PowerLevels: raw("users", `{"@alice:hearth.test":100}`)}, merr.BadJSON},
		"a level beyond 2^53":                   {CreateRequest{PowerLevels: raw("ban", `9007199254740992`)}, merr.BadJSON},
		"another create event":                  {CreateRequest{InitialState: state(spec.MRoomCreate, "", `{}`)}, merr.InvalidRoomState},
		"the creator's membership":              {CreateRequest{InitialState: state(spec.MRoomMember, string(alice), `{"membership":"leave"}`)}, merr.InvalidRoomState},
		"an alias that leads nowhere":           {CreateRequest{InitialState: state(spec.MRoomCanonicalAlias, "", `{"alias":"#no:hearth.test"}`)}, merr.BadAlias},
		"state that is no object":               {CreateRequest{InitialState: state("m.x", "", `[]`)}, merr.BadJSON},
		"a state key with NUL":                  {CreateRequest{InitialState: state("m.x", "\x00", `{}`)}, merr.BadJSON},
		"more invites than a server would bear": {CreateRequest{Invite: users(maxInitial + 1)}, merr.InvalidParam},
		"more state than a server would bear":   {CreateRequest{InitialState: make([]InitialState, maxInitial+1)}, merr.InvalidParam},
	} {
		t.Run(name, func(t *testing.T) {
			c.request.Creator = alice
			room, err := f.Create(context.Background(), c.request)
			wantCode(t, err, c.code)
			f.view(func(tx *storage.ReadTx) error {
				list, err := tx.MembershipsOf(alice)
				if room != "" || len(list) != 0 {
					t.Errorf("there is a room %q, and memberships %v", room, list)
				}
				return err
			})
		})
	}
	t.Run("an alias that is taken", func(t *testing.T) {
		f.create(CreateRequest{AliasName: "a"})
		_, err := f.Create(context.Background(), CreateRequest{Creator: bob, AliasName: "a"})
		wantCode(t, err, merr.RoomInUse)
	})
}

// Spec: client-server-api#post_matrixclientv3createroom
func TestARoomBeginsInTheOrderOfTheSpecification(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{
		Preset: "trusted_private_chat", AliasName: "a", Name: "Name", Topic: "Topic", Invite: []id.UserID{bob, bob}, Direct: true,
		InitialState: []InitialState{
			{"m.x", "k", json.RawMessage(`{}`)}, {spec.MRoomName, "", json.RawMessage(`{"name":"overridden"}`)},
			{spec.MRoomGuestAccess, "", json.RawMessage(`{"guest_access":"forbidden"}`)},
		},
	})
	var types []string
	f.view(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err != nil {
			return err
		}
		events, err := tx.Timeline(row.NID, storage.Span{UpTo: row.LastPos}, 100, false)
		for _, e := range events {
			types = append(types, e.Type+" "+*e.StateKey)
		}
		return err
	})
	want := []string{
		"m.room.create ", "m.room.member @alice:hearth.test", "m.room.power_levels ", "m.room.canonical_alias ", "m.room.join_rules ",
		"m.room.history_visibility ", "m.x k", "m.room.guest_access ", "m.room.name ", "m.room.topic ", "m.room.member @bob:hearth.test",
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := f.state(room, spec.MRoomName, "").Get("name").String(); got != "Name" {
		t.Errorf("the name is %q", got)
	}
	if got := f.state(room, spec.MRoomPowerLevels, "").Get("users").Raw; got != `{"@alice:hearth.test":100,"@bob:hearth.test":100}` {
		t.Errorf("levels %s", got)
	}
}

// Spec: client-server-api#post_matrixclientv3createroom, rooms/v12
func TestInVersion12OnlyCreatorsMayReplaceTheRoom(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{Version: "12", Preset: "trusted_private_chat", Invite: []id.UserID{bob}})
	if got := f.state(room, spec.MRoomCreate, "").Get("additional_creators").Raw; got != `["@bob:hearth.test"]` {
		t.Errorf("creators %s", got)
	}
	levels := f.state(room, spec.MRoomPowerLevels, "")
	if levels.Get("users").Raw != `{}` || levels.Get("events.m\\.room\\.tombstone").Int() != 150 {
		t.Errorf("levels %s", levels.Raw)
	}
	high := f.create(CreateRequest{Version: "12", PowerLevels: raw("state_default", "200")})
	if got := f.state(high, spec.MRoomPowerLevels, "").Get("events.m\\.room\\.tombstone").Int(); got <= 200 {
		t.Errorf("with a default of 200 for state, the tombstone needs %d", got)
	}
}

// Rooms whose id is made from the create event need different ones, also in the same millisecond.
func TestRoomsMadeAtTheSameMomentAreDifferentRooms(t *testing.T) {
	for _, version := range []roomVersion{"11", "12"} {
		f := start(t, storagetest.Open(t))
		first, second, third := f.create(CreateRequest{Version: version}), f.create(CreateRequest{Version: version}), f.create(CreateRequest{Version: version})
		if first == second || second == third || first == third {
			t.Errorf("version %s: %s, %s and %s", version, first, second, third)
		}
	}
}
