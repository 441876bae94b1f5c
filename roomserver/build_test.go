package roomserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage/storagetest"
)

func builder() (*Server, place) {
	s := &Server{cfg: Config{Name: "hearth.test", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}}
	return s, place{
		version: gomatrixserverlib.MustGetRoomVersion("11"), room: "!room:hearth.test", depth: 17, ts: 1_700_000_000_000,
		prev: []id.EventID{"$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		auth: []id.EventID{"$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$ccccccccccccccccccccccccccccccccccccccccccc"},
	}
}

// Whatever a client sends, the event that is made of it is one that other servers accept, or it is refused.
func FuzzBuild(f *testing.F) {
	f.Add("m.room.message", "", `{"body":"hello","n":1}`)
	f.Add("m.room.member", "@a:b", `{"membership":"join","displayname":"\ud83d\ude00 \u0000 \\ \/"}`)
	f.Add("m.room.power_levels", "", `{"users":{"@a:b":100},"ban":50.0,"x":-0}`)
	f.Add("m\"\n\x7f", "\u2028", `{"a":{"b":[1,2,{"c":null}]},"\"":true}`)
	f.Fuzz(func(t *testing.T, typ, key, content string) {
		if !utf8.ValidString(typ) || !utf8.ValidString(key) || !utf8.ValidString(content) || !json.Valid([]byte(content)) {
			return // internal/web lets nothing else through
		}
		s, p := builder()
		event, raw, err := s.build(draft{typ: typ, stateKey: &key, sender: "@alice:hearth.test", content: json.RawMessage(content)}, p)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("not JSON: %s", raw)
		}
		if again, err := canonicalContent(raw, p.version); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("not canonical: %v\n%s\n%s", err, raw, again)
		}
		if hasEscapedKey(raw) {
			return // the library cannot read such events: see canonicalContent
		}
		pdu, err := p.version.NewEventFromUntrustedJSON(raw)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		if pdu.EventID() != string(event) || pdu.Type() != typ || !pdu.StateKeyEquals(key) {
			t.Errorf("%s is %s, %q, %q\n%s", event, pdu.EventID(), pdu.Type(), *pdu.StateKey(), raw)
		}
		if pdu.Redacted() {
			t.Errorf("the hash is wrong\n%s", raw)
		}
		redacted, err := p.version.RedactEventJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := gomatrixserverlib.VerifyJSON("hearth.test", "ed25519:1", s.cfg.Key.Public().(ed25519.PublicKey), redacted); err != nil {
			t.Errorf("%v\n%s", err, raw)
		}
	})
}

// hasEscapedKey finds keys that the library writes without their escapes.
func hasEscapedKey(raw []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := dec.Token()
		if err != nil {
			return false
		}
		// Values are looked at as well: that leaves out some events more than it must.
		if s, ok := token.(string); ok && len(canonjson.AppendString(nil, s)) != len(s)+2 {
			return true
		}
	}
}

// What docs/adr/0005 compares.
func BenchmarkBuild(b *testing.B) {
	s, p := builder()
	content := json.RawMessage(`{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog"}`)
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := s.build(draft{typ: "m.room.message", sender: "@alice:hearth.test", content: content}, p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gomatrixserverlib", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			eb := p.version.NewEventBuilderFromProtoEvent(&gomatrixserverlib.ProtoEvent{
				SenderID: "@alice:hearth.test", RoomID: string(p.room), Type: "m.room.message", Depth: p.depth, Content: spec.RawJSON(content),
				PrevEvents: toStrings(p.prev), AuthEvents: toStrings(p.auth),
			})
			if _, err := eb.Build(time.UnixMilli(p.ts), "hearth.test", s.cfg.KeyID, s.cfg.Key); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A batch of state events sets up a room with much state; what one more costs must not depend on it.
func BenchmarkJoin(b *testing.B) {
	f := newServer(storagetest.Open(b))
	ctx := context.Background()
	room, err := f.Create(ctx, CreateRequest{Creator: alice, Preset: "public_chat"})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		user := id.UserID("@user" + time.Duration(n).String() + ":hearth.test")
		if err := f.Join(ctx, MemberRequest{Room: room, Sender: user}); err != nil {
			b.Fatal(err)
		}
	}
}
