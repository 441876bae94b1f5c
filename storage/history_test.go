package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	roomAlice id.UserID = "@alice:one"
	roomBob   id.UserID = "@bob:one"
)

func view(t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func want[T any](t *testing.T, what string, got, want T, err error) error {
	t.Helper()
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	return err
}

func idsOf(events []*storage.Event) []id.EventID {
	out := []id.EventID{}
	for _, e := range events {
		if e == nil {
			out = append(out, "")
		} else {
			out = append(out, e.ID)
		}
	}
	return out
}

func TestEventsAreFoundByID(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!room:one", roomAlice)
		a, b := r.Message(roomAlice, "a"), r.Message(roomAlice, "b")
		for range 2 { // from the database, then from memory
			view(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.EventsByID([]id.EventID{b.ID, "$no", a.ID, b.ID})
				return want(t, "events", idsOf(got), []id.EventID{b.ID, "", a.ID, b.ID}, err)
			})
		}
	})
}

func TestNIDsByTime(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!room:one", roomAlice)
		storagetest.NewRoom(t, s, "!other:one", roomAlice)
		a, b, c := r.Message(roomAlice, "a"), r.Message(roomAlice, "b"), r.Message(roomAlice, "c")
		view(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.NIDsByTime(r.Row.NID, storage.Moment{TS: a.TS, Pos: math.MinInt64}, 2, false)
			if err := want(t, "from a", got, []int64{a.Pos, b.Pos}, err); err != nil {
				return err
			}
			got, err = tx.NIDsByTime(r.Row.NID, storage.Moment{TS: a.TS, Pos: a.Pos}, 10, false)
			if err := want(t, "after a", got, []int64{b.Pos, c.Pos}, err); err != nil {
				return err
			}
			got, err = tx.NIDsByTime(r.Row.NID, storage.Moment{TS: c.TS, Pos: math.MaxInt64}, 2, true)
			if err := want(t, "back from c", got, []int64{c.Pos, b.Pos}, err); err != nil {
				return err
			}
			got, err = tx.NIDsByTime(r.Row.NID, storage.Moment{TS: c.TS, Pos: c.Pos}, 1, true)
			return want(t, "before c", got, []int64{b.Pos}, err)
		})
	})
}

func TestStateOfAMoment(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!room:one", roomAlice)
		join := r.Member(roomBob, roomBob, "join")
		leave := r.Member(roomBob, roomBob, "leave")
		r.State(roomAlice, "m.room.name", "", `{"name":"later"}`)
		view(t, s, func(tx *storage.ReadTx) error {
			for _, test := range []struct {
				at   *storage.Event
				keys []string
				want int
			}{{join, nil, 2}, {leave, nil, 2}, {leave, []string{string(roomBob), "@unknown:one"}, 1}, {leave, []string{}, 0}} {
				got, err := tx.StateOfTypeAt(test.at.StateAfter, "m.room.member", test.keys)
				if err := want(t, fmt.Sprint(test.at.ID, test.keys), len(got), test.want, err); err != nil {
					return err
				}
				for _, ev := range got {
					if *ev.StateKey == string(roomBob) && ev.ID != test.at.ID {
						t.Errorf("at %s bob's membership is %s", test.at.ID, ev.ID)
					}
				}
			}
			if got, err := tx.StateOfTypeAt(join.StateAfter, "org.example.unknown", nil); err != nil || got != nil {
				t.Error(got, err)
			}
			got, err := tx.WholeStateAt(leave.StateAfter)
			return want(t, "the whole state", len(got), 4, err)
		})
	})
}

