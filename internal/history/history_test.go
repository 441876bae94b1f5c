package history

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
)

func view(t *testing.T, s *storage.Store, room id.RoomID, user id.UserID, fn func(r *Room) error) {
	t.Helper()
	if err := s.View(context.Background(), func(tx *storage.ReadTx) error {
		r, err := Open(tx, room, user)
		if err != nil {
			return err
		}
		return fn(r)
	}); err != nil {
		t.Fatal(err)
	}
}

func bodies(events []*storage.Event) []string {
	out := []string{}
	for _, ev := range events {
		out = append(out, ev.Get("content.body").Str)
	}
	return out
}

func messages(t *testing.T) *filter.RoomEventFilter {
	t.Helper()
	f, err := filter.ParseRoomEvents(json.RawMessage(`{"types":["m.room.message"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// There are two messages, and between them more events than one walk looks at: some that the filter does not let through, or some that
// are hidden.
func TestWalksAreBounded(t *testing.T) {
	s := storagetest.Open(t)
	r := storagetest.NewRoom(t, s, "!room:one", alice)
	r.Message(alice, "first")
	r.State(alice, "m.room.history_visibility", "", `{"history_visibility":"joined"}`)
	for i := range maxScan + 100 {
		r.Event(alice, "org.example.noise", fmt.Sprintf(`{"body":"%d"}`, i))
	}
	r.Member(bob, bob, "join")
	r.Message(alice, "last")
	f := messages(t)
	view(t, s, "!room:one", alice, func(room *Room) error {
		for _, test := range []struct {
			name  string
			walk  Walk
			pages [][]string
		}{
			{"backwards", Walk{From: Now, To: Beginning, Back: true, Limit: 10, Filter: f}, [][]string{{"last"}, {"first"}}},
			{"forwards", Walk{From: Beginning, To: Now, Limit: 10, Filter: f}, [][]string{{"first"}, {"last"}}},
			{"with a limit", Walk{From: Now, To: Beginning, Back: true, Limit: 1, Filter: f}, [][]string{{"last"}, {}, {"first"}}},
		} {
			var got [][]string
			for w := test.walk; ; {
				page, err := room.Walk(w)
				if err != nil {
					return err
				}
				got = append(got, bodies(page.Events))
				if !page.More || len(got) > 9 {
					break
				}
				w.From = page.End
			}
			if diff := cmp.Diff(test.pages, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
		}
		return nil
	})
	view(t, s, "!room:one", bob, func(room *Room) error {
		page, err := room.Walk(Walk{From: Now, To: Beginning, Back: true, Limit: 10, Filter: f})
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]string{"last", "first"}, bodies(page.Events)); diff != "" || page.More {
			t.Errorf("hidden history was not passed over: %s, more: %v", diff, page.More)
		}
		return nil
	})
}

func TestWhoMayOpenARoom(t *testing.T) {
	s := storagetest.Open(t)
	closed := storagetest.NewRoom(t, s, "!closed:one", alice)
	closed.Member(alice, "@invited:one", "invite")
	closed.Member("@former:one", "@former:one", "join")
	closed.Member("@former:one", "@former:one", "leave")
	closed.Member(alice, "@rejected:one", "invite")
	closed.Member("@rejected:one", "@rejected:one", "leave")
	closed.Member("@banned:one", "@banned:one", "join")
	closed.Member(alice, "@banned:one", "ban")
	closed.Member("@forgetful:one", "@forgetful:one", "join")
	closed.Member("@forgetful:one", "@forgetful:one", "leave")
	if err := s.Update(context.Background(), func(tx *storage.Tx) error { return tx.ForgetRoom(closed.Row.NID, "@forgetful:one") }); err != nil {
		t.Fatal(err)
	}
	open := storagetest.NewRoom(t, s, "!open:one", alice)
	open.State(alice, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`)
	for user, want := range map[id.UserID]bool{
		alice: true, "@invited:one": false, "@former:one": true, "@rejected:one": false, "@banned:one": true, "@forgetful:one": false,
		"@stranger:one": false,
	} {
		for room, want := range map[id.RoomID]bool{"!closed:one": want, "!open:one": true, "!no:one": false} {
			err := s.View(context.Background(), func(tx *storage.ReadTx) error {
				_, err := Open(tx, room, user)
				return err
			})
			if (err == nil) != want || err != nil && !merr.HasCode(err, merr.Forbidden) {
				t.Errorf("%s opens %s: %v", user, room, err)
			}
		}
	}
}

func FuzzSearchToken(f *testing.F) {
	for _, s := range []string{"", "n1", "r1", "n-5", "r-5", "r99999999", "x", "n99999999999999999999"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, byRank bool) {
		s := search{q: Query{From: text, ByRank: byRank}}
		if err := s.start(); err != nil || text == "" {
			return
		}
		if s.offset < 0 || s.offset > maxCounted {
			t.Errorf("%q is the offset %d", text, s.offset)
		}
		again := search{q: Query{From: s.token(), ByRank: byRank}}
		if err := again.start(); err != nil || again.before != s.before || again.offset != s.offset {
			t.Errorf("%q becomes %q: %v", text, s.token(), err)
		}
	})
}
