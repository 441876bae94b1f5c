package edu

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	carol id.UserID     = "@carol:two"
	two   id.ServerName = "two"
)

// told is what other servers have been told, newest last.
type told struct {
	mu   sync.Mutex
	said []string
	keys []string
	more chan struct{}
}

func (f *told) Ephemeral(to []id.ServerName, typ, key string, content json.RawMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprint(to, " ", typ, " ", string(content)))
	f.keys = append(f.keys, key)
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// take is what has been said since the last time.
func (f *told) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.said
	f.said = nil
	return out
}

// newFederatedRig is a rig whose room carol of another server is in too.
func newFederatedRig(t testing.TB, s *storage.Store) (*rig, *told) {
	r, f := newRig(t, s), &told{more: make(chan struct{}, 1)}
	r.edus = New(s, r.hub, loud{}, r.clock, Options{Federation: f, FederatePresence: true})
	r.join(r.Room, carol)
	return r, f
}

// join puts a user of another server into a room.
func (r *rig) join(room *storagetest.Room, user id.UserID) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		if err := tx.CountServer(room.Row.NID, user.Server(), 1); err != nil {
			return err
		}
		return tx.SetMembership(storage.Membership{User: user, Room: room.Row.NID, RoomID: room.Row.ID, Membership: "join", Sender: user}, false)
	})
}

func TestOtherServersAreToldOfTyping(t *testing.T) {
	r, f := newFederatedRig(t, storagetest.Open(t))
	ctx := t.Context()
	set := func(on bool) {
		t.Helper()
		if err := r.edus.SetTyping(ctx, r.Row.ID, bob, on, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	typing := func(on bool) string {
		return fmt.Sprintf(`[two] m.typing {"room_id":"!r:one","typing":%t,"user_id":"@bob:one"}`, on)
	}
	set(true)
	check(t, "start", []string{typing(true)}, f.take())
	set(true)
	check(t, "going on", []string(nil), f.take())
	r.clock.Advance(retell * time.Millisecond)
	set(true)
	check(t, "going on for long", []string{typing(true)}, f.take())
	set(false)
	set(false)
	check(t, "end", []string{typing(false)}, f.take())
	set(true)
	f.take()
	<-f.more
	stop := storagetest.Run(t, r.edus.Run)
	r.clock.BlockUntil(1)
	r.clock.Advance(time.Minute)
	<-f.more
	check(t, "end of time", []string{typing(false)}, f.take())
	stop()
}

func TestTypingOnOtherServersIsShownToWhomItConcerns(t *testing.T) {
	r, f := newFederatedRig(t, storagetest.Open(t))
	ctx := t.Context()
	w := r.hub.Watch(hub.User(bob))
	defer w.Close()
	receive := func(room id.RoomID, user id.UserID, on bool) error {
		return r.edus.ReceiveTyping(ctx, two, room, user, on)
	}
	if err := receive(r.Row.ID, "@eve:two", true); err == nil {
		t.Error("somebody who is not in the room is shown")
	}
	if err := receive("!other:one", carol, true); err == nil {
		t.Error("somebody is shown in a room that is not known")
	}
	check(t, "typing", []id.UserID{}, r.edus.Typing(r.Row.ID))
	if err := receive(r.Row.ID, carol, true); err != nil {
		t.Fatal(err)
	}
	<-w.C()
	check(t, "typing", []id.UserID{carol}, r.edus.Typing(r.Row.ID))
	changed, next := r.edus.typing.expire(r.clock.Now().Add(remoteTyping - 1).UnixMilli())
	check(t, "too early", 0, len(changed))
	changed, _ = r.edus.typing.expire(next)
	check(t, "users whose servers must be told", 0, len(changed[0].users))
	if err := receive(r.Row.ID, carol, true); err != nil {
		t.Fatal(err)
	}
	if err := receive(r.Row.ID, carol, false); err != nil {
		t.Fatal(err)
	}
	check(t, "typing", []id.UserID{}, r.edus.Typing(r.Row.ID))
	check(t, "told", []string(nil), f.take())
}

func TestOtherServersAreToldOfPublicReceiptsThreadByThread(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r, f := newFederatedRig(t, s)
		a := r.say("a", nil)
		b := r.say("b", a)
		r.mustRead(Receipt{Type: storage.Read, Event: b.ID}, Receipt{Type: storage.Read, Event: b.ID, Thread: string(a.ID)},
			Receipt{Type: FullyRead, Event: b.ID})
		r.mustRead(Receipt{Type: storage.ReadPrivate, Event: b.ID})
		r.mustRead(Receipt{Type: storage.Read, Event: a.ID}) // goes back
		receipt := func(thread string) string {
			return fmt.Sprintf(`[two] m.receipt {"!r:one":{"m.read":{"@bob:one":{"data":{%s"ts":%d},"event_ids":["%s"]}}}}`,
				thread, r.clock.Now().UnixMilli(), b.ID)
		}
		check(t, "told", []string{receipt(""), receipt(fmt.Sprintf(`"thread_id":"%s",`, a.ID))}, f.take())
		if f.keys[0] == f.keys[1] {
			t.Error("receipts of two threads replace each other")
		}
	})
}

