package syncer

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
	eve   id.UserID = "@eve:one"
)

// rig is a Syncer over a real store, at a time that stands still.
type rig struct {
	t      testing.TB
	store  *storage.Store
	hub    *hub.Hub
	clock  *clock.Fake
	edus   *edu.Service
	syncer *Syncer
}

// loud notifies everybody of every message.
type loud struct{}

func (loud) Outcome(_ *storage.ReadTx, _ *storage.Room, ev *storage.Event, m storage.Member) (push.Outcome, error) {
	return push.Outcome{
		Notify:    ev.Type == "m.room.message" && m.User != ev.Sender,
		Highlight: strings.Contains(ev.Get("content.body").Str, "!"),
	}, nil
}

// PushRulesContent shows what is stored in a list.
func (loud) PushRulesContent(_ id.UserID, stored json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`{"global":` + string(stored) + `}`), nil
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, store: storagetest.Open(t), clock: clock.NewFake(time.UnixMilli(1_700_000_100_000))}
	for _, u := range []id.UserID{alice, bob, eve} {
		r.update(func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: u})
			return err
		})
	}
	r.restart()
	return r
}

// restart gives up what is in memory.
func (r *rig) restart() {
	r.hub = hub.NewAt(r.store.CommittedPos(), r.clock.Now().UnixMilli(), hub.DefaultLimit)
	r.edus = edu.New(r.store, r.hub, loud{}, r.clock, edu.Options{})
	r.syncer = New(r.store, r.hub, r.edus, loud{}, r.clock, nil)
}

func (r *rig) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// room makes a room of alice's.
func (r *rig) room(name string) *storagetest.Room {
	room := storagetest.NewRoom(r.t, r.store, id.RoomID("!"+name+":one"), alice)
	r.rings(room)
	room.Rung(room.Row.LastPos, []id.UserID{alice})
	return room
}

// rings has the room ring the hub that there is.
func (r *rig) rings(room *storagetest.Room) {
	room.Rung = func(pos int64, users []id.UserID) {
		keys := []hub.Key{hub.Room(room.Row.ID)}
		for _, u := range users {
			keys = append(keys, hub.User(u))
		}
		r.hub.Ring(pos, keys...)
	}
}

// data sets account data.
func (r *rig) data(user id.UserID, room id.RoomID, typ, content string) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		tx.OnCommit(func() { r.hub.Ring(pos, hub.User(user)) })
		return tx.SetAccountData(user, storage.AccountData{RoomID: room, Type: typ, Content: json.RawMessage(content), Pos: pos})
	})
}

// client is a device that syncs.
type client struct {
	r             *rig
	user          id.UserID
	since         string
	filter        string
	useStateAfter bool
	fullState     bool
	timeout       time.Duration
}

func (r *rig) client(user id.UserID) *client { return &client{r: r, user: user} }

func (c *client) request() Request {
	c.r.t.Helper()
	req := Request{User: c.user, Device: "D", Since: c.since, FullState: c.fullState, UseStateAfter: c.useStateAfter, Timeout: c.timeout}
	if c.filter != "" {
		f, err := filter.Parse(json.RawMessage(c.filter))
		if err != nil {
			c.r.t.Fatal(err)
		}
		req.Filter = f
	}
	return req
}

// sync syncs and goes on from there.
func (c *client) sync() gjson.Result {
	c.r.t.Helper()
	out, err := c.r.syncer.Sync(context.Background(), c.request())
	if err != nil {
		c.r.t.Fatal(err)
	}
	if !json.Valid(out) {
		c.r.t.Fatalf("not JSON: %s", out)
	}
	got := gjson.ParseBytes(out)
	c.since = got.Get("next_batch").Str
	return got
}

// path escapes what has a meaning in a path of gjson.
func path(s string) string {
	return strings.NewReplacer(".", `\.`, "!", `\!`, "@", `\@`, "*", `\*`).Replace(s)
}

func section(got gjson.Result, name string, room *storagetest.Room) gjson.Result {
	return got.Get("rooms." + name + "." + path(string(room.Row.ID)))
}

func joined(got gjson.Result, room *storagetest.Room) gjson.Result { return section(got, "join", room) }

// told describes events: the body of messages, type and key and value of state.
func told(events gjson.Result) []string {
	var out []string
	for _, ev := range events.Array() {
		switch typ := ev.Get("type").Str; typ {
		case "m.room.message":
			out = append(out, ev.Get("content.body").Str)
		case "m.room.member":
			out = append(out, ev.Get("state_key").Str+" "+ev.Get("content.membership").Str)
		case "m.room.topic":
			out = append(out, "topic "+ev.Get("content.topic").Str)
		default:
			out = append(out, typ)
		}
	}
	return out
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// unordered compares lists of which the order means nothing.
func unordered(t *testing.T, what string, want, got []string) {
	t.Helper()
	count := func(list []string) map[string]int {
		out := map[string]int{}
		for _, s := range list {
			out[s]++
		}
		return out
	}
	check(t, what, count(want), count(got))
}
