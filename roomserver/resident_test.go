package roomserver

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

// answer makes an event of a template of the server a, as the server b would, with some changes.
func (b *fixture) answer(a *fixture, room id.RoomID, user id.UserID, membership string, change func(d *draft)) (id.EventID, json.RawMessage) {
	b.t.Helper()
	ctx := context.Background()
	origin := b.cfg.Name
	t, err := a.MakeJoin(ctx, origin, room, user, b.offered())
	switch membership {
	case spec.Leave:
		t, err = a.MakeLeave(ctx, origin, room, user)
	case spec.Knock:
		t, err = a.MakeKnock(ctx, origin, room, user, b.offered())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := b.readTemplate(t, "", a.cfg.Name, MemberRequest{Room: room, Sender: user}, membership)
	if err != nil {
		b.t.Fatal(err)
	}
	d := draft{typ: spec.MRoomMember, stateKey: ptr(string(user)), sender: user, content: must(map[string]string{"membership": membership})}
	if change != nil {
		change(&d)
	}
	event, raw, err := b.build(d, place{version: p.version, room: room, prev: p.prev, auth: p.auth, depth: p.depth, ts: 1})
	if err != nil {
		b.t.Fatal(err)
	}
	return event, raw
}

// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid and its siblings
func TestOnlyTheProposedMembershipIsTaken(t *testing.T) {
	ctx := context.Background()
	for _, membership := range []string{spec.Join, spec.Leave, spec.Knock} {
		t.Run(membership, func(t *testing.T) {
			w, a, b, c, anna, room := home(t, CreateRequest{Preset: "private_chat"})
			bert := b.user("bert")
			switch membership {
			case spec.Join:
				a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"public"}`)
			case spec.Leave:
				if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bert}); err != nil {
					t.Fatal(err)
				}
			case spec.Knock:
				a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"knock"}`)
			}
			before := a.member(room, bert).Membership
			send := func(origin id.ServerName, event id.EventID, raw json.RawMessage) (err error) {
				switch membership {
				case spec.Join:
					_, err = a.SendJoin(ctx, origin, room, event, raw, false)
				case spec.Leave:
					err = a.SendLeave(ctx, origin, room, event, raw)
				case spec.Knock:
					_, err = a.SendKnock(ctx, origin, room, event, raw)
				}
				return err
			}
			content := func(membership string) func(d *draft) {
				return func(d *draft) { d.content = must(map[string]string{"membership": membership}) }
			}
			for name, change := range map[string]func(d *draft){
				"a message":               func(d *draft) { d.typ, d.stateKey, d.content = "m.room.message", nil, json.RawMessage(`{"body":"x"}`) },
				"a membership without":    func(d *draft) { d.stateKey = nil },
				"no membership":           func(d *draft) { d.content = json.RawMessage(`{}`) },
				"somebody else":           func(d *draft) { d.stateKey = ptr("@bella:b.test") },
				"a user of ours":          func(d *draft) { d.sender, d.stateKey = anna, ptr(string(anna)) },
				"a user of a third":       func(d *draft) { d.sender, d.stateKey = "@carl:c.test", ptr("@carl:c.test") },
				"power":                   func(d *draft) { d.typ, d.stateKey, d.content = spec.MRoomPowerLevels, ptr(""), json.RawMessage(`{}`) },
				"a state key that is odd": func(d *draft) { d.stateKey = ptr("bert") },
			} {
				event, raw := b.answer(a, room, bert, membership, change)
				if err := send("b.test", event, raw); !merr.HasCode(err, merr.InvalidParam) || merr.From(err).Status != 400 {
					t.Errorf("%s: %v", name, err)
				}
			}
			for _, other := range []string{spec.Join, spec.Leave, spec.Knock, spec.Invite, spec.Ban} {
				if other != membership {
					event, raw := b.answer(a, room, bert, membership, content(other))
					wantCode(t, send("b.test", event, raw), merr.InvalidParam)
				}
			}
			event, raw := b.answer(a, room, bert, membership, nil)
			wantCode(t, send("c.test", event, raw), merr.InvalidParam)
			wantCode(t, send("b.test", "$other", raw), merr.InvalidParam)
			unsigned, _ := sjson.DeleteBytes(raw, "signatures")
			wantCode(t, send("b.test", event, unsigned), merr.InvalidParam)
			edited, _ := sjson.SetBytes(raw, "content.displayname", "x")
			wantCode(t, send("b.test", event, edited), merr.InvalidParam)
			if got := a.member(room, bert).Membership; got != before {
				t.Errorf("the membership is %q", got)
			}
			if err := send("b.test", event, raw); err != nil {
				t.Fatal(err)
			}
			if err := send("b.test", event, raw); err != nil && membership == spec.Join {
				t.Errorf("sent again: %v", err)
			}
			w.wantMember(room, bert, membership, a)
			_ = c
		})
	}
}

