package clientapi

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/roomserver"
	"github.com/hearthd/hearth/storage"
)

// newRoomRig is a rig in which rooms are real.
func newRoomRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	rooms := roomserver.New(roomserver.Config{
		Name: "hs", DefaultVersion: "11", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed([]byte("01234567890123456789012345678901")),
	}, roomserver.Peers{}, r.store, r.hub, account.NewNotifier(push.NewBook(push.Options{}), nil), r.clock, slog.New(slog.NewTextHandler(t.Output(), nil)))
	handler, err := web.New(web.Options{Auth: r.accounts, Clock: r.clock, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
		New(Deps{
			Config: r.config, Accounts: r.accounts, Directory: r.newDirectory(), Store: r.store, Rooms: rooms, Clock: r.clock,
		}).Routes())
	if err != nil {
		t.Fatal(err)
	}
	r.handler = spec.Responses(t).Wrap(handler)
	return r
}

const (
	clientV1 = "/_matrix/client/v1/"
	clientV3 = "/_matrix/client/v3/"
)

// member is a room as one of its members works with it.
type member struct {
	*user
	room string
	txn  int
}

// path is the path of an endpoint of the room.
func (r *member) path(rest string) string { return clientV3 + "rooms/" + url.PathEscape(r.room) + rest }
func (r *member) v1(rest string) string   { return clientV1 + "rooms/" + url.PathEscape(r.room) + rest }

// create makes a room; body is that of /createRoom.
func (u *user) create(body string) *member {
	u.rig.t.Helper()
	return &member{user: u, room: u.must("POST", clientV3+"createRoom", body).Get("room_id").Str}
}

// by is the same room for another user.
func (r *member) by(u *user) *member { return &member{user: u, room: r.room} }

// joined is the same room for another user who joins it.
func (r *member) joined(u *user) *member {
	r.rig.t.Helper()
	u.must("POST", r.path("/join"), "")
	return r.by(u)
}

// send sends a message event and returns its id.
func (r *member) send(typ, content string) string {
	r.rig.t.Helper()
	r.txn++
	return r.must("PUT", r.path(fmt.Sprintf("/send/%s/%s-%d", typ, r.user.id, r.txn)), content).Get("event_id").Str
}

// say sends a text message.
func (r *member) say(body string) string {
	r.rig.t.Helper()
	return r.send("m.room.message", fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body))
}

// reply sends a message that relates to an event.
func (r *member) reply(body, relType, parent string) string {
	r.rig.t.Helper()
	return r.send("m.room.message", fmt.Sprintf(`{"msgtype":"m.text","body":%q,"m.relates_to":{"rel_type":%q,"event_id":%q}}`, body, relType, parent))
}

// set sets a piece of state and returns the id of the event.
func (r *member) set(typ, key, content string) string {
	r.rig.t.Helper()
	return r.must("PUT", r.path("/state/"+typ+"/"+url.PathEscape(key)), content).Get("event_id").Str
}

func (r *member) history(visibility string) {
	r.rig.t.Helper()
	r.set("m.room.history_visibility", "", fmt.Sprintf(`{"history_visibility":%q}`, visibility))
}

// names describes events in a few words: the text of messages, user and membership of member events, the type of anything else.
func names(events gjson.Result) []string {
	out := []string{}
	for _, ev := range events.Array() {
		out = append(out, name(ev))
	}
	return out
}

func name(ev gjson.Result) string {
	switch typ := ev.Get("type").Str; typ {
	case "m.room.message":
		return ev.Get("content.body").Str
	case "m.room.member":
		user, _, _ := strings.Cut(ev.Get("state_key").Str, ":")
		return user[1:] + " " + ev.Get("content.membership").Str
	default:
		return strings.TrimPrefix(typ, "m.room.")
	}
}

// wantNames compares what names says about events.
func wantNames(t *testing.T, what string, events gjson.Result, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, names(events)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

// reports is what has been reported, newest first.
func (r *rig) reports() (out []storage.Report) {
	r.t.Helper()
	err := r.store.View(r.t.Context(), func(tx *storage.ReadTx) (err error) {
		out, _, err = tx.Reports(storage.ReportQuery{Limit: 100})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}
