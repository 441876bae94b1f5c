package history

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// gapped is a room with a gap between "old" and "new 1"; bob joined after the gap.
func gapped(t *testing.T, visibility string) (*storage.Store, storage.Gap) {
	t.Helper()
	s := storagetest.Open(t)
	r := storagetest.NewRoom(t, s, "!room:one", alice)
	r.State(alice, "m.room.history_visibility", "", `{"history_visibility":"`+visibility+`"}`)
	r.Message(alice, "old")
	var gap storage.Gap
	if err := s.Update(context.Background(), func(tx *storage.Tx) error {
		room, err := tx.Room("!room:one")
		if err == nil {
			gap, err = tx.AddGap(room.NID, []id.EventID{"$missing"})
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r.Message(alice, "new 1")
	r.Message(alice, "new 2")
	r.Member(bob, bob, "join")
	r.Message(alice, "new 3")
	return s, gap
}

func TestWalksDoNotPassOverGaps(t *testing.T) {
	s, gap := gapped(t, "shared")
	type result struct {
		Texts []string
		More  bool
		Gap   bool
		End   int64 // 0: not looked at
	}
	f := messages(t)
	for _, test := range []struct {
		name string
		walk Walk
		want result
	}{
		{"back to the gap", Walk{From: Now, To: Beginning, Back: true, Limit: 10}, result{[]string{"new 3", "new 2", "new 1"}, true, true, gap.Next}},
		{"back, full at the gap", Walk{From: Now, To: Beginning, Back: true, Limit: 3}, result{[]string{"new 3", "new 2", "new 1"}, true, false, 0}},
		{"back, full before the gap", Walk{From: Now, To: Beginning, Back: true, Limit: 2}, result{[]string{"new 3", "new 2"}, true, false, 0}},
		{"back from the gap", Walk{From: gap.Next, To: Beginning, Back: true, Limit: 10}, result{nil, true, true, gap.Next}},
		{"back from within the gap", Walk{From: gap.Floor + 5, To: Beginning, Back: true, Limit: 10}, result{nil, true, true, gap.Floor + 5}},
		{"back from below the gap", Walk{From: gap.Floor - 1, To: Beginning, Back: true, Limit: 10}, result{[]string{"old"}, false, false, 0}},
		{"back to a point above the gap", Walk{From: Now, To: gap.Next, Back: true, Limit: 10}, result{[]string{"new 3", "new 2", "new 1"}, false, false, 0}},
		{"back past the gap", Walk{From: Now, To: Beginning, Back: true, Limit: 10, Past: gap.Floor},
			result{[]string{"new 3", "new 2", "new 1", "old"}, false, false, 0}},
		{"back past the gap, full there", Walk{From: Now, To: Beginning, Back: true, Limit: 3, Past: gap.Floor},
			result{[]string{"new 3", "new 2", "new 1"}, true, false, 0}},
		{"nothing back", Walk{From: Now, To: Beginning, Back: true}, result{nil, true, false, 0}},
		{"forward to the gap", Walk{From: Beginning, To: Now, Limit: 10}, result{[]string{"old"}, true, true, gap.Floor - 1}},
		{"forward from the gap", Walk{From: gap.Floor - 1, To: Now, Limit: 10}, result{nil, true, true, gap.Floor - 1}},
		{"forward from above the gap", Walk{From: gap.Next, To: Now, Limit: 10}, result{[]string{"new 1", "new 2", "new 3"}, false, false, 0}},
		{"forward past the gap", Walk{From: Beginning, To: Now, Limit: 10, Past: gap.Floor},
			result{[]string{"old", "new 1", "new 2", "new 3"}, false, false, 0}},
		{"forward to a point below the gap", Walk{From: Beginning, To: gap.Floor - 1, Limit: 10}, result{[]string{"old"}, false, false, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.walk.Filter = f
			view(t, s, "!room:one", alice, func(room *Room) error {
				page, err := room.Walk(test.walk)
				if err != nil {
					return err
				}
				got := result{nil, page.More, page.Gap != nil, test.want.End}
				if len(page.Events) > 0 {
					got.Texts = bodies(page.Events)
				}
				if test.want.End != 0 {
					got.End = page.End
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
				return nil
			})
		})
	}
}

func TestGapsInHiddenHistoryDoNotMatter(t *testing.T) {
	for visibility, want := range map[string]bool{"shared": true, "invited": true, "world_readable": true, "joined": false} {
		s, gap := gapped(t, visibility)
		view(t, s, "!room:one", bob, func(room *Room) error {
			page, err := room.Walk(Walk{From: gap.Next, To: Beginning, Back: true, Limit: 10})
			if err == nil && (page.Gap != nil) != want {
				t.Errorf("%s: the walk comes to a gap: %v", visibility, page.Gap != nil)
			}
			return err
		})
	}
}

func TestTheBeginningIsBeforeAGap(t *testing.T) {
	s, gap := gapped(t, "shared")
	view(t, s, "!room:one", alice, func(room *Room) error {
		first, err := room.Edge(Beginning)
		if err == nil && first >= gap.Floor {
			t.Errorf("the beginning is at %d", first)
		}
		return err
	})
	// A room that begins with a gap, as one does that this server has joined.
	s = storagetest.Open(t)
	var whole storage.Gap
	if err := s.Update(context.Background(), func(tx *storage.Tx) (err error) {
		whole, err = tx.AddGap(1, []id.EventID{"$missing"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if r := storagetest.NewRoom(t, s, "!room:one", alice); r.Row.NID != whole.Room {
		t.Fatalf("the room has the number %d", r.Row.NID)
	}
	view(t, s, "!room:one", alice, func(room *Room) error {
		first, err := room.Edge(Beginning)
		if err == nil && first != whole.Floor-1 {
			t.Errorf("the beginning is at %d, and the gap from %d on", first, whole.Floor)
		}
		return err
	})
}

func TestWhetherAnEventIsNextToAGap(t *testing.T) {
	s, _ := gapped(t, "shared")
	view(t, s, "!room:one", alice, func(room *Room) error {
		places, err := room.tx.TimelinePlaces(room.NID, storage.Span{After: Beginning, UpTo: Now}, 100, false)
		if err != nil {
			return err
		}
		events, err := room.tx.EventsAt(storage.NIDs(places))
		if err != nil {
			return err
		}
		for _, ev := range events {
			text := ev.Get("content.body").Str
			for back, want := range map[bool]bool{false: text == "new 1", true: text == "old"} {
				if got, err := room.NextToGap(ev, back); err != nil || got != want {
					t.Errorf("%q %s, back %v: %v, %v", text, ev.Type, back, got, err)
				}
			}
		}
		got, err := room.NextToGap(nil, true)
		if err == nil && !got {
			t.Error("nothing is next to a gap, where there is one")
		}
		return err
	})
}
