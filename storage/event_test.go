package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func wantAbsent(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s: error %v, want ErrNotFound", what, err)
	}
}

func positions(events []*storage.Event) []int64 {
	out := []int64{}
	for _, e := range events {
		if e == nil {
			out = append(out, 0)
		} else {
			out = append(out, e.Pos)
		}
	}
	return out
}

func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r, other := storagetest.NewRoom(t, s, "!r:one", aliceOne), storagetest.NewRoom(t, s, "!other:one", aliceOne)
		r.TxnDevice, r.TxnID = "DEVICE", "txn"
		said := r.Message(bobOne, "hello")
		named := r.State(aliceOne, "m.room.name", "", `{"name":"den"}`)
		renamed := r.State(aliceOne, "m.room.name", "", `{"name":"cave"}`)
		for _, from := range []string{"the database", "the cache"} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				for _, want := range []*storage.Event{said, named, renamed} {
					byID, err := tx.Event(want.ID)
					if err != nil {
						return err
					}
					at, err := tx.EventAt(want.Pos)
					if err != nil {
						return err
					}
					for _, got := range []*storage.Event{byID, at} {
						same(t, from+": event", fields(want), fields(got))
					}
				}
				if e, err := tx.EventAt(renamed.Pos); err != nil || e.Replaces != named.Pos || e.StateBefore == e.StateAfter {
					t.Errorf("%s: the new name is %+v, %v", from, e, err)
				}
				_, err := tx.Event("$none")
				wantAbsent(t, "an event that is not there", err)
				_, err = tx.EventAt(1 << 40)
				wantAbsent(t, "a position without event", err)
				_, err = tx.EventInRoom(other.Row.NID, said.ID)
				wantAbsent(t, "an event of another room", err)
				if _, err := tx.EventInRoom(r.Row.NID, said.ID); err != nil {
					t.Error(err)
				}
				several, err := tx.EventsAt([]int64{renamed.Pos, 1 << 40, said.Pos, said.Pos})
				same(t, from+": several", []int64{renamed.Pos, 0, said.Pos, said.Pos}, positions(several))
				return err
			})
		}
	})
}

// fields is an event without what it keeps for itself.
func fields(e *storage.Event) map[string]any {
	key := "none"
	if e.StateKey != nil {
		key = "=" + *e.StateKey
	}
	return map[string]any{
		"pos": e.Pos, "id": e.ID, "room": e.Room, "room id": e.RoomID, "type": e.Type, "key": key, "sender": e.Sender, "depth": e.Depth, "ts": e.TS,
		"before": e.StateBefore, "after": e.StateAfter, "status": e.Status, "replaces": e.Replaces, "redacted": e.RedactedBy, "device": e.TxnDevice,
		"txn": e.TxnID, "json": string(e.JSON),
	}
}

func TestTimelineIsTheAcceptedEventsOfASpan(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		storagetest.NewRoom(t, s, "!other:one", aliceOne)
		start := r.Row.LastPos
		var all []int64
		for i := range 5 {
			all = append(all, r.Message(aliceOne, fmt.Sprint(i)).Pos)
		}
		updating(t, s, func(tx *storage.Tx) error {
			for i, status := range []storage.EventStatus{storage.SoftFailed, storage.Rejected, storage.Outlier} {
				pos, err := tx.NextPos()
				if err != nil {
					return err
				}
				err = tx.AddEvent(&storage.Event{NID: pos, Pos: pos, ID: id.EventID(fmt.Sprintf("$bad%d", i)), Room: r.Row.NID, Type: "m.x", Sender: bobOne,
					Status: status, JSON: []byte(`{}`)})
				if err != nil {
					return err
				}
			}
			return nil
		})
		end := all[len(all)-1]
		for name, c := range map[string]struct {
			span    storage.Span
			limit   int
			reverse bool
			want    []int64
		}{
			"all":                            {storage.Span{After: start, UpTo: end + 100}, 10, false, all},
			"the first two":                  {storage.Span{After: start, UpTo: end + 100}, 2, false, all[:2]},
			"the last two, the newest first": {storage.Span{After: start, UpTo: end + 100}, 2, true, []int64{all[4], all[3]}},
			"after the second":               {storage.Span{After: all[1], UpTo: end}, 10, false, all[2:]},
			"up to the second":               {storage.Span{After: start, UpTo: all[1]}, 10, false, all[:2]},
			"none":                           {storage.Span{After: end, UpTo: end + 100}, 10, false, []int64{}},
		} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.Timeline(r.Row.NID, c.span, c.limit, c.reverse)
				same(t, name, c.want, positions(got))
				return err
			})
		}
		viewing(t, s, func(tx *storage.ReadTx) error {
			_, err := tx.EventInRoom(r.Row.NID, "$bad0")
			wantAbsent(t, "a soft-failed event in its room", err)
			if _, err := tx.Event("$bad0"); err != nil {
				t.Errorf("a soft-failed event: %v", err)
			}
			first, err := tx.EventAt(all[0])
			if err != nil {
				return err
			}
			for ts, want := range map[int64][2]int64{first.TS: {all[0], all[0]}, first.TS + 4: {all[4], all[4]}, first.TS - 1_000_000: {-1, 0}} {
				after, err := tx.EventNear(r.Row.NID, ts, false)
				if err != nil || want[0] > 0 && after.Pos != want[0] {
					t.Errorf("at or after %d: %+v, %v", ts, after, err)
				}
				before, err := tx.EventNear(r.Row.NID, ts, true)
				if want[1] == 0 {
					wantAbsent(t, "before all", err)
				} else if err != nil || before.Pos != want[1] {
					t.Errorf("at or before %d: %+v, %v", ts, before, err)
				}
			}
			return nil
		})
	})
}

func TestAnEventIDIsGivenOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		said := r.Message(aliceOne, "hello")
		err := s.Update(context.Background(), func(tx *storage.Tx) error {
			pos, err := tx.NextPos()
			if err != nil {
				return err
			}
			return tx.AddEvent(&storage.Event{Pos: pos, ID: said.ID, Room: r.Row.NID, Type: "m.x", Sender: aliceOne, JSON: []byte(`{}`)})
		})
		if err == nil {
			t.Error("two events have one id")
		}
	})
}

// The cache learns of a redaction with the commit; whoever reads must never see, and never put back, what was before.
func TestARedactedEventIsNeverSeenAsItWas(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		said := r.Message(aliceOne, "secret")
		shows := func(tx *storage.ReadTx) bool {
			byID, err := tx.Event(said.ID)
			if err != nil {
				t.Fatal(err)
			}
			at, err := tx.EventAt(said.Pos)
			if err != nil {
				t.Fatal(err)
			}
			listed, err := tx.EventsByID([]id.EventID{said.ID})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, e := range []*storage.Event{byID, at, listed[0]} {
				found = found || strings.Contains(string(e.JSON)+string(e.ClientFields()), "secret") || e.RedactedBy == 0
			}
			return found
		}
		redacting, release, redacted := make(chan struct{}), make(chan struct{}), make(chan error)
		began, looked := make(chan struct{}), make(chan bool)
		// A reader whose snapshot is from before the redaction, and who reads the event after it.
		go func() {
			old := false
			err := s.View(ctx, func(tx *storage.ReadTx) error {
				if _, err := tx.Position(); err != nil {
					return err
				}
				close(began)
				<-release
				old = shows(tx)
				return nil
			})
			looked <- old && err == nil
		}()
		<-began
		go func() {
			redacted <- s.Update(ctx, func(tx *storage.Tx) error {
				close(redacting)
				if err := tx.RedactEvent(said, r.Row.LastPos, []byte(`{"content":{}}`)); err != nil {
					return err
				}
				if shows(&tx.ReadTx) {
					return errors.New("the transaction itself sees the event as it was")
				}
				return nil
			})
		}()
		<-redacting
		if err := <-redacted; err != nil {
			t.Fatal(err)
		}
		close(release)
		<-looked // what it saw is its snapshot's affair; what matters is what it left behind
		viewing(t, s, func(tx *storage.ReadTx) error {
			if shows(tx) {
				t.Error("a later reader sees the event as it was")
			}
			return nil
		})
		updating(t, s, func(tx *storage.Tx) error {
			if shows(&tx.ReadTx) {
				t.Error("a later writer sees the event as it was")
			}
			return nil
		})
	})
}

// A redaction that is rolled back has not happened, for anybody.
func TestARedactionThatFailsLeavesTheEvent(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		said := r.Message(aliceOne, "kept")
		failed := s.Update(context.Background(), func(tx *storage.Tx) error {
			if err := tx.RedactEvent(said, 1, []byte(`{"content":{}}`)); err != nil {
				return err
			}
			return errors.New("no")
		})
		if failed == nil {
			t.Fatal("the update did not fail")
		}
		for range 2 {
			updating(t, s, func(tx *storage.Tx) error {
				e, err := tx.Event(said.ID)
				if err == nil && (e.RedactedBy != 0 || e.Get("content.body").Str != "kept") {
					t.Errorf("the event is %s", e.JSON)
				}
				return err
			})
		}
	})
}

// Spec: client-server-api#mroomredaction
func TestClientsOfEitherGenerationFindWhatIsRedacted(t *testing.T) {
	for name, c := range map[string]struct{ json, beside, inside string }{
		"beside the content":                          {`{"type":"m.room.redaction","content":{"reason":"r"},"redacts":"$a","sender":"@a:b","origin_server_ts":1}`, "$a", "$a"},
		"beside empty content":                        {`{"type":"m.room.redaction","content":{},"redacts":"$a","sender":"@a:b","origin_server_ts":1}`, "$a", "$a"},
		"in the content":                              {`{"type":"m.room.redaction","content":{"redacts":"$a"},"sender":"@a:b","origin_server_ts":1}`, "$a", "$a"},
		"of a redaction that was redacted":            {`{"type":"m.room.redaction","content":{},"sender":"@a:b","origin_server_ts":1}`, "", ""},
		"an event of another type says no such thing": {`{"type":"m.x","content":{},"redacts":"$a","sender":"@a:b","origin_server_ts":1}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := &storage.Event{ID: "$r", JSON: []byte(c.json), Type: gjson.Get(c.json, "type").Str, Sender: "@a:b"}
			got := "{" + string(e.ClientFields()) + "}"
			if !gjson.Valid(got) || gjson.Get(got, "redacts").Str != c.beside || gjson.Get(got, "content.redacts").Str != c.inside {
				t.Errorf("it is %s", got)
			}
			if gjson.Get(got, "event_id").Str != "$r" || gjson.Get(got, "sender").Str != "@a:b" {
				t.Errorf("it is %s", got)
			}
		})
	}
}
