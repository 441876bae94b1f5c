package storage_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice = id.UserID("@alice:hs")
	bob   = id.UserID("@bob:hs")
)

// update runs fn, which must succeed.
func update(t *testing.T, s *storage.Store, fn func(tx *storage.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// ask returns what fn finds in a snapshot, or storage.ErrNotFound.
func ask[T any](t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) (T, error)) (T, error) {
	t.Helper()
	var out T
	err := s.View(context.Background(), func(tx *storage.ReadTx) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return out, err
}

// found is ask for what has to be there.
func found[T any](t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) (T, error)) T {
	t.Helper()
	out, err := ask(t, s, fn)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// addUsers makes alice and bob, with a device D each.
func addUsers(t *testing.T, s *storage.Store) {
	t.Helper()
	update(t, s, func(tx *storage.Tx) error {
		for _, u := range []id.UserID{alice, bob} {
			if _, err := tx.InsertUser(storage.User{ID: u, PasswordHash: "hash", CreatedTS: 1}); err != nil {
				return err
			}
			if _, err := tx.InsertDevice(storage.Device{UserID: u, ID: "D", CreatedTS: 2}); err != nil {
				return err
			}
		}
		return nil
	})
}

func hash(b byte) storage.TokenHash { return storage.TokenHash{b} }

func TestUsers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			if fresh, err := tx.InsertUser(storage.User{ID: alice}); fresh || err != nil {
				t.Errorf("a taken id: fresh %v, error %v", fresh, err)
			}
			if err := tx.SetAdmin(alice, true); err != nil {
				return err
			}
			if err := tx.SetLocked(alice, true); err != nil {
				return err
			}
			return tx.SetSuspended(alice, true)
		})
		want := storage.User{ID: alice, PasswordHash: "hash", CreatedTS: 1, Admin: true, Locked: true, Suspended: true}
		if diff := cmp.Diff(want, found(t, s, func(tx *storage.ReadTx) (storage.User, error) { return tx.User(alice) })); diff != "" {
			t.Error(diff)
		}
		if _, err := ask(t, s, func(tx *storage.ReadTx) (storage.User, error) { return tx.User("@nobody:hs") }); err == nil {
			t.Error("an unknown user was found")
		}
		if !found(t, s, (*storage.ReadTx).HasAdmin) {
			t.Error("no administrator")
		}
		page := found(t, s, func(tx *storage.ReadTx) ([]storage.User, error) { return tx.Users(alice, 10) })
		if len(page) != 1 || page[0].ID != bob {
			t.Errorf("after alice come %v", page)
		}
		if err := s.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetLocked("@nobody:hs", true) }); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("locking nobody: %v", err)
		}
	})
}

func TestDeactivatedUsersKeepNothingButTheirName(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(
				tx.InsertAccessToken(storage.AccessToken{Hash: hash(1), UserID: alice, DeviceID: "D"}),
				tx.SetProfileField(alice, "displayname", json.RawMessage(`"A"`)),
				tx.SetAccountData(alice, storage.AccountData{Type: "x", Content: json.RawMessage("{}"), Pos: 1}),
				tx.DeactivateUser(alice, 5, true),
			)
		})
		want := storage.User{ID: alice, CreatedTS: 1, DeactivatedTS: 5, Erased: true}
		if diff := cmp.Diff(want, found(t, s, func(tx *storage.ReadTx) (storage.User, error) { return tx.User(alice) })); diff != "" {
			t.Error(diff)
		}
		if _, err := ask(t, s, func(tx *storage.ReadTx) (storage.Session, error) { return tx.Session(hash(1)) }); err == nil {
			t.Error("the token still works")
		}
		if got := found(t, s, func(tx *storage.ReadTx) ([]storage.Device, error) { return tx.Devices(alice) }); len(got) != 0 {
			t.Errorf("devices %v", got)
		}
		if got := found(t, s, func(tx *storage.ReadTx) (map[string]json.RawMessage, error) { return tx.Profile(alice) }); len(got) != 0 {
			t.Errorf("profile %v", got)
		}
		if got := found(t, s, (*storage.ReadTx).DepartingUsers); !cmp.Equal(got, []id.UserID{alice}) {
			t.Errorf("departing %v", got)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.SetDeparted(alice) })
		if got := found(t, s, (*storage.ReadTx).DepartingUsers); len(got) != 0 {
			t.Errorf("departing %v", got)
		}
	})
}

