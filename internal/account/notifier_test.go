package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

var errUndone = errors.New("undone")

func TestPushRulesOfAnOldSnapshotAreNotKept(t *testing.T) {
	s, _ := newService(t, storagetest.Open(t), nil)
	user := alice(t, s).UserID
	event := &storage.Event{RoomID: "!r:hs", ID: "$e", Sender: "@bob:hs", JSON: []byte(`{"type":"m.room.message","sender":"@bob:hs","content":{"body":"hi"}}`)}
	notified := func(tx *storage.ReadTx) bool {
		t.Helper()
		o, err := s.notifier.Outcome(tx, &storage.Room{}, event, storage.Member{User: user})
		if err != nil {
			t.Fatal(err)
		}
		return o.Notify
	}
	view := func(fn func(tx *storage.ReadTx)) {
		t.Helper()
		if err := s.store.View(t.Context(), func(tx *storage.ReadTx) error {
			fn(tx)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	view(func(old *storage.ReadTx) {
		if _, err := old.Position(); err != nil { // the snapshot is taken
			t.Fatal(err)
		}
		if err := s.EditPushRules(t.Context(), user, func(b *push.Book, stored push.Stored) (push.Stored, error) {
			return b.SetEnabled(stored, push.Override, ".m.rule.master", []byte(`{"enabled":true}`))
		}); err != nil {
			t.Fatal(err)
		}
		if !notified(old) {
			t.Error("the old snapshot shows the new rules: this tests nothing")
		}
	})
	view(func(tx *storage.ReadTx) {
		if notified(tx) {
			t.Error("the user is notified by the rules of before")
		}
	})
}

// A verdict must say of every member what that member's rules say, whatever has changed since the last: who is there, under which name, and what
// rules they have, also where the transaction of the change is undone.
func TestVerdictsAreThoseOfEachMember(t *testing.T) {
	s, _ := newService(t, storagetest.Open(t), nil)
	random := rand.New(rand.NewPCG(1, 2))
	var members []storage.Member
	users := make([]id.UserID, 12)
	for i := range users {
		users[i] = id.UserID(fmt.Sprintf("@u%d:hs", i))
		if err := s.store.Update(t.Context(), func(tx *storage.Tx) error {
			_, err := tx.InsertUser(storage.User{ID: users[i]})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"", "Anna", "Anna Bell", "Борис", "Carl-9"}
	bodies := []string{"hi", "anna, look", "борис", "u3 and carl-9", "bell", "@room u1", "spam"}
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	update := func(fn func(tx *storage.Tx) error) {
		t.Helper()
		if err := s.store.Update(context.Background(), fn); err != nil && err != errUndone {
			t.Fatal(err)
		}
	}
	check := func(tx *storage.Tx) {
		t.Helper()
		event := &storage.Event{RoomID: "!r:hs", ID: "$e", Sender: users[random.IntN(len(users))]}
		event.JSON = []byte(fmt.Sprintf(`{"type":"m.room.message","sender":%q,"content":{"body":%s}}`, event.Sender, quote(pick(bodies))))
		room := &storage.Room{NID: 1, ID: "!r:hs"}
		v, err := s.notifier.Verdict(&tx.ReadTx, room, event, members)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			want, err := s.notifier.Outcome(&tx.ReadTx, room, event, m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, v.Of(m.User)); diff != "" {
				t.Fatalf("%s to %s called %q: %s", event.JSON, m.User, m.Name, diff)
			}
		}
	}
	for range 300 {
		switch user := users[random.IntN(len(users))]; random.IntN(5) {
		case 0, 1: // somebody comes, goes or changes the name
			at := slices.IndexFunc(members, func(m storage.Member) bool { return m.User == user })
			before := members
			switch {
			case at < 0:
				members = append(slices.Clip(members), storage.Member{User: user, Name: pick(names)})
			case random.IntN(2) == 0:
				members = slices.Delete(slices.Clone(members), at, at+1)
			default:
				members = slices.Clone(members)
				members[at].Name = pick(names)
			}
			if random.IntN(3) == 0 {
				update(func(tx *storage.Tx) error {
					check(tx)
					members = before
					return errUndone
				})
			}
		case 2: // somebody changes a rule
			err := s.EditPushRules(t.Context(), user, func(b *push.Book, stored push.Stored) (push.Stored, error) {
				return b.SetEnabled(stored, push.Override, ".m.rule.master", []byte(fmt.Sprintf(`{"enabled":%t}`, random.IntN(2) == 0)))
			})
			if err != nil {
				t.Fatal(err)
			}
		case 3: // somebody ignores somebody
			content := fmt.Sprintf(`{"ignored_users":{%q:{}}}`, users[random.IntN(len(users))])
			if err := s.SetData(t.Context(), user, "", "m.ignored_user_list", json.RawMessage(content)); err != nil {
				t.Fatal(err)
			}
		}
		update(func(tx *storage.Tx) error {
			check(tx)
			return nil
		})
	}
}
