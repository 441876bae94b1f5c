package tests

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

func TestWelcomePage(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	page := a.Nobody().Do("GET", "/", nil)
	equal(t, "status", page.Status, 200)
	equal(t, "type", page.Header.Get("Content-Type"), "text/html; charset=utf-8")
	for _, want := range []string{"Hearth " + hearthtest.Version, string(a.Name), "https://" + string(a.Name)} {
		if !strings.Contains(string(page.Body), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t, hearthtest.WithConfig(func(c *config.Config) {
		c.Server.PublicBaseURL = "https://matrix.example.org"
		c.WellKnown.Server = "federation.example.org:443"
		c.WellKnown.SupportPage = "https://example.org/help"
	}))
	for file, want := range map[string]string{
		"client":  `{"m.homeserver":{"base_url":"https://matrix.example.org"},"org.matrix.msc3814":true}`,
		"server":  `{"m.server":"federation.example.org:443"}`,
		"support": `{"support_page":"https://example.org/help"}`,
	} {
		got := a.Nobody().Do("GET", "/.well-known/matrix/"+file, nil)
		equal(t, file, []any{got.Status, strings.TrimSpace(string(got.Body))}, []any{200, want})
		equal(t, "CORS of "+file, got.Header.Get("Access-Control-Allow-Origin"), "*")
	}
	const transports = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
	equal(t, "what calls go through needs a user", a.Nobody().Do("GET", transports, nil).Status, 401)
	ann := a.User("ann")
	equal(t, "calls go through nothing", ann.Get(transports).At("rtc_transports").Raw, `[]`)
	a.Reload(func(c *config.Config) {
		c.RTC.LiveKitServices = []string{"https://a.example/jwt", "https://b.example/jwt"}
	})
	equal(t, "calls go through either service", strings.TrimSpace(string(ann.Get(transports).Body)), `{"rtc_transports":[`+
		`{"type":"livekit","livekit_service_url":"https://a.example/jwt"},{"type":"livekit","livekit_service_url":"https://b.example/jwt"}]}`)
	versions := a.Nobody().Get("/_matrix/client/versions")
	equal(t, "authenticated media is advertised", versions.Get(`versions.#(=="v1.11")`).Exists(), true)
	equal(t, "capabilities need a user", a.Nobody().Do("GET", "capabilities", nil).Status, 401)
	equal(t, "default room version", a.User("alice").Get("capabilities").At("capabilities", "m.room_versions", "default").Str, "11")
}

func TestErrorsAreForBrowsersToo(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice, nobody := a.User("alice"), a.Nobody()
	tests := []struct {
		name, method, path string
		user               *hearthtest.User
		status             int
		errcode            string
	}{
		{"no such endpoint", "GET", "/_matrix/client/v3/nonsense", nobody, 404, "M_UNRECOGNIZED"},
		{"no such version", "GET", "/_matrix/client/v99/sync", nobody, 404, "M_UNRECOGNIZED"},
		{"no such media endpoint", "GET", "/_matrix/media/v3/nonsense", nobody, 404, "M_UNRECOGNIZED"},
		{"no such federation endpoint", "GET", "/_matrix/federation/v1/nonsense", nobody, 404, "M_UNRECOGNIZED"},
		{"no such key endpoint", "GET", "/_matrix/key/v2/nonsense", nobody, 404, "M_UNRECOGNIZED"},
		{"a slash too many", "GET", "/_matrix/client/v3/sync/", nobody, 404, "M_UNRECOGNIZED"},
		{"another method", "PATCH", "/_matrix/media/v3/upload", nobody, 405, "M_UNRECOGNIZED"},
		{"another method of the client API", "DELETE", "/_matrix/client/v3/sync", nobody, 405, "M_UNRECOGNIZED"},
		{"no token", "GET", "/_matrix/client/v3/sync", nobody, 401, "M_MISSING_TOKEN"},
		{"not a room id", "GET", "/_matrix/client/v3/rooms/nonsense/state", alice, 400, "M_INVALID_PARAM"},
		{"a broken escape", "GET", "/_matrix/client/v3/profile/%2540alice", alice, 400, "M_INVALID_PARAM"},
		{"a NUL", "GET", "/_matrix/client/v3/profile/%00", alice, 400, "M_INVALID_PARAM"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.user.With(t).Do(test.method, test.path, nil)
			if !got.Refused(test.status, test.errcode) {
				t.Errorf("got %d %s, want %d %s", got.Status, got.Body, test.status, test.errcode)
			}
			equal(t, "CORS", got.Header.Get("Access-Control-Allow-Origin"), "*")
			equal(t, "type", got.Header.Get("Content-Type"), "application/json")
			equal(t, "methods that are there", got.Header.Get("Allow") != "", test.status == 405)
		})
	}
	for _, anywhere := range []string{"/_matrix/client/v3/sync", "/_matrix/client/v1/media/download/a/b", "/nonsense"} {
		got := nobody.DoWith("OPTIONS", anywhere, nil, http.Header{"Origin": {"https://app.example.org"}, "Access-Control-Request-Method": {"PUT"}})
		equal(t, "preflight of "+anywhere, []any{got.Status < 300, got.Header.Get("Access-Control-Allow-Origin")}, []any{true, "*"})
		equal(t, "Authorization may be sent", strings.Contains(got.Header.Get("Access-Control-Allow-Headers"), "Authorization"), true)
	}
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	a := hearthtest.Start(t)
	alice := a.User("alice")
	room := alice.CreateRoom()
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, body := range map[string]string{
		"nothing": "", "half an object": `{"name":`, "a list": `["name"]`, "a number": `17`, "null": `null`, "bytes": "\xff\xfe", "two": `{}{}`,
		"an abyss": deep, "a name twice over": `{"name":"a"} trailing`,
	} {
		got := alice.Do("PUT", path("rooms", room, "state", "m.room.name", ""), body)
		if got.Status < 400 || got.Status > 413 || got.Get("errcode").Str == "" {
			t.Errorf("%s: %d %.200s", name, got.Status, got.Body)
		}
	}
	huge := alice.Do("PUT", path("rooms", room, "state", "m.room.name", ""), strings.Repeat(" ", 3<<20)+"{}")
	equal(t, "a huge body", huge.Refused(413, "M_TOO_LARGE"), true)
	long := strings.Repeat("x", 256)
	for _, to := range []string{
		path("rooms", room, "send", long, "1"), path("rooms", room, "state", "example.type", long), path("rooms", room, "state", long, ""),
	} {
		got := alice.Do("PUT", to, fields{})
		if got.Status != 400 && got.Status != 413 {
			t.Errorf("PUT %.60s: %d %s", to, got.Status, got.Body)
		}
	}
	for _, query := range []string{
		"sync?timeout=-1", "sync?timeout=soon", "sync?since=s1", "sync?since=s99999999999999999999_1", "sync?filter=%7B%22room", "sync?full_state=maybe",
		path("rooms", room, "messages") + "?dir=sideways", path("rooms", room, "messages") + "?dir=b&from=nonsense",
		path("rooms", room, "messages") + "?dir=b&limit=-5",
	} {
		got := alice.Do("GET", query, nil)
		if got.Status != 400 || got.Get("errcode").Str == "" {
			t.Errorf("GET %s: %d %s", query, got.Status, got.Body)
		}
	}
	alice.Say(room, "still alive")
}