func TestReceiptsOfOtherServers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r, f := newFederatedRig(t, s)
		a := r.say("a", nil)
		b := r.say("b", a)
		now := r.clock.Now().UnixMilli()
		receive := func(content string) {
			t.Helper()
			if err := r.edus.ReceiveReceipts(t.Context(), two, r.Row.ID, json.RawMessage(content)); err != nil {
				t.Error(err)
			}
		}
		read := func(user id.UserID, event id.EventID, data string) string {
			return fmt.Sprintf(`{"m.read":{%q:{"event_ids":[%q],"data":{%s}},"@mallory:two":{"event_ids":[%q],"data":{"ts":1}},"@x:two":7}}`, user, event, data, event)
		}
		stored := func() (out []string) {
			r.view(func(tx *storage.ReadTx) error {
				list, err := tx.ReceiptsSince(r.Row.NID, storage.Span{UpTo: 1 << 60}, alice)
				for _, v := range list {
					out = append(out, fmt.Sprint(v.User, " ", v.Type, " ", v.Thread, " ", v.Event, " ", v.TS))
				}
				return err
			})
			slices.Sort(out)
			return out
		}
		w := r.hub.Watch(hub.User(bob))
		defer w.Close()
		receive(read(carol, b.ID, fmt.Sprintf(`"ts":%d,"thread_id":%q`, now-5, a.ID)))
		<-w.C()
		receive(read(carol, a.ID, `"ts":99999999999999999`)) // a clock that is ahead
		receive(read(carol, a.ID, fmt.Sprintf(`"ts":%d,"thread_id":"$made-up"`, now)))
		receive(`{"m.read.private":{"@carol:two":{"event_ids":["$x"],"data":{"ts":1}}}}`)
		check(t, "receipts", []string{
			fmt.Sprint(carol, " m.read  ", a.ID, " ", now),
			fmt.Sprint(carol, " m.read ", a.ID, " ", b.ID, " ", now-5),
		}, stored())
		if err := r.edus.ReceiveReceipts(t.Context(), two, "!other:one", json.RawMessage(read(carol, a.ID, `"ts":1`))); err == nil {
			t.Error("there are receipts of a room that is not known")
		}
		check(t, "told", []string(nil), f.take())
	})
}

func TestAReceiptWaitsForItsEventButNotForEver(t *testing.T) {
	r, _ := newFederatedRig(t, storagetest.Open(t))
	storagetest.Run(t, r.edus.Run)
	a := r.say("a", nil)
	next := id.EventID("$e6-r:one") // as storagetest will call it
	for _, ev := range []id.EventID{next, "$never"} {
		err := r.edus.ReceiveReceipts(t.Context(), two, r.Row.ID, json.RawMessage(fmt.Sprintf(
			`{"m.read":{"@carol:two":{"event_ids":[%q],"data":{"ts":1,"thread_id":"main"}}}}`, ev)))
		if err != nil {
			t.Fatal(err)
		}
	}
	r.clock.BlockUntil(1)
	b := r.say("b", nil)
	if b.ID != next {
		t.Fatalf("after %s comes %s", a.ID, b.ID)
	}
	w := r.hub.Watch(ReceiptsKey(r.Row.ID))
	defer w.Close()
	r.clock.Advance(earlyStep)
	<-w.C()
	r.view(func(tx *storage.ReadTx) error {
		list, err := tx.ReceiptsOf(r.Row.NID, carol)
		if len(list) != 1 || list[0].Event != b.ID || list[0].At != b.Pos {
			t.Errorf("the receipts are %+v", list)
		}
		return err
	})
	r.clock.BlockUntil(1)
	r.clock.Advance(earlyLife)
	r.edus.early.add([]remoteReceipt{{room: r.Row.ID, event: "$later", until: 1 << 60}})
	r.clock.BlockUntil(1)
	r.edus.early.mu.Lock()
	defer r.edus.early.mu.Unlock()
	for _, v := range r.edus.early.list {
		if v.event == "$never" {
			t.Error("a receipt waits for ever")
		}
	}
}

func TestReceiptsThatWaitAreBounded(t *testing.T) {
	e := early{poke: make(chan struct{}, 1)}
	for range maxEarly {
		e.add([]remoteReceipt{{until: 1}, {until: 9}})
	}
	check(t, "kept", maxEarly, len(e.list))
	check(t, "of interest", maxEarly/2, len(e.take(5)[""]))
	check(t, "left", 0, len(e.list))
}

