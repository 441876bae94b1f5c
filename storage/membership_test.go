package storage_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestMembershipsAreTouchedByNewsOfThemOrOfTheirRooms(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		for _, room := range []id.RoomID{"!a:one", "!b:one", "!c:one"} {
			r := storagetest.NewRoom(t, s, room, aliceOne)
			r.Member(bobOne, bobOne, "join")
		}
		for name, test := range map[string]struct {
			rooms []id.RoomID
			after int // how many of the memberships there are already
			want  []id.RoomID
		}{
			"nothing":                   {nil, 3, nil},
			"one that is new":           {nil, 2, []id.RoomID{"!c:one"}},
			"all are new":               {nil, 0, []id.RoomID{"!a:one", "!b:one", "!c:one"}},
			"a room, twice":             {[]id.RoomID{"!a:one", "!a:one"}, 3, []id.RoomID{"!a:one"}},
			"a room that is new":        {[]id.RoomID{"!c:one"}, 2, []id.RoomID{"!c:one"}},
			"a room and a new one":      {[]id.RoomID{"!a:one"}, 2, []id.RoomID{"!a:one", "!c:one"}},
			"a room of somebody else's": {[]id.RoomID{"!d:one"}, 3, nil},
		} {
			t.Run(name, func(t *testing.T) {
				for _, cached := range []bool{false, true} {
					viewing(t, s, func(tx *storage.ReadTx) error {
						all, err := tx.MembershipsOf(bobOne)
						if err != nil {
							return err
						}
						places := []int64{0}
						for _, m := range all {
							places = append(places, m.Pos)
						}
						slices.Sort(places)
						list, err := tx.MembershipsTouched(bobOne, places[test.after], test.rooms)
						var got []id.RoomID
						for _, m := range list {
							got = append(got, m.RoomID)
						}
						slices.Sort(got)
						if d := cmp.Diff(test.want, got); d != "" {
							t.Errorf("cached: %v: %s", cached, d)
						}
						return err
					})
				}
			})
		}
	})
}

func TestMembershipsFollowTheirLastChange(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		invited := storage.Membership{
			User: bobOne, Room: r.Row.NID, RoomID: "!r:one", Membership: "invite", Event: 7, Pos: 7, Sender: aliceOne, Name: "Bob", AvatarURL: "mxc://a/b",
			Stripped: `[{"type":"m.room.create"}]`,
		}
		joined := storage.Membership{User: bobOne, Room: r.Row.NID, RoomID: "!r:one", Membership: "join", Event: 8, Pos: 8, Sender: bobOne}
		set := func(m storage.Membership, local bool) {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) error { return tx.SetMembership(m, local) })
		}
		want := func(m storage.Membership) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.Membership(r.Row.NID, bobOne)
				if err != nil {
					return err
				}
				same(t, "membership", m, got)
				all, err := tx.MembershipsOf(bobOne)
				same(t, "memberships", []storage.Membership{m}, all)
				return err
			})
		}
		set(invited, true)
		want(invited)
		set(joined, true)
		want(joined)
		updating(t, s, func(tx *storage.Tx) error { return tx.ForgetRoom(r.Row.NID, bobOne) })
		joined.Forgotten = true
		want(joined)
		updating(t, s, func(tx *storage.Tx) error { return tx.ClearMemberProfile(r.Row.NID, bobOne) })
		want(joined)
		set(invited, true)
		want(invited)
		updating(t, s, func(tx *storage.Tx) error { return tx.ClearMemberProfile(r.Row.NID, bobOne) })
		invited.Name, invited.AvatarURL = "", ""
		want(invited)
		viewing(t, s, func(tx *storage.ReadTx) error {
			_, err := tx.Membership(r.Row.NID, eveOne)
			wantAbsent(t, "somebody nobody has heard of", err)
			_, err = tx.Membership(r.Row.NID+99, bobOne)
			wantAbsent(t, "a room that is not there", err)
			list, err := tx.MembershipsOf(eveOne)
			same(t, "of somebody nobody has heard of", 0, len(list))
			return err
		})
	})
}

