package pusher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

var errDown = answer{err: errors.New("connection refused")}

func TestAPhoneIsToldInOrderOfWhatItsUserIsNotifiedOf(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.push("before")
		r.set(alice, "app", "")
		r.push("a")
		first := r.request()
		r.push("b")
		r.push("c")
		check(t, "first", "a 2", first.what())
		first.done <- answer{}
		r.told("b 4", answer{})
		r.told("c 4", answer{body: "not JSON"})
		check(t, "left", 0, r.left())
	})
}

func TestEachPusherIsToldByItself(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "one", "")
		r.set(alice, "two", "")
		r.push("a")
		first, second := r.request(), r.request()
		if a, b := first.body.Get("devices.0.app_id").Str, second.body.Get("devices.0.app_id").Str; a == b {
			t.Errorf("both requests are for %s", a)
		}
		first.done <- answer{}
		second.done <- answer{}
		check(t, "left", 0, r.left())
	})
}

func TestNobodyIsToldOfWhatTheyHaveSent(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "alice's", "")
		r.set(bob, "bob's", "")
		r.notify(r.Message(bob, "a"), alice, bob)
		q := r.request()
		check(t, "app", "alice's", q.body.Get("devices.0.app_id").Str)
		q.done <- answer{}
		check(t, "left", 0, r.left())
	})
}

func TestABadgeFollowsWhatIsRead(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		e := r.push("a")
		first := r.request()
		r.read(e)
		first.done <- answer{}
		q := r.request()
		check(t, "badge", `{"prio":"low","counts":{"unread":0},"devices":[{"app_id":"app","pushkey":"key of app","pushkey_ts":1700000100,"data":{}}]}`, q.body.Raw)
		e = r.push("b") // the number that is on its way is not the last word
		r.read(e)
		q.done <- answer{}
		r.told("0", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestWhatWasReadOrRedactedMeanwhileIsNotTold(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		first := r.request()
		r.read(r.push("b"))
		r.Redact(bob, r.push("c"))
		r.push("d")
		first.done <- errDown // by the next try it has been read, too
		r.pass(firstPause)
		r.told("d 2", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestOnlyReceiptsForTheThreadCount(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		root := r.Message(bob, "root")
		in := r.Event(bob, "m.room.message", fmt.Sprintf(`{"body":"in","m.relates_to":{"rel_type":"m.thread","event_id":%q}}`, root.ID))
		for _, tt := range []struct {
			thread string
			of     *storage.Event
			want   bool
		}{
			{storage.MainThread, root, true}, {storage.MainThread, in, false}, {string(root.ID), in, true}, {string(root.ID), root, false}, {"", in, true},
		} {
			var got bool
			r.update(func(tx *storage.Tx) error {
				for _, e := range []*storage.Event{root, in} { // whatever was there from before
					e := storage.Receipt{Room: e.Room, User: alice, Type: storage.ReadPrivate, Thread: tt.thread, Event: e.ID, At: e.Pos, Pos: 1}
					e.User = id.UserID(fmt.Sprintf("@%x:one", tt.thread))
					if _, err := tx.SetReceipt(e); err != nil {
						return err
					}
				}
				var err error
				got, err = moot(&tx.ReadTx, id.UserID(fmt.Sprintf("@%x:one", tt.thread)), tt.of)
				return err
			})
			if got != tt.want {
				t.Errorf("with a receipt for %q, %s is read: %v", tt.thread, tt.of.Content(), got)
			}
		}
	})
}

func TestAGatewayThatFailsIsTriedAgainMoreAndMoreSlowly(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		for i, a := range []answer{errDown, {status: 500}, {status: 404}, {status: 302}, {status: 502}} {
			r.told("a 1", a)
			if i == 4 {
				r.push("b")
			}
			r.pass(firstPause<<i/2 - 1) // no pause is shorter than half of the longest
			r.clock.BlockUntil(1)
			r.clock.Advance(firstPause<<i/2 + 1)
		}
		r.told("a 2", answer{})
		r.told("b 2", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestAGatewaySaysWhenItWantsToBeTriedAgain(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		r.told("a 1", answer{status: 429, retryAfter: "600"})
		r.pass(600*time.Second - 1)
		r.pass(1)
		r.told("a 1", answer{status: 429, retryAfter: "999999999999"})
		r.pass(longestPause)
		r.told("a 1", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestOldNewsIsNotToldButTheNumberIs(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		r.told("a 1", errDown)
		r.push("b")
		r.pass(lifetime + time.Millisecond)
		r.told("2", errDown)
		r.push("c")
		r.pass(lifetime - 1)
		r.told("c 3", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestWhatWaitsIsBounded(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		e := r.push("many")
		r.told("many 1", errDown)
		r.update(func(tx *storage.Tx) error {
			for range maxWaiting + 20 {
				if _, err := tx.QueuePush(e.NID, json.RawMessage("[]"), []id.UserID{alice}, r.service.now()); err != nil {
					return err
				}
			}
			return nil
		})
		for i := range patient {
			r.pass(longestPause)
			if i == patient-1 {
				check(t, "rows", maxWaiting, r.rows())
			}
			r.told("many 1", errDown)
		}
		r.clock.BlockUntil(1)
	})
}

func TestANotificationThatNobodyCanReadDoesNotStopOthers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("poison")
		for i := range maxRefusals {
			if i > 0 {
				r.pass(longestPause)
			}
			r.told("poison 1", answer{status: http.StatusBadRequest})
		}
		r.idle()
		r.push("b")
		r.told("b 2", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestARejectedPusherIsRemoved(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		r.told("a 1", answer{body: `{"rejected":["somebody else's"]}`})
		r.push("b")
		q := r.request()
		r.push("c")
		q.done <- answer{body: `{"rejected":["x","key of app"]}`}
		check(t, "left", 0, r.left())
		check(t, "pushers", []string(nil), r.apps(alice))
	})
}

func TestAPusherThatIsSetAgainIsTriedAtOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		r.told("a 1", answer{status: 429, retryAfter: "3600"})
		r.clock.BlockUntil(1)
		r.clock.Advance(time.Millisecond)
		r.set(alice, "app", `,"format":"event_id_only"`)
		r.told("1", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestWhatChangedBeforeATryIsNoReasonToRestLessAfterIt(t *testing.T) {
	r := newRig(t, storagetest.Open(t))
	r.set(alice, "app", "")
	r.idle()
	r.stop()
	e := r.push("a")
	var waiting []int64
	r.update(func(tx *storage.Tx) (err error) {
		waiting, err = tx.WaitingPushers()
		return err
	})
	check(t, "who waits", 1, len(waiting))
	w := &worker{pusher: waiting[0], nudge: make(chan struct{}, 1)}
	w.nudge <- struct{}{}
	stop := storagetest.Run(t, func(ctx context.Context) error {
		r.service.work(ctx, w)
		return nil
	})
	r.told("a 1", errDown)
	rests := make(chan struct{})
	go func() {
		defer close(rests)
		r.clock.BlockUntil(1)
	}()
	select {
	case <-rests:
	case <-r.wire:
		t.Errorf("%s was told again at once", e.ID)
	}
	stop()
}

func TestAPusherIsDeletedWithWhatWaitsForIt(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.push("a")
		first := r.request()
		r.push("b")
		if err := r.service.Set(t.Context(), alice, phone, Wish{Delete: true, AppID: "app", Pushkey: "key of app"}); err != nil {
			t.Fatal(err)
		}
		first.done <- answer{}
		check(t, "left", 0, r.left())
		r.update(func(tx *storage.Tx) error { return r.service.Recounted(tx, alice) })
		if r.service.owners[alice] {
			t.Error("alice still counts as somebody with pushers")
		}
	})
}

func TestAPushkeyChangesHands(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		shared := r.wish("app", "")
		shared.Append = true
		if err := r.service.Set(t.Context(), bob, phone, shared); err != nil {
			t.Fatal(err)
		}
		check(t, "alice's", []string{"app"}, r.apps(alice))
		r.set(bob, "app", "")
		check(t, "alice's, taken by bob", []string(nil), r.apps(alice))
		check(t, "bob's", []string{"app"}, r.apps(bob))
	})
}

func TestNobodyHasPushersWithoutEnd(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		for i := range maxPushers + 2 {
			r.set(alice, fmt.Sprint("app", i), "")
		}
		if apps := r.apps(alice); len(apps) != maxPushers || apps[0] != "app2" {
			t.Errorf("there are %d pushers, the first is %s", len(apps), apps[0])
		}
	})
}

