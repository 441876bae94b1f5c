package storage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	carol = id.UserID("@carol:hs")
	dave  = id.UserID("@dave:hs")
)

// lists is an answer of DeviceListChanges.
type lists struct{ Changed, Left []id.UserID }

// position is where the stream is now.
func position(t *testing.T, s *storage.Store) int64 {
	t.Helper()
	return found(t, s, (*storage.ReadTx).Position)
}

func deviceLists(t *testing.T, s *storage.Store, user id.UserID, since int64) lists {
	t.Helper()
	return found(t, s, func(tx *storage.ReadTx) (l lists, err error) {
		l.Changed, l.Left, err = tx.DeviceListChanges(user, since)
		return l, err
	})
}

func changeDevices(t *testing.T, s *storage.Store, user id.UserID) []id.UserID {
	t.Helper()
	var followers []id.UserID
	update(t, s, func(tx *storage.Tx) (err error) {
		_, followers, err = tx.ChangeDeviceList(user)
		return err
	})
	return followers
}

func TestDeviceListChanges(t *testing.T) {
	users := func(u ...id.UserID) []id.UserID { return u }
	type rooms struct{ one, two *storagetest.Room }
	for _, test := range []struct {
		name   string
		before func(t *testing.T, s *storage.Store, r rooms) // what alice, who is in both rooms, knows already
		then   func(t *testing.T, s *storage.Store, r rooms)
		want   lists
	}{
		{name: "nothing has happened"},
		{name: "messages change nothing", then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Message(alice, "hi") }},
		{
			name:   "keys of somebody in a room",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then:   func(t *testing.T, s *storage.Store, r rooms) { changeDevices(t, s, bob) },
			want:   lists{Changed: users(bob)},
		},
		{
			name: "keys of a stranger",
			then: func(t *testing.T, s *storage.Store, r rooms) { changeDevices(t, s, bob) },
		},
		{
			name: "one's own keys",
			then: func(t *testing.T, s *storage.Store, r rooms) { changeDevices(t, s, alice) },
			want: lists{Changed: users(alice)},
		},
		{
			name: "somebody joins",
			then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			want: lists{Changed: users(bob)},
		},
		{
			name: "an invitation is no company",
			then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(alice, bob, "invite") },
		},
		{
			name:   "another name is no move",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.State(bob, "m.room.member", string(bob), `{"displayname":"Bobby","membership":"join"}`)
			},
		},
		{
			name:   "one's own other name is no move",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.State(alice, "m.room.member", string(alice), `{"displayname":"Al","membership":"join"}`)
			},
		},
		{
			name:   "somebody leaves",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then:   func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "leave") },
			want:   lists{Left: users(bob)},
		},
		{
			name: "somebody leaves one of two rooms",
			before: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "join")
				r.two.Member(bob, bob, "join")
			},
			then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "leave") },
		},
		{
			name:   "somebody changes keys and leaves",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then: func(t *testing.T, s *storage.Store, r rooms) {
				changeDevices(t, s, bob)
				r.one.Member(alice, bob, "ban")
			},
			want: lists{Left: users(bob)},
		},
		{
			name:   "somebody leaves, changes keys and comes back",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "leave")
				changeDevices(t, s, bob)
				r.one.Member(bob, bob, "join")
			},
			want: lists{Changed: users(bob)},
		},
		{
			name: "one's own leaving",
			before: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "join")
				r.one.Member(carol, carol, "join")
				r.two.Member(carol, carol, "join")
			},
			then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(alice, alice, "leave") },
			want: lists{Left: users(bob)},
		},
		{
			name:   "all leave",
			before: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(bob, bob, "join") },
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "leave")
				r.one.Member(alice, alice, "leave")
			},
			want: lists{Left: users(bob)},
		},
		{
			name: "one's own joining",
			before: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "join")
				r.one.Member(carol, carol, "join")
				r.one.Member(carol, carol, "leave")
				r.one.Member(alice, alice, "leave")
			},
			then: func(t *testing.T, s *storage.Store, r rooms) { r.one.Member(alice, alice, "join") },
			want: lists{Changed: users(bob)},
		},
		{
			name: "one's own coming back",
			before: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "join")
				r.one.Member(carol, carol, "join")
			},
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(alice, alice, "leave")
				changeDevices(t, s, bob)
				r.one.Member(carol, carol, "leave")
				r.one.Member(alice, alice, "join")
			},
			want: lists{Changed: users(bob), Left: users(carol)},
		},
		{
			name: "a room that was joined and left in between",
			before: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(bob, bob, "join")
				r.one.Member(alice, alice, "leave")
			},
			then: func(t *testing.T, s *storage.Store, r rooms) {
				r.one.Member(alice, alice, "join")
				r.one.Member(alice, alice, "leave")
			},
		},
		{
			name: "signatures that alice has made",
			then: func(t *testing.T, s *storage.Store, r rooms) {
				update(t, s, func(tx *storage.Tx) error {
					pos, err := tx.NextPos()
					if err != nil {
						return err
					}
					tx.ChangeDeviceListFor(alice, pos)
					return tx.SetKeySignature(storage.KeySignature{User: bob, KeyID: "key", Signer: alice, SignerKey: "ed25519:a", Signature: "s"}, pos)
				})
			},
			want: lists{Changed: users(bob)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
				s := storagetest.Reopen(t, cfg)
				r := rooms{storagetest.NewRoom(t, s, "!one:hs", alice), storagetest.NewRoom(t, s, "!two:hs", alice)}
				r.one.Message(bob, "so that all have a number")
				if test.before != nil {
					test.before(t, s, r)
				}
				since := position(t, s)
				if test.then != nil {
					test.then(t, s, r)
				}
				if diff := cmp.Diff(test.want, deviceLists(t, s, alice, since), cmpEmpty); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(lists{}, deviceLists(t, s, alice, position(t, s)), cmpEmpty); diff != "" {
					t.Errorf("again: %s", diff)
				}
				// What memory answers the database must answer as well.
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = storagetest.Reopen(t, cfg)
				if diff := cmp.Diff(test.want, deviceLists(t, s, alice, since), cmpEmpty); diff != "" {
					t.Errorf("after a restart: %s", diff)
				}
			})
		})
	}
}

func TestChangeDeviceListNamesWhoFollows(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		one, two := storagetest.NewRoom(t, s, "!one:hs", alice), storagetest.NewRoom(t, s, "!two:hs", alice)
		for _, r := range []*storagetest.Room{one, two} {
			r.Member(bob, bob, "join")
			r.Member(bob, carol, "invite")
		}
		two.Member(dave, dave, "join")
		two.Member(dave, dave, "leave")
		for user, want := range map[id.UserID][]id.UserID{
			alice: {bob, alice}, carol: {carol}, "@new:hs": {"@new:hs"},
		} {
			if diff := cmp.Diff(want, changeDevices(t, s, user)); diff != "" {
				t.Errorf("%s: %s", user, diff)
			}
		}
	})
}
