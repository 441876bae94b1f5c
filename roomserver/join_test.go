package roomserver

import (
	"context"
	"testing"

	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/hearthd/hearth/internal/id"
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
