package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// TestPolicyServers has two as the policy server of a room of one and three, which does not like spam.
func TestPolicyServers(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "one", "two", "three")
	a, c := w.servers["one"], w.servers["three"]
	alice, bot, carol := a.user("alice"), w.servers["two"].user("bot"), c.user("carol")
	room := a.create(CreateRequest{Creator: alice, Preset: "public_chat"})
	key := ed25519.NewKeyFromSeed([]byte("policypolicypolicypolicypolicy12"))
	asked := 0
	w.judgement = func(raw json.RawMessage) (string, error) {
		asked++
		if strings.Contains(gjson.GetBytes(raw, "content.body").Str, "spam") {
			return "", merr.New(merr.Forbidden, "no spam")
		}
		e, err := pdu.Parse(a.versions["11"], raw)
		if err != nil {
			t.Errorf("asked about %s: %v", raw, err)
		}
		return base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, e.Signed)), nil
	}
	policy := `{"via":"two","public_keys":{"ed25519":"` + base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)) + `"}}`
	a.mustSet(room, alice, policyType, "", policy)
	if a.say(room, alice, "spam, before the policy server is in the room"); asked != 0 {
		t.Fatalf("asked %d times for nothing", asked)
	}
	for user, f := range map[id.UserID]*fixture{bot: w.servers["two"], carol: c} {
		if err := f.Join(ctx, MemberRequest{Room: room, Sender: user, Via: []id.ServerName{"one"}}); err != nil {
			t.Fatal(err)
		}
		w.deliver()
	}
	asked = 0
	said := a.say(room, alice, "hello")
	if e := a.event(said); asked != 1 || !e.Get(`signatures.two.ed25519:policy_server`).Exists() {
		t.Errorf("asked %d times, stored %s", asked, e.JSON)
	}
	w.deliver()
	if e := c.event(said); e == nil || e.Status != storage.Accepted || asked != 1 {
		t.Errorf("three has %+v, the policy server was asked %d times", e, asked)
	}
	_, err := a.send(room, alice, "m.room.message", `{"body":"spam"}`)
	wantCode(t, err, merr.Forbidden)
	if !strings.Contains(err.Error(), "no spam") {
		t.Errorf("the client is told %v", err)
	}
	if _, err := c.Send(ctx, SendRequest{Room: room, Sender: carol, Type: "m.room.message", Content: json.RawMessage(`{"body":"hello too"}`)}); err != nil {
		t.Errorf("from three: %v", err)
	}
	w.deliver()
	// A server that does not ask.
	for body, want := range map[string]storage.EventStatus{"fine": storage.Accepted, "spam": storage.SoftFailed} {
		event, raw := c.follow(room, draft{typ: "m.room.message", sender: carol, content: json.RawMessage(`{"body":"` + body + `"}`)})
		if err := a.Receive(ctx, "three", room, []json.RawMessage{raw})[event]; err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if e := a.event(event); e == nil || e.Status != want {
			t.Errorf("%s is stored as %+v", body, e)
		}
	}
	if got := a.bodies(room); !slices.Equal(got[1:], []string{"hello", "hello too", "fine"}) {
		t.Errorf("the timeline is %v", got)
	}
	// Nobody but those who set it can get rid of it, and for that it is not asked.
	w.down["two"] = true
	if _, err := a.send(room, alice, "m.room.message", `{"body":"x"}`); merr.From(err).Status != 502 {
		t.Errorf("without the policy server: %v", err)
	}
	if err := c.Leave(ctx, MemberRequest{Room: room, Sender: carol}); err != nil {
		t.Errorf("nobody can leave without the policy server: %v", err)
	}
	w.wantMember(room, carol, spec.Leave, c)
	a.mustSet(room, alice, policyType, "", `{}`)
	a.say(room, alice, "free")
}

// Events of other servers that come into a room through us, and invites that go out before they are in the room, need its signature as well.
func TestPolicyServersAreAskedAboutMembersOfOtherServers(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "one", "two", "three")
	a, c := w.servers["one"], w.servers["three"]
	alice, bot, carol, mallory := a.user("alice"), w.servers["two"].user("bot"), c.user("carol"), c.user("mallory")
	room := a.create(CreateRequest{Creator: alice, Preset: "public_chat"})
	key := ed25519.NewKeyFromSeed([]byte("policypolicypolicypolicypolicy12"))
	w.judgement = func(raw json.RawMessage) (string, error) {
		if strings.Contains(gjson.GetBytes(raw, "state_key").Str, "mallory") {
			return "", merr.New(merr.Forbidden, "not them")
		}
		e, err := pdu.Parse(a.versions["11"], raw)
		if err != nil {
			t.Errorf("asked about %s: %v", raw, err)
		}
		return base64.RawStdEncoding.EncodeToString(ed25519.Sign(key, e.Signed)), nil
	}
	if err := w.servers["two"].Join(ctx, MemberRequest{Room: room, Sender: bot, Via: []id.ServerName{"one"}}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	policy := `{"via":"two","public_keys":{"ed25519":"` + base64.RawStdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)) + `"}}`
	a.mustSet(room, alice, policyType, "", policy)
	w.deliver()
	signed := func() bool { return a.stored(room, carol).Get("signatures.two.ed25519:policy_server").Exists() }
	via := []id.ServerName{"one"}
	if err := c.Join(ctx, MemberRequest{Room: room, Sender: carol, Via: via}); err != nil || !signed() {
		t.Fatalf("a join: %v, signed: %v", err, signed())
	}
	w.deliver()
	if err := c.Leave(ctx, MemberRequest{Room: room, Sender: carol}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: carol}); err != nil || !signed() {
		t.Fatalf("an invite: %v, signed: %v", err, signed())
	}
	w.deliver()
	if err := c.Leave(ctx, MemberRequest{Room: room, Sender: carol}); err != nil || !signed() {
		t.Fatalf("a rejection: %v, signed: %v", err, signed())
	}
	w.deliver()
	w.wantMember(room, carol, "leave", w.servers["two"])
	wantCode(t, c.Join(ctx, MemberRequest{Room: room, Sender: mallory, Via: via}), merr.Forbidden)
	wantCode(t, a.Invite(ctx, MemberRequest{Room: room, Sender: alice, Target: mallory}), merr.Forbidden)
	w.wantMember(room, mallory, "", a, c)
}

func TestAPolicyServerCannotLogAnybodyOut(t *testing.T) {
	for name, tt := range map[string]struct {
		says, want *merr.Error
	}{
		"what it thinks of the event":     {merr.New(merr.Forbidden, "no spam"), merr.New(merr.Forbidden, "no spam")},
		"that it is asked too often":      {merr.New(merr.LimitExceeded, "slowly"), merr.New(merr.LimitExceeded, "slowly")},
		"that the token is not known":     {merr.New(merr.UnknownToken, "x"), merr.New(merr.Forbidden, "x")},
		"that the account is locked":      {merr.New(merr.UserLocked, "x"), merr.New(merr.Forbidden, "x")},
		"a status that means the session": {merr.New(merr.Unrecognized, "x").WithStatus(401), merr.New(merr.Unrecognized, "x").WithStatus(403)},
	} {
		t.Run(name, func(t *testing.T) {
			got := merr.From(refusedByPolicy(said{tt.says}))
			if got.Code != tt.want.Code || got.Status != tt.want.Status {
				t.Errorf("got %d %s, want %d %s", got.Status, got.Code, tt.want.Status, tt.want.Code)
			}
		})
	}
}
