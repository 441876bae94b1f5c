package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func (f *fixture) send(room id.RoomID, user id.UserID, typ, content string) (id.EventID, error) {
	f.t.Helper()
	return f.Send(context.Background(), SendRequest{Room: room, Sender: user, Type: typ, Content: json.RawMessage(content)})
}

func (f *fixture) mustSend(room id.RoomID, user id.UserID, content string) id.EventID {
	f.t.Helper()
	e, err := f.send(room, user, "m.room.message", content)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func relates(relType string, parent id.EventID, key string) string {
	return fmt.Sprintf(`{"body":"x","m.relates_to":{"rel_type":%q,"event_id":%q,"key":%q}}`, relType, parent, key)
}

// What a client may write into an event must not make a database refuse it.
func TestTextWithNULIsStored(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{Preset: "public_chat", Name: "na\x00me", Topic: "to\x00pic"})
		err := f.Join(ctx, MemberRequest{Room: room, Sender: bob, Content: json.RawMessage(`{"displayname":"bo\u0000b"}`)})
		if err != nil {
			t.Fatal(err)
		}
		parent := f.mustSend(room, alice, `{"body":"se\u0000arch"}`)
		f.mustSend(room, alice, `{"m.relates_to":{"rel_type":"m.annotation","event_id":"`+string(parent)+`","key":"\u0000"}}`)
		_, err = f.send(room, alice, "m.room.message", `{"m.relates_to":{"rel_type":"m.annotation","event_id":"`+string(parent)+`","key":"\u0000"}}`)
		wantCode(t, err, merr.DuplicateAnnotation)
		f.mustSend(room, alice, `{"m.relates_to":{"rel_type":"m\u0000","event_id":"$\u0000"}}`)
		f.mustSet(room, alice, "m.room.tombstone", "", `{"replacement_room":"!\u0000"}`)
		f.mustSet(room, alice, spec.MRoomJoinRules, "", `{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!\u0000:x"}]}`)
		wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: carol}), merr.Forbidden)
		if row := f.row(room); row.Summary.Name != "na\ufffdme" {
			t.Errorf("the name is %q", row.Summary.Name)
		}
	})
}

func TestAThreadOfAnyNameIsCounted(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{Preset: "public_chat"})
		if err := f.Join(context.Background(), MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		long := make([]byte, 20_000)
		for i := range long {
			long[i] = byte('a' + i*i%26) // hard to compress: an index entry has to stay below 2,700 bytes
		}
		f.mustSend(room, alice, relates("m.thread", id.EventID(long), ""))
		f.view(func(tx *storage.ReadTx) error {
			got, err := tx.UnreadOf(bob, f.rowIn(tx, room).NID)
			if err == nil && (len(got) != 1 || got[0].Thread != "" || got[0].Notify != 1) {
				t.Errorf("bob has %d counts", len(got))
			}
			return err
		})
	})
}

func (f *fixture) rowIn(tx *storage.ReadTx, room id.RoomID) *storage.Room {
	f.t.Helper()
	row, err := tx.Room(room)
	if err != nil {
		f.t.Fatal(err)
	}
	return row
}

// Spec: client-server-api#forming-relationships-between-events
func TestEventsOfOtherRoomsAreNotRelatedTo(t *testing.T) {
	f := start(t, storagetest.Open(t))
	club, room := f.create(CreateRequest{}), f.create(CreateRequest{Creator: bob})
	secret := f.say(club, alice, "hello")
	for _, typ := range []string{"m.thread", "m.reference", "m.replace"} {
		f.mustSend(room, bob, relates(typ, secret, ""))
	}
	f.view(func(tx *storage.ReadTx) error {
		got, err := tx.Relations(secret, "")
		if len(got) != 0 {
			t.Errorf("relations %+v", got)
		}
		return err
	})
}

// Spec: client-server-api#validation-of-mthread-relationships
func TestAThreadHasNoThreadsWithin(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{})
	root := f.say(room, alice, "root")
	reply := f.mustSend(room, alice, relates("m.thread", root, ""))
	_, err := f.send(room, alice, "m.room.message", relates("m.thread", reply, ""))
	wantCode(t, err, merr.InvalidParam)
	f.mustSend(room, alice, relates("m.thread", root, ""))
	f.mustSend(room, alice, relates("m.thread", "$unknown", ""))
}

func TestJSONThatSaysSomethingTwiceIsJudgedByWhatIsStored(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{AliasName: "good"})
	_, err := f.set(room, alice, spec.MRoomCanonicalAlias, "", `{"alias":"#good:hearth.test","alias":"#evil:hearth.test"}`)
	wantCode(t, err, merr.BadAlias)
	parent := f.say(room, alice, "hello")
	again := `{"m.relates_to":{"rel_type":"m.annotation","event_id":"` + string(parent) + `","key":%s}}`
	f.mustSend(room, alice, fmt.Sprintf(again, `"a"`))
	_, err = f.send(room, alice, "m.room.message", fmt.Sprintf(again, `"b","key":"a"`))
	wantCode(t, err, merr.DuplicateAnnotation)
}

