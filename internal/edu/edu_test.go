package edu

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
	eve   id.UserID = "@eve:one"
)

// loud notifies everybody of every message, and highlights those with an exclamation mark.
type loud struct{}

func (loud) Outcome(_ *storage.ReadTx, _ *storage.Room, ev *storage.Event, m storage.Member) (push.Outcome, error) {
	return push.Outcome{
		Notify:    ev.Type == "m.room.message" && m.User != ev.Sender,
		Highlight: strings.Contains(ev.Get("content.body").Str, "!"),
	}, nil
}

// rig is a room of alice's that bob is in too.
type rig struct {
	*storagetest.Room
	t     testing.TB
	store *storage.Store
	hub   *hub.Hub
	clock *clock.Fake
	edus  *Service
}

func newRig(t testing.TB, s *storage.Store) *rig {
	r := &rig{t: t, store: s, clock: clock.NewFake(time.UnixMilli(1_700_000_100_000)), hub: hub.New(0)}
	for _, u := range []id.UserID{alice, bob} {
		r.update(func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: u})
			return err
		})
	}
	r.Room = storagetest.NewRoom(t, s, "!r:one", alice)
	r.Member(bob, bob, "join")
	r.edus = New(s, r.hub, loud{}, r.clock, Options{})
	return r
}

func (r *rig) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// say sends a message of alice's, in a thread if there is a root, and counts it for bob.
func (r *rig) say(body string, root *storage.Event) *storage.Event {
	r.t.Helper()
	var ev *storage.Event
	var thread id.EventID
	if root == nil {
		ev = r.Message(alice, body)
	} else {
		ev = r.Event(alice, "m.room.message", fmt.Sprintf(`{"body":%q,"m.relates_to":{"rel_type":"m.thread","event_id":%q}}`, body, root.ID))
		thread = root.ID
	}
	r.update(func(tx *storage.Tx) error {
		if thread != "" {
			return tx.CountInThread(r.Row.NID, thread, []id.UserID{bob}, strings.Contains(body, "!"))
		}
		return tx.CountUnread(r.Row.NID, []id.UserID{bob}, 1, int64(strings.Count(body, "!")))
	})
	return ev
}

func (r *rig) read(receipts ...Receipt) error {
	return r.edus.SetReceipts(context.Background(), r.Row.ID, bob, receipts...)
}

func (r *rig) mustRead(receipts ...Receipt) {
	r.t.Helper()
	if err := r.read(receipts...); err != nil {
		r.t.Fatal(err)
	}
}

// unread is bob's counts, "notify/highlight" by thread.
func (r *rig) unread() map[id.EventID]string {
	r.t.Helper()
	out := map[id.EventID]string{}
	r.view(func(tx *storage.ReadTx) error {
		list, err := tx.UnreadOf(bob, r.Row.NID)
		for _, u := range list {
			out[u.Thread] = fmt.Sprintf("%d/%d", u.Notify, u.Highlight)
		}
		return err
	})
	return out
}

func (r *rig) view(fn func(tx *storage.ReadTx) error) {
	r.t.Helper()
	if err := r.store.View(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// receipts is where bob's receipts are, by type and thread.
func (r *rig) receipts() map[string]id.EventID {
	r.t.Helper()
	out := map[string]id.EventID{}
	r.view(func(tx *storage.ReadTx) error {
		list, err := tx.ReceiptsOf(r.Row.NID, bob)
		for _, v := range list {
			out[strings.TrimSuffix(v.Type+" "+v.Thread, " ")] = v.Event
		}
		return err
	})
	return out
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestReceiptsAndUnreadCounts is PITFALL 67: receipts do not go back, and threaded, unthreaded and private ones count separately. The room is
// a, b (thread a), c! (thread a), d!, e (thread a), f.
func TestReceiptsAndUnreadCounts(t *testing.T) {
	type events map[string]*storage.Event
	for _, test := range []struct {
		name   string
		read   func(e events) []Receipt
		main   string
		thread string
	}{
		{"nothing read", func(events) []Receipt { return nil }, "3/1", "3/1"},
		{"all read", func(e events) []Receipt { return []Receipt{{Type: storage.Read, Event: e["f"].ID}} }, "", ""},
		{"unthreaded in the middle", func(e events) []Receipt { return []Receipt{{Type: storage.Read, Event: e["d"].ID}} }, "1/0", "1/0"},
		{"the main timeline", func(e events) []Receipt { return []Receipt{{Type: storage.Read, Event: e["a"].ID, Thread: "main"}} }, "2/1", "3/1"},
		{"a thread", func(e events) []Receipt {
			return []Receipt{{Type: storage.Read, Event: e["c"].ID, Thread: string(e["a"].ID)}}
		}, "3/1", "1/0"},
		{"the further of public and private counts", func(e events) []Receipt {
			return []Receipt{{Type: storage.ReadPrivate, Event: e["d"].ID}, {Type: storage.Read, Event: e["a"].ID}}
		}, "1/0", "1/0"},
		{"what goes back changes nothing", func(e events) []Receipt {
			return []Receipt{{Type: storage.Read, Event: e["d"].ID}, {Type: storage.Read, Event: e["a"].ID}}
		}, "1/0", "1/0"},
		{"unthreaded and threaded together", func(e events) []Receipt {
			return []Receipt{{Type: storage.Read, Event: e["a"].ID}, {Type: storage.Read, Event: e["d"].ID, Thread: "main"}}
		}, "1/0", "3/1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, s *storage.Store) {
				r := newRig(t, s)
				e := events{"a": r.say("a", nil)}
				for _, m := range []struct {
					body string
					root *storage.Event
				}{{"b", e["a"]}, {"c!", e["a"]}, {"d!", nil}, {"e", e["a"]}, {"f", nil}} {
					e[strings.TrimSuffix(m.body, "!")] = r.say(m.body, m.root)
				}
				for _, receipt := range test.read(e) {
					r.mustRead(receipt)
				}
				want := map[id.EventID]string{}
				if test.main != "" {
					want[""] = test.main
				}
				if test.thread != "" {
					want[e["a"].ID] = test.thread
				}
				check(t, "unread", want, r.unread())
			})
		})
	}
}

