package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID     = "@alice:one"
	one   id.ServerName = "one"
	two   id.ServerName = "two"
	three id.ServerName = "three"
)

// errDown is a server that does not answer, answer a status of its own.
var errDown = errors.New("connection refused")

type answer int

func (a answer) Error() string                             { return fmt.Sprint("status ", int(a)) }
func (a answer) MatrixError() (status int, errcode string) { return int(a), "M_BAD_JSON" }

// busy is a server that asks to be left alone for a minute.
type busy struct{ answer }

func (busy) LeaveAlone() time.Duration { return time.Minute }

// network is a client whose requests are answered by the test.
type network struct {
	requests chan *request
	mu       sync.Mutex
	until    map[id.ServerName]time.Time
}

type request struct {
	To   id.ServerName
	Txn  string
	body json.RawMessage
	done chan error
}

func (n *network) SendTransaction(ctx context.Context, to id.ServerName, txn string, body json.RawMessage) (map[id.EventID]string, error) {
	r := &request{to, txn, body, make(chan error, 1)}
	select {
	case n.requests <- r:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case err := <-r.done:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) Backoff(to id.ServerName) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.until[to]
}

func (n *network) leaveAlone(to id.ServerName, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until[to] = until
}

// rig is a room of alice's, and a sender whose network is the test.
type rig struct {
	*storagetest.Room
	t       *testing.T
	store   *storage.Store
	clock   *clock.Fake
	network *network
	sender  *Sender
	stop    func()
}

func newRig(t *testing.T, s *storage.Store) *rig {
	r := &rig{t: t, store: s, clock: clock.NewFake(time.UnixMilli(1_700_000_100_000)),
		network: &network{requests: make(chan *request), until: map[id.ServerName]time.Time{}}}
	r.Room = storagetest.NewRoom(t, s, "!r:one", alice)
	r.start()
	return r
}

