package roomserver

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// bring gives bob a membership of alice's public room.
func (f *fixture) bring(room id.RoomID, membership string) {
	f.t.Helper()
	ctx := context.Background()
	by := MemberRequest{Room: room, Sender: alice, Target: bob}
	own := MemberRequest{Room: room, Sender: bob}
	var err error
	switch membership {
	case spec.Join:
		err = f.Join(ctx, own)
	case spec.Leave:
		if err = f.Join(ctx, own); err == nil {
			err = f.Leave(ctx, own)
		}
	case spec.Invite:
		err = f.Invite(ctx, by)
	case spec.Ban:
		err = f.Ban(ctx, by)
	case spec.Knock:
		f.mustSet(room, alice, spec.MRoomJoinRules, "", `{"join_rule":"knock"}`)
		err = f.Knock(ctx, own)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestEveryChangeOfMembership(t *testing.T) {
	ctx := context.Background()
	type change struct {
		name string
		do   func(f *fixture, room id.RoomID) error
	}
	by := func(do func(*Server, context.Context, MemberRequest) error) func(f *fixture, room id.RoomID) error {
		return func(f *fixture, room id.RoomID) error {
			return do(f.Server, ctx, MemberRequest{Room: room, Sender: alice, Target: bob})
		}
	}
	own := func(do func(*Server, context.Context, MemberRequest) error) func(f *fixture, room id.RoomID) error {
		return func(f *fixture, room id.RoomID) error {
			return do(f.Server, ctx, MemberRequest{Room: room, Sender: bob})
		}
	}
	changes := []change{
		{"join", own((*Server).Join)}, {"leave", own((*Server).Leave)}, {"knock", own((*Server).Knock)},
		{"invite", by((*Server).Invite)}, {"kick", by((*Server).Kick)}, {"ban", by((*Server).Ban)}, {"unban", by((*Server).Unban)},
		{"forget", func(f *fixture, room id.RoomID) error { return f.Forget(ctx, room, bob) }},
	}
	const refused, bad = merr.Forbidden, merr.Unknown
	for from, want := range map[string]map[string]any{
		"":          {"join": "join", "leave": refused, "knock": refused, "invite": "invite", "kick": refused, "ban": "ban", "unban": refused, "forget": bad},
		spec.Join:   {"join": "join", "leave": "leave", "knock": refused, "invite": refused, "kick": "leave", "ban": "ban", "unban": refused, "forget": bad},
		spec.Leave:  {"join": "join", "leave": "leave", "knock": refused, "invite": "invite", "kick": refused, "ban": "ban", "unban": refused, "forget": "leave"},
		spec.Invite: {"join": "join", "leave": "leave", "knock": refused, "invite": "invite", "kick": "leave", "ban": "ban", "unban": refused, "forget": bad},
		spec.Ban:    {"join": refused, "leave": refused, "knock": refused, "invite": refused, "kick": refused, "ban": "ban", "unban": "leave", "forget": "ban"},
		spec.Knock:  {"join": refused, "leave": "leave", "knock": "knock", "invite": "invite", "kick": "leave", "ban": "ban", "unban": refused, "forget": bad},
	} {
		for _, c := range changes {
			t.Run(from+" then "+c.name, func(t *testing.T) {
				t.Parallel()
				f := start(t, storagetest.Open(t))
				room := f.create(CreateRequest{Preset: "public_chat"})
				f.bring(room, from)
				err := c.do(f, room)
				if code, isCode := want[c.name].(merr.Code); isCode {
					wantCode(t, err, code)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := f.state(room, spec.MRoomMember, string(bob)).Get("membership").String(); got != want[c.name] {
					t.Errorf("the state says %q, want %q", got, want[c.name])
				}
				m, sum := f.membership(room, bob), f.row(room).Summary
				joined, invited := int64(1), int64(0)
				switch want[c.name] {
				case spec.Join:
					joined++
				case spec.Invite:
					invited++
				}
				if m.Membership != want[c.name] || sum.Joined != joined || sum.Invited != invited {
					t.Errorf("the membership is %q, joined %d, invited %d; want %q", m.Membership, sum.Joined, sum.Invited, want[c.name])
				}
			})
		}
	}
}

func TestChangingOneselfInARestrictedRoom(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	club := f.create(CreateRequest{Preset: "public_chat"})
	rule := must(map[string]any{"join_rule": "restricted", "allow": []map[string]any{{"type": "m.room_membership", "room_id": club}}})
	room := f.create(CreateRequest{InitialState: []InitialState{{spec.MRoomJoinRules, "", rule}}})
	for _, r := range []id.RoomID{club, room} {
		if err := f.Join(ctx, MemberRequest{Room: r, Sender: bob}); err != nil {
			t.Fatal(err)
		}
	}
	// As clients do it: with all that was there before.
	f.mustSet(room, bob, spec.MRoomMember, string(bob),
		`{"membership":"join","displayname":"Robert","join_authorised_via_users_server":"@alice:hearth.test"}`)
	got := f.state(room, spec.MRoomMember, string(bob))
	if diff := cmp.Diff(`{"displayname":"Robert","membership":"join"}`, got.Raw); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestMembershipsMustBeSaidPlainly(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{})
	for _, content := range []string{`{}`, `{"Membership":"join"}`, `{"membership":7}`, `{"membership":null}`} {
		_, err := f.set(room, alice, spec.MRoomMember, string(alice), content)
		wantCode(t, err, merr.BadJSON)
	}
	_, err := f.set(room, alice, spec.MRoomMember, "bob", `{"membership":"invite"}`)
	wantCode(t, err, merr.BadJSON)
	_, err = f.set(room, alice, spec.MRoomMember, string(alice), `{"membership":"owner"}`)
	wantCode(t, err, merr.Forbidden)
}

// invitations is every way to invite somebody.
func (f *fixture) invitations(room id.RoomID, user id.UserID) map[string]error {
	ctx := context.Background()
	_, state := f.set(room, alice, spec.MRoomMember, string(user), `{"membership":"invite"}`)
	_, create := f.Create(ctx, CreateRequest{Creator: alice, Invite: []id.UserID{user}})
	_, initial := f.Create(ctx, CreateRequest{Creator: alice,
		InitialState: []InitialState{{spec.MRoomMember, string(user), json.RawMessage(`{"membership":"invite"}`)}}})
	return map[string]error{
		"invite": f.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: user}), "state": state, "create": create, "initial state": initial,
	}
}

func TestUsersOfOtherServersAreNotInvited(t *testing.T) {
	f := start(t, storagetest.Open(t))
	for name, err := range f.invitations(f.create(CreateRequest{}), "@dora:elsewhere.test") {
		t.Run(name, func(t *testing.T) { wantCode(t, err, merr.Forbidden) })
	}
}

// Spec: client-server-api#invite-permission
func TestWhoBlocksInvitesIsNotInvited(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{})
	keep := func(content string) {
		err := f.store.Update(context.Background(), func(tx *storage.Tx) error {
			if _, err := tx.InsertUser(storage.User{ID: bob}); err != nil {
				return err
			}
			pos, err := tx.NextPos()
			if err != nil {
				return err
			}
			return tx.SetAccountData(bob, storage.AccountData{Type: "m.invite_permission_config", Content: json.RawMessage(content), Pos: pos})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(`{"default_action":"block"}`)
	for name, err := range f.invitations(room, bob) {
		t.Run(name, func(t *testing.T) { wantCode(t, err, merr.InviteBlocked) })
	}
	keep(`{}`)
	if err := f.Invite(context.Background(), MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
		t.Error(err)
	}
}

// Spec: client-server-api#guest-access
func TestGuestsLeaveARoomThatClosesToThem(t *testing.T) {
	ctx := context.Background()
	for name, closing := range map[string]func(f *fixture, room id.RoomID){
		"because it says so": func(f *fixture, room id.RoomID) {
			f.mustSet(room, alice, spec.MRoomGuestAccess, "", `{"guest_access":"forbidden"}`)
		},
		"because it says no more": func(f *fixture, room id.RoomID) { f.mustSet(room, alice, spec.MRoomGuestAccess, "", `{}`) },
		"by redaction": func(f *fixture, room id.RoomID) {
			if err := f.redact(room, alice, f.stateID(room, spec.MRoomGuestAccess, "")); err != nil {
				f.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, store *storage.Store) {
				f := start(t, store)
				err := store.Update(ctx, func(tx *storage.Tx) error {
					_, err := tx.InsertUser(storage.User{ID: carol, Guest: true})
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				room := f.create(CreateRequest{Preset: "public_chat"})
				wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: carol, Guest: true}), merr.GuestAccessForbidden)
				f.mustSet(room, alice, spec.MRoomGuestAccess, "", `{"guest_access":"can_join"}`)
				for _, r := range []MemberRequest{{Room: room, Sender: carol, Guest: true}, {Room: room, Sender: bob}} {
					if err := f.Join(ctx, r); err != nil {
						t.Fatal(err)
					}
				}
				closing(f, room)
				for user, want := range map[id.UserID]string{alice: spec.Join, bob: spec.Join, carol: spec.Leave} {
					if m := f.membership(room, user); m.Membership != want {
						t.Errorf("%s is %q, want %q", user, m.Membership, want)
					}
				}
			})
		})
	}
}

