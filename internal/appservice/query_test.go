package appservice

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

func TestUsersAndAliasesAreAskedFor(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	as := registration(t, map[string]any{"url": b.url, "namespaces": map[string]any{
		"users": []any{map[string]any{"regex": "@_irc_"}}, "aliases": []any{map[string]any{"regex": "#_irc_"}},
	}})
	if err := store.Update(t.Context(), func(tx *storage.Tx) error {
		_, err := tx.InsertUser(storage.User{ID: "@_irc_known:hs"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := newRig(t, store, as).service
	user := func(u id.UserID) func() bool { return func() bool { return s.MakeUser(t.Context(), u) } }
	alias := func(a id.RoomAlias) func() bool { return func() bool { return s.MakeAlias(t.Context(), a) } }
	for name, c := range map[string]struct {
		ask    func() bool
		status int
		want   bool
		path   string // empty: nobody is asked
	}{
		"a user whom it makes":               {user("@_irc_a/b:hs"), 200, true, "/_matrix/app/v1/users/@_irc_a%2Fb:hs"},
		"a user whom it does not know":       {user("@_irc_b:hs"), 404, false, "/_matrix/app/v1/users/@_irc_b:hs"},
		"a user who is there":                {user("@_irc_known:hs"), 200, false, ""},
		"a user of nobody":                   {user("@bob:hs"), 200, false, ""},
		"a user of another server":           {user("@_irc_a:other"), 200, false, ""},
		"an alias that it makes":             {alias("#_irc_a:hs"), 200, true, "/_matrix/app/v1/rooms/%23_irc_a:hs"},
		"an alias while it is out of order":  {alias("#_irc_a:hs"), 500, false, "/_matrix/app/v1/rooms/%23_irc_a:hs"},
		"an alias of nobody":                 {alias("#a:hs"), 200, false, ""},
		"an alias that leads somewhere else": {alias("#_irc_a:hs"), 302, false, "/_matrix/app/v1/rooms/%23_irc_a:hs"},
	} {
		t.Run(name, func(t *testing.T) {
			b.answers(c.status, `{}`)
			if got := c.ask(); got != c.want {
				t.Errorf("the answer was %v", got)
			}
			path := ""
			select {
			case r := <-b.requests:
				path = r.path
				if r.header.Get("Authorization") != "Bearer hs-secret" {
					t.Errorf("%v", r.header)
				}
			default: // the answer is there, so nobody is still to be asked
			}
			if path != c.path {
				t.Errorf("%q was asked for", path)
			}
		})
	}
}

func TestAServerWithoutApplicationServicesKnowsNothing(t *testing.T) {
	var s *Service
	if s.MakeUser(t.Context(), ghost) || s.MakeAlias(t.Context(), "#a:hs") || len(s.Protocols(t.Context())) > 0 || len(s.Users(t.Context(), "irc", nil)) > 0 {
		t.Error("somebody answered")
	}
	var r *Registry
	if r.ByToken("a") != nil || len(r.All()) > 0 || r.UserTaken(ghost, "") || r.AliasTaken("#a:hs", "") || r.HasAlias("irc", "#a:hs") {
		t.Error("somebody is there")
	}
}

func TestAPingSaysWhatIsWrong(t *testing.T) {
	b, store := newBridge(t), storagetest.Open(t)
	s := newRig(t, store,
		registration(t, map[string]any{"url": b.url}),
		registration(t, map[string]any{"id": "mute", "as_token": "b", "sender_localpart": "mute"}),
		registration(t, map[string]any{"id": "gone", "as_token": "c", "sender_localpart": "gone", "url": "http://127.0.0.1:1"}),
	).service
	b.answers(403, `{"errcode":"M_FORBIDDEN"}`)
	for name, want := range map[string]merr.Code{"irc": merr.BadStatus, "mute": merr.URLNotSet, "gone": merr.ConnectionFailed} {
		if _, err := s.Ping(t.Context(), name, ""); !merr.HasCode(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.answers(200, `{}`)
	if _, err := s.Ping(t.Context(), "irc", ""); err != nil {
		t.Error(err)
	}
}

func TestNetworksArePutTogether(t *testing.T) {
	one, two, store := newBridge(t), newBridge(t), storagetest.Open(t)
	irc := func(name, url string) *Registration {
		return registration(t, map[string]any{"id": name, "as_token": name, "sender_localpart": name, "url": url, "protocols": []string{"irc"}})
	}
	s := newRig(t, store, irc("one", one.url), irc("two", two.url)).service
	one.answer = func(r request) (int, string) {
		switch {
		case strings.HasPrefix(r.path, "/_matrix/app/v1/thirdparty/protocol/"):
			return 200, `{"user_fields":["nick"],"location_fields":["channel"],"icon":"mxc://a/b","field_types":{},"instances":[{"network_id":"a"}]}`
		case r.path == "/_matrix/app/v1/thirdparty/location/irc" && r.query == "channel=%23a":
			return 200, `[{"alias":"#_irc_a:hs","protocol":"irc","fields":{"channel":"#a"}},{"alias":""}]`
		}
		return http.StatusNotFound, `{}`
	}
	two.answer = func(r request) (int, string) {
		switch {
		case strings.HasPrefix(r.path, "/_matrix/app/v1/thirdparty/protocol/"):
			return 200, `{"instances":[{"network_id":"b"}]}`
		case r.path == "/_matrix/app/v1/thirdparty/user" && r.query == "userid=%40_irc_a%3Ahs":
			return 200, `[{"userid":"@_irc_a:hs","protocol":"irc","fields":{"nick":"a"}}]`
		}
		return 500, `nonsense`
	}
	protocols := s.Protocols(t.Context())
	if p := protocols["irc"]; len(protocols) != 1 || len(p.Instances) != 2 || p.Icon != "mxc://a/b" ||
		gjson.GetBytes(p.Instances[0], "instance_id").Str != "one|a" || gjson.GetBytes(p.Instances[1], "instance_id").Str != "two|b" || !cmp.Equal(p.UserFields, []string{"nick"}) {
		t.Errorf("%+v", protocols)
	}
	if _, err := s.Protocol(t.Context(), "xmpp"); !merr.HasCode(err, merr.NotFound) {
		t.Error(err)
	}
	if l := s.Locations(t.Context(), "irc", map[string][]string{"channel": {"#a"}}); len(l) != 1 || l[0].Alias != "#_irc_a:hs" {
		t.Errorf("%+v", l)
	}
	if u := s.Users(t.Context(), "", map[string][]string{"userid": {"@_irc_a:hs"}}); len(u) != 1 || u[0].User != "@_irc_a:hs" {
		t.Errorf("%+v", u)
	}
}