func TestDevices(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		name := "phone"
		update(t, s, func(tx *storage.Tx) error {
			if fresh, err := tx.InsertDevice(storage.Device{UserID: alice, ID: "D", DisplayName: &name}); fresh || err != nil {
				t.Errorf("a known device: fresh %v, error %v", fresh, err)
			}
			for _, d := range []id.DeviceID{"E", "F"} {
				if _, err := tx.InsertDevice(storage.Device{UserID: alice, ID: d, DisplayName: &name}); err != nil {
					return err
				}
			}
			return errors.Join(
				tx.RenameDevice(alice, "E", "tablet"),
				tx.TouchDevice(storage.Device{UserID: alice, ID: "D", LastSeenTS: 9, LastSeenIP: "::1", LastSeenAgent: "x"}),
				tx.TouchDevice(storage.Device{UserID: alice, ID: "D", LastSeenTS: 8, LastSeenIP: "old"}),
				tx.InsertAccessToken(storage.AccessToken{Hash: hash(1), UserID: alice, DeviceID: "E"}),
			)
		})
		tablet := "tablet"
		want := []storage.Device{
			{UserID: alice, ID: "D", CreatedTS: 2, LastSeenTS: 9, LastSeenIP: "::1", LastSeenAgent: "x"},
			{UserID: alice, ID: "E", DisplayName: &tablet},
			{UserID: alice, ID: "F", DisplayName: &name},
		}
		if diff := cmp.Diff(want, found(t, s, func(tx *storage.ReadTx) ([]storage.Device, error) { return tx.Devices(alice) })); diff != "" {
			t.Error(diff)
		}
		update(t, s, func(tx *storage.Tx) error {
			gone, err := tx.DeleteDevices(alice, []id.DeviceID{"E", "unknown"})
			if !cmp.Equal(gone, []id.DeviceID{"E"}) {
				t.Errorf("deleted %v", gone)
			}
			return err
		})
		if _, err := ask(t, s, func(tx *storage.ReadTx) (storage.Session, error) { return tx.Session(hash(1)) }); err == nil {
			t.Error("the token of a deleted device still works")
		}
		update(t, s, func(tx *storage.Tx) error {
			gone, err := tx.DeleteDevicesExcept(alice, "F")
			if !cmp.Equal(gone, []id.DeviceID{"D"}) {
				t.Errorf("deleted %v", gone)
			}
			return err
		})
		found(t, s, func(tx *storage.ReadTx) (storage.Device, error) { return tx.Device(bob, "D") })
	})
}

func TestTokenRotation(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		first, second, third := hash(1), hash(2), hash(3)
		pair := func(tx *storage.Tx, refresh storage.TokenHash, previous *storage.TokenHash, access byte) error {
			return errors.Join(
				tx.InsertRefreshToken(storage.RefreshToken{Hash: refresh, UserID: alice, DeviceID: "D", Previous: previous, ExpiresTS: 7}),
				tx.InsertAccessToken(storage.AccessToken{Hash: hash(access), UserID: alice, DeviceID: "D", Refresh: &refresh, ExpiresTS: 8}),
			)
		}
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(pair(tx, first, nil, 11), pair(tx, second, &first, 12), pair(tx, third, &first, 13))
		})
		session := func(access byte) (storage.Session, error) {
			return ask(t, s, func(tx *storage.ReadTx) (storage.Session, error) { return tx.Session(hash(access)) })
		}
		want := storage.Session{UserID: alice, DeviceID: "D", ExpiresTS: 8, Replaces: &first}
		if got, err := session(12); err != nil || !cmp.Equal(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
		if got, err := session(11); err != nil || got.Replaces != nil {
			t.Errorf("got %+v, %v", got, err)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.RevokeReplaced(first) })
		if _, err := session(11); err == nil {
			t.Error("the access token that was replaced still works")
		}
		if got, err := session(12); err != nil || got.Replaces != nil {
			t.Errorf("got %+v, %v", got, err)
		}
		update(t, s, func(tx *storage.Tx) error {
			fourth := hash(4)
			return errors.Join(pair(tx, fourth, &second, 14), tx.DeleteSuccessors(second))
		})
		if _, err := session(14); err == nil {
			t.Error("a successor still works")
		}
		if got := found(t, s, func(tx *storage.ReadTx) (storage.RefreshToken, error) { return tx.RefreshToken(second) }); got.ExpiresTS != 7 {
			t.Errorf("got %+v", got)
		}
		update(t, s, func(tx *storage.Tx) error { return tx.DeleteDeviceTokens(alice, "D") })
		if _, err := session(12); err == nil {
			t.Error("a token of the device still works")
		}
		found(t, s, func(tx *storage.ReadTx) (storage.Device, error) { return tx.Device(alice, "D") })
	})
}

