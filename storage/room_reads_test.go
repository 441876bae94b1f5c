package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	aliceOne id.UserID = "@alice:one"
	bobOne   id.UserID = "@bob:one"
	eveOne   id.UserID = "@eve:one"
)

func viewing(t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func updating(t *testing.T, s *storage.Store, fn func(tx *storage.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestStateOfThePast(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		topic := storage.StateKey{Type: "m.room.topic"}
		name := storage.StateKey{Type: "m.room.name"}
		one := r.State(aliceOne, topic.Type, "", `{"topic":"one"}`)
		point := r.Message(aliceOne, "here").Pos
		r.State(aliceOne, topic.Type, "", `{"topic":"two"}`)
		three := r.State(aliceOne, topic.Type, "", `{"topic":"three"}`)
		n := r.State(aliceOne, name.Type, "", `{"name":"den"}`)
		viewing(t, s, func(tx *storage.ReadTx) error {
			span := storage.Span{After: point, UpTo: r.Row.LastPos}
			before, err := tx.StateBefore(r.Row.NID, span)
			if err != nil {
				return err
			}
			same(t, "before", map[storage.StateKey]int64{topic: one.Pos, name: 0}, before)
			changes, err := tx.StateChanges(r.Row.NID, span)
			if err != nil {
				return err
			}
			same(t, "changes", map[storage.StateKey]int64{topic: three.Pos, name: n.Pos}, changes)
			if tx.StateUnchanged(r.Row.NID, point) || !tx.StateUnchanged(r.Row.NID, r.Row.LastPos) {
				t.Error("StateUnchanged is wrong")
			}
			nothing, err := tx.StateBefore(r.Row.NID, storage.Span{After: r.Row.LastPos, UpTo: r.Row.LastPos + 10})
			same(t, "nothing changed", 0, len(nothing))
			return err
		})
	})
}

func TestCurrentStateOfKeys(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		b := r.Member(bobOne, bobOne, "join")
		r.Member(eveOne, eveOne, "join")
		viewing(t, s, func(tx *storage.ReadTx) error {
			found, err := tx.CurrentStateOfKeys(r.Row.NID, "m.room.member", []string{string(bobOne), "@nobody:one"})
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].ID != b.ID {
				t.Errorf("found %v", found)
			}
			found, err = tx.CurrentStateOfKeys(r.Row.NID, "org.never", []string{""})
			same(t, "of an unknown type", 0, len(found))
			return err
		})
	})
}

func TestNeighbours(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		a, b := storagetest.NewRoom(t, s, "!a:one", aliceOne), storagetest.NewRoom(t, s, "!b:one", eveOne)
		a.Member(bobOne, bobOne, "join")
		b.Member(bobOne, bobOne, "join")
		b.Member(aliceOne, aliceOne, "leave")
		for user, want := range map[id.UserID][]id.UserID{aliceOne: {aliceOne, bobOne}, bobOne: {aliceOne, bobOne, eveOne}, "@nobody:one": nil} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.Neighbours(user)
				slices.Sort(got)
				same(t, string(user), want, got)
				return err
			})
		}
	})
}