func TestWhatIsNotProposed(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{Preset: "private_chat"})
	bert := b.user("bert")
	all := b.offered()
	_, err := a.MakeJoin(ctx, "b.test", room, bert, all)
	wantCode(t, err, merr.Forbidden)
	_, err = a.MakeKnock(ctx, "b.test", room, bert, all)
	wantCode(t, err, merr.Forbidden)
	_, err = a.MakeLeave(ctx, "b.test", room, bert)
	wantCode(t, err, merr.Forbidden)
	_, err = a.MakeJoin(ctx, "b.test", "!no:a.test", bert, all)
	wantCode(t, err, merr.NotFound)
	a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"public"}`)
	_, err = a.MakeJoin(ctx, "c.test", room, bert, all)
	wantCode(t, err, merr.Forbidden)
	for _, versions := range [][]roomVersion{nil, {"1", "10"}} {
		_, err = a.MakeJoin(ctx, "b.test", room, bert, versions)
		wantCode(t, err, merr.IncompatibleRoomVersion)
		if got := merr.From(err).Fields["room_version"]; got != roomVersion("11") {
			t.Errorf("the version is told as %v", got)
		}
	}
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	// Who has left the room knows nothing of it any more.
	if err := a.Leave(ctx, MemberRequest{Room: room, Sender: anna}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	_, err = a.MakeJoin(ctx, "c.test", room, "@carl:c.test", all)
	wantCode(t, err, merr.NotFound)
}

func TestTemplatesHaveNoSignature(t *testing.T) {
	for version := range Versions() {
		_, a, b, _, _, room := home(t, CreateRequest{Version: version})
		tpl, err := a.MakeJoin(context.Background(), "b.test", room, "@bert:b.test", b.offered())
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"signatures", "hashes", "event_id"} {
			if gjson.GetBytes(tpl.Event, field).Exists() {
				t.Errorf("version %s: %s", version, tpl.Event)
			}
		}
		if tpl.Version != version || gjson.GetBytes(tpl.Event, "room_id").Str != string(room) {
			t.Errorf("version %s: %s, %s", version, tpl.Version, tpl.Event)
		}
	}
}

// Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
func TestMembersAreLeftOutOfTheAnswerToAJoin(t *testing.T) {
	ctx := context.Background()
	_, a, b, _, _, room := home(t, CreateRequest{})
	var members []string
	for _, name := range []string{"a1", "a2", "a3", "a4", "a5", "a6"} {
		user := a.user(name)
		if err := a.Join(ctx, MemberRequest{Room: room, Sender: user}); err != nil {
			t.Fatal(err)
		}
		members = append(members, string(user))
	}
	keys := func(list []json.RawMessage) (out []string) {
		for _, raw := range list {
			e := gjson.GetManyBytes(raw, "type", "state_key")
			out = append(out, strings.TrimPrefix(e[0].Str, "m.room.")+"|"+e[1].Str)
		}
		slices.Sort(out)
		return out
	}
	join := func(user id.UserID, omit bool) Joined {
		event, raw := b.answer(a, room, user, spec.Join, nil)
		answer, err := a.SendJoin(ctx, "b.test", room, event, raw, omit)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	got := join("@b1:b.test", true)
	want := []string{"create|", "history_visibility|", "join_rules|", "power_levels|"}
	for _, m := range append([]string{"@anna:a.test"}, members[:4]...) {
		want = append(want, "member|"+m)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, keys(got.State)); diff != "" || !got.MembersOmitted || len(got.AuthChain) != 0 {
		t.Errorf("%v, auth chain %q, state (-want +got):\n%s", got.MembersOmitted, keys(got.AuthChain), diff)
	}
	if diff := cmp.Diff([]id.ServerName{"a.test"}, got.Servers); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
	got = join("@b2:b.test", false)
	if len(got.State) != 4+8 || got.MembersOmitted || !slices.Contains(keys(got.AuthChain), "create|") {
		t.Errorf("without omission: %q, %q", keys(got.State), keys(got.AuthChain))
	}
	if diff := cmp.Diff([]id.ServerName{"a.test", "b.test"}, got.Servers); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
}

func TestAJoinIsAuthorisedOnlyForWhoMayJoin(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, club := home(t, CreateRequest{})
	room := a.create(CreateRequest{Creator: anna, InitialState: []InitialState{{spec.MRoomJoinRules, "", restricted(club)}}})
	bert, bella := b.user("bert"), b.user("bella")
	if err := b.Join(ctx, MemberRequest{Room: club, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	vouched := func(by id.UserID) func(d *draft) {
		return func(d *draft) {
			d.content = must(map[string]id.UserID{"membership": "join", "join_authorised_via_users_server": by})
		}
	}
	send := func(change func(d *draft)) (Joined, error) {
		event, raw := b.answer(a, room, bert, spec.Join, change)
		return a.SendJoin(ctx, "b.test", room, event, raw, false)
	}
	// Another user than the one that the template was made for, or another voucher, or none.
	_, err := send(func(d *draft) {
		vouched(anna)(d)
		d.sender, d.stateKey = bella, ptr(string(bella))
	})
	wantCode(t, err, merr.Forbidden)
	_, err = send(nil)
	wantCode(t, err, merr.Forbidden)
	_, err = send(vouched("@nobody:a.test"))
	wantCode(t, err, merr.Forbidden)
	_, err = send(vouched("@carl:c.test"))
	wantCode(t, err, merr.Forbidden)
	w.wantMember(room, bert, "", a)
	got, err := send(vouched(anna))
	if err != nil {
		t.Fatal(err)
	}
	if !gjson.GetBytes(got.Event, "signatures.a\\.test").Exists() || string(a.stored(room, bert).JSON) != string(got.Event) {
		t.Errorf("the event is %s", got.Event)
	}
}

// keyServer is an identity server that says which of its keys are valid, by their URL and name.
type keyServer struct {
	nobody
	valid map[string]bool
}

func (k keyServer) KeyValid(_ context.Context, url, key string) (bool, error) {
	return k.valid[url+" "+key], nil
}

func TestThirdPartyInvitesAreExchanged(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{Preset: "private_chat"})
	bert := b.user("bert")
	identity := ed25519.NewKeyFromSeed([]byte("identityidentityidentityidentity"))
	public := base64.URLEncoding.WithPadding(base64.NoPadding).EncodeToString(identity.Public().(ed25519.PublicKey))
	a.mustSet(room, anna, spec.MRoomThirdPartyInvite, "token", string(must(map[string]any{
		"display_name": "b...@example.org", "key_validity_url": "https://id.test/valid", "public_key": public,
	})))
	event := func(user id.UserID, token string) json.RawMessage {
		signed := must(map[string]any{"mxid": user, "token": token})
		signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(identity, signed))
		signed, _ = sjson.SetBytes(signed, "signatures.id\\.test.ed25519:0", signature)
		return must(map[string]any{
			"type": spec.MRoomMember, "room_id": room, "sender": anna, "state_key": user,
			"content": map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "x", "signed": json.RawMessage(signed)}},
		})
	}
	good := event(bert, "token")
	for path, value := range map[string]any{
		"type": "m.room.message", "room_id": "!x:y", "sender": bert, "state_key": "@bella:b.test", "content.membership": "join",
		"content.third_party_invite.signed.mxid": "@bella:b.test", "content.third_party_invite.signed.signatures": 7,
	} {
		bad, _ := sjson.SetBytes(good, path, value)
		wantCode(t, a.ExchangeThirdPartyInvite(ctx, "b.test", room, bad), merr.InvalidParam)
	}
	wantCode(t, a.ExchangeThirdPartyInvite(ctx, "c.test", room, good), merr.InvalidParam)
	wantCode(t, a.ExchangeThirdPartyInvite(ctx, "b.test", room, json.RawMessage(`{`)), merr.InvalidParam)
	wantCode(t, a.ExchangeThirdPartyInvite(ctx, "b.test", room, event(bert, "another")), merr.Forbidden)
	forged, _ := sjson.SetBytes(good, "content.third_party_invite.signed.signatures.id\\.test.ed25519:0", "AAAA")
	wantCode(t, a.ExchangeThirdPartyInvite(ctx, "b.test", room, forged), merr.Forbidden)
	keys := keyServer{valid: map[string]bool{}}
	a.peers.Identity = keys
	wantCode(t, a.ExchangeThirdPartyInvite(ctx, "b.test", room, good), merr.Forbidden)
	w.wantMember(room, bert, "", a, b)
	keys.valid["https://id.test/valid "+public] = true
	if err := a.ExchangeThirdPartyInvite(ctx, "b.test", room, good); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bert, spec.Invite, a, b)
	if got := b.stored(room, bert).Get("content.third_party_invite.display_name").Str; got != "b...@example.org" {
		t.Errorf("the display name is %q", got)
	}
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	w.sameState(room, a, b)
}

// A room keeps its members apart from those whom other servers have told of it.
func TestAStaleRoomIsNoObstacle(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{})
	bert, bella := b.user("bert"), b.user("bella")
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"invite"}`)
	w.deliver()
	// What b remembers of the room says that anybody may join.
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bella}), merr.Forbidden)
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bella}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bella, spec.Invite, a, b)
	if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bella, spec.Leave, a, b)
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bella}); err != nil {
		t.Fatal(err)
	}
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bella, spec.Join, a, b)
	w.wantMember(room, bert, spec.Leave, a, b)
	w.sameState(room, a, b)
	b.view(func(tx *storage.ReadTx) error {
		row, err := tx.Room(room)
		if err == nil && (row.Summary.Joined != 2 || row.Summary.JoinRule != "invite") {
			t.Errorf("the summary is %+v", row.Summary)
		}
		return err
	})
}
