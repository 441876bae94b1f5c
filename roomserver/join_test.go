package roomserver

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/sjson"

	"github.com/hearthd/hearth/internal/fedtypes"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

func TestUsersJoinRoomsOfOtherServers(t *testing.T) {
	ctx := context.Background()
	for version := range Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "a.test", "b.test")
			a, b := w.servers["a.test"], w.servers["b.test"]
			anna, bert, bella := a.user("anna"), b.user("bert"), b.user("bella")
			room := a.create(CreateRequest{Creator: anna, Version: version, Preset: "public_chat", Name: "Home"})
			a.say(room, anna, "before")
			via := []id.ServerName{"a.test"}
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: via}); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Join, a, b)
			w.sameState(room, a, b)
			b.say(room, bert, "hello anna")
			w.deliver()
			a.say(room, anna, "hello bert")
			w.deliver()
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, bella, spec.Join, a, b)
			w.sameState(room, a, b)
			if w.calls["make_join"] != 1 {
				t.Errorf("%d handshakes for two users of one server", w.calls["make_join"])
			}
			if got := b.bodies(room); len(got) != 2 || got[1] != "hello bert" {
				t.Errorf("the timeline there has %q", got)
			}
			if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, bert, spec.Leave, a, b)
			a.say(room, anna, "all alone")
			w.deliver()
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Join, a, b)
			w.sameState(room, a, b)
		})
	}
}

// home is a world of three servers in which anna of the first has a public room.
func home(t *testing.T, r CreateRequest) (w *world, a, b, c *fixture, anna id.UserID, room id.RoomID) {
	t.Helper()
	w = newWorld(t, "a.test", "b.test", "c.test")
	a, b, c = w.servers["a.test"], w.servers["b.test"], w.servers["c.test"]
	anna = a.user("anna")
	r.Creator = anna
	if r.Preset == "" {
		r.Preset = "public_chat"
	}
	return w, a, b, c, anna, a.create(r)
}

func TestAJoinGoesThroughAnyServerThatIsInTheRoom(t *testing.T) {
	ctx := context.Background()
	w, a, b, c, _, room := home(t, CreateRequest{Version: "12"}) // whose id says nothing of servers
	bert, carl := b.user("bert"), c.user("carl")
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bert}), merr.NotFound)
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"b.test"}}), merr.NotFound)
	err := b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"no.test"}})
	if e := merr.From(err); e.Status != 502 || e.Code != merr.Unknown {
		t.Errorf("nobody reachable: %v", err)
	}
	wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"no.test", "c.test"}}), merr.NotFound)
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"no.test", "c.test", "a.test"}}); err != nil {
		t.Fatal(err)
	}
	w.down["a.test"] = true
	if err := c.Join(ctx, MemberRequest{Room: room, Sender: carl, Via: []id.ServerName{"a.test", "b.test"}}); err != nil {
		t.Fatal(err)
	}
	w.down["a.test"] = false
	w.deliver()
	w.wantMember(room, carl, spec.Join, a, b, c)
	w.sameState(room, a, c)
}