func TestAggregations(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		root, plain := r.Message(aliceOne, "root"), r.Message(aliceOne, "plain")
		relate := func(sender id.UserID, relType string) *storage.Event {
			return r.Event(sender, "m.room.message", fmt.Sprintf(`{"body":"x","m.relates_to":{"rel_type":%q,"event_id":%q,"key":"k"}}`, relType, root.ID))
		}
		relate(bobOne, "m.annotation")
		edit := relate(aliceOne, "m.replace")
		first, second := relate(bobOne, "m.thread"), relate(eveOne, "m.thread")
		both := []id.EventID{root.ID, plain.ID}
		viewing(t, s, func(tx *storage.ReadTx) error {
			for event, has := range map[id.EventID]bool{root.ID: true, plain.ID: false, edit.ID: false} {
				e, err := tx.Event(event)
				if err != nil || e.HasChildren != has {
					t.Errorf("%s is taken to have children: %v, %v", e.JSON, !has, err)
				}
			}
			aggregated, err := tx.Aggregated(both)
			if err != nil {
				return err
			}
			same(t, "aggregated", map[id.EventID][]storage.Relation{root.ID: {{Parent: root.ID, RelType: "m.replace", Child: edit.Pos, Room: r.Row.NID,
				Type: "m.room.message", Sender: aliceOne, Key: "k"}}}, aggregated)
			for _, test := range []struct {
				name    string
				ignored []id.UserID
				want    storage.ThreadSummary
			}{
				{"all replies", nil, storage.ThreadSummary{Root: root.ID, Replies: 2, Latest: second.Pos, Participated: true}},
				{"without one user's", []id.UserID{eveOne}, storage.ThreadSummary{Root: root.ID, Replies: 1, Latest: first.Pos, Participated: true}},
			} {
				got, err := tx.ThreadSummaries(both, bobOne, test.ignored)
				if err != nil {
					return err
				}
				same(t, test.name, []storage.ThreadSummary{test.want}, got)
			}
			replies, err := tx.ThreadReplies(root.ID, second.Pos, 10)
			if err != nil {
				return err
			}
			same(t, "replies before", []int64{first.Pos}, replies)
			for _, test := range []struct {
				types   []string
				senders []id.UserID
				want    bool
			}{
				{[]string{"m.thread"}, nil, true}, {nil, []id.UserID{eveOne}, true}, {[]string{"m.annotation"}, []id.UserID{eveOne}, false},
				{[]string{"m.thread"}, []id.UserID{bobOne, eveOne}, true},
			} {
				got, err := tx.RelatedBy(both, test.types, test.senders)
				if err != nil {
					return err
				}
				if got[root.ID] != test.want || got[plain.ID] {
					t.Errorf("related by %v from %v: %v", test.types, test.senders, got)
				}
			}
			return nil
		})
	})
}

func TestThreadOf(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		relate := func(to *storage.Event, relType string) *storage.Event {
			return r.Event(aliceOne, "m.room.message", fmt.Sprintf(`{"body":"x","m.relates_to":{"rel_type":%q,"event_id":%q}}`, relType, to.ID))
		}
		root := r.Message(aliceOne, "root")
		reply := relate(root, "m.thread")
		edit := relate(reply, "m.replace")
		far := relate(relate(edit, "m.reference"), "m.reference")
		for _, test := range []struct {
			name string
			ev   *storage.Event
			want id.EventID
		}{
			{"a root is in the main timeline", root, ""},
			{"a reply", reply, root.ID},
			{"the edit of a reply", edit, root.ID},
			{"what relates to a root is in the main timeline", relate(root, "m.annotation"), ""},
			{"what is too far away", far, ""},
			{"what relates to something unknown", relate(&storage.Event{ID: "$unknown"}, "m.reference"), ""},
		} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.ThreadOf(test.ev)
				same(t, test.name, test.want, got)
				return err
			})
		}
	})
}

func TestReceiptsMoveForwardOnly(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		for _, test := range []struct {
			name  string
			at    int64
			moved bool
		}{
			{"the first", 0, true}, {"an event that is here, after one that is not", 5, true}, {"the same", 5, false}, {"back", 4, false},
			{"one that is not here", 0, false}, {"on", 6, true},
		} {
			updating(t, s, func(tx *storage.Tx) error {
				pos, err := tx.NextPos()
				if err != nil {
					return err
				}
				moved, err := tx.SetReceipt(storage.Receipt{Room: r.Row.NID, User: bobOne, Type: storage.Read, Event: "$e", At: test.at, Pos: pos, TS: 1})
				same(t, test.name, test.moved, moved)
				return err
			})
		}
		updating(t, s, func(tx *storage.Tx) error {
			pos, err := tx.NextPos()
			if err == nil {
				_, err = tx.SetReceipt(storage.Receipt{Room: r.Row.NID, User: bobOne, Type: storage.ReadPrivate, Event: "$e", At: 9, Pos: pos, TS: 1})
			}
			return err
		})
		for user, want := range map[id.UserID]int{aliceOne: 1, bobOne: 2} {
			viewing(t, s, func(tx *storage.ReadTx) error {
				list, err := tx.ReceiptsSince(r.Row.NID, storage.Span{After: 0, UpTo: 1000}, user)
				same(t, "receipts for "+string(user), want, len(list))
				return err
			})
		}
	})
}

