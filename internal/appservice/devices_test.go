package appservice

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const device id.DeviceID = "BRIDGE"

// update changes the store and rings.
func (r *rig) update(fn func(tx *storage.Tx, pos int64) error) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { r.hub.Ring(pos) })
		return fn(tx, pos)
	}); err != nil {
		r.t.Fatal(err)
	}
}

// login makes devices of users.
func (r *rig) login(users ...id.UserID) {
	r.t.Helper()
	r.update(func(tx *storage.Tx, _ int64) error {
		for _, u := range users {
			if _, err := tx.InsertUser(storage.User{ID: u}); err != nil {
				return err
			}
			if _, err := tx.InsertDevice(storage.Device{UserID: u, ID: device}); err != nil {
				return err
			}
		}
		return nil
	})
}

// send sends a message to the device of a user.
func (r *rig) send(to id.UserID, text string) {
	r.t.Helper()
	r.update(func(tx *storage.Tx, pos int64) error {
		_, err := tx.SendToDevice(to, device, storage.DeviceMessage{
			Pos: pos, Sender: alice, Type: "m.room.encrypted", Content: json.RawMessage(fmt.Sprintf(`{"ciphertext":%q}`, text)),
		})
		return err
	})
}

// waiting is how many messages a device has yet to get.
func (r *rig) waiting(user id.UserID) int {
	r.t.Helper()
	var list []storage.DeviceMessage
	if err := r.store.View(r.t.Context(), func(tx *storage.ReadTx) (err error) {
		list, _, err = tx.ToDevice(user, device, 0, 1000)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

// sent is the texts of the messages to devices in a transaction, with their addresses.
func (r request) sent() []string {
	var out []string
	for _, m := range r.body.Get("to_device").Array() {
		out = append(out, m.Get("to_user_id").Str+" "+m.Get("to_device_id").Str+" "+m.Get("sender").Str+" "+m.Get("content.ciphertext").Str)
	}
	return out
}

func TestMessagesToDevicesAreDelivered(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		for i, tt := range []struct {
			name    string
			fields  map[string]any
			to      id.UserID
			sent    bool
			waiting int
		}{
			{"to one that encrypts", map[string]any{"org.matrix.msc3202": true}, "@_irc_a:hs", true, 0},
			{"as copies to one that syncs", map[string]any{"receive_ephemeral": true}, "@_irc_b:hs", true, 1},
			{"not to one that wants none", map[string]any{}, "@_irc_c:hs", false, 1},
			{"as copies of those of people", map[string]any{"org.matrix.msc3202": true, "namespaces": map[string]any{
				"users": []any{map[string]any{"regex": "@carol:hs"}}}}, "@carol:hs", true, 1},
			{"not those of others", map[string]any{"org.matrix.msc3202": true}, "@dave:hs", false, 1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				b := newBridge(t)
				tt.fields["url"], tt.fields["id"] = b.url, tt.name
				r := newRig(t, store, registration(t, tt.fields)).run()
				r.login(tt.to)
				r.send(tt.to, "secret")
				room := r.room(id.RoomID(fmt.Sprintf("!r%d:hs", i)), "@_irc_bot:hs")
				last := room.Message("@_irc_bot:hs", "last")
				var got []string
				for seen := false; !seen; {
					tx := b.next(t)
					got = append(got, tx.sent()...)
					if legacy := tx.body.Get(`de\.sorunome\.msc2409\.to_device`); legacy.Raw != tx.body.Get("to_device").Raw {
						t.Errorf("%s", tx.body)
					}
					for _, e := range tx.ids() {
						seen = seen || e == string(last.ID)
					}
				}
				room.Message("@_irc_bot:hs", "one more")
				b.next(t) // it begins after the one before is stored as delivered
				var want []string
				if tt.sent {
					want = []string{string(tt.to) + " BRIDGE @alice:hs secret"}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
				r.stop()
				if n := r.waiting(tt.to); n != tt.waiting {
					t.Errorf("%d messages wait", n)
				}
			})
		}
	})
}

func TestMessagesToDevicesSurviveACrashAndCome(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	b.answers(500, ``)
	as := registration(t, map[string]any{"url": b.url, "org.matrix.msc3202": true})
	r := newRig(t, store, as).run()
	r.login(ghost)
	var want []string
	for i := range 3 * maxMessages {
		r.send(ghost, fmt.Sprint(i))
		want = append(want, fmt.Sprintf("%s BRIDGE @alice:hs %d", ghost, i))
	}
	first := b.next(t)
	r.stop()
	for len(b.requests) > 0 {
		<-b.requests // further tries before
	}
	b.answers(200, `{}`)
	r = newRig(t, store, as).run()
	again := b.next(t)
	if again.path != first.path || !cmp.Equal(again.sent(), first.sent()) {
		t.Fatalf("%s %v became %s %v", first.path, first.sent(), again.path, again.sent())
	}
	var got []string
	for {
		got = append(got, again.sent()...)
		if n := len(again.sent()); n > maxMessages {
			t.Errorf("%d messages at once", n)
		}
		if len(got) >= len(want) {
			break
		}
		again = b.next(t)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// The next transaction begins after the one before is stored as delivered.
	r.room("!r:hs", ghost)
	b.next(t)
	r.stop()
	if n := r.waiting(ghost); n != 0 {
		t.Errorf("%d messages wait", n)
	}
}

func TestItIsToldHowManyKeysAreLeft(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url, "org.matrix.msc3202": true})).run()
	r.login(ghost, alice)
	claim := func(user id.UserID) {
		t.Helper()
		r.update(func(tx *storage.Tx, pos int64) error {
			_, err := tx.ClaimKey(user, device, "signed_curve25519", pos)
			return err
		})
	}
	r.update(func(tx *storage.Tx, pos int64) error {
		for _, u := range []id.UserID{ghost, alice} {
			keys := []storage.OneTimeKey{{Algorithm: "signed_curve25519", ID: "A", Key: json.RawMessage(`{}`)}}
			if err := tx.AddOneTimeKeys(u, device, pos, keys); err != nil {
				return err
			}
			if err := tx.SetFallbackKey(u, device, pos, storage.OneTimeKey{Algorithm: "signed_curve25519", ID: "F", Key: json.RawMessage(`{}`)}); err != nil {
				return err
			}
		}
		return nil
	})
	claim(alice)
	expect := func(want string) {
		t.Helper()
		tx := b.next(t)
		got := tx.body.Get("device_one_time_keys_count").Raw + tx.body.Get("device_unused_fallback_key_types").Raw
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		legacy := tx.body.Get(`org\.matrix\.msc3202\.device_one_time_keys_count`).Raw +
			tx.body.Get(`org\.matrix\.msc3202\.device_unused_fallback_key_types`).Raw
		if legacy != got {
			t.Error(legacy)
		}
	}
	claim(ghost)
	expect(`{"@_irc_ghost:hs":{"BRIDGE":{"signed_curve25519":0}}}{"@_irc_ghost:hs":{"BRIDGE":["signed_curve25519"]}}`)
	claim(ghost)
	expect(`{"@_irc_ghost:hs":{"BRIDGE":{"signed_curve25519":0}}}{"@_irc_ghost:hs":{"BRIDGE":[]}}`)
}