func TestJoinsOfTheSameUserAreOne(t *testing.T) {
	w, a, b, _, _, room := home(t, CreateRequest{})
	bert := b.user("bert")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := b.Join(context.Background(), MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if w.calls["make_join"] != 1 || w.calls["send_join"] != 1 {
		t.Errorf("handshakes: %v", w.calls)
	}
	w.wantMember(room, bert, spec.Join, a, b)
	if len(b.doors.open) != 0 {
		t.Errorf("%d doors stay open", len(b.doors.open))
	}
}

// A server must never get our signature under anything but what we asked for.
func TestForgedTemplatesAreNotSigned(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, _, room := home(t, CreateRequest{})
	bert := b.user("bert")
	for name, forge := range map[string]func(set func(path string, v any)){
		"another type":          func(set func(string, any)) { set("type", "m.room.power_levels") },
		"another sender":        func(set func(string, any)) { set("sender", "@bella:b.test") },
		"another state key":     func(set func(string, any)) { set("state_key", "@bella:b.test") },
		"no state key":          func(set func(string, any)) { set("state_key", nil) },
		"another room":          func(set func(string, any)) { set("room_id", "!other:a.test") },
		"another membership":    func(set func(string, any)) { set("content.membership", "leave") },
		"content is a list":     func(set func(string, any)) { set("content", []string{"membership"}) },
		"no parents":            func(set func(string, any)) { set("prev_events", []string{}) },
		"too many parents":      func(set func(string, any)) { set("prev_events", manyIDs(21)) },
		"parents that are none": func(set func(string, any)) { set("prev_events", []any{7}) },
		"repeated auth events":  func(set func(string, any)) { set("auth_events", []string{"$a", "$a"}) },
		"auth events missing":   func(set func(string, any)) { set("auth_events", nil) },
		"a voucher elsewhere":   func(set func(string, any)) { set("content.join_authorised_via_users_server", "@bella:b.test") },
		"a voucher of no kind":  func(set func(string, any)) { set("content.join_authorised_via_users_server", 7) },
	} {
		w.meddle = func(_ id.ServerName, tpl fedtypes.Template) fedtypes.Template {
			forge(func(path string, v any) {
				out, err := sjson.SetBytes(tpl.Event, path, v)
				if err != nil {
					t.Fatal(err)
				}
				tpl.Event = out
			})
			return tpl
		}
		if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
	for name, change := range map[string]func(*fedtypes.Template){
		"a version that was not offered": func(tpl *fedtypes.Template) { tpl.Version = "99" },
		"a version of other room ids":    func(tpl *fedtypes.Template) { tpl.Version = "12" },
		"a version of another form":      func(tpl *fedtypes.Template) { tpl.Version = "" },
		"no JSON":                        func(tpl *fedtypes.Template) { tpl.Event = json.RawMessage(`{"type":`) },
		"nothing":                        func(tpl *fedtypes.Template) { tpl.Event = nil },
		"a list":                         func(tpl *fedtypes.Template) { tpl.Event = json.RawMessage(`[]`) },
	} {
		w.meddle = func(_ id.ServerName, tpl fedtypes.Template) fedtypes.Template {
			change(&tpl)
			return tpl
		}
		if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
	if w.calls["send_join"] != 0 {
		t.Errorf("%d events were signed", w.calls["send_join"])
	}
	// What is not checked is not taken either.
	w.meddle = func(_ id.ServerName, tpl fedtypes.Template) fedtypes.Template {
		tpl.Event = json.RawMessage(strings.Replace(string(tpl.Event), `{`, `{"redacts":"$x","unsigned":{"x":1},"third":7,`, 1))
		tpl.Event, _ = sjson.SetBytes(tpl.Event, "content.displayname", "Mallory")
		tpl.Event, _ = sjson.SetBytes(tpl.Event, "depth", 1e300)
		return tpl
	}
	if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	if got := a.state(room, spec.MRoomMember, string(bert)).Raw; got != `{"membership":"join"}` {
		t.Errorf("the content is %s", got)
	}
}

func manyIDs(n int) (out []string) {
	for i := range n {
		out = append(out, "$"+strconv.Itoa(i))
	}
	return out
}

// restricted is the content of a join rule.
func restricted(room id.RoomID) json.RawMessage {
	return must(map[string]any{"join_rule": "restricted", "allow": []map[string]any{{"type": "m.room_membership", "room_id": room}}})
}

func TestRestrictedJoinsAreAuthorisedByAServerInTheRoom(t *testing.T) {
	ctx := context.Background()
	for _, version := range []roomVersion{"8", "10", "12"} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			w, a, b, c, anna, club := home(t, CreateRequest{Version: version})
			bert, bella, carl := b.user("bert"), b.user("bella"), c.user("carl")
			room := a.create(CreateRequest{Creator: anna, Version: version,
				PowerLevels:  map[string]json.RawMessage{"invite": must(50)},
				InitialState: []InitialState{{spec.MRoomJoinRules, "", restricted(club)}}})
			via := []id.ServerName{"a.test"}
			join := func(f *fixture, room id.RoomID, user id.UserID, via ...id.ServerName) error {
				return f.Join(ctx, MemberRequest{Room: room, Sender: user, Via: via})
			}
			wantCode(t, join(b, room, bert, via...), merr.Forbidden)
			for _, r := range []id.RoomID{club, room} {
				if err := join(b, r, bert, via...); err != nil {
					t.Fatal(err)
				}
			}
			w.deliver()
			w.wantMember(room, bert, spec.Join, a, b)
			for _, f := range []*fixture{a, b} {
				if got := f.state(room, spec.MRoomMember, string(bert)).Get("join_authorised_via_users_server").Str; got != string(anna) {
					t.Errorf("%s has %s authorised by %q", f.cfg.Name, bert, got)
				}
			}
			// b is in the room, but has nobody who may invite.
			wantCode(t, join(b, room, bella, via...), merr.Forbidden)
			if err := join(b, club, bella); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			if err := join(b, room, bella); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, bella, spec.Join, a, b)
			w.sameState(room, a, b)

			// Neither has b for users of others.
			if err := join(c, club, carl, via...); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			wantCode(t, join(c, room, carl, "b.test"), merr.UnableToGrantJoin)
			if err := join(c, room, carl, "b.test", "a.test"); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, carl, spec.Join, a, b, c)

			// Now bert may invite, but b does not know the club any more.
			if err := c.Leave(ctx, MemberRequest{Room: room, Sender: carl}); err != nil {
				t.Fatal(err)
			}
			users := map[string]int{string(bert): 50}
			if version != "12" {
				users[string(anna)] = 100
			}
			a.mustSet(room, anna, spec.MRoomPowerLevels, "", string(must(map[string]any{"invite": 50, "users": users})))
			for _, u := range []id.UserID{bert, bella} {
				if err := b.Leave(ctx, MemberRequest{Room: club, Sender: u}); err != nil {
					t.Fatal(err)
				}
			}
			w.deliver()
			wantCode(t, join(c, room, carl, "b.test"), merr.UnableToAuthoriseJoin)
			if err := join(c, room, carl, "b.test", "a.test"); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			// A server that can do it alone does.
			if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bella}); err != nil {
				t.Fatal(err)
			}
			if err := join(b, club, bella, via...); err != nil {
				t.Fatal(err)
			}
			before := w.calls["make_join"]
			if err := join(b, room, bella, via...); err != nil {
				t.Fatal(err)
			}
			if got := b.state(room, spec.MRoomMember, string(bella)).Get("join_authorised_via_users_server").Str; got != string(bert) || w.calls["make_join"] != before {
				t.Errorf("authorised by %q, %d handshakes", got, w.calls["make_join"]-before)
			}
			w.deliver()
			w.sameState(room, a, b)
			w.sameState(room, a, c)
		})
	}
}