func TestWhoIsInARoom(t *testing.T) {
	const far id.UserID = "@far:two"
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		storagetest.NewRoom(t, s, "!other:one", bobOne)
		r.Member(bobOne, bobOne, "join")
		r.Member(aliceOne, eveOne, "invite")
		r.Member("@gone:one", "@gone:one", "leave")
		updating(t, s, func(tx *storage.Tx) error {
			if _, err := tx.InsertUser(storage.User{ID: bobOne, Guest: true}); err != nil {
				return err
			}
			return tx.SetMembership(storage.Membership{User: far, Room: r.Row.NID, Membership: "join", Pos: 1000, Sender: far}, false)
		})
		viewing(t, s, func(tx *storage.ReadTx) error {
			local, err := tx.LocalJoined(r.Row.NID)
			if err != nil {
				return err
			}
			sorted := cmpopts.SortSlices(func(a, b storage.Member) bool { return a.User < b.User })
			if diff := cmp.Diff([]storage.Member{{User: aliceOne, Name: "alice"}, {User: bobOne, Name: "bob"}}, local, sorted); diff != "" {
				t.Errorf("local (-want +got):\n%s", diff)
			}
			guests, err := tx.JoinedGuests(r.Row.NID)
			if err != nil {
				return err
			}
			same(t, "guests", []id.UserID{bobOne}, guests)
			for membership, want := range map[string][]id.UserID{
				"join": {aliceOne, bobOne, far}, "invite": {eveOne}, "leave": {"@gone:one"}, "ban": nil,
			} {
				members, err := tx.Members(r.Row.NID, membership)
				if err != nil {
					return err
				}
				var got []id.UserID
				for _, m := range members {
					got = append(got, m.User)
				}
				slices.Sort(got)
				same(t, membership, want, got)
			}
			first, err := tx.FirstMembers(r.Row.NID, "join", 2)
			if err == nil && (len(first) != 2 || first[0].User != aliceOne || first[1].User != bobOne) {
				t.Errorf("the first two are %+v", first)
			}
			return err
		})
		viewing(t, s, func(tx *storage.ReadTx) error {
			for _, c := range []struct {
				a, b id.UserID
				want []id.RoomID
			}{
				{aliceOne, bobOne, []id.RoomID{"!r:one"}}, {bobOne, bobOne, []id.RoomID{"!other:one", "!r:one"}}, {aliceOne, eveOne, []id.RoomID{}},
				{aliceOne, "@nobody:one", nil},
			} {
				got, err := tx.MutualRooms(c.a, c.b)
				if err != nil {
					return err
				}
				slices.Sort(got)
				same(t, string(c.a+" and "+c.b), c.want, got)
				share, err := tx.SharesRoom(c.a, c.b)
				if err != nil || share != (len(c.want) > 0) {
					t.Errorf("%s and %s share a room: %t, %v", c.a, c.b, share, err)
				}
			}
			return nil
		})
	})
}

func TestUsersOfServer(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		room := storagetest.NewRoom(t, s, "!room:hs", "@alice:hs")
		for _, user := range []id.UserID{"@bob:two", "@carol:TWO", "@dave:two:8448", "@eve:x.two", "@8448:8448"} {
			room.Member(user, user, "join")
		}
		room.Member("@alice:hs", "@gone:two", "invite")
		room.Member("@gone:two", "@gone:two", "leave")
		err := s.View(t.Context(), func(tx *storage.ReadTx) error {
			for server, want := range map[id.ServerName][]id.UserID{
				"two": {"@bob:two", "@gone:two"}, "8448": {"@8448:8448"}, "two:8448": {"@dave:two:8448"}, "three": {},
			} {
				got, err := tx.UsersOfServer(room.Row.NID, server)
				if err != nil {
					return err
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", server, got, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