func TestOldTransactionsAreForgotten(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		now := f.Server.clock.(*clock.Fake)
		room := f.create(CreateRequest{})
		send := func(txn string) id.EventID {
			e, err := f.Send(ctx, SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{}`), Txn: storage.Txn{User: alice, Device: "D", ID: txn}})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		work, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- f.Run(work) }()
		first := send("1")
		if err := store.Update(ctx, func(tx *storage.Tx) error {
			return tx.SaveTxnAnswer(storage.Txn{User: alice, Device: "D", ID: "to-device"}, "{}", now.Now().UnixMilli())
		}); err != nil {
			t.Fatal(err)
		}
		now.BlockUntil(1)
		now.Advance(txnLife - time.Hour)
		now.BlockUntil(1)
		if send("1") != first {
			t.Error("forgotten too early")
		}
		second := send("2")
		now.Advance(2 * time.Hour)
		now.BlockUntil(1)
		if send("1") == first {
			t.Error("who begins again with the same ids after days is told of the old event")
		}
		if send("2") != second {
			t.Error("a newer one is forgotten")
		}
		f.view(func(tx *storage.ReadTx) error {
			if _, err := tx.TxnAnswer(storage.Txn{User: alice, Device: "D", ID: "to-device"}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("the old answer is there still: %v", err)
			}
			return nil
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Spec: client-server-api#transaction-identifiers
func TestATransactionIDIsThatOfOneEndpoint(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	room, elsewhere := f.create(CreateRequest{}), f.create(CreateRequest{})
	one, two := f.say(room, alice, "one"), f.say(room, alice, "two")
	txn := storage.Txn{User: alice, Device: "D", ID: "1"}
	send := func(room id.RoomID, typ string, ts int64) func() (id.EventID, error) {
		return func() (id.EventID, error) {
			return f.Send(ctx, SendRequest{Room: room, Sender: alice, Type: typ, Content: json.RawMessage(`{"body":"x"}`), TS: ts, Txn: txn})
		}
	}
	redact := func(target id.EventID) func() (id.EventID, error) {
		return func() (id.EventID, error) {
			return f.Redact(ctx, SendRequest{Room: room, Sender: alice, Txn: txn}, target)
		}
	}
	seen := map[id.EventID]string{}
	for name, request := range map[string]func() (id.EventID, error){
		"a message":                  send(room, "m.room.message", 0),
		"another type":               send(room, "org.example", 0),
		"another room":               send(elsewhere, "m.room.message", 0),
		"a redaction":                redact(one),
		"another redaction":          redact(two),
		"one dated by who sends it":  send(room, "m.dated", 1000),
		"another one dated likewise": send(room, "m.dated", 2000),
	} {
		first, err := request()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, same := seen[first]; same {
			t.Errorf("%s is taken for %s", name, other)
		}
		seen[first] = name
		if again, err := request(); err != nil || again != first {
			t.Errorf("%s again: %s, %v; want %s", name, again, err, first)
		}
	}
}

// Whatever a member sends is an event or an answer that the client understands, and leaves the room usable.
func FuzzSend(f *testing.F) {
	for _, typ := range []string{
		spec.MRoomCreate, spec.MRoomMember, spec.MRoomPowerLevels, spec.MRoomJoinRules, spec.MRoomAliases, spec.MRoomCanonicalAlias, spec.MRoomRedaction,
		spec.MRoomThirdPartyInvite, spec.MRoomGuestAccess, spec.MRoomHistoryVisibility, spec.MRoomEncryption, "m.room.tombstone", "m.room.server_acl",
		"m.space.child", "m.reaction", "m.room.message",
	} {
		for i, content := range []string{
			`{}`, `{"membership":"join","third_party_invite":{"signed":{"token":"a","mxid":"@bob:hearth.test"}}}`,
			`{"membership":"invite"}`, `{"membership":"leave","Membership":"join"}`, `{"users":{"@alice:hearth.test":"100","x":null},"events":7,"ban":"x"}`,
			`{"join_rule":["public"],"allow":{"a":7}}`, `{"aliases":["x",7],"alias":{},"alt_aliases":[[]]}`, `{"redacts":"$x"}`, `{"redacts":7}`,
			`{"m.relates_to":{"rel_type":"m.thread","event_id":{"a":1}}}`, `{"m.relates_to":7}`, `{"replacement_room":"!x:y"}`, `{"guest_access":"forbidden"}`,
		} {
			f.Add(typ, []string{"none", "", "@bob:hearth.test"}[(len(typ)+i)%3], content)
		}
	}
	store := storagetest.Open(f)
	s := newServer(store)
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, typ, key, content string) {
		if typ == "" || !utf8.ValidString(typ) || !utf8.ValidString(key) || !utf8.ValidString(content) || !json.Valid([]byte(content)) {
			return // internal/web lets nothing else through
		}
		version := []roomVersion{"1", "6", "11", "12"}[(len(typ)+len(key)+len(content))%4]
		room, err := s.Create(ctx, CreateRequest{Creator: alice, Version: version, Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		r := SendRequest{Room: room, Type: typ, Content: json.RawMessage(content)}
		if key != "none" {
			r.StateKey = &key
		}
		for _, r.Sender = range []id.UserID{bob, alice} {
			var known *merr.Error
			if _, err := s.Send(ctx, r); err != nil && !errors.As(err, &known) {
				t.Fatalf("version %s, %s: %v", version, r.Sender, err)
			}
		}
		m := MemberRequest{Room: room, Sender: bob}
		for _, change := range []func(context.Context, MemberRequest) error{s.Leave, s.Join, s.Knock} {
			var known *merr.Error
			if err := change(ctx, m); err != nil && !errors.As(err, &known) {
				t.Fatalf("version %s, afterwards: %v", version, err)
			}
		}
	})
}