func TestSingleTokens(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(
				tx.InsertSingleToken(hash(1), storage.LoginToken, alice, 10),
				tx.InsertSingleToken(hash(2), storage.OpenIDToken, alice, 10),
			)
		})
		user := func(h storage.TokenHash, p storage.TokenPurpose, now int64) (id.UserID, error) {
			return ask(t, s, func(tx *storage.ReadTx) (id.UserID, error) { return tx.SingleTokenUser(h, p, now) })
		}
		if got, err := user(hash(2), storage.OpenIDToken, 9); got != alice || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		for _, test := range []struct {
			name    string
			purpose storage.TokenPurpose
			now     int64
		}{{"too late", storage.OpenIDToken, 10}, {"for something else", storage.LoginToken, 9}} {
			if got, err := user(hash(2), test.purpose, test.now); err == nil {
				t.Errorf("%s: %q", test.name, got)
			}
		}
		update(t, s, func(tx *storage.Tx) error {
			if got, err := tx.TakeSingleToken(hash(1), storage.LoginToken, 9); got != alice || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if got, err := tx.TakeSingleToken(hash(1), storage.LoginToken, 9); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("taken twice: %q, %v", got, err)
			}
			return tx.DeleteExpiredSingleTokens(10)
		})
		if _, err := user(hash(2), storage.OpenIDToken, 9); err == nil {
			t.Error("an expired token is still there")
		}
	})
}

func TestRegistrationTokens(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		once := int64(1)
		update(t, s, func(tx *storage.Tx) error {
			for _, rt := range []storage.RegistrationToken{
				{Token: "once", UsesAllowed: &once, Admin: true, CreatedTS: 1},
				{Token: "always", CreatedTS: 2},
				{Token: "brief", ExpiresTS: 10, CreatedTS: 3},
			} {
				if fresh, err := tx.InsertRegistrationToken(rt); !fresh || err != nil {
					t.Errorf("%s: fresh %v, error %v", rt.Token, fresh, err)
				}
			}
			fresh, err := tx.InsertRegistrationToken(storage.RegistrationToken{Token: "once"})
			if fresh {
				t.Error("the same token twice")
			}
			return err
		})
		valid := func(token string, now int64) bool {
			_, err := ask(t, s, func(tx *storage.ReadTx) (storage.RegistrationToken, error) { return tx.RegistrationToken(token, now) })
			return err == nil
		}
		if !valid("once", 99) || !valid("always", 99) || !valid("brief", 9) || valid("brief", 10) || valid("unknown", 1) {
			t.Error("validity of fresh tokens")
		}
		if got := found(t, s, func(tx *storage.ReadTx) (storage.RegistrationToken, error) { return tx.AdminToken(5) }); got.Token != "once" {
			t.Errorf("admin token %+v", got)
		}
		update(t, s, func(tx *storage.Tx) error {
			for _, token := range []string{"once", "always"} {
				if got, err := tx.UseRegistrationToken(token, 5); err != nil || got.Uses != 1 {
					t.Errorf("%s: %+v, %v", token, got, err)
				}
			}
			if _, err := tx.UseRegistrationToken("once", 5); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("used twice: %v", err)
			}
			return tx.DeleteRegistrationToken("brief")
		})
		if valid("once", 5) || !valid("always", 5) || valid("brief", 5) {
			t.Error("validity of used tokens")
		}
		if got := found(t, s, (*storage.ReadTx).RegistrationTokens); len(got) != 2 {
			t.Errorf("tokens %+v", got)
		}
		update(t, s, func(tx *storage.Tx) error {
			for i, want := range []bool{true, false, true} {
				if fresh, err := tx.UseNonce("n", int64(i*5), int64(i*5)+10); fresh != want || err != nil {
					t.Errorf("nonce the %d. time: %v, %v", i, fresh, err)
				}
			}
			return nil
		})
	})
}

