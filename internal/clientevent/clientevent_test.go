package clientevent

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
	eve   id.UserID = "@eve:one"
)

// fixture is a room that alice and bob are in.
type fixture struct {
	*storagetest.Room
	t     testing.TB
	store *storage.Store
}

func newFixture(t testing.TB) *fixture {
	s := storagetest.Open(t)
	r := storagetest.NewRoom(t, s, "!r:one", alice)
	r.Member(bob, bob, "join")
	return &fixture{r, t, s}
}

// render shows one event and decodes it.
func (f *fixture) render(v Viewer, ev *storage.Event, opts Options) map[string]any {
	f.t.Helper()
	opts.Now = time.UnixMilli(ev.TS + 5)
	var out map[string]any
	f.view(func(tx *storage.ReadTx) error {
		ev, err := tx.Event(ev.ID)
		if err != nil {
			return err
		}
		raw, err := One(tx, v, ev, opts)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &out)
	})
	return out
}

func (f *fixture) view(fn func(tx *storage.ReadTx) error) {
	f.t.Helper()
	if err := f.store.View(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) relate(sender id.UserID, to *storage.Event, relType, content string) *storage.Event {
	f.t.Helper()
	return f.Event(sender, "m.room.message", fmt.Sprintf(`{"body":"b",%s"m.relates_to":{"rel_type":%q,"event_id":%q}}`, content, relType, to.ID))
}

func (f *fixture) edit(sender id.UserID, ev *storage.Event, body string) *storage.Event {
	f.t.Helper()
	return f.relate(sender, ev, "m.replace", fmt.Sprintf(`"m.new_content":{"body":%q},`, body))
}

type object = map[string]any

func TestFormOfAMessage(t *testing.T) {
	f := newFixture(t)
	f.TxnDevice, f.TxnID = "PHONE", "txn1"
	ev := f.Message(alice, "hi")
	chosen, err := filter.Parse(json.RawMessage(`{"event_fields":["content.body"]}`))
	if err != nil {
		t.Fatal(err)
	}
	plain := func() object {
		return object{"content": object{"body": "hi", "msgtype": "m.text"}, "event_id": string(ev.ID), "origin_server_ts": float64(ev.TS),
			"room_id": "!r:one", "sender": "@alice:one", "type": "m.room.message", "unsigned": object{"age": 5.0, "membership": "join"}}
	}
	withTxn, withoutRoom := plain(), plain()
	withTxn["unsigned"].(object)["transaction_id"] = "txn1"
	delete(withoutRoom, "room_id")
	for _, test := range []struct {
		name   string
		viewer Viewer
		opts   Options
		want   object
	}{
		{"others see no transaction id", Viewer{bob, "PHONE"}, Options{}, plain()},
		{"other devices of the sender see no transaction id", Viewer{alice, "LAPTOP"}, Options{}, plain()},
		{"the sending device sees its transaction id", Viewer{alice, "PHONE"}, Options{}, withTxn},
		{"the room id is left out where the answer names the room", Viewer{bob, "X"}, Options{WithoutRoomID: true}, withoutRoom},
		{"no children are no relations", Viewer{bob, "X"}, Options{Bundle: true}, plain()},
		{"only chosen fields are shown", Viewer{bob, "X"}, Options{Fields: chosen.EventFields}, object{"content": object{"body": "hi"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, f.render(test.viewer, ev, test.opts)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestStateSaysWhatItReplaces(t *testing.T) {
	f := newFixture(t)
	first := f.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	second := f.State(bob, "m.room.topic", "", `{"topic":"two"}`)
	want := object{"age": 5.0, "membership": "join", "replaces_state": string(first.ID), "prev_content": object{"topic": "one"},
		"prev_sender": "@alice:one"}
	if diff := cmp.Diff(want, f.render(Viewer{User: alice}, second, Options{})["unsigned"]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, ok := f.render(Viewer{User: alice}, first, Options{})["unsigned"].(object)["prev_content"]; ok {
		t.Error("the first topic has a prev_content")
	}
}

func TestPreviousContentThatTheViewerMayNotSeeIsLeftOut(t *testing.T) {
	f := newFixture(t)
	f.State(alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
	first := f.State(alice, "m.room.topic", "", `{"topic":"one"}`)
	f.Member(eve, eve, "join")
	second := f.State(bob, "m.room.topic", "", `{"topic":"two"}`)
	want := object{"age": 5.0, "membership": "join", "replaces_state": string(first.ID)}
	if diff := cmp.Diff(want, f.render(Viewer{User: eve}, second, Options{})["unsigned"]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMembershipIsThatOfTheViewerAtTheEvent(t *testing.T) {
	f := newFixture(t)
	before := f.Message(alice, "before")
	invite := f.Member(alice, eve, "invite")
	join := f.Member(eve, eve, "join")
	for _, test := range []struct {
		name string
		ev   *storage.Event
		want string
	}{
		{"before there was one it is leave", before, "leave"},
		{"a change is included", invite, "invite"},
		{"joining is join", join, "join"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := f.render(Viewer{User: eve}, test.ev, Options{})["unsigned"].(object)["membership"]; got != test.want {
				t.Errorf("membership %v, want %v", got, test.want)
			}
		})
	}
}

func TestRedactedEventsCarryTheRedaction(t *testing.T) {
	f := newFixture(t)
	ev := f.Message(alice, "secret")
	f.edit(alice, ev, "less secret")
	by := f.Redact(bob, ev)
	got := f.render(Viewer{User: alice}, ev, Options{Bundle: true})
	if diff := cmp.Diff(object{}, got["content"]); diff != "" {
		t.Errorf("content: %s", diff)
	}
	because, _ := got["unsigned"].(object)["redacted_because"].(object)
	if because["event_id"] != string(by.ID) || because["sender"] != "@bob:one" {
		t.Errorf("redacted_because is %v", because)
	}
	if because["redacts"] != string(ev.ID) {
		t.Errorf("redacts is %v", because["redacts"])
	}
	if r := got["unsigned"].(object)["m.relations"]; r != nil {
		t.Errorf("a redacted event has m.relations %v", r)
	}
}

// relations is the bundled aggregations, with children reduced to their event ids.
func (f *fixture) relations(user id.UserID, ev *storage.Event, ignored ...id.UserID) object {
	f.t.Helper()
	opts := Options{Bundle: true, Ignored: visibility.Ignored{}}
	for _, u := range ignored {
		opts.Ignored[u] = struct{}{}
	}
	relations, _ := f.render(Viewer{User: user}, ev, opts)["unsigned"].(object)["m.relations"].(object)
	if edit, ok := relations["m.replace"].(object); ok {
		relations["m.replace"] = edit["event_id"]
	}
	if thread, ok := relations["m.thread"].(object); ok {
		latest := thread["latest_event"].(object)
		thread["latest_event"] = latest["event_id"]
		children, _ := latest["unsigned"].(object)["m.relations"].(object)
		if edit, ok := children["m.replace"].(object); ok {
			thread["latest_edit"] = edit["event_id"]
		}
	}
	return relations
}

func TestAggregations(t *testing.T) {
	for _, test := range []struct {
		name    string
		ignored []id.UserID
		play    func(f *fixture, ev *storage.Event) object
	}{
		{"the newest edit is bundled", nil, func(f *fixture, ev *storage.Event) object {
			f.edit(alice, ev, "one")
			return object{"m.replace": string(f.edit(alice, ev, "two").ID)}
		}},
		{"edits by others are not valid", nil, func(f *fixture, ev *storage.Event) object {
			want := f.edit(alice, ev, "one")
			f.edit(bob, ev, "two")
			return object{"m.replace": string(want.ID)}
		}},
		{"edits without new content are not valid", nil, func(f *fixture, ev *storage.Event) object {
			f.relate(alice, ev, "m.replace", "")
			return nil
		}},
		{"edits of another type are not valid", nil, func(f *fixture, ev *storage.Event) object {
			f.Event(alice, "m.sticker", fmt.Sprintf(`{"m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, ev.ID))
			return nil
		}},
		{"a redacted edit gives way to the one before", nil, func(f *fixture, ev *storage.Event) object {
			want := f.edit(alice, ev, "one")
			f.Redact(alice, f.edit(alice, ev, "two"))
			return object{"m.replace": string(want.ID)}
		}},
		{"references are listed", nil, func(f *fixture, ev *storage.Event) object {
			a, b := f.relate(alice, ev, "m.reference", ""), f.relate(bob, ev, "m.reference", "")
			return object{"m.reference": object{"chunk": []any{object{"event_id": string(a.ID)}, object{"event_id": string(b.ID)}}}}
		}},
		{"references by ignored users are not", []id.UserID{bob}, func(f *fixture, ev *storage.Event) object {
			a := f.relate(alice, ev, "m.reference", "")
			f.relate(bob, ev, "m.reference", "")
			return object{"m.reference": object{"chunk": []any{object{"event_id": string(a.ID)}}}}
		}},
		{"annotations are not aggregated", nil, func(f *fixture, ev *storage.Event) object {
			f.Event(bob, "m.reaction", fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"x"}}`, ev.ID))
			return nil
		}},
		{"threads have a count and the newest reply with its edit", nil, func(f *fixture, ev *storage.Event) object {
			f.relate(bob, ev, "m.thread", "")
			last := f.relate(bob, ev, "m.thread", "")
			edit := f.edit(bob, last, "new")
			return object{"m.thread": object{"count": 2.0, "current_user_participated": false, "latest_event": string(last.ID),
				"latest_edit": string(edit.ID)}}
		}},
		{"replies by ignored users do not count", []id.UserID{bob}, func(f *fixture, ev *storage.Event) object {
			mine := f.relate(eve, ev, "m.thread", "")
			f.relate(bob, ev, "m.thread", "")
			return object{"m.thread": object{"count": 1.0, "current_user_participated": true, "latest_event": string(mine.ID)}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.Member(eve, eve, "join")
			ev := f.Message(alice, "hi")
			want := test.play(f, ev)
			if diff := cmp.Diff(want, f.relations(eve, ev, test.ignored...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheSenderOfTheRootTakesPartInTheThread(t *testing.T) {
	f := newFixture(t)
	ev := f.Message(alice, "hi")
	f.relate(bob, ev, "m.thread", "")
	thread := f.relations(alice, ev)["m.thread"].(object)
	if thread["current_user_participated"] != true {
		t.Errorf("the thread is %v", thread)
	}
}

func TestAnEditOfAnEditIsNotBundled(t *testing.T) {
	f := newFixture(t)
	edit := f.edit(alice, f.Message(alice, "hi"), "one")
	f.edit(alice, edit, "two")
	if got := f.relations(bob, edit); got != nil {
		t.Errorf("m.relations is %v", got)
	}
}

func TestChildrenThatTheViewerMayNotSeeAreLeftOut(t *testing.T) {
	f := newFixture(t)
	ev := f.Message(alice, "hi")
	f.Member(eve, eve, "join")
	reply := f.relate(alice, ev, "m.thread", "")
	seen := f.edit(alice, ev, "seen")
	f.Member(eve, eve, "leave")
	f.edit(alice, ev, "unseen")
	f.relate(alice, ev, "m.thread", "")
	want := object{"m.replace": string(seen.ID), "m.thread": object{"count": 2.0, "current_user_participated": false, "latest_event": string(reply.ID)}}
	if diff := cmp.Diff(want, f.relations(eve, ev)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStrippedForm(t *testing.T) {
	f := newFixture(t)
	ev := f.State(alice, "m.room.name", "", `{"name":"<Den> & \"co\""}`)
	want := `{"content":{"name":"\u003cDen\u003e \u0026 \"co\""},"sender":"@alice:one","state_key":"","type":"m.room.name"}`
	var got, wanted any
	if err := json.Unmarshal(AppendStripped(nil, ev), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkRenderPlainMessages(b *testing.B) {
	f := newFixture(b)
	var events []*storage.Event
	for i := range 20 {
		events = append(events, f.Message(alice, fmt.Sprint("message ", i)))
	}
	opts := Options{Now: time.UnixMilli(events[0].TS), WithoutRoomID: true, Histories: map[int64]*visibility.History{f.Row.NID: visibility.Member(bob)}}
	b.ReportAllocs()
	f.view(func(tx *storage.ReadTx) error {
		var buf []byte
		for b.Loop() {
			batch, err := Prepare(tx, Viewer{User: bob}, events, opts)
			if err != nil {
				return err
			}
			buf = buf[:0]
			for _, ev := range events {
				buf = batch.Append(buf, ev)
			}
		}
		return nil
	})
}
