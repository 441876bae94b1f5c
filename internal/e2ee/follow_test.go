package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// versions is what keysOf returns.
type versions = map[id.DeviceID]string

func (s *server) expectKeys(viewer, user id.UserID, want versions) {
	s.w.t.Helper()
	if diff := cmp.Diff(want, s.keysOf(viewer, user)); diff != "" {
		s.w.t.Errorf("keys of %s: %s", user, diff)
	}
}

func (w *world) expectRequests(want ...string) {
	w.t.Helper()
	if got := w.requests(); !slices.Equal(got, want) {
		w.t.Errorf("asked %q and not %q", got, want)
	}
}

func TestListsOfUsersInCommonRoomsAreKept(t *testing.T) {
	w := newWorld(t, alice, bob)
	w.there().upload(bob, "B", "one")
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	w.expectRequests("query there")
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	w.here().restart(Deps{})
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	w.expectRequests()
}

func TestListsOfStrangersAreNotKept(t *testing.T) {
	w := newWorld(t, alice)
	w.there().upload(bob, "B", "one")
	for range 2 {
		w.here().expectKeys(alice, bob, versions{"B": "one"})
		w.expectRequests("query there")
	}
	w.here().expectKeys(alice, "@nobody:there", nil)
	if l := w.here().list(bob); l.Fetched != 0 {
		t.Errorf("stored %+v", l)
	}
}