func TestChildren(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!room:one", roomAlice)
		root := r.Message(roomAlice, "root")
		relate := func(typ, relType string, to *storage.Event) *storage.Event {
			return r.Event(roomAlice, typ, fmt.Sprintf(`{"m.relates_to":{"rel_type":%q,"event_id":%q}}`, relType, to.ID))
		}
		a := relate("m.room.message", "m.thread", root)
		b := relate("org.example", "m.thread", root)
		c := relate("org.example", "m.reference", root)
		d := relate("org.example", "m.reference", b)
		everything := storage.Span{After: math.MinInt64, UpTo: math.MaxInt64}
		view(t, s, func(tx *storage.ReadTx) error {
			for _, test := range []struct {
				name    string
				kin     storage.Kin
				span    storage.Span
				limit   int
				reverse bool
				want    []int64
			}{
				{"all", storage.Kin{}, everything, 10, false, []int64{a.Pos, b.Pos, c.Pos}},
				{"the last", storage.Kin{}, everything, 2, true, []int64{c.Pos, b.Pos}},
				{"of a relation type", storage.Kin{RelType: "m.thread"}, everything, 10, true, []int64{b.Pos, a.Pos}},
				{"of an event type", storage.Kin{Type: "org.example"}, everything, 10, false, []int64{b.Pos, c.Pos}},
				{"of both", storage.Kin{RelType: "m.thread", Type: "org.example"}, everything, 10, false, []int64{b.Pos}},
				{"of a type that nobody uses", storage.Kin{Type: "org.unknown"}, everything, 10, false, nil},
				{"in a span", storage.Kin{}, storage.Span{After: a.Pos, UpTo: b.Pos}, 10, false, []int64{b.Pos}},
			} {
				got, err := tx.Children(r.Row.NID, root.ID, test.kin, test.span, test.limit, test.reverse)
				if err := want(t, test.name, got, test.want, err); err != nil {
					return err
				}
			}
			got, err := tx.ChildrenOf(r.Row.NID, []id.EventID{root.ID, b.ID}, 3)
			return want(t, "of several", got, []storage.Child{
				{NID: d.NID, ID: d.ID, Kind: storage.Kin{RelType: "m.reference", Type: "org.example"}},
				{NID: c.NID, ID: c.ID, Kind: storage.Kin{RelType: "m.reference", Type: "org.example"}},
				{NID: b.NID, ID: b.ID, Kind: storage.Kin{RelType: "m.thread", Type: "org.example"}},
			}, err)
		})
	})
}

func TestPeople(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		const eve, remote id.UserID = "@eve:one", "@rita:two"
		err := s.Update(context.Background(), func(tx *storage.Tx) error {
			for _, u := range []id.UserID{roomAlice, roomBob, eve, "@100%:one"} {
				if _, err := tx.InsertUser(storage.User{ID: u, CreatedTS: 1}); err != nil {
					return err
				}
			}
			if _, err := tx.InsertUser(storage.User{ID: "@guest:one", Guest: true}); err != nil {
				return err
			}
			if err := tx.SetProfileField(roomAlice, "avatar_url", json.RawMessage(`"mxc://one/a"`)); err != nil {
				return err
			}
			return tx.SetProfileField(roomAlice, "displayname", json.RawMessage(`"Lady \"A\""`))
		})
		if err != nil {
			t.Fatal(err)
		}
		open := storagetest.NewRoom(t, s, "!open:one", roomAlice)
		closed := storagetest.NewRoom(t, s, "!closed:one", roomBob)
		closed.State(roomBob, "m.room.join_rules", "", `{"join_rule":"invite"}`)
		closed.Member(eve, eve, "join")
		err = s.Update(context.Background(), func(tx *storage.Tx) error {
			for r, rule := range map[*storagetest.Room]string{open: "public", closed: "invite"} {
				r.Row.Summary.JoinRule = rule
				if err := tx.SaveRoomSummary(r.Row); err != nil {
					return err
				}
			}
			return tx.SetMembership(storage.Membership{User: remote, Room: closed.Row.NID, Membership: "join", Sender: remote, Name: "Rita"}, false)
		})
		if err != nil {
			t.Fatal(err)
		}
		view(t, s, func(tx *storage.ReadTx) error {
			for word, found := range map[string][]storage.Person{
				"lady":   {{ID: roomAlice, DisplayName: `Lady "A"`, AvatarURL: "mxc://one/a"}},
				"@b":     {{ID: roomBob}},
				"0%":     {{ID: "@100%:one"}},
				"_":      {},
				"guest":  {},
				"nobody": {},
			} {
				got, err := tx.LocalPeople(word, 10)
				if err := want(t, word, got, found, err); err != nil {
					return err
				}
			}
			everybody := []id.UserID{roomAlice, roomBob, eve, "@unknown:one"}
			got, err := tx.Meets(roomAlice, everybody)
			if err := want(t, "whom alice can meet", got, map[id.UserID]bool{roomAlice: true}, err); err != nil {
				return err
			}
			got, err = tx.Meets(eve, everybody)
			if err := want(t, "whom eve can meet", got, map[id.UserID]bool{roomAlice: true, roomBob: true, eve: true}, err); err != nil {
				return err
			}
			people, err := tx.RemotePeople(eve, "rit", 10)
			if err := want(t, "remote users whom eve knows", people, []storage.Person{{ID: remote, DisplayName: "Rita"}}, err); err != nil {
				return err
			}
			people, err = tx.RemotePeople(roomAlice, "rit", 10)
			return want(t, "remote users whom alice knows", people, []storage.Person{}, err)
		})
	})
}

