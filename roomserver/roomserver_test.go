package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

const (
	alice = id.UserID("@alice:hearth.test")
	bob   = id.UserID("@bob:hearth.test")
	carol = id.UserID("@carol:hearth.test")
)

// everyone notifies all users of all messages and notes what was carried over.
type everyone struct {
	carried []id.RoomID
	trips   string // over messages that have this in them; empty for none
}

func (e *everyone) Verdict(tx *storage.ReadTx, room *storage.Room, event *storage.Event, members []storage.Member) (push.Verdict, error) {
	v := push.Verdict{Rest: push.Outcome{Notify: event.Type == "m.room.message"}, Apart: map[id.UserID]push.Outcome{}}
	for _, m := range members {
		o, err := e.Outcome(tx, room, event, m)
		if err != nil {
			return v, err
		}
		if m.User == event.Sender || o.Highlight {
			v.Apart[m.User] = o
		}
	}
	return v, nil
}

func (e *everyone) Outcome(_ *storage.ReadTx, _ *storage.Room, event *storage.Event, member storage.Member) (push.Outcome, error) {
	if event.Type != "m.room.message" || member.User == event.Sender {
		return push.Outcome{}, nil
	}
	if e.trips != "" && strings.Contains(string(event.Content()), e.trips) {
		return push.Outcome{}, errors.New("this cannot be counted")
	}
	return push.Outcome{Notify: true, Highlight: strings.Contains(string(event.Content()), member.User.Localpart())}, nil
}

func (e *everyone) CarryOver(_ *storage.Tx, _ id.UserID, from, _ id.RoomID) error {
	e.carried = append(e.carried, from)
	return nil
}

type fixture struct {
	*Server
	t        testing.TB
	store    *storage.Store
	accounts *everyone
}

func start(t *testing.T, store *storage.Store) *fixture {
	t.Helper()
	accounts := &everyone{}
	key := ed25519.NewKeyFromSeed([]byte("01234567890123456789012345678901"))
	s := New(Config{Name: "hearth.test", DefaultVersion: "11", KeyID: "ed25519:1", Key: key}, Peers{}, store, hub.New(0), accounts,
		clock.NewFake(time.UnixMilli(1_700_000_000_000)), slog.New(slog.DiscardHandler))
	return &fixture{Server: s, t: t, store: store, accounts: accounts}
}

func (f *fixture) create(r CreateRequest) id.RoomID {
	f.t.Helper()
	if r.Creator == "" {
		r.Creator = alice
	}
	room, err := f.Create(context.Background(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return room
}

func (f *fixture) say(room id.RoomID, user id.UserID, body string) id.EventID {
	f.t.Helper()
	e, err := f.Send(context.Background(), SendRequest{Room: room, Sender: user, Type: "m.room.message",
		Content: must(map[string]string{"msgtype": "m.text", "body": body})})
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) view(fn func(tx *storage.ReadTx) error) {
	f.t.Helper()
	if err := f.store.View(context.Background(), fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) state(room id.RoomID, typ, key string) (content gjson.Result) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		e, err := tx.CurrentStateKey(nid, storage.StateKey{Type: typ, Key: key})
		if isNotFound(err) {
			return nil
		}
		if err == nil {
			content = e.Get("content")
		}
		return err
	})
	return content
}

func wantCode(t *testing.T, err error, code merr.Code) {
	t.Helper()
	if !merr.HasCode(err, code) {
		t.Errorf("error %v, want %s", err, code)
	}
}

// Every event must be one that gomatrixserverlib, and so any other server, accepts: its hash, its signature and its id.
func TestEventsOfEveryRoomVersionAreValid(t *testing.T) {
	for version, impl := range Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			f := start(t, storagetest.Open(t))
			room := f.create(CreateRequest{Version: version, Preset: "public_chat", Name: `A "room" <with> \ signs`, Topic: "Tab\tnew\nline ü \u2028", AliasName: "a"})
			target := f.say(room, alice, "hello & <goodbye> \u0001 \U0001F600")
			if err := f.Join(context.Background(), MemberRequest{Room: room, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Redact(context.Background(), SendRequest{Room: room, Sender: alice, Content: json.RawMessage(`{"reason":"x"}`)}, target); err != nil {
				t.Fatal(err)
			}
			f.view(func(tx *storage.ReadTx) error {
				row, err := tx.Room(room)
				if err != nil {
					return err
				}
				events, err := tx.Timeline(row.NID, storage.Span{UpTo: row.LastPos}, 100, false)
				if err != nil {
					return err
				}
				if len(events) < 9 {
					t.Errorf("%d events", len(events))
				}
				for _, e := range events {
					if e.ID == target {
						if e.Get("content.body").Exists() || e.RedactedBy == 0 {
							t.Errorf("the redacted event is %s", e.JSON)
						}
						continue
					}
					pdu, err := impl.NewEventFromUntrustedJSON(e.JSON)
					if err != nil {
						t.Fatalf("%s: %v\n%s", e.Type, err, e.JSON)
					}
					if pdu.EventID() != string(e.ID) || pdu.Redacted() {
						t.Errorf("%s: id %s, stored as %s, redacted %t\n%s", e.Type, pdu.EventID(), e.ID, pdu.Redacted(), e.JSON)
					}
					redacted, err := impl.RedactEventJSON(e.JSON)
					if err != nil {
						t.Fatal(err)
					}
					key := f.cfg.Key.Public().(ed25519.PublicKey)
					if err := gomatrixserverlib.VerifyJSON("hearth.test", "ed25519:1", key, redacted); err != nil {
						t.Errorf("%s: signature: %v\n%s", e.Type, err, e.JSON)
					}
				}
				return nil
			})
		})
	}
}

