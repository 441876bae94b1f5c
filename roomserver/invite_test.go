package roomserver

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/pdu"
	"github.com/hearthd/hearth/storage"
)

// stored is the event behind a user's membership as a server has it.
func (f *fixture) stored(room id.RoomID, user id.UserID) (e *storage.Event) {
	f.t.Helper()
	f.view(func(tx *storage.ReadTx) (err error) {
		e, err = tx.EventAt(f.member(room, user).Event)
		return err
	})
	return e
}

// invited makes a world where anna of the first server has invited bert of the second to a private room.
func invited(t *testing.T, r CreateRequest) (w *world, a, b *fixture, anna, bert id.UserID, room id.RoomID) {
	t.Helper()
	r.Preset = "private_chat"
	w, a, b, _, anna, room = home(t, r)
	bert = b.user("bert")
	if err := a.Invite(context.Background(), MemberRequest{Room: room, Sender: anna, Target: bert, Direct: true, Reason: "tea"}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	return w, a, b, anna, bert, room
}

func TestUsersOfOtherServersAreInvited(t *testing.T) {
	ctx := context.Background()
	for _, version := range []roomVersion{"1", "3", "6", "10", "11", "12"} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			w, a, b, anna, bert, room := invited(t, CreateRequest{Version: version, Name: "Home"})
			w.wantMember(room, bert, spec.Invite, a, b)
			// Both servers have signed it.
			for _, f := range []*fixture{a, b} {
				if got := f.stored(room, bert).Get("signatures.b\\.test").Raw; !strings.Contains(got, "ed25519:1") {
					t.Errorf("%s has the signature %s", f.cfg.Name, got)
				}
			}
			m := b.member(room, bert)
			shown := gjson.Parse(m.Stripped)
			if m.Sender != anna || shown.Get(`#(type=="m.room.name").content.name`).Str != "Home" ||
				shown.Get(`#(type=="m.room.create").origin_server_ts`).Int() == 0 ||
				shown.Get(`#(type=="m.room.join_rules").content.join_rule`).Str != "invite" ||
				shown.Get(fmt.Sprintf(`#(state_key==%q).content.is_direct`, bert)).Bool() != true {
				t.Errorf("invited by %s to %s", m.Sender, m.Stripped)
			}
			if got := a.row(room).Summary.Invited; got != 1 {
				t.Errorf("%d are invited", got)
			}
			// Whoever invites again makes no new event.
			was := a.stored(room, bert).ID
			if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bert}); err != nil || a.stored(room, bert).ID != was {
				t.Errorf("invited again: %v", err)
			}
			// No server is named: the invite says where it came from.
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Join, a, b)
			w.sameState(room, a, b)
			for _, f := range []*fixture{a, b} {
				join := f.stored(room, bert)
				var before *storage.Event
				f.view(func(tx *storage.ReadTx) (err error) {
					before, err = tx.EventAt(join.Replaces)
					return err
				})
				if join.Get("content.is_direct").Exists() || !before.Get("content.is_direct").Bool() || before.Get("content.membership").Str != spec.Invite {
					t.Errorf("on %s, the join is %s after %s", f.cfg.Name, join.JSON, before.JSON)
				}
			}
		})
	}
}

func TestAUserIsInvitedWhoseServerIsInTheRoom(t *testing.T) {
	ctx := context.Background()
	w, a, b, anna, bert, room := invited(t, CreateRequest{})
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"joins", "leaves"} {
		user := b.user(name)
		if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: user}); err != nil {
			t.Fatal(err)
		}
		w.wantMember(room, user, "", b) // it comes as an event of the room
		w.deliver()
		w.wantMember(room, user, spec.Invite, a, b)
		if b.member(room, user).Stripped == "" {
			t.Error("there is no stripped state")
		}
	}
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: "@joins:b.test"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Leave(ctx, MemberRequest{Room: room, Sender: "@leaves:b.test"}); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	w.wantMember(room, "@joins:b.test", spec.Join, a, b)
	w.wantMember(room, "@leaves:b.test", spec.Leave, a, b)
	if w.calls["make_leave"] != 0 || w.calls["make_join"] != 1 {
		t.Errorf("calls: %v", w.calls)
	}
}

