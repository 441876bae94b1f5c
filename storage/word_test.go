package storage_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// A word that was rolled back must not be remembered: its number is given to another.
func TestWordsOfAFailedUpdateAreNotRemembered(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		set := func(tx *storage.Tx, user id.UserID) error {
			return tx.SetMembership(storage.Membership{User: user, Room: r.Row.NID, Membership: "join", Sender: user, Name: string(user)}, true)
		}
		no := errors.New("no")
		err := s.Update(context.Background(), func(tx *storage.Tx) error {
			if err := set(tx, "@rolled-back:one"); err != nil {
				return err
			}
			if _, err := tx.Membership(r.Row.NID, "@rolled-back:one"); err != nil {
				t.Errorf("within the update: %v", err)
			}
			return no
		})
		if !errors.Is(err, no) {
			t.Fatal(err)
		}
		updating(t, s, func(tx *storage.Tx) error { return set(tx, "@kept:one") })
		viewing(t, s, func(tx *storage.ReadTx) error {
			members, err := tx.Members(r.Row.NID, "join")
			for _, m := range members {
				if m.User != aliceOne && string(m.User) != m.Name {
					t.Errorf("%s is called %s", m.Name, m.User)
				}
			}
			if err != nil {
				return err
			}
			_, err = tx.Membership(r.Row.NID, "@rolled-back:one")
			wantAbsent(t, "what was rolled back", err)
			return nil
		})
	})
}

func TestWordsOfEveryKind(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		for _, word := range []string{"", " ", "ü", "U", "u", "\U0001F600", strings.Repeat("x", 255), "'; drop table words", "\\", "%"} {
			e := r.State(aliceOne, "m.x"+word, word, `{}`)
			for range 2 { // from the database, and from memory
				viewing(t, s, func(tx *storage.ReadTx) error {
					got, err := tx.CurrentStateKey(r.Row.NID, storage.StateKey{Type: "m.x" + word, Key: word})
					if err == nil && (got.Pos != e.Pos || got.Type != "m.x"+word || *got.StateKey != word) {
						t.Errorf("%q is %q, %q", word, got.Type, *got.StateKey)
					}
					return err
				})
			}
		}
	})
}
