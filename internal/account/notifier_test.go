package account

import (
	"testing"

	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

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