func TestInvitesByStateEventAndWithANewRoom(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{})
	bert, bella := b.user("bert"), b.user("bella")
	r := SendRequest{Room: room, Sender: anna, Type: spec.MRoomMember, StateKey: ptr(string(bert)),
		Content: json.RawMessage(`{"membership":"invite","reason":"tea","join_authorised_via_users_server":"@x:y"}`)}
	first, err := a.Send(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Send(ctx, r); err != nil || again != first || a.stored(room, bert).ID != first {
		t.Errorf("%s, then %s, %v", first, again, err)
	}
	w.wantMember(room, bert, spec.Invite, a, b)
	if got := a.stored(room, bert).Get("content").Raw; got != `{"membership":"invite","reason":"tea"}` {
		t.Errorf("the content is %s", got)
	}
	// A server that cannot be reached does not keep the room from being made.
	fresh := a.create(CreateRequest{Creator: anna, Invite: []id.UserID{"@x:no.test", bert, bella}, Direct: true})
	for _, u := range []id.UserID{bert, bella} {
		w.wantMember(fresh, u, spec.Invite, a, b)
		if !b.stored(fresh, u).Get("content.is_direct").Bool() {
			t.Error("is_direct is not in the invite")
		}
	}
	w.wantMember(fresh, "@x:no.test", "", a)
}

func TestInvitesThatOtherServersDoNotTake(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{})
	bert, blocked, gone := b.user("bert"), b.user("blocked"), b.user("gone")
	err := b.store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.DeactivateUser(gone, 1, false); err != nil {
			return err
		}
		return tx.SetAccountData(blocked, storage.AccountData{Type: "m.invite_permission_config", Content: json.RawMessage(`{"default_action":"block"}`)})
	})
	if err != nil {
		t.Fatal(err)
	}
	invite := func(user id.UserID) error {
		return a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: user})
	}
	wantCode(t, invite("@nobody:b.test"), merr.NotFound)
	wantCode(t, invite(gone), merr.NotFound)
	wantCode(t, invite(blocked), merr.InviteBlocked)
	if e := merr.From(invite("@x:no.test")); e.Status != 502 || e.Code != merr.Unknown {
		t.Errorf("a server that cannot be reached: %v", e)
	}
	delete(b.versions, "11")
	wantCode(t, invite(bert), merr.IncompatibleRoomVersion)
	for _, u := range []id.UserID{"@nobody:b.test", gone, blocked, bert, "@x:no.test"} {
		w.wantMember(room, u, "", a, b)
	}
}

// What has happened while the invite was away counts.
func TestAnInviteIsJudgedAgainWhenItComesBack(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{Preset: "private_chat"})
	bert := b.user("bert")
	w.between = func() { a.say(room, anna, "meanwhile") }
	if err := a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bert}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bert, spec.Invite, a, b)
	if n := len(a.row(room).Extremities); n != 2 {
		t.Errorf("the room has %d ends", n)
	}
	bella := b.user("bella")
	w.between = func() {
		if err := a.Ban(ctx, MemberRequest{Room: room, Sender: anna, Target: bella}); err != nil {
			t.Error(err)
		}
	}
	wantCode(t, a.Invite(ctx, MemberRequest{Room: room, Sender: anna, Target: bella}), merr.Forbidden)
	w.wantMember(room, bella, spec.Ban, a)
}