// TestMembershipsAreNeverStale plays the ways in which the cache of MembershipsOf could lie.
func TestMembershipsAreNeverStale(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		of := func(tx *storage.ReadTx) string {
			list, err := tx.MembershipsOf(bobOne)
			if err != nil {
				t.Error(err)
			}
			out := ""
			for _, m := range list {
				out += m.Membership
				if m.Forgotten {
					out += " forgotten"
				}
			}
			return out
		}
		read := func() (out string) {
			viewing(t, s, func(tx *storage.ReadTx) error { out = of(tx); return nil })
			return out
		}
		same(t, "nothing", "", read())
		r.Member(bobOne, bobOne, "join")
		same(t, "joined", "join", read())
		viewing(t, s, func(tx *storage.ReadTx) error {
			if _, err := tx.Position(); err != nil {
				return err
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				r.Member(bobOne, bobOne, "leave")
			}()
			<-done
			// Another reader fills the cache with what this snapshot cannot see yet.
			other := make(chan string)
			go func() { other <- read() }()
			same(t, "left", "leave", <-other)
			same(t, "in the older snapshot", "join", of(tx))
			return nil
		})
		same(t, "left, afterwards", "leave", read())
		updating(t, s, func(tx *storage.Tx) error {
			if err := tx.ForgetRoom(r.Row.NID, bobOne); err != nil {
				return err
			}
			same(t, "inside the change", "leave forgotten", of(&tx.ReadTx))
			return nil
		})
		same(t, "forgotten", "leave forgotten", read())
	})
}

func TestSettledWaitsForOnCommit(t *testing.T) {
	s := storagetest.Open(t)
	var pos int64
	committed, release := make(chan struct{}), make(chan struct{})
	finished := make(chan error, 1)
	go func() {
		finished <- s.Update(context.Background(), func(tx *storage.Tx) (err error) {
			pos, err = tx.NextPos()
			tx.OnCommit(func() {
				close(committed)
				<-release
			})
			return err
		})
	}()
	<-committed
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Settled(ctx, pos); !errors.Is(err, context.Canceled) {
		t.Errorf("while OnCommit runs: %v", err)
	}
	if err := s.Settled(ctx, pos-1); err != nil {
		t.Errorf("for what was before: %v", err)
	}
	close(release)
	if err := s.Settled(context.Background(), pos); err != nil {
		t.Error(err)
	}
	if err := <-finished; err != nil {
		t.Error(err)
	}
	if err := s.Settled(context.Background(), pos+100); err != nil {
		t.Errorf("for what nobody here has done: %v", err)
	}
}

func TestChildrenMayComeBeforeTheirParent(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		late, lonely := r.Message(aliceOne, "late"), r.Message(aliceOne, "lonely")
		r.Event(bobOne, "m.room.message", `{"body":"x","m.relates_to":{"rel_type":"m.reference","event_id":"$elsewhere"}}`)
		annotation := `{"m.relates_to":{"rel_type":"m.annotation","event_id":"` + string(lonely.ID) + `","key":"k"}}`
		r.Event(bobOne, "m.reaction", annotation)
		updating(t, s, func(tx *storage.Tx) error {
			parent := late.Copy()
			parent.ID = "$elsewhere"
			return errors.Join(tx.FindChildren(parent), tx.FindChildren(lonely))
		})
		viewing(t, s, func(tx *storage.ReadTx) error {
			events, err := tx.EventsAt([]int64{late.NID, lonely.NID})
			if err == nil && (!events[0].HasChildren || events[1].HasChildren) {
				t.Errorf("the parent has children: %v, who is only liked: %v", events[0].HasChildren, events[1].HasChildren)
			}
			return err
		})
	})
}