func TestANewNameDoesNotMakeANewMember(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{Preset: "public_chat"})
	before := f.membership(room, alice)
	if err := f.Join(context.Background(), MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	f.mustSet(room, alice, spec.MRoomMember, string(alice), `{"membership":"join","displayname":"Alice"}`)
	m := f.membership(room, alice)
	if m.Pos != before.Pos || m.Event == before.Event || m.Name != "Alice" {
		t.Errorf("the membership is %+v, was %+v", m, before)
	}
	f.view(func(tx *storage.ReadTx) error {
		first, err := tx.FirstMembers(f.rowIn(tx, room).NID, spec.Join, 1)
		if err == nil && (len(first) != 1 || first[0].User != alice) {
			t.Errorf("the longest member is %+v", first)
		}
		return err
	})
}

func TestARestrictedRoomNeedsSomebodyWhoMayInvite(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	club := f.create(CreateRequest{Preset: "public_chat"})
	rule := must(map[string]any{"join_rule": "restricted", "allow": []map[string]any{{"type": "m.room_membership", "room_id": club}}})
	room := f.create(CreateRequest{InitialState: []InitialState{{spec.MRoomJoinRules, "", rule}}, PowerLevels: raw("invite", `100`)})
	for _, r := range []MemberRequest{{Room: club, Sender: bob}, {Room: club, Sender: carol}, {Room: room, Sender: bob}} {
		if err := f.Join(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Leave(ctx, MemberRequest{Room: room, Sender: alice}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: carol}), merr.Forbidden)
}