// forge makes a signed event of the server f.
func (f *fixture) forge(version roomVersion, room id.RoomID, d draft) (id.EventID, json.RawMessage) {
	f.t.Helper()
	event, raw, err := f.build(d, place{version: f.versions[version], room: room, prev: []id.EventID{"$prev:a.test"}, auth: []id.EventID{"$auth:a.test"}, depth: 7, ts: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	return event, raw
}

func TestForgedInvitesAreNotSigned(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "a.test", "b.test", "c.test")
	a, b := w.servers["a.test"], w.servers["b.test"]
	bert := b.user("bert")
	good := func() draft {
		return draft{typ: spec.MRoomMember, stateKey: ptr(string(bert)), sender: "@anna:a.test", content: json.RawMessage(`{"membership":"invite"}`)}
	}
	const room = id.RoomID("!r:a.test")
	for name, c := range map[string]struct {
		change func(d *draft)
		raw    func(raw json.RawMessage) json.RawMessage
		origin id.ServerName
		room   id.RoomID
	}{
		"another type":             {change: func(d *draft) { d.typ = spec.MRoomPowerLevels }},
		"no state":                 {change: func(d *draft) { d.stateKey = nil }},
		"a join":                   {change: func(d *draft) { d.content = json.RawMessage(`{"membership":"join"}`) }},
		"a membership in capitals": {change: func(d *draft) { d.content = json.RawMessage(`{"Membership":"invite"}`) }},
		"a user of another server": {change: func(d *draft) { d.stateKey = ptr("@carl:c.test") }},
		"a user that is none":      {change: func(d *draft) { d.stateKey = ptr("bert") }},
		"a sender of ours":         {change: func(d *draft) { d.sender = "@bella:b.test" }},
		"a sender of another":      {change: func(d *draft) { d.sender = "@carl:c.test" }},
		"another origin":           {origin: "c.test"},
		"another room":             {room: "!other:a.test"},
		"a content that was edited": {raw: func(raw json.RawMessage) json.RawMessage {
			out, _ := sjson.SetBytes(raw, "content.displayname", "x")
			return out
		}},
		"no signature": {raw: func(raw json.RawMessage) json.RawMessage { out, _ := sjson.DeleteBytes(raw, "signatures"); return out }},
		"no JSON":      {raw: func(json.RawMessage) json.RawMessage { return json.RawMessage(`{`) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := good()
			if c.change != nil {
				c.change(&d)
			}
			event, raw := a.forge("11", room, d)
			if c.raw != nil {
				raw = c.raw(raw)
			}
			origin, to := id.ServerName("a.test"), room
			if c.origin != "" {
				origin = c.origin
			}
			if c.room != "" {
				to = c.room
			}
			signed, err := b.AcceptInvite(ctx, origin, to, event, "11", raw, nil)
			wantCode(t, err, merr.InvalidParam)
			if signed != nil {
				t.Errorf("signed %s", signed)
			}
		})
	}
	event, raw := a.forge("11", room, good())
	_, err := b.AcceptInvite(ctx, "a.test", room, "$another", "11", raw, nil)
	wantCode(t, err, merr.InvalidParam)
	_, err = b.AcceptInvite(ctx, "a.test", room, event, "99", raw, nil)
	wantCode(t, err, merr.IncompatibleRoomVersion)
	_, err = b.AcceptInvite(ctx, "a.test", room, event, "12", raw, nil)
	wantCode(t, err, merr.InvalidParam)
	w.wantMember(room, bert, "", b)
	if _, err = b.AcceptInvite(ctx, "a.test", room, event, "11", raw, nil); err != nil {
		t.Error(err)
	}
	w.wantMember(room, bert, spec.Invite, b)
}

// A malicious invite must not break the sync of who gets it.
func TestWhatAnInviteTellsOfTheRoomIsSifted(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "a.test", "b.test")
	a, b := w.servers["a.test"], w.servers["b.test"]
	bert := b.user("bert")
	const room = id.RoomID("!r:a.test")
	event, raw := a.forge("11", room, draft{typ: spec.MRoomMember, stateKey: ptr(string(bert)), sender: "@anna:a.test", content: json.RawMessage(`{"membership":"invite"}`)})
	var state []json.RawMessage
	for _, s := range []string{
		`{"type":"m.room.name","state_key":"","sender":"@anna:a.test","content":{"name":"Home"},"unsigned":{"x":1},"event_id":"$x"}`,
		`{"type":"m.room.name","state_key":"","sender":"@anna:a.test","content":{"name":"Again"}}`,
		`{"type":"m.room.topic","state_key":"","sender":"@anna:a.test","content":"text"}`,
		`{"type":"m.room.topic","state_key":"","sender":"anna","content":{}}`,
		`{"type":"m.room.topic","state_key":7,"sender":"@anna:a.test","content":{}}`,
		`{"type":"m.room.topic","sender":"@anna:a.test","content":{}}`,
		`{"type":{},"state_key":"","sender":"@anna:a.test","content":{}}`,
		`{"type":"m.room.topic","state_key":"","sender":"@anna:a.test","content":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`,
		`{"type":"m.room.topic","state_key":"","sender":"@anna:a.test","content":{"topic":"` + strings.Repeat("x", 70000) + `"}}`,
		`{"type":"` + strings.Repeat("t", 300) + `","state_key":"","sender":"@anna:a.test","content":{}}`,
		`{"type":"m.room.member","state_key":"@bert:b.test","sender":"@anna:a.test","content":{"membership":"join"}}`,
		`{"type":"m.room.avatar","state_key":"","sender":"@anna:a.test","content":{}`,
		`null`, `[]`, `7`, ``, `"x"`,
	} {
		state = append(state, json.RawMessage(s))
	}
	for range 200 {
		state = append(state, json.RawMessage(`{}`))
	}
	if _, err := b.AcceptInvite(ctx, "a.test", room, event, "11", raw, state); err != nil {
		t.Fatal(err)
	}
	want := `[{"content":{"name":"Home"},"sender":"@anna:a.test","state_key":"","type":"m.room.name"},` +
		`{"content":{"membership":"invite"},"sender":"@anna:a.test","state_key":"@bert:b.test","type":"m.room.member"}]`
	if got := b.member(room, bert).Stripped; got != want {
		t.Errorf("shown is %.2000s", got)
	}
}

