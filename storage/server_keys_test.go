package storage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func putKeys(t *testing.T, s *storage.Store, server id.ServerName, document string, keys ...storage.ServerKey) {
	t.Helper()
	err := s.Update(context.Background(), func(tx *storage.Tx) error { return tx.PutServerKeys(server, keys, json.RawMessage(document)) })
	if err != nil {
		t.Fatal(err)
	}
}

// serverKeys returns the keys of a server and, by key id, the documents they were last seen in.
func serverKeys(t *testing.T, s *storage.Store, server id.ServerName) (keys []storage.ServerKey, documents map[string]string) {
	t.Helper()
	documents = map[string]string{}
	err := s.View(context.Background(), func(tx *storage.ReadTx) (err error) {
		if keys, err = tx.ServerKeys(server); err != nil {
			return err
		}
		for i, k := range keys {
			document, err := tx.ServerKeyDocument(k.Document)
			if err != nil {
				return err
			}
			documents[k.KeyID] = string(document)
			keys[i].Document = 0
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, documents
}

func TestServerKeysStayWithTheDocumentTheyWereLastSeenIn(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		a := storage.ServerKey{Server: "b", KeyID: "ed25519:a", Public: "A", ValidUntil: 100, Fetched: 1}
		b := storage.ServerKey{Server: "b", KeyID: "ed25519:b", Public: "B", ValidUntil: 100, Fetched: 1}
		putKeys(t, s, "b", `{"n":1}`, a, b)
		putKeys(t, s, "c", `{"n":9}`, storage.ServerKey{Server: "c", KeyID: "ed25519:a", Public: "C", ValidUntil: 5, Fetched: 1})
		b.ValidUntil, b.Expired, b.Fetched = 0, 50, 2
		putKeys(t, s, "b", `{"n":2}`, b)
		keys, documents := serverKeys(t, s, "b")
		if diff := cmp.Diff([]storage.ServerKey{a, b}, keys); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"ed25519:a": `{"n":1}`, "ed25519:b": `{"n":2}`}, documents); diff != "" {
			t.Error(diff)
		}
		a.Fetched = 3
		putKeys(t, s, "b", `{"n":3}`, a)
		err := s.View(context.Background(), func(tx *storage.ReadTx) error {
			_, err := tx.ServerKeyDocument(1)
			return err
		})
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a document without keys: %v", err)
		}
		if _, documents = serverKeys(t, s, "c"); documents["ed25519:a"] != `{"n":9}` {
			t.Errorf("another server: %v", documents)
		}
	})
}

func TestOnlyTheLatestKeysOfAServerAreKept(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		for i := range int64(70) {
			keyID := fmt.Sprintf("ed25519:%03d", i)
			putKeys(t, s, "b", fmt.Sprintf(`{"n":%d}`, i), storage.ServerKey{Server: "b", KeyID: keyID, Public: "P", ValidUntil: 1, Fetched: i})
		}
		keys, _ := serverKeys(t, s, "b")
		if len(keys) != 64 || keys[0].KeyID != "ed25519:006" {
			t.Errorf("%d keys from %v", len(keys), keys[0])
		}
	})
}

func TestDestinationsAreForgottenWhenTheyAnswer(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		get := func() (d storage.Destination, err error) {
			err = s.View(t.Context(), func(tx *storage.ReadTx) (err error) {
				d, err = tx.Destination("b")
				return err
			})
			return d, err
		}
		for i := range int64(2) {
			want := storage.Destination{Server: "b", Failures: i + 1, FailedAt: 10 * i, RetryAt: 20 * i}
			if err := s.Update(t.Context(), func(tx *storage.Tx) error { return tx.PutDestination(want) }); err != nil {
				t.Fatal(err)
			}
			if got, err := get(); err != nil || got != want {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		}
		if err := s.Update(t.Context(), func(tx *storage.Tx) error { return tx.DeleteDestination("b") }); err != nil {
			t.Fatal(err)
		}
		if _, err := get(); !errors.Is(err, storage.ErrNotFound) {
			t.Error(err)
		}
	})
}
