package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// message puts a message into alice's inbox.
func (r *rig) message(body string) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { r.hub.Ring(pos, hub.Device(alice, "D")) })
		_, err = tx.SendToDevice(alice, "D", storage.DeviceMessage{Pos: pos, Sender: bob, Type: "m.x", Content: json.RawMessage(`{"body":"` + body + `"}`)})
		return err
	})
}

// stored is how many messages wait for alice's device.
func (r *rig) stored() int {
	r.t.Helper()
	var list []storage.DeviceMessage
	err := r.store.View(context.Background(), func(tx *storage.ReadTx) (err error) {
		list, _, err = tx.ToDevice(alice, "D", 0, 1000)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

func bodies(got gjson.Result) []string {
	out := []string{}
	for _, m := range got.Get("extensions.to_device.events.#.content.body").Array() {
		out = append(out, m.Str)
	}
	return out
}

func TestSlidingMessagesToTheDevice(t *testing.T) {
	r := newRig(t)
	s := r.slider(alice, elementEncryption)
	check(t, "none", []string{}, bodies(s.next()))
	r.message("1")
	r.message("2")
	check(t, "told", []string{"1", "2"}, bodies(s.lose()))
	check(t, "again after a loss", []string{"1", "2"}, bodies(s.next()))
	check(t, "kept until the client comes with the position", 2, r.stored())
	check(t, "told once", []string{}, bodies(s.next()))
	check(t, "gone then", 0, r.stored())
	r.message("3")
	s.next()
	r.restart()
	s.next()
	check(t, "gone after a restart", 0, r.stored())
}

func TestSlidingMessagesInSteps(t *testing.T) {
	r := newRig(t)
	s := r.slider(alice, `{"extensions":{"to_device":{"enabled":true,"limit":2}}}`)
	for i := range 5 {
		r.message(fmt.Sprint(i))
	}
	check(t, "first", []string{"0", "1"}, bodies(s.next()))
	s.timeout = time.Hour // which must not be waited for
	check(t, "second", []string{"2", "3"}, bodies(s.next()))
	check(t, "only what was told is gone", 3, r.stored())
	check(t, "third", []string{"4"}, bodies(s.next()))
}

func TestSlidingMessagesSince(t *testing.T) {
	r := newRig(t)
	s := r.slider(alice, elementEncryption)
	r.message("1")
	since := s.next().Get("extensions.to_device.next_batch").Str
	r.message("2")
	// The client has forgotten its position, but not what it got.
	s.pos = ""
	s.body = `{"conn_id":"encryption","extensions":{"to_device":{"enabled":true,"since":"` + since + `"}}}`
	got := s.next()
	check(t, "what came since", []string{"2"}, bodies(got))
	check(t, "the first is acknowledged", 1, r.stored())
	s.pos = ""
	s.body = elementEncryption
	check(t, "without since, all that is stored", []string{"2"}, bodies(s.next()))
}

func TestSlidingKeys(t *testing.T) {
	r := newRig(t)
	s := r.slider(alice, elementEncryption)
	got := s.next()
	check(t, "counts are explicit", `{"signed_curve25519":0}`, got.Get("extensions.e2ee.device_one_time_keys_count").Raw)
	check(t, "no lists at first", false, got.Get("extensions.e2ee.device_lists").Exists())
	a := r.room("a")
	a.Member(bob, bob, "join")
	check(t, "who came", `["@bob:one"]`, s.next().Get("extensions.e2ee.device_lists.changed").Raw)
	got = s.next()
	check(t, "once", false, got.Get("extensions.e2ee.device_lists").Exists())
	check(t, "counts where nothing happened", `{"signed_curve25519":0}`, got.Get("extensions.e2ee.device_one_time_keys_count").Raw)
	a.Member(bob, bob, "leave")
	check(t, "who left", `["@bob:one"]`, s.next().Get("extensions.e2ee.device_lists.left").Raw)
}

func TestSlidingAccountData(t *testing.T) {
	r := newRig(t)
	a, b := r.room("a"), r.room("b")
	r.data(alice, "", "m.x", `{"v":1}`)
	r.data(alice, "", storage.PushRulesType, `{}`)
	r.data(alice, a.Row.ID, "m.tag", `{"tags":{}}`)
	s := r.slider(alice, elementRooms(19, ""))
	global := func(got gjson.Result) string { return got.Get("extensions.account_data.global").Raw }
	ofRoom := func(got gjson.Result, room *storagetest.Room) string {
		return got.Get("extensions.account_data.rooms." + path(string(room.Row.ID))).Raw
	}
	got := s.next()
	check(t, "global", `[{"content":{"v":1},"type":"m.x"},{"content":{"global":{}},"type":"m.push_rules"}]`, global(got))
	check(t, "of a room", `[{"content":{"tags":{}},"type":"m.tag"}]`, ofRoom(got, a))
	check(t, "nothing new", false, s.next().Get("extensions.account_data").Exists())
	r.data(alice, "", "m.x", `{"v":2}`)
	r.data(alice, b.Row.ID, "m.y", `{}`)
	got = s.next()
	check(t, "what changed", `[{"content":{"v":2},"type":"m.x"}]`, global(got))
	check(t, "in a room", `[{"content":{},"type":"m.y"}]`, ofRoom(got, b))
	check(t, "which is not told for that", []string{}, names(got))
	a.Message(alice, "top")
	s.next()
	s.body = elementRooms(0, "")
	r.data(alice, b.Row.ID, "m.y", `{"v":3}`)
	check(t, "not of rooms outside", "", ofRoom(s.next(), b))
	s.body = elementRooms(19, "")
	check(t, "but when they are inside", `[{"content":{"v":3},"type":"m.y"}]`, ofRoom(s.next(), b))
	s.body = `{"conn_id":"room-list","lists":{"all_rooms":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[]}}}`
	s.next()
	s.body = elementRooms(19, "")
	got = s.next()
	check(t, "all of it for who begins to ask", 2, len(got.Get("extensions.account_data.global").Array()))
	check(t, "of rooms too", `[{"content":{"tags":{}},"type":"m.tag"}]`, ofRoom(got, a))
}

func TestSlidingReceiptsAndTyping(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	a.Member(bob, bob, "join")
	a.Member(eve, eve, "join")
	first := a.Message(alice, "1")
	last := a.Message(alice, "2")
	read := func(user id.UserID, ev *storage.Event) {
		t.Helper()
		if err := r.edus.SetReceipts(context.Background(), a.Row.ID, user, edu.Receipt{Type: storage.Read, Event: ev.ID}); err != nil {
			t.Fatal(err)
		}
	}
	read(bob, last)
	read(eve, first)
	s := r.slider(alice, elementRooms(19, ""))
	receipts := func(got gjson.Result) []string {
		out := []string{}
		got.Get("extensions.receipts.rooms." + path(string(a.Row.ID)) + ".content").ForEach(func(ev, types gjson.Result) bool {
			types.Get(`m\.read`).ForEach(func(user, _ gjson.Result) bool { out = append(out, user.Str+" "+ev.Str); return true })
			return true
		})
		return out
	}
	check(t, "receipts for what is shown", []string{"@bob:one " + string(last.ID)}, receipts(s.next()))
	read(eve, last)
	check(t, "news", []string{"@eve:one " + string(last.ID)}, receipts(s.lose()))
	check(t, "again after a loss", []string{"@eve:one " + string(last.ID)}, receipts(s.next()))
	typing := func(got gjson.Result) string {
		return got.Get("extensions.typing.rooms." + path(string(a.Row.ID)) + ".content.user_ids").Raw
	}
	if err := r.edus.SetTyping(context.Background(), a.Row.ID, bob, true, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	got := s.next()
	check(t, "typing", `["@bob:one"]`, typing(got))
	check(t, "no room for that", []string{}, names(got))
	check(t, "once", "", typing(s.next()))
	s.body = elementRooms(19, "")
	if err := r.edus.SetTyping(context.Background(), a.Row.ID, bob, false, 0); err != nil {
		t.Fatal(err)
	}
	check(t, "stopped", `[]`, typing(s.next()))
	said := a.Message(bob, "!")
	r.update(func(tx *storage.Tx) error { return tx.CountUnread(a.Row.NID, []id.UserID{alice}, 1, 0) })
	check(t, "unread", "1", slid(s.next(), a).Get("notification_count").Raw)
	read(alice, said)
	check(t, "read elsewhere", "0", slid(s.next(), a).Get("notification_count").Raw)
}

func TestSlidingWaits(t *testing.T) {
	r := newRig(t)
	a := r.room("a")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	s.timeout = 30 * time.Second
	for name, test := range map[string]struct {
		do   func()
		want []string
	}{
		"until something happens": {func() { a.Message(alice, "m") }, []string{"!a:one"}},
		"until the time is over":  {func() { r.clock.Advance(time.Minute) }, []string{}},
	} {
		got := make(chan gjson.Result)
		go func() { got <- s.lose() }()
		r.clock.BlockUntil(1)
		test.do()
		answer := <-got
		check(t, name, test.want, names(answer))
		s.pos = answer.Get("pos").Str
	}
}

func TestSlidingOneRequestAtATime(t *testing.T) {
	r := newRig(t)
	r.room("a")
	s := r.slider(alice, elementRooms(19, ""))
	s.next()
	waiting := *s
	waiting.timeout = time.Hour
	failed := make(chan error)
	go func() {
		_, err := waiting.try()
		failed <- err
	}()
	r.clock.BlockUntil(1)
	check(t, "the next one gets the answer", []string{}, names(s.next()))
	if err := <-failed; err == nil {
		t.Error("the first request was answered")
	}
}

func TestSlidingWritesWhatChanges(t *testing.T) {
	r := newRig(t)
	rooms := r.manyRooms(30)
	s := r.slider(alice, elementRooms(99, ""))
	s.next()
	connection := func() (c storage.SlidingConnection) {
		t.Helper()
		err := r.store.View(context.Background(), func(tx *storage.ReadTx) (err error) {
			c, err = tx.SlidingConnection(alice, "D", "room-list")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := connection()
	for i := range 5 {
		rooms[i].Message(bob, "m")
		s.next()
		s.next()
	}
	check(t, "an answer with messages writes nothing", before, connection())
}