// Spec: server-server-api#put_matrixfederationv2inviteroomideventid
func TestInvitesToRoomsOfVersion12ProveWhatTheyTell(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{Version: "12", Name: "Home"})
	bert := b.user("bert")
	other := a.create(CreateRequest{Creator: anna, Version: "12", Preset: "public_chat", Name: "Other"})
	preview := func(room id.RoomID) (out []json.RawMessage) {
		a.view(func(tx *storage.ReadTx) error {
			s, err := a.Server.state(tx, room)
			if err == nil {
				out, err = s.wholePreview(anna, string(bert))
			}
			return err
		})
		return out
	}
	good, foreign := preview(room), preview(other)
	unsigned, _ := sjson.DeleteBytes(good[0], "signatures")
	var name int
	for i, e := range good {
		if gjson.GetBytes(e, "type").Str == spec.MRoomName {
			name = i
		}
	}
	unsignedName, _ := sjson.DeleteBytes(good[name], "signatures")
	replaced := func(i int, e json.RawMessage) []json.RawMessage {
		out := append([]json.RawMessage{}, good...)
		out[i] = e
		return out
	}
	invite := func(state []json.RawMessage) error {
		event, raw := a.forge("12", room, draft{typ: spec.MRoomMember, stateKey: ptr(string(bert)), sender: anna, content: json.RawMessage(`{"membership":"invite"}`)})
		_, err := b.AcceptInvite(ctx, "a.test", room, event, "12", raw, state)
		return err
	}
	for reason, state := range map[string][]json.RawMessage{
		"nothing":                        nil,
		"no create event":                good[1:],
		"the create event of another":    replaced(0, foreign[0]),
		"the name of another room":       replaced(name, foreign[name]),
		"a create event without its own": replaced(0, unsigned),
		"stripped state":                 replaced(0, json.RawMessage(`{"type":"m.room.create","state_key":"","sender":"@anna:a.test","content":{}}`)),
	} {
		t.Run(reason, func(t *testing.T) { wantCode(t, invite(state), merr.InvalidParam) })
	}
	w.wantMember(room, bert, "", b)
	if err := invite(replaced(name, unsignedName)); err != nil {
		t.Fatal(err)
	}
	if shown := b.member(room, bert).Stripped; strings.Contains(shown, "Home") || !strings.Contains(shown, "m.room.create") || strings.Contains(shown, "hashes") {
		t.Errorf("shown is %s", shown)
	}
}

func TestAnInviteAfterABanThatWasLifted(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{})
	bert := b.user("bert")
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	by := MemberRequest{Room: room, Sender: anna, Target: bert}
	if err := a.Ban(ctx, by); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	w.wantMember(room, bert, spec.Ban, a, b)
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"a.test"}}), merr.Forbidden)
	if err := a.Unban(ctx, by); err != nil {
		t.Fatal(err)
	}
	w.deliver()
	if err := a.Invite(ctx, by); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bert, spec.Invite, a, b)
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	w.wantMember(room, bert, spec.Join, a, b)
	w.sameState(room, a, b)
}

func TestOnlyTheSignatureOfAnAnsweredEventIsTaken(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "a.test", "b.test")
	a, b := w.servers["a.test"], w.servers["b.test"]
	version := a.versions["11"]
	d := draft{typ: spec.MRoomMember, stateKey: ptr("@bert:b.test"), sender: "@anna:a.test", content: json.RawMessage(`{"membership":"invite"}`)}
	_, ours := a.forge("11", "!r:a.test", d)
	e, err := pdu.Parse(version, ours)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := b.cosign(e)
	if err != nil {
		t.Fatal(err)
	}
	more, _ := sjson.SetBytes(signed, "unsigned.x", 1)
	more, _ = sjson.SetBytes(more, "signatures.c\\.test.ed25519:1", "x")
	got, err := a.cosigned(ctx, version, ours, more, "b.test")
	if err != nil || string(got) != string(signed) {
		t.Errorf("%v\n%s\ninstead of\n%s", err, got, signed)
	}
	d.content = json.RawMessage(`{"membership":"ban"}`)
	_, another := a.forge("11", "!r:a.test", d)
	wrong, _ := sjson.SetBytes(ours, "signatures.b\\.test.ed25519:1", "AAAA")
	for name, theirs := range map[string]json.RawMessage{"nothing": nil, "no event": json.RawMessage(`{}`), "unsigned": ours, "another": another, "wrong": wrong} {
		if got, err := a.cosigned(ctx, version, ours, theirs, "b.test"); err == nil || string(got) != string(ours) {
			t.Errorf("%s: %v, %s", name, err, got)
		}
	}
}
