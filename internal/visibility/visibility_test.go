package visibility

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice id.UserID = "@alice:one"
	bob   id.UserID = "@bob:one"
)

// TestVisible plays a room in which every message says which of the visibilities hold and checks what bob can see of it in the end.
func TestVisible(t *testing.T) {
	set := func(r *storagetest.Room, visibility string) {
		r.State(alice, "m.room.history_visibility", "", fmt.Sprintf(`{"history_visibility":%q}`, visibility))
	}
	for _, test := range []struct {
		name string
		play func(r *storagetest.Room)
		sees []string // bodies of messages, and types of the two kinds of state with exceptions
	}{
		{"shared is the default and shows everything after a join", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(bob, bob, "join")
			r.Message(alice, "after")
		}, []string{"before", "bob join", "after"}},
		{"shared shows nothing to somebody who never joined", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(alice, bob, "invite")
			r.Message(alice, "after")
		}, nil},
		{"a value that is not understood is shared", func(r *storagetest.Room) {
			set(r, "friends")
			r.Message(alice, "before")
			r.Member(bob, bob, "join")
		}, []string{"to friends", "before", "bob join"}},
		{"invited shows what came after the invite", func(r *storagetest.Room) {
			set(r, "invited")
			r.Message(alice, "before")
			r.Member(alice, bob, "invite")
			r.Message(alice, "invited")
			r.Member(bob, bob, "join")
			r.Message(alice, "joined")
		}, []string{"to invited", "bob invite", "invited", "bob join", "joined"}},
		{"invited shows an invited user what comes", func(r *storagetest.Room) {
			set(r, "invited")
			r.Member(alice, bob, "invite")
			r.Message(alice, "invited")
			r.Member(bob, bob, "leave")
			r.Message(alice, "rejected")
		}, []string{"bob invite", "invited", "bob leave"}},
		{"joined shows what came after the join", func(r *storagetest.Room) {
			set(r, "joined")
			r.Member(alice, bob, "invite")
			r.Message(alice, "invited")
			r.Member(bob, bob, "join")
			r.Message(alice, "joined")
		}, []string{"to joined", "bob join", "joined"}},
		{"former members keep what they could see and see their leaving", func(r *storagetest.Room) {
			set(r, "joined")
			r.Member(bob, bob, "join")
			r.Message(alice, "joined")
			r.Member(alice, bob, "leave")
			r.Message(alice, "left")
		}, []string{"to joined", "bob join", "joined", "bob leave"}},
		{"a former member of a shared room sees nothing newer", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(bob, bob, "join")
			r.Member(bob, bob, "leave")
			r.Message(alice, "left")
		}, []string{"before", "bob join", "bob leave"}},
		{"coming back to a shared room shows what was missed", func(r *storagetest.Room) {
			r.Member(bob, bob, "join")
			r.Member(bob, bob, "leave")
			r.Message(alice, "missed")
			r.Member(bob, bob, "join")
		}, []string{"bob join", "bob leave", "missed", "bob join"}},
		{"coming back to a room with visibility joined does not", func(r *storagetest.Room) {
			set(r, "joined")
			r.Member(bob, bob, "join")
			r.Member(bob, bob, "leave")
			r.Message(alice, "missed")
			r.Member(bob, bob, "join")
		}, []string{"to joined", "bob join", "bob leave", "bob join"}},
		{"banned members see what they saw", func(r *storagetest.Room) {
			r.Member(bob, bob, "join")
			r.Message(alice, "joined")
			r.Member(alice, bob, "ban")
			r.Message(alice, "banned")
		}, []string{"bob join", "joined", "bob ban"}},
		{"world_readable shows strangers what was sent while it lasted, and both its ends", func(r *storagetest.Room) {
			r.Message(alice, "shared")
			set(r, "world_readable")
			r.Message(alice, "open")
			set(r, "joined")
			r.Message(alice, "closed")
			set(r, "shared")
		}, []string{"to world_readable", "open", "to joined"}},
		{"the visibility at the event counts, not today's", func(r *storagetest.Room) {
			set(r, "joined")
			r.Message(alice, "joined")
			set(r, "shared")
			r.Message(alice, "shared")
			r.Member(bob, bob, "join")
		}, []string{"to joined", "to shared", "shared", "bob join"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := storagetest.Open(t)
			r := storagetest.NewRoom(t, s, "!r:one", alice)
			start := r.Row.LastPos
			test.play(r)
			var sees []string
			view(t, s, func(tx *storage.ReadTx) error {
				h, err := Load(tx, r.Row.NID, bob)
				if err != nil {
					return err
				}
				events, err := tx.Timeline(r.Row.NID, storage.Span{After: start, UpTo: r.Row.LastPos}, 100, false)
				if err != nil {
					return err
				}
				for _, ev := range events {
					if h.Visible(ev) {
						sees = append(sees, describe(ev))
					}
				}
				return nil
			})
			if diff := cmp.Diff(test.sees, sees); diff != "" {
				t.Errorf("what bob sees (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(ev *storage.Event) string {
	switch ev.Type {
	case "m.room.member":
		return id.UserID(*ev.StateKey).Localpart() + " " + ev.Get("content.membership").Str
	case "m.room.history_visibility":
		return "to " + ev.Get("content.history_visibility").Str
	}
	return ev.Get("content.body").Str
}

func view(t *testing.T, s *storage.Store, fn func(tx *storage.ReadTx) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestMembershipAtAPosition(t *testing.T) {
	s := storagetest.Open(t)
	r := storagetest.NewRoom(t, s, "!r:one", alice)
	before := r.Row.LastPos
	invite := r.Member(alice, bob, "invite")
	join := r.Member(bob, bob, "join")
	during := r.Message(alice, "hi")
	leave := r.Member(bob, bob, "leave")
	view(t, s, func(tx *storage.ReadTx) error {
		h, err := Load(tx, r.Row.NID, bob)
		if err != nil {
			return err
		}
		got := []string{h.Membership(before), h.Membership(invite.Pos), h.Membership(join.Pos), h.Membership(during.Pos), h.Membership(leave.Pos)}
		if diff := cmp.Diff([]string{"leave", "invite", "join", "join", "leave"}, got); diff != "" {
			t.Error(diff)
		}
		if h.Joined() || !h.EverJoined() || h.Until() != leave.Pos {
			t.Errorf("Joined %v, EverJoined %v, Until %d; want false, true, %d", h.Joined(), h.EverJoined(), h.Until(), leave.Pos)
		}
		stranger, err := Load(tx, r.Row.NID, "@eve:one")
		if err != nil {
			return err
		}
		if stranger.EverJoined() || stranger.Until() != 0 || stranger.Membership(join.Pos) != "leave" {
			t.Error("a stranger seems to have been in the room")
		}
		return nil
	})
}

func TestParseIgnored(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          Ignored
	}{
		{"the keys are the users", `{"ignored_users":{"@eve:one":{},"@mallory:one":{}}}`, Ignored{"@eve:one": {}, "@mallory:one": {}}},
		{"nobody ignores themselves", `{"ignored_users":{"@bob:one":{}}}`, nil},
		{"a list is not an object", `{"ignored_users":["@eve:one"]}`, nil},
		{"no list is nobody", `{}`, nil},
		{"no JSON is nobody", `ignored_users`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ParseIgnored([]byte(test.content), bob)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What LastVisible and FirstVisible pass over is compared with a look at every position, for all rooms that a few changes can make.
func TestPassingOverHiddenHistory(t *testing.T) {
	visibilities := []string{"world_readable", "shared", "invited", "joined"}
	memberships := []string{"join", "leave", "invite"}
	const last = 8
	for n := range 4 * 4 * 3 * 3 * 3 {
		pick := func(list []string) string {
			s := list[n%len(list)]
			n /= len(list)
			return s
		}
		visibility := []version{{2, pick(visibilities)}, {6, pick(visibilities)}}
		membership := []version{{3, pick(memberships)}, {5, pick(memberships)}, {7, pick(memberships)}}
		h := newHistory(bob, visibility, membership)
		visible := func(pos int64) bool {
			ev := &storage.Event{Pos: pos, Type: "m.room.message"}
			key := ""
			if pos == 2 || pos == 6 {
				ev.Type, ev.StateKey = "m.room.history_visibility", &key
			} else if pos == 3 || pos == 5 || pos == 7 {
				key = string(bob)
				ev.Type, ev.StateKey = "m.room.member", &key
			}
			return h.Visible(ev)
		}
		for from := int64(1); from <= last; from++ {
			to := h.FirstVisible(from)
			for pos := from; pos < to && pos <= last; pos++ {
				if visible(pos) {
					t.Fatalf("%v %v: FirstVisible(%d) = %d passes over %d", visibility, membership, from, to, pos)
				}
			}
			to = h.LastVisible(from)
			for pos := from; pos > to && pos >= 1; pos-- {
				if visible(pos) {
					t.Fatalf("%v %v: LastVisible(%d) = %d passes over %d", visibility, membership, from, to, pos)
				}
			}
		}
	}
	hidden := newHistory(bob, []version{{1, "joined"}}, []version{{4, "join"}})
	if got := hidden.LastVisible(3); got != 1 {
		t.Errorf("LastVisible is %d, not the change that hid everything", got)
	}
	if got := hidden.FirstVisible(2); got != 4 {
		t.Errorf("FirstVisible is %d, not the join", got)
	}
	stranger := newHistory(bob, []version{{none, "joined"}}, nil)
	if stranger.LastVisible(9) != none || stranger.FirstVisible(9) != math.MaxInt64 {
		t.Error("a stranger finds something")
	}
}