func TestItIsToldWhoseDevicesHaveChanged(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url, "org.matrix.msc3202": true}))
	room, other := r.room("!r:hs", alice), r.room("!other:hs", "@bob:hs")
	room.Member("@carol:far", "@carol:far", "join")
	r.run()
	expect := func(want string) {
		t.Helper()
		tx := b.next(t)
		if d := cmp.Diff(want, tx.body.Get("device_lists").Raw); d != "" {
			t.Error(d)
		}
		if legacy := tx.body.Get(`org\.matrix\.msc3202\.device_lists`).Raw; legacy != want {
			t.Error(legacy)
		}
	}
	changes := func(users ...id.UserID) {
		t.Helper()
		r.update(func(tx *storage.Tx, _ int64) error {
			for _, u := range users {
				pos, _, err := tx.ChangeDeviceList(u)
				if err != nil {
					return err
				}
				tx.OnCommit(func() { r.hub.Ring(pos) })
			}
			return nil
		})
	}
	changes("@bob:hs", alice)
	room.Member(ghost, ghost, "join")
	expect(`{"changed":["@_irc_ghost:hs","@alice:hs","@carol:far"],"left":[]}`)
	changes("@bob:hs", "@carol:far")
	expect(`{"changed":["@carol:far"],"left":[]}`)
	room.Member("@_irc_two:hs", "@_irc_two:hs", "join")
	expect(``)
	room.Member("@bob:hs", "@bob:hs", "join")
	expect(`{"changed":["@bob:hs"],"left":[]}`)
	room.Member("@bob:hs", "@bob:hs", "leave")
	expect(`{"changed":[],"left":["@bob:hs"]}`)
	other.Member(ghost, ghost, "join")
	expect(`{"changed":["@_irc_ghost:hs","@bob:hs"],"left":[]}`)
	other.Member(alice, alice, "join")
	expect(`{"changed":["@alice:hs"],"left":[]}`)
	room.Member(ghost, ghost, "leave")
	expect(``)
	room.Member("@_irc_two:hs", "@_irc_two:hs", "leave")
	expect(`{"changed":[],"left":["@carol:far"]}`)
	changes(ghost)
	expect(`{"changed":["@_irc_ghost:hs"],"left":[]}`)
}

func TestWhatTheWorkerNeedNotSeeIsNotSent(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	r := newRig(t, store, registration(t, map[string]any{"url": b.url})).run()
	r.login(ghost)
	r.hub.Ring(store.CommittedPos(), hub.User(alice))
	r.update(func(tx *storage.Tx, _ int64) error {
		_, _, err := tx.ChangeDeviceList(ghost)
		return err
	})
	r.room("!r:hs", ghost)
	if tx := b.next(t); tx.body.Get("device_lists").Exists() || len(tx.ids()) == 0 {
		t.Errorf("%s", tx.body)
	}
}