func TestAuthSessions(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(tx.PutAuthSession(hash(1), []byte("one"), 10), tx.PutAuthSession(hash(1), []byte{0, 255}, 10))
		})
		get := func(now int64) ([]byte, error) {
			return ask(t, s, func(tx *storage.ReadTx) ([]byte, error) { return tx.AuthSession(hash(1), now) })
		}
		if got, err := get(9); err != nil || !cmp.Equal(got, []byte{0, 255}) {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := get(10); err == nil {
			t.Error("it should have expired")
		}
		update(t, s, func(tx *storage.Tx) error {
			if err := tx.DeleteExpiredAuthSessions(9); err != nil {
				return err
			}
			for i, want := range []bool{true, false} {
				if got, err := tx.DeleteAuthSession(hash(1)); got != want || err != nil {
					t.Errorf("deleted the %d. time: %v, %v", i, got, err)
				}
			}
			return nil
		})
	})
}

func TestProfiles(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(
				tx.SetProfileField(alice, "displayname", json.RawMessage(`"A"`)),
				tx.SetProfileField(alice, "displayname", json.RawMessage(`"Alice \u0000"`)),
				tx.SetProfileField(alice, "avatar_url", json.RawMessage(`"mxc://a/b"`)),
				tx.SetProfileField(alice, "m.tz", json.RawMessage(`"UTC"`)),
			)
		})
		member := func(u id.UserID) storage.MemberProfile {
			return found(t, s, func(tx *storage.ReadTx) (storage.MemberProfile, error) { return tx.MemberProfile(u) })
		}
		if got, want := member(alice), (storage.MemberProfile{DisplayName: "Alice \x00", AvatarURL: "mxc://a/b"}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := member(bob); got != (storage.MemberProfile{}) {
			t.Errorf("got %+v", got)
		}
		update(t, s, func(tx *storage.Tx) error {
			there, err := tx.DeleteProfileField(alice, "avatar_url")
			again, err2 := tx.DeleteProfileField(alice, "avatar_url")
			if !there || again {
				t.Errorf("there %v, again %v", there, again)
			}
			return errors.Join(err, err2)
		})
		want := map[string]json.RawMessage{"displayname": json.RawMessage(`"Alice \u0000"`), "m.tz": json.RawMessage(`"UTC"`)}
		if diff := cmp.Diff(want, found(t, s, func(tx *storage.ReadTx) (map[string]json.RawMessage, error) { return tx.Profile(alice) })); diff != "" {
			t.Error(diff)
		}
	})
}

func TestThreepids(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		p := storage.Threepid{Medium: "email", Address: "a@b", ValidatedTS: 1, AddedTS: 2}
		update(t, s, func(tx *storage.Tx) error {
			first, err := tx.InsertThreepid(alice, p)
			second, err2 := tx.InsertThreepid(bob, p)
			if !first || second {
				t.Errorf("first %v, second %v", first, second)
			}
			return errors.Join(err, err2)
		})
		if got := found(t, s, func(tx *storage.ReadTx) (id.UserID, error) { return tx.ThreepidUser("email", "a@b") }); got != alice {
			t.Errorf("got %q", got)
		}
		if got := found(t, s, func(tx *storage.ReadTx) ([]storage.Threepid, error) { return tx.Threepids(alice) }); !cmp.Equal(got, []storage.Threepid{p}) {
			t.Errorf("got %v", got)
		}
		update(t, s, func(tx *storage.Tx) error {
			others, err := tx.DeleteThreepid(bob, "email", "a@b")
			own, err2 := tx.DeleteThreepid(alice, "email", "a@b")
			again, err3 := tx.DeleteThreepid(alice, "email", "a@b")
			if others || !own || again {
				t.Errorf("deleted by another %v, by its owner %v, once more %v", others, own, again)
			}
			return errors.Join(err, err2, err3)
		})
		if got := found(t, s, func(tx *storage.ReadTx) ([]storage.Threepid, error) { return tx.Threepids(alice) }); len(got) != 0 {
			t.Errorf("got %v after deletion", got)
		}
	})
}

