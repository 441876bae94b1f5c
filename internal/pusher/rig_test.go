package pusher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice   id.UserID   = "@alice:one"
	bob     id.UserID   = "@bob:one"
	phone   id.DeviceID = "PHONE"
	gateway             = "https://push.example.org" + notifyPath
)

// wire is a client's transport whose requests are answered by the test.
type wire chan *request

type request struct {
	url  string
	body gjson.Result
	done chan answer
}

// answer is what a gateway answers, or why it does not.
type answer struct {
	status     int // 0: 200
	body       string
	retryAfter string
	err        error
}

func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r := &request{req.URL.String(), gjson.GetBytes(body, "notification"), make(chan answer, 1)}
	select {
	case w <- r:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	select {
	case a := <-r.done:
		if a.err != nil {
			return nil, a.err
		}
		if a.status == 0 {
			a.status = http.StatusOK
		}
		return &http.Response{StatusCode: a.status, Status: fmt.Sprint(a.status), Header: http.Header{"Retry-After": {a.retryAfter}},
			Body: io.NopCloser(bytes.NewReader([]byte(a.body))), Request: req}, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// rig is a room of bob's and alice's, who has a phone, and a Service whose gateways are the test.
type rig struct {
	*storagetest.Room
	t       *testing.T
	store   *storage.Store
	clock   *clock.Fake
	wire    wire
	service *Service
	stop    func()
}

func newRig(t *testing.T, s *storage.Store) *rig {
	t.Helper()
	r := &rig{t: t, store: s, clock: clock.NewFake(time.UnixMilli(1_700_000_100_000)), wire: make(wire)}
	r.update(func(tx *storage.Tx) error {
		for _, u := range []id.UserID{alice, bob} {
			if _, err := tx.InsertUser(storage.User{ID: u, CreatedTS: 1}); err != nil {
				return err
			}
			if _, err := tx.InsertDevice(storage.Device{UserID: u, ID: phone, CreatedTS: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	r.Room = storagetest.NewRoom(t, s, "!r:one", bob)
	r.Member(alice, alice, "join")
	r.start()
	// Once somebody has looked for this pusher, which there is not, Run has found that nothing was left from before.
	r.service.wake(-1)
	r.idle()
	return r
}

// start starts a service, another one if one ran before.
func (r *rig) start() {
	r.t.Helper()
	var err error
	r.service, err = New(r.t.Context(), Options{Store: r.store, Clock: r.clock, Log: storagetest.Log(r.t), Web: &http.Client{Transport: r.wire},
		Metrics: prometheus.NewRegistry()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop = storagetest.Run(r.t, r.service.Run)
}

func (r *rig) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// set sets a pusher of a user; data is what its data has beside the URL.
func (r *rig) set(user id.UserID, app, data string) {
	r.t.Helper()
	if err := r.service.Set(context.Background(), user, phone, r.wish(app, data)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wish(app, data string) Wish {
	r.t.Helper()
	w, err := ParseWish(json.RawMessage(fmt.Sprintf(`{"kind":"http","app_id":%q,"pushkey":"key of %s","app_display_name":"App",
		"device_display_name":"Phone","lang":"en","data":{"url":%q%s}}`, app, app, gateway, data)))
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

// push is a message of bob's that alice is notified of.
func (r *rig) push(body string) *storage.Event {
	r.t.Helper()
	e := r.Message(bob, body)
	r.notify(e, alice)
	return e
}

func (r *rig) notify(e *storage.Event, users ...id.UserID) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		v := push.Verdict{Rest: push.Outcome{Notify: true, Actions: json.RawMessage(`["notify",{"set_tweak":"sound","value":"default"}]`)}}
		var members []storage.Member
		for _, u := range users {
			members = append(members, storage.Member{User: u})
		}
		if err := tx.CountInThread(e.Room, "$thread", users, false); err != nil {
			return err
		}
		return r.service.Notify(tx, e, v, members)
	})
}

// read has alice read up to an event.
func (r *rig) read(e *storage.Event) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error {
		pos, err := tx.NextPos()
		if err != nil {
			return err
		}
		if _, err := tx.SetReceipt(storage.Receipt{Room: e.Room, User: alice, Type: storage.Read, Event: e.ID, At: e.Pos, Pos: pos}); err != nil {
			return err
		}
		if err := tx.ClearUnread(alice, e.Room); err != nil {
			return err
		}
		return r.service.Recounted(tx, alice)
	})
}

// request is the next one.
func (r *rig) request() *request {
	r.t.Helper()
	select {
	case q := <-r.wire:
		return q
	case <-time.After(20 * time.Second):
		r.t.Fatal("there is no request")
		return nil
	}
}

// what is the text of the message that a notification is of, and the number of unread ones.
func (q *request) what() string {
	if body := q.body.Get("content.body").Str; body != "" {
		return fmt.Sprint(body, " ", q.body.Get("counts.unread").Raw)
	}
	return q.body.Get("counts.unread").Raw
}

// told answers the next request, which must be this one.
func (r *rig) told(what string, a answer) {
	r.t.Helper()
	q := r.request()
	check(r.t, "told", what, q.what())
	q.done <- a
}

// pass lets time pass when a worker rests.
func (r *rig) pass(d time.Duration) {
	r.clock.BlockUntil(1)
	r.clock.Advance(d)
}

// left is the number of rows when there are no workers any more, without a request having been made meanwhile.
func (r *rig) left() int {
	r.t.Helper()
	r.idle()
	r.stop()
	select {
	case q := <-r.wire:
		r.t.Errorf("a request was made: %s", q.body.Raw)
	default:
	}
	return r.rows()
}

func (r *rig) rows() int {
	r.t.Helper()
	var n int64
	err := r.store.View(context.Background(), func(tx *storage.ReadTx) (err error) {
		n, err = tx.PushRows()
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return int(n)
}

// idle waits until there are no workers.
func (r *rig) idle() {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		r.service.mu.Lock()
		n := len(r.service.workers) + len(r.service.rung)
		r.service.mu.Unlock()
		if n == 0 {
			return
		}
	}
	r.t.Fatal("there are still workers")
}

// apps is the apps for which a user has pushers.
func (r *rig) apps(user id.UserID) (out []string) {
	r.t.Helper()
	list, err := r.service.List(context.Background(), user)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range list {
		out = append(out, p.AppID)
	}
	return out
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
