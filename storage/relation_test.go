package storage_test

import (
	"testing"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestRelationsLastUntilTheirEventIsRedacted(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r := storagetest.NewRoom(t, s, "!r:one", aliceOne)
		parent, lonely := r.Message(aliceOne, "parent"), r.Message(aliceOne, "lonely")
		relate := func(sender id.UserID, typ, relType, key string) *storage.Event {
			return r.Event(sender, typ, `{"m.relates_to":{"event_id":"`+string(parent.ID)+`","rel_type":"`+relType+`","key":"`+key+`"}}`)
		}
		like := relate(bobOne, "m.reaction", "m.annotation", "👍")
		edit := relate(aliceOne, "m.room.message", "m.replace", "")
		reply := relate(bobOne, "m.room.message", "m.thread", "")
		rel := func(e *storage.Event, relType, key string) storage.Relation {
			return storage.Relation{Parent: parent.ID, RelType: relType, Child: e.Pos, Room: r.Row.NID, Type: e.Type, Sender: e.Sender, Key: key}
		}
		all := []storage.Relation{rel(like, "m.annotation", "👍"), rel(edit, "m.replace", ""), rel(reply, "m.thread", "")}
		annotated := func(tx *storage.ReadTx, typ, key string, sender id.UserID) bool {
			found, err := tx.Annotated(parent.ID, typ, key, sender)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		viewing(t, s, func(tx *storage.ReadTx) error {
			got, err := tx.Relations(parent.ID, "")
			if err != nil {
				return err
			}
			same(t, "all relations", all, got)
			if got, err = tx.Relations(parent.ID, "m.replace"); err != nil {
				return err
			}
			same(t, "edits", all[1:2], got)
			up, err := tx.ParentOf(edit.Pos)
			if err != nil {
				return err
			}
			same(t, "of the edit", all[1], up)
			_, err = tx.ParentOf(lonely.Pos)
			wantAbsent(t, "the parent of an event without", err)
			if !annotated(tx, "m.reaction", "👍", bobOne) || annotated(tx, "m.reaction", "👎", bobOne) || annotated(tx, "m.reaction", "👍", aliceOne) ||
				annotated(tx, "m.x", "👍", bobOne) {
				t.Error("annotations are mixed up")
			}
			return nil
		})
		r.Redact(bobOne, like)
		r.Redact(bobOne, lonely) // which relates to nothing
		viewing(t, s, func(tx *storage.ReadTx) error {
			if annotated(tx, "m.reaction", "👍", bobOne) {
				t.Error("a redacted annotation counts")
			}
			got, err := tx.Relations(parent.ID, "")
			same(t, "after the redaction", all[1:], got)
			return err
		})
	})
}

func TestThreadsAreOrderedByTheirNewestReply(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, s *storage.Store) {
		r, other := storagetest.NewRoom(t, s, "!r:one", aliceOne), storagetest.NewRoom(t, s, "!other:one", aliceOne)
		a, b := r.Message(aliceOne, "a"), r.Message(aliceOne, "b")
		reply := func(r *storagetest.Room, root *storage.Event) *storage.Event {
			return r.Event(bobOne, "m.room.message", `{"m.relates_to":{"event_id":"`+string(root.ID)+`","rel_type":"m.thread"}}`)
		}
		a1, b1, a2 := reply(r, a), reply(r, b), reply(r, a)
		stray := reply(other, a) // which a room server would not take
		const end = 1 << 40
		want := func(what string, room, before int64, limit int, want ...storage.Thread) {
			t.Helper()
			viewing(t, s, func(tx *storage.ReadTx) error {
				got, err := tx.Threads(room, before, limit)
				same(t, what, append([]storage.Thread{}, want...), got)
				return err
			})
		}
		both := []storage.Thread{{Root: a.ID, Latest: a2.Pos, Replies: 2}, {Root: b.ID, Latest: b1.Pos, Replies: 1}}
		want("all", r.Row.NID, end, 10, both...)
		want("one", r.Row.NID, end, 1, both[0])
		want("the rest", r.Row.NID, a2.Pos, 10, both[1])
		r.Redact(bobOne, a2)
		want("without the newest reply", r.Row.NID, end, 10, both[1], storage.Thread{Root: a.ID, Latest: a1.Pos, Replies: 1})
		r.Redact(bobOne, a1)
		want("without any reply", r.Row.NID, end, 10, both[1])
		want("another room's", other.Row.NID, end, 10, storage.Thread{Root: a.ID, Latest: stray.Pos, Replies: 1})
	})
}