func TestAccountData(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		data := func(room id.RoomID, typ, content string, pos int64) storage.AccountData {
			return storage.AccountData{RoomID: room, Type: typ, Content: json.RawMessage(content), Pos: pos}
		}
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(
				tx.SetAccountData(alice, data("", "a", "{}", 1)),
				tx.SetAccountData(alice, data("!r:hs", "a", `{"r":1}`, 2)),
				tx.SetAccountData(bob, data("", "a", "{}", 3)),
				tx.SetAccountData(alice, data("", "b", "{}", 4)),
				tx.SetAccountData(alice, data("", "a", `{"new":1}`, 5)),
			)
		})
		since := func(from, to int64) []storage.AccountData {
			return found(t, s, func(tx *storage.ReadTx) ([]storage.AccountData, error) { return tx.AccountDataSince(alice, from, to) })
		}
		want := []storage.AccountData{data("!r:hs", "a", `{"r":1}`, 2), data("", "b", "{}", 4), data("", "a", `{"new":1}`, 5)}
		if diff := cmp.Diff(want, since(0, 9)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want[1:2], since(2, 4)); diff != "" {
			t.Error(diff)
		}
		room := found(t, s, func(tx *storage.ReadTx) ([]storage.AccountData, error) { return tx.RoomAccountData(alice, "!r:hs") })
		if diff := cmp.Diff(want[:1], room); diff != "" {
			t.Error(diff)
		}
		if _, err := ask(t, s, func(tx *storage.ReadTx) (storage.AccountData, error) { return tx.AccountData(bob, "!r:hs", "a") }); err == nil {
			t.Error("bob sees data of alice")
		}
	})
}

func TestFilters(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		addUsers(t, s)
		update(t, s, func(tx *storage.Tx) error {
			for _, test := range []struct {
				user id.UserID
				hash byte
				want int64
			}{{alice, 1, 1}, {alice, 2, 2}, {alice, 1, 1}, {bob, 2, 1}} {
				if got, err := tx.PutFilter(test.user, hash(test.hash), json.RawMessage(`{}`), 2); got != test.want || err != nil {
					t.Errorf("filter %d of %s: %d, %v", test.hash, test.user, got, err)
				}
			}
			return nil
		})
		if got := found(t, s, func(tx *storage.ReadTx) (json.RawMessage, error) { return tx.Filter(alice, 2) }); string(got) != "{}" {
			t.Errorf("got %s", got)
		}
		if _, err := ask(t, s, func(tx *storage.ReadTx) (json.RawMessage, error) { return tx.Filter(bob, 2) }); err == nil {
			t.Error("bob sees a filter of alice")
		}
		update(t, s, func(tx *storage.Tx) error {
			_, err := tx.PutFilter(alice, hash(3), json.RawMessage(`{}`), 2)
			return err
		})
		for filter, want := range map[int64]bool{1: false, 2: true, 3: true} {
			if _, err := ask(t, s, func(tx *storage.ReadTx) (json.RawMessage, error) { return tx.Filter(alice, filter) }); (err == nil) != want {
				t.Errorf("filter %d, of which the newest two stay: %v", filter, err)
			}
		}
	})
}

func TestExternalIDs(t *testing.T) {
	s := storagetest.Open(t)
	keycloak, home := storage.ExternalID{Provider: "keycloak", Subject: "1"}, storage.ExternalID{Provider: "home", Subject: "1"}
	update(t, s, func(tx *storage.Tx) error {
		for _, u := range []id.UserID{alice, bob} {
			if _, err := tx.InsertUser(storage.User{ID: u}); err != nil {
				return err
			}
		}
		for _, e := range []storage.ExternalID{keycloak, home} {
			if fresh, err := tx.InsertExternalID(alice, e, 1); err != nil || !fresh {
				t.Errorf("%v: %v, %v", e, fresh, err)
			}
		}
		fresh, err := tx.InsertExternalID(bob, keycloak, 2)
		if fresh {
			t.Error("somebody at a provider is two people")
		}
		return err
	})
	got, _ := ask(t, s, func(tx *storage.ReadTx) ([]storage.ExternalID, error) { return tx.ExternalIDs(alice) })
	if diff := cmp.Diff([]storage.ExternalID{home, keycloak}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, erase := range []bool{false, true} {
		update(t, s, func(tx *storage.Tx) error { return tx.DeactivateUser(alice, 3, erase) })
		_, err := ask(t, s, func(tx *storage.ReadTx) (id.UserID, error) { return tx.ExternalUser(keycloak) })
		if errors.Is(err, storage.ErrNotFound) != erase {
			t.Errorf("erased %v: %v", erase, err)
		}
	}
}