// start starts a sender, another one if one ran before.
func (r *rig) start() {
	r.t.Helper()
	var err error
	r.sender, err = New(Options{Name: one, Store: r.store, Client: r.network, Clock: r.clock, Log: storagetest.Log(r.t), Metrics: prometheus.NewRegistry()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop = storagetest.Run(r.t, r.sender.Run)
}

func (r *rig) update(fn func(tx *storage.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(context.Background(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// queue puts an event, with this text, into outboxes.
func (r *rig) queue(body string, to ...id.ServerName) {
	r.t.Helper()
	ev := r.Message(alice, body)
	r.update(func(tx *storage.Tx) error { return tx.QueueEvent(ev.NID, to) })
}

// say is queue with a ring.
func (r *rig) say(body string, to ...id.ServerName) {
	r.t.Helper()
	r.queue(body, to...)
	r.sender.Wake(to)
}

func (r *rig) edu(typ, key, content string, to ...id.ServerName) {
	r.t.Helper()
	r.update(func(tx *storage.Tx) error { return tx.QueueEDU(to, typ, key, json.RawMessage(content)) })
	r.sender.Wake(to)
}

// request is the next one.
func (r *rig) request() *request {
	r.t.Helper()
	select {
	case q := <-r.network.requests:
		return q
	case <-time.After(20 * time.Second):
		r.t.Fatal("there is no request")
		return nil
	}
}

// units is the bodies of the messages and the contents of the EDUs of a transaction.
func (q *request) units() string {
	var out []string
	for _, p := range gjson.GetBytes(q.body, "pdus").Array() {
		out = append(out, p.Get("content.body").Str)
	}
	for _, e := range gjson.GetBytes(q.body, "edus").Array() {
		out = append(out, e.Get("edu_type").Str+e.Get("content").Raw)
	}
	return strings.Join(out, " ")
}

// sent answers the next request, which must have these units.
func (r *rig) sent(units string, err error) *request {
	r.t.Helper()
	q := r.request()
	check(r.t, "sent", units, q.units())
	q.done <- err
	return q
}

// pass lets so much time pass when the sender waits for just that.
func (r *rig) pass(d time.Duration) {
	r.clock.BlockUntilDue(d)
	r.clock.Advance(d)
}

// resume starts a sender that finds something in the outboxes, and lets the time pass after which it has looked at all of them.
func (r *rig) resume(over time.Duration) {
	r.t.Helper()
	r.start()
	r.clock.BlockUntil(1) // it has no other timer
	r.clock.Advance(over)
}

// alone lets so much time pass after what was sent that what comes now does not wait for company.
func (r *rig) alone() {
	r.t.Helper()
	r.forgotten()
	r.clock.Advance(gap)
}

// forgotten waits until the sender knows of no server that something waits for.
func (r *rig) forgotten() {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		r.sender.mu.Lock()
		busy := false
		for _, d := range r.sender.destinations {
			busy = busy || !d.idle()
		}
		r.sender.mu.Unlock()
		if !busy {
			return
		}
	}
	r.t.Error("there are still workers")
}

// left is what is in the outbox of a server when the sender has no more work, without a request being made meanwhile.
func (r *rig) left(to id.ServerName) int {
	r.t.Helper()
	r.forgotten()
	r.stop()
	select {
	case q := <-r.network.requests:
		r.t.Errorf("a request was made: %s", q.body)
	default:
	}
	return len(r.outbox(to))
}

func (r *rig) outbox(to id.ServerName) (rows []storage.Outgoing) {
	r.t.Helper()
	err := r.store.View(context.Background(), func(tx *storage.ReadTx) (err error) {
		rows, err = tx.Outbox(to, 0, 1<<62, 1<<20)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return rows
}

func check(t *testing.T, what string, want, got any, options ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestABurstGoesInFewTransactionsAndInOrder(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		var want []string
		r.say("first", two)
		first := r.request()
		for i := range 120 {
			r.say(fmt.Sprint(i), two)
			want = append(want, fmt.Sprint(i))
		}
		check(t, "first", "first", first.units())
		first.done <- nil
		r.pass(gap)
		r.sent(strings.Join(want[:50], " "), nil)
		r.sent(strings.Join(want[50:100], " "), nil) // a full one is followed at once
		r.sent(strings.Join(want[100:], " "), nil)
		check(t, "left", 0, r.left(two))
	})
}

// Rows that were sent are not sent again while they are still there, and do not stay.
func TestSentRowsAreRemovedTogether(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		for _, body := range []string{"a", "b", "c"} {
			r.say(body, two, three)
			for range 2 {
				r.sent(body, nil)
			}
			r.alone()
		}
		check(t, "rows while they are left where they are", 3, len(r.outbox(two)))
		r.stop()
		check(t, "rows of one server after the end", 0, len(r.outbox(two)))
		check(t, "rows of the other server after the end", 0, len(r.outbox(three)))

		r.start()
		r.sender.sweepDelay = time.Millisecond
		r.say("d", two)
		r.sent("d", nil)
		for deadline := time.Now().Add(20 * time.Second); len(r.outbox(two)) > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the row stays")
			}
		}
	})
}

func TestWhoFlushesDoesNotWaitForCompany(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.sender.Flush(t.Context(), two) // of nothing
		r.say("a", two)
		r.sent("a", nil)
		r.say("b", two)
		r.clock.BlockUntilDue(gap) // it waits for company
		flushed := make(chan struct{})
		go func() {
			defer close(flushed)
			r.sender.Flush(t.Context(), two)
		}()
		q := r.request()
		check(t, "units", "b", q.units())
		select {
		case <-flushed:
			t.Error("flushed before the other server has answered")
		default:
		}
		q.done <- nil
		<-flushed
		r.alone()
		// A server that fails is not waited for.
		r.say("c", two)
		q = r.request()
		go func() { q.done <- errDown }()
		r.sender.Flush(t.Context(), two)
		r.sender.Flush(t.Context(), two)
	})
}

func TestServersDoNotWaitForEachOther(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.say("a", two, three)
		first, second := r.request(), r.request()
		if first.To == second.To {
			t.Errorf("there are two requests to %s at the same time", first.To)
		}
		check(t, "units", first.units(), second.units())
		first.done <- nil
		second.done <- nil
		check(t, "left", 0, r.left(two)+r.left(three))
	})
}