func TestUpdatesAreAppliedInOrderAndOtherwiseFetched(t *testing.T) {
	w := newWorld(t, alice, bob)
	w.there().upload(bob, "B", "one")
	w.there().deliver(nil)
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	w.requests()

	// The list came without a version, so that the first update has no known predecessor.
	since := w.here().position()
	w.there().upload(bob, "B", "two")
	w.there().deliver(nil)
	w.here().waitChanged(alice, bob, since)
	w.here().settled()
	w.expectRequests("devices there")
	w.here().expectKeys(alice, bob, versions{"B": "two"})

	since = w.here().position()
	w.there().upload(bob, "B", "three")
	w.there().deliver(nil)
	if got := w.here().changedFor(alice, since); !slices.Contains(got, bob) {
		t.Errorf("changed: %v", got)
	}
	w.here().expectKeys(alice, bob, versions{"B": "three"})
	w.expectRequests()

	// One is lost, and one comes twice.
	w.there().upload(bob, "B", "four")
	w.there().deliver(func(storage.Outgoing) bool { return false })
	since = w.here().position()
	w.there().upload(bob, "B", "five")
	w.there().deliver(func(r storage.Outgoing) bool {
		w.here().receive("there", r)
		return true
	})
	w.here().waitChanged(alice, bob, since)
	w.here().settled()
	w.here().expectKeys(alice, bob, versions{"B": "five"})
	for _, r := range w.requests() {
		if r != "devices there" {
			t.Errorf("asked %q", r)
		}
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	w := newWorld(t, alice, bob)
	there := w.there()
	there.upload(bob, "B", "one")
	there.update(func(tx *storage.Tx) error {
		_, err := tx.InsertDevice(storage.Device{UserID: bob, ID: "B2"})
		return err
	})
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	there.upload(bob, "B2", "new")
	there.deliver(nil)
	w.here().settled()
	w.here().expectKeys(alice, bob, versions{"B": "one", "B2": "new"})
	w.requests()
	there.update(func(tx *storage.Tx) error {
		gone, err := tx.DeleteDevices(bob, []id.DeviceID{"B2"})
		if err != nil {
			return err
		}
		return there.DevicesChanged(tx, bob, gone...)
	})
	there.deliver(nil)
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	w.expectRequests()
}

func TestManyDevicesAtOnceAreAnnouncedByOne(t *testing.T) {
	w := newWorld(t, alice, bob)
	there := w.there()
	there.upload(bob, "B", "one")
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	var devices []id.DeviceID
	there.update(func(tx *storage.Tx) error {
		for i := range 3 * maxAnnounced {
			d := id.DeviceID(fmt.Sprintf("M%02d", i))
			devices = append(devices, d)
			if _, err := tx.InsertDevice(storage.Device{UserID: bob, ID: d}); err != nil {
				return err
			}
			k, err := parseDeviceKeys(bob, d, deviceObject(bob, d, "x"))
			if err != nil {
				return err
			}
			if err := tx.SetDeviceKeys(*k); err != nil {
				return err
			}
		}
		return there.DevicesChanged(tx, bob, devices...)
	})
	if got := there.deliver(nil); len(got) != 2 { // and the first upload
		t.Errorf("sent %v", got)
	}
	w.here().settled()
	if got := w.here().keysOf(alice, bob); len(got) != len(devices)+1 {
		t.Errorf("there are %d devices", len(got))
	}
}

func TestKeysOfUnreachableServers(t *testing.T) {
	w := newWorld(t, alice, bob)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one")
	w.setCut("there", true)
	answer := here.query(alice, bob)
	if len(answer.Failures) != 1 || answer.Failures["there"] == nil || len(answer.DeviceKeys) != 0 {
		t.Errorf("failures %v, keys %v", answer.Failures, answer.DeviceKeys)
	}
	w.setCut("there", false)
	there.deliver(nil)
	here.expectKeys(alice, bob, versions{"B": "one"})

	// A list that is up to date needs nobody.
	w.setCut("there", true)
	here.expectKeys(alice, bob, versions{"B": "one"})
	// One that is not is not given out.
	w.requests()
	there.upload(bob, "B", "two")
	there.deliver(nil)
	w.clock.BlockUntil(2) // both servers wait for better times
	if answer := here.query(alice, bob); answer.Failures["there"] == nil || answer.DeviceKeys[bob] != nil {
		t.Errorf("failures %v, keys %v", answer.Failures, answer.DeviceKeys)
	}
}

func TestStaleListsAreFetchedWhenTheirServerIsBack(t *testing.T) {
	w := newWorld(t, alice, bob, carol)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one")
	there.upload(carol, "C", "one")
	here.expectKeys(alice, bob, versions{"B": "one"})
	here.expectKeys(alice, carol, versions{"C": "one"})
	w.setCut("there", true)
	there.upload(bob, "B", "two")
	there.upload(carol, "C", "two")
	there.deliver(nil)
	here.settled()
	for tries := int64(1); here.list(bob).Tries < 4; tries++ {
		w.clock.BlockUntil(2)
		w.clock.Advance(firstRetry << tries)
		here.settled()
	}
	// What is waited for survives a restart.
	here.restart(Deps{})
	since := here.position()
	w.setCut("there", false)
	w.clock.BlockUntil(2)
	w.clock.Advance(lastRetry)
	here.waitChanged(alice, bob, since)
	here.waitChanged(alice, carol, since)
	here.expectKeys(alice, bob, versions{"B": "two"})
	here.expectKeys(alice, carol, versions{"C": "two"})
}

func TestListsAreGivenUpAtLast(t *testing.T) {
	w := newWorld(t, alice, bob)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one")
	here.expectKeys(alice, bob, versions{"B": "one"})
	w.setCut("there", true)
	there.upload(bob, "B", "two")
	since := here.position()
	there.deliver(nil)
	for range maxTries {
		here.settled()
		w.clock.BlockUntil(2)
		w.clock.Advance(2 * lastRetry)
	}
	here.waitChanged(alice, bob, since)
	if l := here.list(bob); l.Stale || l.Current {
		t.Errorf("the list is %+v", l)
	}
}

func TestAListIsWorthNothingAfterALackOfCompany(t *testing.T) {
	for name, part := range map[string]func(s *server){
		"the other one leaves": func(s *server) { s.room.Member(bob, bob, "leave") },
		"our user leaves":      func(s *server) { s.room.Member(alice, alice, "leave") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, alice, bob)
			here, there := w.here(), w.there()
			there.upload(bob, "B", "one")
			here.expectKeys(alice, bob, versions{"B": "one"})
			for _, s := range w.servers {
				part(s)
			}
			there.deliver(nil)
			there.upload(bob, "B", "two")
			if got := there.deliver(nil); len(got) > 0 {
				t.Errorf("sent %v to strangers", got)
			}
			here.expectKeys(alice, bob, versions{"B": "two"})
			for _, s := range w.servers {
				s.room.Member(bob, bob, "join")
				s.room.Member(alice, alice, "join")
			}
			w.requests()
			here.expectKeys(alice, bob, versions{"B": "two"})
			here.expectKeys(alice, bob, versions{"B": "two"})
			w.expectRequests("query there")
		})
	}
}