func TestReports(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		report := storage.Report{Reporter: roomBob, Room: "!room:one", Event: "$event", Reason: "spam", TS: 5}
		err := s.Update(context.Background(), func(tx *storage.Tx) error {
			for range 3 {
				if _, err := tx.AddReport(report); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		view(t, s, func(tx *storage.ReadTx) error {
			got, total, err := tx.Reports(storage.ReportQuery{Kind: storage.EventReports, Reporter: "BOB", Skip: 1, Limit: 1})
			report.NID = 2
			if total != 3 {
				t.Errorf("%d reports", total)
			}
			if none, total, err := tx.Reports(storage.ReportQuery{Room: "r_om", Limit: 1}); err != nil || total != 0 || len(none) != 0 {
				t.Errorf("an underscore is any character: %d, %v", total, err)
			}
			if oldest, _, err := tx.Reports(storage.ReportQuery{OldestFirst: true, Limit: 1}); err != nil || oldest[0].NID != 1 {
				t.Errorf("the oldest is %v, %v", oldest, err)
			}
			return want(t, "reports", got, []storage.Report{report}, err)
		})
	})
}

func TestSearchFindsWords(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!room:one", roomAlice)
		once, twice := r.Message(roomAlice, "The quick brown Fox"), r.Message(roomAlice, "fox, fox and fox!")
		gone := r.Message(roomAlice, "a redacted fox")
		err := s.Update(context.Background(), func(tx *storage.Tx) error {
			if _, err := tx.IndexNextForSearch(100); err != nil {
				return err
			}
			return tx.RemoveFromSearch(gone.Pos)
		})
		if err != nil {
			t.Fatal(err)
		}
		rooms := []int64{r.Row.NID}
		view(t, s, func(tx *storage.ReadTx) error {
			for _, test := range []struct {
				words  string
				rooms  []int64
				byRank bool
				before int64
				offset int
				want   []int64
			}{
				{"FOX", rooms, false, math.MaxInt64, 0, []int64{twice.Pos, once.Pos}},
				{"fox", rooms, true, math.MaxInt64, 0, []int64{twice.Pos, once.Pos}},
				{"fox", rooms, true, math.MaxInt64, 1, []int64{once.Pos}},
				{"fox", rooms, false, twice.Pos, 0, []int64{once.Pos}},
				{`"brown" fox*`, rooms, false, math.MaxInt64, 0, []int64{once.Pos}},
				{"fox NOT brown", rooms, false, math.MaxInt64, 0, nil},
				{"", rooms, false, math.MaxInt64, 0, nil},
				{"fox", []int64{99}, false, math.MaxInt64, 0, nil},
				{"fox", nil, false, math.MaxInt64, 0, nil},
			} {
				hits, err := tx.Search(test.words, test.rooms, test.byRank, test.before, 10, test.offset)
				var got []int64
				for _, h := range hits {
					got = append(got, h.NID)
				}
				if err := want(t, fmt.Sprintf("%+v", test), got, test.want, err); err != nil {
					return err
				}
			}
			n, err := tx.CountHits("fox", rooms, 10)
			if err := want(t, "hits", n, 2, err); err != nil {
				return err
			}
			n, err = tx.CountHits("fox", rooms, 1)
			return want(t, "hits up to one", n, 1, err)
		})
	})
}