func TestATransactionIDGivesOneEvent(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{})
		r := SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{"body":"once"}`),
			Txn: storage.Txn{User: alice, Device: "D", Endpoint: "PUT /send", ID: "1"}}
		first, err := f.Send(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := f.Send(context.Background(), r)
		if err != nil || again != first {
			t.Errorf("second answer %s, %v; want %s", again, err, first)
		}
		r.Txn.Device = "E"
		other, err := f.Send(context.Background(), r)
		if err != nil || other == first {
			t.Errorf("another device got %s, %v", other, err)
		}
	})
}

func TestMembershipRules(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{})
		wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: bob}), merr.Forbidden)
		if err := f.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: bob, Direct: true}); err != nil {
			t.Fatal(err)
		}
		if !f.state(room, spec.MRoomMember, string(bob)).Get("is_direct").Bool() {
			t.Error("is_direct is not in the invite")
		}
		if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Errorf("joining twice: %v", err)
		}
		wantCode(t, f.Kick(ctx, MemberRequest{Room: room, Sender: bob, Target: alice}), merr.Forbidden)
		wantCode(t, f.Kick(ctx, MemberRequest{Room: room, Sender: alice, Target: carol}), merr.Forbidden)
		if err := f.Ban(ctx, MemberRequest{Room: room, Sender: alice, Target: bob, Reason: "spam"}); err != nil {
			t.Fatal(err)
		}
		if got := f.state(room, spec.MRoomMember, string(bob)).Get("reason").String(); got != "spam" {
			t.Errorf("reason %q", got)
		}
		wantCode(t, f.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: bob}), merr.Forbidden)
		if err := f.Unban(ctx, MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		if err := f.Forget(ctx, room, bob); err != nil {
			t.Fatal(err)
		}
		f.view(func(tx *storage.ReadTx) error {
			row, err := tx.Room(room)
			if err != nil {
				return err
			}
			m, err := tx.Membership(row.NID, bob)
			if err == nil && !m.Forgotten || row.Summary.Joined != 1 || row.Summary.Invited != 0 {
				t.Errorf("membership %+v, summary %+v", m, row.Summary)
			}
			return err
		})
	})
}

func TestRestrictedJoinsNeedTheOtherRoom(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	club := f.create(CreateRequest{Preset: "public_chat"})
	rule := must(map[string]any{"join_rule": "restricted", "allow": []map[string]any{{"type": "m.room_membership", "room_id": club}}})
	room := f.create(CreateRequest{InitialState: []InitialState{{spec.MRoomJoinRules, "", rule}}})
	wantCode(t, f.Join(ctx, MemberRequest{Room: room, Sender: bob}), merr.Forbidden)
	if err := f.Join(ctx, MemberRequest{Room: club, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
		t.Fatal(err)
	}
	if got := f.state(room, spec.MRoomMember, string(bob)).Get("join_authorised_via_users_server").String(); got != string(alice) {
		t.Errorf("authorised by %q", got)
	}
}

func TestUnreadCountsFollowTheRules(t *testing.T) {
	ctx := context.Background()
	storagetest.Each(t, func(t *testing.T, store *storage.Store) {
		f := start(t, store)
		room := f.create(CreateRequest{Preset: "public_chat"})
		if err := f.Join(ctx, MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		unread := func(what string, want ...storage.Unread) {
			t.Helper()
			f.view(func(tx *storage.ReadTx) error {
				nid, err := tx.RoomNID(room)
				if err != nil {
					return err
				}
				got, err := tx.UnreadOf(bob, nid)
				for i := range got {
					got[i].Room = 0
				}
				if err == nil && !slices.Equal(want, got) {
					t.Errorf("%s: bob has %+v", what, got)
				}
				return err
			})
		}
		f.say(room, bob, "hello")
		unread("what one says oneself")
		f.say(room, alice, "hello")
		f.say(room, alice, "hello bob")
		unread("what others say", storage.Unread{Notify: 2, Highlight: 1})
		f.say(room, bob, "hello")
		unread("after an answer")
	})
}

func TestAnUpgradeHandsTheRoomOver(t *testing.T) {
	ctx := context.Background()
	for _, to := range []gomatrixserverlib.RoomVersion{"6", "11", "12"} {
		t.Run(string(to), func(t *testing.T) {
			f := start(t, storagetest.Open(t))
			old := f.create(CreateRequest{Version: "10", Preset: "public_chat", Published: true, AliasName: "home", Name: "Home"})
			if err := f.Join(ctx, MemberRequest{Room: old, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			if err := f.Ban(ctx, MemberRequest{Room: old, Sender: alice, Target: carol}); err != nil {
				t.Fatal(err)
			}
			_, err := f.Upgrade(ctx, UpgradeRequest{Room: old, User: bob, Version: to})
			wantCode(t, err, merr.Forbidden)
			fresh, err := f.Upgrade(ctx, UpgradeRequest{Room: old, User: alice, Version: to})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.state(old, "m.room.tombstone", "").Get("replacement_room").String(); got != string(fresh) {
				t.Errorf("the tombstone leads to %q, want %q", got, fresh)
			}
			if got := f.state(fresh, spec.MRoomCreate, "").Get("predecessor.room_id").String(); got != string(old) {
				t.Errorf("the predecessor is %q", got)
			}
			if got := f.state(fresh, spec.MRoomName, "").Get("name").String(); got != "Home" {
				t.Errorf("the name is %q", got)
			}
			if got := f.state(fresh, spec.MRoomMember, string(carol)).Get("membership").String(); got != "ban" {
				t.Errorf("carol's membership is %q", got)
			}
			if got := f.state(fresh, spec.MRoomCanonicalAlias, "").Get("alias").String(); got != "#home:hearth.test" {
				t.Errorf("the alias is %q", got)
			}
			_, err = f.Send(ctx, SendRequest{Room: old, Sender: bob, Type: "m.room.message", Content: json.RawMessage(`{}`)})
			wantCode(t, err, merr.Forbidden)
			if err := f.Join(ctx, MemberRequest{Room: fresh, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			if len(f.accounts.carried) != 2 { // alice by the upgrade, bob by the join
				t.Errorf("carried over: %v", f.accounts.carried)
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	ctx := context.Background()
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{})
	send := func(typ string, key *string, content string) error {
		_, err := f.Send(ctx, SendRequest{Room: room, Sender: alice, Type: typ, StateKey: key, Content: json.RawMessage(content)})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		code merr.Code
	}{
		"content is no object":         {send("m.x", nil, `[]`), merr.BadJSON},
		"a number beyond 2^53":         {send("m.x", nil, `{"a":9007199254740993}`), merr.BadJSON},
		"a float":                      {send("m.x", nil, `{"a":1.5}`), merr.BadJSON},
		"a large event":                {send("m.x", nil, `{"a":"`+strings.Repeat("a", 66000)+`"}`), merr.TooLarge},
		"a long type":                  {send(strings.Repeat("a", 256), nil, `{}`), merr.TooLarge},
		"a second create event":        {send(spec.MRoomCreate, ptr(""), `{}`), merr.Forbidden},
		"an alias that does not exist": {send(spec.MRoomCanonicalAlias, ptr(""), `{"alias":"#no:hearth.test"}`), merr.BadAlias},
		"a room that does not exist":   {f.Join(ctx, MemberRequest{Room: "!no:hearth.test", Sender: bob}), merr.NotFound},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, c.err, c.code) })
	}
	_, err := f.Create(ctx, CreateRequest{Creator: alice, Version: "99"})
	wantCode(t, err, merr.UnsupportedRoomVersion)
}

func TestSettingStateTwiceIsOneEvent(t *testing.T) {
	f := start(t, storagetest.Open(t))
	room := f.create(CreateRequest{})
	r := SendRequest{Room: room, Sender: alice, Type: "m.x", StateKey: ptr(""), Content: json.RawMessage(`{"b":1,"a":2}`)}
	first, err := f.Send(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Content = json.RawMessage(`{"a": 2, "b": 1}`)
	if second, err := f.Send(context.Background(), r); err != nil || second != first {
		t.Errorf("second event %s, %v", second, err)
	}
}

// newServer is a Server that keeps real time.
func newServer(store *storage.Store) *Server {
	key := ed25519.NewKeyFromSeed([]byte("01234567890123456789012345678901"))
	return New(Config{Name: "hearth.test", DefaultVersion: "11", KeyID: "ed25519:1", Key: key}, Peers{}, store, hub.New(0), &everyone{},
		clock.Real(), slog.New(slog.DiscardHandler))
}

func BenchmarkSend(b *testing.B) {
	for name, members := range map[string]int{"alone": 1, "50 members": 50} {
		b.Run(name, func(b *testing.B) {
			s := newServer(storagetest.Open(b))
			ctx := context.Background()
			room, err := s.Create(ctx, CreateRequest{Creator: alice, Preset: "public_chat"})
			if err != nil {
				b.Fatal(err)
			}
			for i := 1; i < members; i++ {
				if err := s.Join(ctx, MemberRequest{Room: room, Sender: id.UserID("@u" + strings.Repeat("x", i) + ":hearth.test")}); err != nil {
					b.Fatal(err)
				}
			}
			content := json.RawMessage(`{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog"}`)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Send(ctx, SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: content}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