func TestWhatIsNewWaitsForWhatHasFailed(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.say("a", two)
		first := r.sent("a", errDown)
		r.say("b", two)
		r.pass(time.Second)
		check(t, "id of the repetition", first.Txn, r.sent("a", errDown).Txn)
		r.pass(2 * time.Second)
		check(t, "id of the second repetition", first.Txn, r.sent("a", nil).Txn)
		if q := r.sent("b", nil); q.Txn == first.Txn {
			t.Error("another transaction has the same id")
		}
		check(t, "left", 0, r.left(two))
	})
}

// A process that is killed between the sending and the removal of rows leaves exactly this behind.
func TestAfterACrashTheSameTransactionIsSentAgain(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		r := newRig(t, storagetest.Reopen(t, cfg))
		for i := range 60 {
			r.queue(fmt.Sprint(i), two)
		}
		r.sender.Wake([]id.ServerName{two})
		before := r.request()
		r.stop()
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		r.store = storagetest.Reopen(t, cfg)
		r.resume(step)
		after := r.request()
		check(t, "units", before.units(), after.units())
		check(t, "id", before.Txn, after.Txn)
		after.done <- nil
		r.sent("50 51 52 53 54 55 56 57 58 59", nil)
		check(t, "left", 0, r.left(two))
	})
}

func TestAServerIsLeftAloneUntilItsTimeOrUntilItIsHeardOf(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.network.leaveAlone(two, r.clock.Now().Add(time.Hour))
		r.say("a", two)
		r.clock.BlockUntilDue(time.Hour)
		r.clock.Advance(time.Minute)
		r.say("b", two)
		r.pass(59 * time.Minute)
		first := r.request()
		r.network.leaveAlone(two, r.clock.Now().Add(time.Hour))
		first.done <- errDown
		r.clock.BlockUntilDue(time.Hour)
		r.network.leaveAlone(two, time.Time{})
		r.sender.Heard(three)
		r.sender.Heard(two)
		r.pass(time.Second) // it is not tried with each of its requests
		check(t, "id", first.Txn, r.sent("a b", nil).Txn)
		check(t, "left", 0, r.left(two))
	})
}

func TestEDUsAreKeptInOrderAndReplacedByKey(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.say("first", two)
		first := r.request()
		r.edu("m.device_list_update", "alice", `{"n":1}`, two)
		r.edu("m.direct_to_device", "", `{"n":2}`, two)
		r.edu("m.direct_to_device", "", `{"n":3}`, two)
		r.edu("m.device_list_update", "bob", `{"n":4}`, two)
		r.edu("m.device_list_update", "alice", `{"n":5}`, two, three)
		for {
			q := first
			if q = r.request(); q.To == three {
				check(t, "to three", `m.device_list_update{"n":5}`, q.units())
				q.done <- nil
				break
			}
		}
		first.done <- nil
		r.pass(gap)
		r.sent(`m.direct_to_device{"n":2} m.direct_to_device{"n":3} m.device_list_update{"n":4} m.device_list_update{"n":5}`, nil)
		check(t, "left", 0, r.left(two))
	})
}

func TestTransactionsAreBounded(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.update(func(tx *storage.Tx) error {
			for i := range 130 {
				if err := tx.QueueEDU([]id.ServerName{two}, "m.x", "", json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))); err != nil {
					return err
				}
			}
			return nil
		})
		large := strings.Repeat("x", 60_000)
		for range 20 {
			r.queue(large, two)
		}
		r.sender.Wake([]id.ServerName{two})
		var edus, pdus []int
		for range 3 {
			q := r.request()
			edus = append(edus, len(gjson.GetBytes(q.body, "edus").Array()))
			pdus = append(pdus, len(gjson.GetBytes(q.body, "pdus").Array()))
			if canonical, err := canonjson.Strict(q.body); err != nil || string(canonical) != string(q.body) {
				t.Errorf("a body is not canonical: %.200s", q.body)
			}
			check(t, "origin", "one", gjson.GetBytes(q.body, "origin").Str)
			check(t, "time", r.clock.Now().UnixMilli(), gjson.GetBytes(q.body, "origin_server_ts").Int())
			q.done <- nil
		}
		check(t, "EDUs", []int{100, 30, 0}, edus)
		check(t, "PDUs", []int{0, 18, 2}, pdus)
		check(t, "left", 0, r.left(two))
	})
}