func TestAChangeDuringARequestIsNotLost(t *testing.T) {
	w := newWorld(t, alice, bob)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one")
	there.deliver(nil)
	w.setDuring(func() {
		there.upload(bob, "B", "two")
		there.deliver(nil)
	})
	since := here.position()
	here.keysOf(alice, bob)
	here.waitChanged(alice, bob, since)
	here.settled()
	here.expectKeys(alice, bob, versions{"B": "two"})
	if l := here.list(bob); !l.Usable() || l.Version == 0 {
		t.Errorf("the list is %+v", l)
	}
}

func TestUpdatesBeforeAnybodyHasAsked(t *testing.T) {
	w := newWorld(t, alice, bob)
	here, there := w.here(), w.there()
	since := here.position()
	there.update(func(tx *storage.Tx) error { return there.DevicesChanged(tx, bob, "B") })
	there.deliver(nil)
	if got := here.changedFor(alice, since); len(got) > 0 {
		t.Errorf("a device without keys concerns nobody, but changed is %v", got)
	}
	there.upload(bob, "B", "one")
	there.deliver(nil)
	if got := here.changedFor(alice, since); !slices.Equal(got, []id.UserID{bob}) {
		t.Errorf("changed is %v", got)
	}
	w.expectRequests()
}

func TestOneRequestForAllWhoAsk(t *testing.T) {
	w := newWorld(t, alice, bob)
	w.there().upload(bob, "B", "one")
	done := make(chan versions, 3)
	w.setDuring(func() {
		for range cap(done) {
			go func() { done <- w.here().keysOf(alice, bob) }()
		}
	})
	w.here().expectKeys(alice, bob, versions{"B": "one"})
	for range cap(done) {
		if got := <-done; !cmp.Equal(got, versions{"B": "one"}) {
			t.Errorf("got %v", got)
		}
	}
	w.expectRequests("query there")
}

func TestCrossSigningKeysOfRemoteUsers(t *testing.T) {
	w := newWorld(t, alice, bob)
	here, there := w.here(), w.there()
	there.upload(bob, "B", "one")
	keys := newCrossSigner(bob, 1)
	keys.publish(there)
	answer := here.query(alice, bob)
	for name, got := range map[string]json.RawMessage{public(keys.master): answer.MasterKeys[bob], public(keys.self): answer.SelfSigningKeys[bob]} {
		if !strings.Contains(string(got), name) {
			t.Errorf("no %s in %s", name, got)
		}
	}
	if len(answer.UserSigningKeys) > 0 {
		t.Error("a user-signing key is nobody else's business")
	}
	there.deliver(nil)
	here.settled()

	// Others come with an EDU of their own.
	since := here.position()
	w.requests()
	fresh := newCrossSigner(bob, 7)
	fresh.publish(there)
	if got, want := there.deliver(nil), []string{SigningKeyUpdate, UnstableSigningKeyUpdate}; !slices.Equal(got, want) {
		t.Errorf("sent %v", got)
	}
	here.waitChanged(alice, bob, since)
	if got := here.query(alice, bob); !strings.Contains(string(got.MasterKeys[bob]), public(fresh.master)) ||
		!strings.Contains(string(got.SelfSigningKeys[bob]), public(fresh.self)) {
		t.Errorf("got %s, %s", got.MasterKeys[bob], got.SelfSigningKeys[bob])
	}
	w.expectRequests()

	// What alice thinks of bob only alice sees.
	own := newCrossSigner(alice, 20)
	own.publish(here)
	signed := own.sign(t, fresh.object(storage.MasterKey, fresh.master), own.other)
	failures, err := here.UploadSignatures(context.Background(), alice, map[id.UserID]map[string]json.RawMessage{
		bob: {public(fresh.master): signed}, carol: {"key": signed},
	})
	if err != nil || len(failures[bob]) > 0 || !merr.HasCode(failures[carol]["key"], merr.NotFound) {
		t.Fatalf("%v, %v", failures, err)
	}
	for viewer, want := range map[id.UserID]bool{alice: true, "@creator:here": false} {
		master := string(here.query(viewer, bob).MasterKeys[bob])
		if got := strings.Contains(master, public(own.other)); got != want {
			t.Errorf("%s sees %s", viewer, master)
		}
	}
}

