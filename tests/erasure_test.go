package tests

import (
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/hearthtest"
)

// Spec: client-server-api#post_matrixclientv3accountdeactivate: who joins after the erasure is served redacted copies, who could see the
// events before still sees them.
func TestErasure(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, bob, carol := a.User("alice"), a.User("bob"), a.User("carol")
	room := bob.CreateRoom(fields{"preset": "public_chat"})
	alice.Join(room)
	root := bob.Say(room, "root")
	said := alice.Say(room, "a secret")
	alice.Must("PUT", path("rooms", room, "send", "m.room.message", "edit"), fields{
		"msgtype": "m.text", "body": "* an edited secret", "m.new_content": fields{"msgtype": "m.text", "body": "an edited secret"},
		"m.relates_to": fields{"rel_type": "m.replace", "event_id": said},
	})
	alice.Must("PUT", path("rooms", room, "send", "m.room.message", "reply"), fields{
		"msgtype": "m.text", "body": "a secret reply", "m.relates_to": fields{"rel_type": "m.thread", "event_id": root},
	})

	alice.Must("POST", "account/deactivate", fields{"erase": true, "auth": alice.Confirmation()})
	carol.Join(room)
	bob.Say(room, "who was that?")

	federation := "&filter=%7B%22event_format%22:%22federation%22%7D"
	for range 2 {
		for name, get := range map[string]string{
			"messages": path("rooms", room, "messages") + "?dir=b&limit=50", "the event": path("rooms", room, "event", said),
			"its context": path("rooms", room, "context", said), "sync": "sync?full_state=true", "sync for servers": "sync?full_state=true" + federation,
			"relations": "/_matrix/client/v1/" + path("rooms", room, "relations", root), "threads": "/_matrix/client/v1/" + path("rooms", room, "threads"),
		} {
			if body := string(carol.Get(get).Body); strings.Contains(body, "secret") {
				t.Errorf("%s show carol %s", name, body)
			}
			if body := string(bob.Get(get).Body); !strings.Contains(body, "secret") {
				t.Errorf("%s show bob only %s", name, body)
			}
		}
		equal(t, "what carol sees of the event", carol.Event(room, said).At("content").Raw, "{}")
		equal(t, "what bob sees of it", bob.Event(room, said).Body(), "a secret")
		a.Restart()
	}
}