func TestPresenceOverFederation(t *testing.T) {
	r, f := newFederatedRig(t, storagetest.Open(t))
	ctx := t.Context()
	out := "out & about"
	if err := r.edus.SetPresence(ctx, bob, Online, &out); err != nil {
		t.Fatal(err)
	}
	check(t, "told", []string{`[two] m.presence {"push":[{"currently_active":true,"last_active_ago":0,"presence":"online","status_msg":"out & about",` +
		`"user_id":"@bob:one"}]}`}, f.take())
	if err := r.edus.Seen(ctx, eve, Online, 0); err != nil { // is in no room
		t.Fatal(err)
	}
	check(t, "told", []string(nil), f.take())

	w := r.hub.Watch(hub.User(bob))
	defer w.Close()
	receive := func(content string) error { return r.edus.ReceivePresence(ctx, two, json.RawMessage(content)) }
	if err := receive(`{"push":[{"user_id":"@carol:two","presence":"unavailable","status_msg":"hm","last_active_ago":5000}]}`); err != nil {
		t.Error(err)
	}
	<-w.C()
	got, _ := r.edus.PresenceOf(carol)
	hm, now := "hm", r.clock.Now().UnixMilli()
	check(t, "carol", Presence{User: carol, State: Unavailable, Message: &hm, LastActive: now - 5000, Eph: got.Eph}, got)
	for _, bad := range []string{
		`{"push":[{"user_id":"@bob:one","presence":"offline","last_active_ago":0}]}`,
		`{"push":[{"user_id":"@carol:two","presence":"gone","last_active_ago":0}]}`,
		`{"push":[7]}`, `{"push":{}}`, `[]`,
	} {
		if receive(bad) == nil {
			t.Errorf("%s is believed", bad)
		}
	}
	if err := receive(`{"push":[{"user_id":"@stranger:two","presence":"online","last_active_ago":0}]}`); err != nil {
		t.Error(err)
	}
	if _, known := r.edus.PresenceOf("@stranger:two"); known {
		t.Error("somebody who shares no room is kept")
	}
	check(t, "told of others' users", []string(nil), f.take())

	gone, again, _ := r.edus.presences.gone(now + believed - 1)
	check(t, "gone", []id.UserID{bob, eve}, slices.Sorted(slices.Values(gone)))
	check(t, "again", 0, len(again))
	gone, _, left := r.edus.presences.gone(now + believed)
	check(t, "gone", []id.UserID{carol}, gone)
	check(t, "left", false, left)
}

func TestLongPresenceIsToldAgain(t *testing.T) {
	r, f := newFederatedRig(t, storagetest.Open(t))
	if err := r.edus.Seen(t.Context(), bob, Online, time.Hour); err != nil {
		t.Fatal(err)
	}
	now := r.clock.Now().UnixMilli()
	_, again, _ := r.edus.presences.gone(now + repeated - 1)
	check(t, "too early", 0, len(again))
	_, again, _ = r.edus.presences.gone(now + repeated)
	check(t, "again", []id.UserID{bob}, again)
	check(t, "told", 1, len(f.take()))
}

func TestWithoutFederatedPresenceNothingIsToldOrBelieved(t *testing.T) {
	r, f := newFederatedRig(t, storagetest.Open(t))
	r.edus = New(r.store, r.hub, loud{}, r.clock, Options{Federation: f})
	if err := r.edus.Seen(t.Context(), bob, Online, 0); err != nil {
		t.Fatal(err)
	}
	err := r.edus.ReceivePresence(t.Context(), two, json.RawMessage(`{"push":[{"user_id":"@carol:two","presence":"online","last_active_ago":0}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, known := r.edus.PresenceOf(carol); known {
		t.Error("another server is believed")
	}
	check(t, "told", []string(nil), f.take())
}

// Whatever another server says, it is believed of nobody but carol, who is in the room.
func FuzzReceive(f *testing.F) {
	f.Add(`{"push":[{"user_id":"@carol:two","presence":"online","last_active_ago":-1,"status_msg":null}]}`)
	f.Add(`{"m.read":{"@carol:two":{"event_ids":["$e1-r:one"],"data":{"ts":1,"thread_id":"main"}}}}`)
	r, _ := newFederatedRig(f, storagetest.Open(f))
	f.Fuzz(func(t *testing.T, content string) {
		r.t = t
		_ = r.edus.ReceivePresence(t.Context(), two, json.RawMessage(content))
		_ = r.edus.ReceiveReceipts(t.Context(), two, r.Row.ID, json.RawMessage(content))
		for _, p := range r.edus.PresencesSince(0) {
			if p.User != carol {
				t.Errorf("%s is %s", p.User, p.State)
			}
		}
		r.view(func(tx *storage.ReadTx) error {
			list, err := tx.ReceiptsSince(r.Row.NID, storage.Span{UpTo: 1 << 60}, alice)
			for _, v := range list {
				if v.User != carol || v.Type != storage.Read {
					t.Errorf("there is the receipt %+v", v)
				}
			}
			return err
		})
	})
}