func TestWhoLeavesAltogetherLeavesNothingBehind(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		rooms := map[string]id.RoomID{}
		for _, membership := range []string{spec.Join, spec.Leave, spec.Invite, spec.Ban, spec.Knock} {
			rooms[membership] = f.create(CreateRequest{Preset: "public_chat"})
			f.bring(rooms[membership], membership)
		}
		if err := f.LeaveAll(ctx, bob); err != nil {
			t.Fatal(err)
		}
		for was, room := range rooms {
			want := spec.Leave
			if was == spec.Ban {
				want = spec.Ban
			}
			if got := f.membership(room, bob).Membership; got != want {
				t.Errorf("%s became %s, want %s", was, got, want)
			}
		}
	})
}

// Spec: client-server-api#events-on-change-of-profile-information
func TestANewProfileIsShownInAllRooms(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		joined, left := f.create(CreateRequest{Preset: "public_chat"}), f.create(CreateRequest{Preset: "public_chat"})
		f.bring(joined, spec.Join)
		f.bring(left, spec.Leave)
		f.mustSet(joined, bob, spec.MRoomMember, string(bob), `{"membership":"join","displayname":"Bob","org.example":1,"reason":"new here"}`)
		before := f.row(joined).LastPos
		if err := f.ProfileChanged(ctx, bob); err != nil { // bob has no profile, so the name goes away
			t.Fatal(err)
		}
		if got := f.state(joined, spec.MRoomMember, string(bob)).Raw; got != `{"membership":"join","org.example":1}` {
			t.Errorf("the membership is %s", got)
		}
		after := f.row(joined).LastPos
		if err := f.ProfileChanged(ctx, bob); err != nil {
			t.Fatal(err)
		}
		if f.row(joined).LastPos != after || after == before {
			t.Errorf("the room went from %d to %d to %d", before, after, f.row(joined).LastPos)
		}
		if got := f.membership(left, bob).Membership; got != spec.Leave {
			t.Errorf("a room that was left is %s", got)
		}
	})
}