func TestNamesOfDevicesAreGivenOutOnlyIfWanted(t *testing.T) {
	for _, names := range []bool{false, true} {
		t.Run(fmt.Sprint(names), func(t *testing.T) {
			w := newWorld(t, alice, bob)
			here, there := w.here(), w.there()
			there.restart(Deps{DeviceNames: names})
			there.upload(bob, "B", "one")
			there.deliver(nil)
			hasName := func(name string) {
				t.Helper()
				if got := string(here.query(alice, bob).DeviceKeys[bob]["B"]); strings.Contains(got, name) != names {
					t.Errorf("got %s", got)
				}
			}
			hasName("phone of bob") // by /user/keys/query
			there.upload(bob, "B", "two")
			there.deliver(nil)
			here.settled()
			hasName("phone of bob") // by /user/devices
			there.update(func(tx *storage.Tx) error {
				if err := tx.RenameDevice(bob, "B", "new name"); err != nil {
					return err
				}
				return there.DeviceRenamed(tx, bob, "B")
			})
			if sent := there.deliver(nil); len(sent) > 0 != names {
				t.Errorf("sent %v", sent)
			}
			hasName("new name") // by m.device_list_update
		})
	}
}

func TestWhoJoinsIsAnnouncedToNewServers(t *testing.T) {
	w := newWorld(t)
	there := w.there()
	there.room.Member(bob, bob, "join")
	there.room.Member(alice, alice, "join")
	join := func() []string {
		there.update(func(tx *storage.Tx) error { return there.Joined(tx, bob, there.room.Row.NID) })
		var devices []string
		there.view(func(tx *storage.ReadTx) error {
			rows, err := tx.Outbox("here", 0, 1<<60, 10)
			for _, r := range rows {
				devices = append(devices, string(r.Content))
			}
			return err
		})
		there.deliver(nil)
		return devices
	}
	first := join()
	if len(first) != 1 || !strings.Contains(first[0], `"device_id":"B"`) || !strings.Contains(first[0], `"prev_id":[]`) {
		t.Errorf("sent %s", first)
	}
	second := secondRoom(there)
	if got := join(); len(got) != 0 {
		t.Errorf("sent %s although %s is another room with the same server", got, second)
	}
}

// secondRoom makes another room with alice and bob, and returns its id.
func secondRoom(s *server) id.RoomID {
	r := newRoom(s, "!second:there")
	r.Member(bob, bob, "join")
	r.Member(alice, alice, "join")
	return r.Row.ID
}

func TestSweepRemovesWhatNobodyFollows(t *testing.T) {
	w := newWorld(t, alice, bob)
	here := w.here()
	w.there().upload(bob, "B", "one")
	here.expectKeys(alice, bob, versions{"B": "one"})
	here.room.Member(bob, bob, "leave")
	if here.list(bob).Fetched == 0 {
		t.Fatal("there is no list")
	}
	if err := here.sweep(context.Background(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if l := here.list(bob); l.Fetched != 0 {
		t.Errorf("there is %+v", l)
	}
}

func TestRetryAfterGrowsWithinBounds(t *testing.T) {
	for tries := range int64(100) {
		want := lastRetry
		if tries < 12 {
			want = min(lastRetry, firstRetry<<tries)
		}
		if got := retryAfter(tries); got < want || got > want+want/4 {
			t.Errorf("after %d tries: %v", tries, got)
		}
	}
	if total := time.Duration(maxTries) * lastRetry; total < 24*time.Hour {
		t.Errorf("it gives up after %v", total)
	}
}
