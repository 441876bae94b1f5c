package storage_test

import (
	"fmt"
	"testing"

	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// Spec: client-server-api#transaction-identifiers
func TestATransactionIsKnownByAllItsParts(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		first := storage.Txn{User: aliceOne, Device: "D", Endpoint: "PUT /send", ID: "1"}
		updating(t, s, func(tx *storage.Tx) error { return tx.SaveTxnAnswer(first, "$a", 1) })
		viewing(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.TxnAnswer(first)
			if err != nil {
				return err
			}
			same(t, "answer", "$a", got)
			for name, other := range map[string]storage.Txn{
				"another user's":     {User: bobOne, Device: "D", Endpoint: "PUT /send", ID: "1"},
				"another device's":   {User: aliceOne, Device: "E", Endpoint: "PUT /send", ID: "1"},
				"another endpoint's": {User: aliceOne, Device: "D", Endpoint: "PUT /redact", ID: "1"},
				"another":            {User: aliceOne, Device: "D", Endpoint: "PUT /send", ID: "2"},
			} {
				_, err := tx.TxnAnswer(other)
				wantAbsent(t, name, err)
			}
			return nil
		})
	})
}

func TestTheOldestTransactionsAreForgottenFirst(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		updating(t, s, func(tx *storage.Tx) error {
			for i := range 5 {
				if err := tx.SaveTxnAnswer(storage.Txn{User: aliceOne, ID: fmt.Sprint(i)}, "$", int64(i)); err != nil {
					return err
				}
			}
			return nil
		})
		forget := func(ts int64, limit int, want int64) {
			t.Helper()
			updating(t, s, func(tx *storage.Tx) error {
				got, err := tx.ForgetTransactions(ts, limit)
				same(t, "forgotten", want, got)
				return err
			})
		}
		forget(4, 3, 3)
		forget(4, 3, 1)
		forget(4, 3, 0)
		viewing(t, s, func(tx *storage.ReadTx) error {
			_, err := tx.TxnAnswer(storage.Txn{User: aliceOne, ID: "3"})
			wantAbsent(t, "an old one", err)
			_, err = tx.TxnAnswer(storage.Txn{User: aliceOne, ID: "4"})
			return err
		})
	})
}