func TestReceiptsDoNotGoBack(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		one, two := r.say("one", nil), r.say("two", nil)
		r.mustRead(Receipt{Type: storage.Read, Event: two.ID}, Receipt{Type: storage.Read, Event: one.ID, Thread: "main"})
		r.mustRead(Receipt{Type: storage.Read, Event: one.ID}, Receipt{Type: storage.ReadPrivate, Event: one.ID})
		check(t, "receipts", map[string]id.EventID{"m.read": two.ID, "m.read main": one.ID, "m.read.private": one.ID}, r.receipts())
	})
}

func TestReceiptsThatAreRefused(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	root := r.say("root", nil)
	reply := r.say("reply", root)
	edit := r.Event(alice, "m.room.message", fmt.Sprintf(`{"body":"x","m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, reply.ID))
	plain := r.say("plain", nil)
	for _, test := range []struct {
		name    string
		receipt Receipt
		code    merr.Code
	}{
		{"an unknown event", Receipt{Type: storage.Read, Event: "$unknown"}, merr.NotFound},
		{"a reply is not in the main timeline", Receipt{Type: storage.Read, Event: reply.ID, Thread: "main"}, merr.InvalidParam},
		{"the edit of a reply is not in the main timeline", Receipt{Type: storage.Read, Event: edit.ID, Thread: "main"}, merr.InvalidParam},
		{"a plain message is in no thread", Receipt{Type: storage.Read, Event: plain.ID, Thread: string(root.ID)}, merr.InvalidParam},
		{"the edit of a reply is in the thread", Receipt{Type: storage.Read, Event: edit.ID, Thread: string(root.ID)}, ""},
		{"the root may be where a thread is read up to", Receipt{Type: storage.Read, Event: root.ID, Thread: string(root.ID)}, ""},
		{"the root is in the main timeline", Receipt{Type: storage.Read, Event: root.ID, Thread: "main"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := r.read(test.receipt)
			if test.code == "" && err != nil || test.code != "" && !merr.HasCode(err, test.code) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	if err := r.edus.SetReceipts(context.Background(), r.Row.ID, eve, Receipt{Type: storage.Read, Event: root.ID}); !merr.HasCode(err, merr.Forbidden) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestReceiptsRing(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	ev := r.say("one", nil)
	private, public := r.hub.Watch(hub.User(alice)), r.hub.Watch(hub.User(bob))
	defer private.Close()
	defer public.Close()
	rung := func(w *hub.Watch) bool {
		select {
		case <-w.C():
			return true
		default:
			return false
		}
	}
	r.mustRead(Receipt{Type: storage.ReadPrivate, Event: ev.ID})
	if rung(private) || !rung(public) {
		t.Error("a private receipt must ring for its user and for nobody else")
	}
	r.mustRead(Receipt{Type: storage.Read, Event: ev.ID})
	if !rung(private) || !rung(public) {
		t.Error("a public receipt must ring for everybody")
	}
	if !r.hub.ChangedSince(ReceiptsKey(r.Row.ID), ev.Pos) {
		t.Error("the room's receipts seem unchanged")
	}
}

func TestFullyReadDoesNotGoBack(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	one, two := r.say("one", nil), r.say("two", nil)
	at := func() string {
		var d storage.AccountData
		r.view(func(tx *storage.ReadTx) (err error) {
			d, err = tx.AccountData(bob, r.Row.ID, FullyRead)
			return err
		})
		return gjson.GetBytes(d.Content, "event_id").Str
	}
	r.mustRead(Receipt{Type: FullyRead, Event: one.ID})
	check(t, "first", string(one.ID), at())
	r.mustRead(Receipt{Type: FullyRead, Event: two.ID}, Receipt{Type: storage.Read, Event: two.ID})
	check(t, "second", string(two.ID), at())
	r.mustRead(Receipt{Type: FullyRead, Event: one.ID})
	check(t, "back", string(two.ID), at())
	check(t, "unread", map[id.EventID]string{}, r.unread())
}

func TestTypingEnds(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.edus.Run(ctx) }()
	w := r.hub.Watch(hub.User(alice))
	defer w.Close()
	set := func(user id.UserID, on bool, timeout time.Duration) {
		t.Helper()
		if err := r.edus.SetTyping(ctx, r.Row.ID, user, on, timeout); err != nil {
			t.Fatal(err)
		}
	}
	set(bob, true, time.Second)
	<-w.C()
	check(t, "typing", []id.UserID{bob}, r.edus.Typing(r.Row.ID))
	eph := r.edus.Ephemeral()
	set(bob, true, 10*time.Second)
	if r.edus.Ephemeral() != eph {
		t.Error("typing on is told again")
	}
	r.clock.BlockUntil(1)
	r.clock.Advance(9 * time.Second)
	check(t, "still typing", []id.UserID{bob}, r.edus.Typing(r.Row.ID))
	r.clock.BlockUntil(1)
	r.clock.Advance(2 * time.Second)
	<-w.C()
	check(t, "over", []id.UserID{}, r.edus.Typing(r.Row.ID))
	set(alice, true, 0)
	set(alice, false, 0)
	check(t, "stopped", []id.UserID{}, r.edus.Typing(r.Row.ID))
	if err := r.edus.SetTyping(ctx, r.Row.ID, eve, true, 0); !merr.HasCode(err, merr.Forbidden) {
		t.Errorf("a stranger: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPresence(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.edus.Run(ctx) }()
	w := r.hub.Watch(hub.User(alice))
	defer w.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	state := func() string {
		t.Helper()
		p, err := r.edus.Presence(ctx, alice, bob)
		must(err)
		return p.State
	}
	must(r.edus.Seen(ctx, bob, Online, 30*time.Second))
	<-w.C()
	check(t, "online by syncing", Online, state())
	eph := r.edus.Ephemeral()
	must(r.edus.Seen(ctx, bob, Online, 30*time.Second))
	must(r.edus.Seen(ctx, bob, Offline, 30*time.Second))
	check(t, "nothing new", eph, r.edus.Ephemeral())
	message := "away"
	must(r.edus.SetPresence(ctx, bob, Unavailable, &message))
	<-w.C()
	news := r.edus.PresencesSince(eph)
	if len(news) != 1 || news[0].User != bob || news[0].State != Unavailable || *news[0].Message != message {
		t.Errorf("changes: %v", news)
	}
	check(t, "content", `{"presence":"unavailable","last_active_ago":0,"status_msg":"away","currently_active":false}`,
		string(news[0].Content(r.clock.Now().UnixMilli())))
	for range 6 {
		r.clock.BlockUntil(1)
		r.clock.Advance(sweep)
	}
	<-w.C()
	check(t, "gone", Offline, state())
	if _, err := r.edus.Presence(ctx, eve, bob); !merr.HasCode(err, merr.Forbidden) {
		t.Errorf("for a stranger: %v", err)
	}
	if _, err := r.edus.Presence(ctx, bob, alice); !merr.HasCode(err, merr.NotFound) {
		t.Errorf("of somebody who was never there: %v", err)
	}
	if err := r.edus.SetPresence(ctx, bob, "busy", nil); !merr.HasCode(err, merr.InvalidParam) {
		t.Errorf("an unknown state: %v", err)
	}
	cancel()
	must(<-done)
}

func TestQuietServersShowOnlyWhatUsersSay(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	quiet := New(r.store, r.hub, loud{}, r.clock, Options{Quiet: true})
	if err := quiet.Seen(context.Background(), bob, Online, 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := quiet.PresenceOf(bob); ok {
		t.Error("syncing made bob online")
	}
	if err := quiet.SetPresence(context.Background(), bob, Online, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := quiet.PresenceOf(bob); !ok {
		t.Error("bob is not online")
	}
}