// What is repeated has nothing else with it: if the other server has had it before, it does not look.
func TestWhatAServerCannotReadDoesNotStopTheRest(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		for _, body := range []string{"a", "bad", "c"} {
			r.queue(body, two)
		}
		r.sender.Wake([]id.ServerName{two})
		r.sent("a bad c", answer(400))
		r.say("d", two)
		r.pass(time.Second)
		r.sent("a", nil)
		for _, pause := range []time.Duration{1, 2, 4} {
			r.sent("bad", answer(400))
			r.pass(pause * time.Second)
		}
		r.sent("c", nil)
		r.sent("d", nil)
		check(t, "left", 0, r.left(two))
	})
}

func TestARefusalOfTheServerItselfIsNoReasonToDropAnything(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.say("a", two)
	for i := range 12 {
		r.sent("a", answer(403))
		r.clock.BlockUntilDue(pauseAfter(i + 1))
		r.sender.Heard(two) // we know that it lives
		r.clock.Advance(pauseAfter(i + 1))
	}
	r.sent("a", nil)
	check(t, "left", 0, r.left(two))
}

func TestAServerThatAsksForItIsLeftAlone(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.say("a", two)
	r.sent("a", busy{429})
	r.pass(time.Minute)
	r.sent("a", nil)
	check(t, "left", 0, r.left(two))
}

func TestManyServersAreSentToAtATimeButNotAll(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.stop()
	var all []id.ServerName
	for i := range maxSending + 40 {
		all = append(all, id.ServerName(fmt.Sprintf("s%d", i)))
	}
	r.queue("a", all...)
	r.resume(spread)
	var requests []*request
	for range maxSending {
		requests = append(requests, r.request())
	}
	check(t, "sending", maxSending, r.sender.sending)
	for _, q := range requests {
		q.done <- nil
	}
	for range 40 {
		r.sent("a", nil)
	}
	r.forgotten()
}

// Who is to be tried later is not forgotten while there is no place for a worker.
func TestAfterManyServersWhoWaitsIsTriedInTime(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.say("a", two)
	r.sent("a", errDown)
	r.clock.BlockUntilDue(time.Second)
	var all []id.ServerName
	for i := range maxSending {
		all = append(all, id.ServerName(fmt.Sprintf("s%d", i)))
	}
	r.say("b", all...)
	var requests []*request
	for range maxSending {
		requests = append(requests, r.request())
	}
	r.say("c", three) // for whom there is no place
	for deadline := time.Now().Add(20 * time.Second); r.clock.Waiters() > 0 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	requests[0].done <- nil
	r.sent("c", nil)
	r.pass(time.Second)
	check(t, "to", two, r.sent("a", nil).To)
	for _, q := range requests[1:] {
		q.done <- nil
	}
	r.forgotten()
}

func TestServersThatTakeTheirTimeDoNotHoldUpOthers(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.sender.slowAfter = time.Millisecond
	var all []id.ServerName
	for i := range maxSending {
		all = append(all, id.ServerName(fmt.Sprintf("s%d", i)))
	}
	r.say("a", all...)
	var slow []*request
	for range maxSending {
		slow = append(slow, r.request())
	}
	r.say("b", two)
	r.sent("b", nil)
	for _, q := range slow {
		q.done <- nil
	}
	r.forgotten()
	check(t, "sending", 0, r.sender.sending+r.sender.slow)
}

func TestAnEventIsSentAsItIsNowAndNotAtAllIfItIsGone(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		ev := r.Message(alice, "secret")
		r.update(func(tx *storage.Tx) error {
			if err := tx.QueueEvent(1<<40, []id.ServerName{two, three}); err != nil { // there is no such event
				return err
			}
			return tx.QueueEvent(ev.NID, []id.ServerName{two})
		})
		r.Redact(alice, ev)
		r.sender.Wake([]id.ServerName{two, three})
		q := r.request()
		check(t, "to", two, q.To)
		check(t, "content", "{}", gjson.GetBytes(q.body, "pdus.0.content").Raw)
		check(t, "unsigned", false, gjson.GetBytes(q.body, "pdus.0.unsigned").Exists())
		q.done <- nil
		check(t, "left", 0, r.left(two)+r.left(three))
	})
}
