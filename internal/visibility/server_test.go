package visibility

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	carol id.UserID = "@carol:two"
	dave  id.UserID = "@dave:two:8448"
)

// TestServerSees plays rooms of server one and checks what server two sees of their messages, and of two kinds of state, in the end.
func TestServerSees(t *testing.T) {
	set := func(r *storagetest.Room, visibility string) {
		r.State(alice, "m.room.history_visibility", "", fmt.Sprintf(`{"history_visibility":%q}`, visibility))
	}
	for _, test := range []struct {
		name   string
		play   func(r *storagetest.Room)
		joined bool
		sees   []string
	}{
		{"a server that was never there sees nothing", func(r *storagetest.Room) {
			r.Message(alice, "alone")
		}, false, nil},
		{"everybody sees what is world readable", func(r *storagetest.Room) {
			r.Message(alice, "before")
			set(r, "world_readable")
			r.Message(alice, "open")
			set(r, "joined")
			r.Message(alice, "closed")
		}, false, []string{"to world_readable", "open", "to joined"}},
		{"shared history is for those in the room now", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(carol, carol, "join")
			r.Message(alice, "after")
		}, true, []string{"before", "carol join", "after"}},
		{"who left sees what was said meanwhile", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(carol, carol, "join")
			r.Message(alice, "meanwhile")
			r.Member(carol, carol, "leave")
			r.Message(alice, "after")
		}, false, []string{"carol join", "meanwhile", "carol leave"}},
		{"joined shows what was said meanwhile", func(r *storagetest.Room) {
			set(r, "joined")
			r.Message(alice, "before")
			r.Member(alice, carol, "invite")
			r.Message(alice, "invited")
			r.Member(carol, carol, "join")
			r.Message(alice, "joined")
		}, true, []string{"to joined", "carol join", "joined"}},
		{"invited shows what was said since an invite", func(r *storagetest.Room) {
			set(r, "invited")
			r.Message(alice, "before")
			r.Member(alice, carol, "invite")
			r.Message(alice, "invited")
			r.Member(carol, carol, "join")
			r.Message(alice, "joined")
		}, true, []string{"to invited", "carol invite", "invited", "carol join", "joined"}},
		{"an invite alone shows no shared history", func(r *storagetest.Room) {
			r.Message(alice, "before")
			r.Member(alice, carol, "invite")
			r.Message(alice, "invited")
		}, false, nil},
		{"a change of the visibility is seen by who sees either side", func(r *storagetest.Room) {
			r.Member(carol, carol, "join")
			r.Member(carol, carol, "leave")
			set(r, "joined")
			set(r, "world_readable")
			set(r, "joined")
			set(r, "shared")
		}, false, []string{"carol join", "carol leave", "to world_readable", "to joined"}},
		{"a server with another port is another server", func(r *storagetest.Room) {
			r.Member(dave, dave, "join")
			set(r, "joined")
			r.Message(alice, "for dave")
		}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := storagetest.Open(t)
			r := storagetest.NewRoom(t, s, "!room:one", alice)
			test.play(r)
			var got []string
			err := s.View(t.Context(), func(tx *storage.ReadTx) error {
				room, err := tx.Room(r.Row.ID)
				if err != nil {
					return err
				}
				v, err := ForServer(tx, room, "two")
				if err != nil {
					return err
				}
				if v.Joined() != test.joined {
					t.Errorf("joined: %t", v.Joined())
				}
				events, err := tx.Timeline(room.NID, storage.Span{UpTo: room.LastPos}, 100, false)
				for _, ev := range events {
					name := ""
					switch {
					case ev.Type == "m.room.message":
						name = ev.Get("content.body").Str
					case ev.Type == "m.room.history_visibility":
						name = "to " + ev.Get("content.history_visibility").Str
					case ev.IsState("m.room.member", string(carol)):
						name = "carol " + ev.Get("content.membership").Str
					default:
						continue
					}
					ok, err := v.Sees(ev)
					if err != nil {
						return err
					}
					if ok {
						got = append(got, name)
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.sees, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// What was fetched only because others refer to it has no moment: a message of it is shown to those only who may see all history.
func TestServerSeesOfEventsWithoutAMoment(t *testing.T) {
	for visibility, want := range map[string]bool{"shared": true, "invited": false, "joined": false, "world_readable": true} {
		s := storagetest.Open(t)
		r := storagetest.NewRoom(t, s, "!room:one", alice)
		r.Member(carol, carol, "join")
		r.State(alice, "m.room.history_visibility", "", fmt.Sprintf(`{"history_visibility":%q}`, visibility))
		err := s.Update(t.Context(), func(tx *storage.Tx) error {
			v, err := ForServer(&tx.ReadTx, r.Row, "two")
			if err != nil {
				return err
			}
			message := &storage.Event{ID: "$x", Room: r.Row.NID, Type: "m.room.message", Sender: alice, Status: storage.Outlier}
			name := &storage.Event{ID: "$y", Room: r.Row.NID, Type: "m.room.name", StateKey: new(string), Sender: alice, Status: storage.Outlier}
			if ok, err := v.Sees(message); err != nil || ok != want {
				t.Errorf("%s: a message is seen: %t, %v", visibility, ok, err)
			}
			if ok, err := v.Sees(name); err != nil || !ok {
				t.Errorf("%s: state is seen: %t, %v", visibility, ok, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
