package roomserver

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

func TestUsersKnockOnRoomsOfOtherServers(t *testing.T) {
	ctx := context.Background()
	for _, version := range []roomVersion{"7", "10", "12"} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			w, a, b, _, anna, room := home(t, CreateRequest{Version: version, Preset: "private_chat", Name: "Home"})
			bert := b.user("bert")
			knock := func(reason string) error {
				return b.Knock(ctx, MemberRequest{Room: room, Sender: bert, Reason: reason, Via: []id.ServerName{"a.test"}})
			}
			by := MemberRequest{Room: room, Sender: anna, Target: bert}
			wantCode(t, knock("early"), merr.Forbidden)
			w.wantMember(room, bert, "", a, b)
			a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"knock"}`)
			wantCode(t, b.Join(ctx, MemberRequest{Room: room, Sender: bert, Via: []id.ServerName{"a.test"}}), merr.Forbidden)
			for _, reason := range []string{"let me in", "let me in!"} {
				if err := knock(reason); err != nil {
					t.Fatal(err)
				}
				w.wantMember(room, bert, spec.Knock, a, b)
				shown := b.member(room, bert).Stripped
				for _, want := range []string{`"m.room.create"`, `"Home"`, reason, `"knock"`} {
					if !strings.Contains(shown, want) {
						t.Errorf("%s is not in %s", want, shown)
					}
				}
			}
			// The knock is answered with no.
			if err := a.Kick(ctx, by); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, bert, spec.Leave, a, b)
			if err := knock(""); err != nil {
				t.Fatal(err)
			}
			// It is retracted. No server is named, and one of the room must be found.
			if err := b.Leave(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Leave, a, b)
			if err := knock("please"); err != nil {
				t.Fatal(err)
			}
			// The knock is answered with yes.
			if err := a.Invite(ctx, by); err != nil {
				t.Fatal(err)
			}
			w.wantMember(room, bert, spec.Invite, a, b)
			wantCode(t, knock("again"), merr.Forbidden)
			if err := b.Join(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			w.wantMember(room, bert, spec.Join, a, b)
			wantCode(t, knock("inside"), merr.Forbidden)
			if err := a.Ban(ctx, by); err != nil {
				t.Fatal(err)
			}
			w.deliver()
			wantCode(t, knock("outside"), merr.Forbidden)
		})
	}
}

// An answer to a knock must show that it is one: whether its sender may give it cannot be seen from outside.
func TestAnAnswerToAKnockRefersToIt(t *testing.T) {
	ctx := context.Background()
	w, a, b, _, anna, room := home(t, CreateRequest{Preset: "private_chat"})
	bert := b.user("bert")
	a.mustSet(room, anna, spec.MRoomJoinRules, "", `{"join_rule":"knock"}`)
	if err := b.Knock(ctx, MemberRequest{Room: room, Sender: bert}); err != nil {
		t.Fatal(err)
	}
	event, raw := a.forge("11", room, draft{typ: spec.MRoomMember, stateKey: ptr(string(bert)), sender: anna, content: must(map[string]string{"membership": "leave"})})
	wantCode(t, b.Receive(ctx, "a.test", room, []json.RawMessage{raw})[event], merr.Forbidden)
	w.wantMember(room, bert, spec.Knock, a, b)
}