// What was committed is told after the process was killed, and what was being told is told again.
func TestWhatWaitsSurvivesACrash(t *testing.T) {
	storagetest.EachConfig(t, func(t *testing.T, cfg storage.Config) {
		r := newRig(t, storagetest.Reopen(t, cfg))
		r.set(alice, "app", "")
		r.push("a")
		r.request()
		r.push("b")
		r.stop()
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		r.store = storagetest.Reopen(t, cfg)
		r.start()
		r.pass(step)
		r.told("a 2", answer{})
		r.told("b 2", answer{})
		check(t, "left", 0, r.left())
	})
}

func TestAPanicIsAFailureLikeOthers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "app", "")
		r.idle()
		good := r.service.gateways.web
		r.service.gateways.web = &http.Client{Transport: broken{}}
		r.push("a")
		r.clock.BlockUntil(1)
		r.service.gateways.web = good
		r.clock.Advance(spread)
		r.told("a 1", answer{})
		check(t, "left", 0, r.left())
	})
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

func TestATestReachesAllPushersOfAUser(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := newRig(t, s)
		r.set(alice, "good", "")
		r.set(alice, "gone", "")
		r.set(alice, "down", `,"format":"event_id_only","x":1`)
		r.set(bob, "other", "")
		type result struct {
			problems map[string]string
			err      error
		}
		done := make(chan result, 1)
		go func() {
			trials, err := Console{r.service, func(context.Context, string) (id.UserID, error) { return alice, nil }}.TestPushers(context.Background(), "alice")
			problems := map[string]string{}
			for _, trial := range trials {
				check(t, "gateway", gateway, trial.Gateway)
				problems[trial.App] = trial.Problem
			}
			done <- result{problems, err}
		}()
		q := r.request()
		check(t, "text", "This is a test notification of your server.", q.body.Get("content.body").Str)
		q.done <- answer{body: `{"rejected":[]}`}
		r.request().done <- answer{body: `{"rejected":["key of gone"]}`}
		q = r.request()
		check(t, "data", `{"format":"event_id_only","x":1}`, q.body.Get("devices.0.data").Raw)
		check(t, "content", "", q.body.Get("content").Raw)
		q.done <- answer{status: 502}
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		check(t, "problems", map[string]string{"good": "", "gone": "the gateway has rejected the pushkey; the pusher was removed",
			"down": "the gateway answers 502"}, got.problems)
		check(t, "pushers", []string{"good", "down"}, r.apps(alice))
	})
}
