package storage_test

import (
	"errors"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestEmailValidations(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		v := storage.EmailValidation{SID: "s1", Purpose: "add", Address: "a@b", Secret: hash(1), User: alice, Attempt: 1, Token: hash(2),
			NextLink: "https://next", ExpiresTS: 100}
		reset := storage.EmailValidation{SID: "s2", Purpose: "reset", Address: "a@b", Secret: hash(1), Attempt: 1, Token: hash(3), ExpiresTS: 200}
		update(t, s, func(tx *storage.Tx) error { return errors.Join(tx.PutEmailValidation(v), tx.PutEmailValidation(reset)) })
		get := func(sid string, now int64) storage.EmailValidation {
			t.Helper()
			out, err := ask(t, s, func(tx *storage.ReadTx) (storage.EmailValidation, error) { return tx.EmailValidation(sid, now) })
			if errors.Is(err, storage.ErrNotFound) {
				return storage.EmailValidation{}
			}
			return out
		}
		none := storage.EmailValidation{}
		same(t, "by its id", v, get("s1", 99))
		same(t, "once it has expired", none, get("s1", 100))
		same(t, "by what the client knows", v, found(t, s, func(tx *storage.ReadTx) (storage.EmailValidation, error) {
			return tx.EmailValidationFor("a@b", "add", hash(1), alice, 99)
		}))
		if got, err := ask(t, s, func(tx *storage.ReadTx) (storage.EmailValidation, error) {
			return tx.EmailValidationFor("a@b", "add", hash(1), bob, 99)
		}); err == nil {
			t.Errorf("somebody else finds %v", got)
		}
		again := v
		again.SID, again.Attempt, again.Token, again.NextLink, again.ExpiresTS = "s3", 2, hash(4), "", 300
		update(t, s, func(tx *storage.Tx) error { return tx.PutEmailValidation(again) })
		same(t, "what was replaced", none, get("s1", 1))
		same(t, "what replaced it", again, get("s3", 1))
		forget := func(token storage.TokenHash) (was bool) {
			t.Helper()
			update(t, s, func(tx *storage.Tx) (err error) { was, err = tx.DeleteEmailValidation("s3", token); return err })
			return was
		}
		same(t, "forgotten by the token of another letter", false, forget(hash(9)))
		same(t, "forgotten", true, forget(hash(4)))
		same(t, "what was forgotten", none, get("s3", 1))
		update(t, s, func(tx *storage.Tx) error { return tx.PutEmailValidation(again) })
		update(t, s, func(tx *storage.Tx) error {
			if err := tx.TakeEmailValidation("s3", 1); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("taken before it was confirmed: %v", err)
			}
			if err := tx.ConfirmEmail("s3", 50, 400); err != nil {
				return err
			}
			if err := tx.TakeEmailValidation("s3", 400); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("taken after it had expired: %v", err)
			}
			return nil
		})
		same(t, "forgotten once it was confirmed", false, forget(hash(4)))
		same(t, "confirmed", int64(50), get("s3", 399).ValidatedTS)
		update(t, s, func(tx *storage.Tx) error {
			if err := errors.Join(tx.TakeEmailValidation("s3", 1), tx.DeleteEmailValidations("a@b", "add")); err != nil {
				return err
			}
			if err := tx.TakeEmailValidation("s3", 1); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("taken twice: %v", err)
			}
			return tx.DeleteExpiredEmailValidations(199)
		})
		same(t, "what has not expired", reset, get("s2", 1))
		update(t, s, func(tx *storage.Tx) error { return tx.DeleteExpiredEmailValidations(200) })
		same(t, "what has", none, get("s2", 1))
		update(t, s, func(tx *storage.Tx) error {
			return errors.Join(tx.PutEmailValidation(reset), tx.DeleteEmailValidations("a@b", "add"), tx.DeleteEmailValidations("a@b", "reset"))
		})
		same(t, "what was deleted", none, get("s2", 1))
	})
}