func TestAJoinIsJudgedByTheJoinRuleOfNow(t *testing.T) {
	ctx := context.Background()
	for name, content := range map[string]string{
		"only the invited":        `{"join_rule":"invite"}`,
		"members of another room": string(restricted("!elsewhere:a.test")),
		"members of no room":      `{"join_rule":"restricted"}`,
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, _, anna, club := home(t, CreateRequest{})
			bert := b.user("bert")
			room := a.create(CreateRequest{Creator: anna, InitialState: []InitialState{{spec.MRoomJoinRules, "", restricted(club)}}})
			if err := b.Join(ctx, MemberRequest{Room: club, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.between = func() { a.mustSet(room, anna, spec.MRoomJoinRules, "", content) }
			err := b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"a.test"}})
			if err == nil || w.calls["send_join"] != 2 {
				t.Errorf("joined: %v, calls %v", err, w.calls)
			}
			w.wantMember(room, bert, "", a, b)
		})
	}
}

func TestGuestsDoNotJoinRoomsThatTheServerIsNotIn(t *testing.T) {
	_, _, b, _, _, room := home(t, CreateRequest{})
	err := b.Join(context.Background(), MemberRequest{Room: room, Sender: b.user("guest"), Guest: true})
	wantCode(t, err, merr.GuestAccessForbidden)
}

func TestARoomOfAnUnknownVersionIsNotJoined(t *testing.T) {
	_, _, b, _, _, room := home(t, CreateRequest{})
	delete(b.versions, "11")
	wantCode(t, b.Join(context.Background(), MemberRequest{Room: room, Sender: b.user("bert")}), merr.IncompatibleRoomVersion)
}
