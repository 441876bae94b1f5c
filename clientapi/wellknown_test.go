package clientapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/web"
)

func TestWellKnown(t *testing.T) {
	tests := []struct {
		name, path string
		set        func(*config.Config)
		status     int
		body       string
	}{
		{
			name: "clients find the public URL", path: "client",
			set:    func(c *config.Config) { c.Server.PublicBaseURL = "https://matrix.example.org/" },
			status: 200, body: `{"m.homeserver":{"base_url":"https://matrix.example.org"},"org.matrix.msc3814":true}`,
		},
		{
			name: "without one it follows from the name", path: "client", set: func(*config.Config) {},
			status: 200, body: `{"m.homeserver":{"base_url":"https://example.org"},"org.matrix.msc3814":true}`,
		},
		{
			name: "and what calls go through", path: "client",
			set:    func(c *config.Config) { c.RTC.LiveKitServices = []string{"https://rtc.example.org/jwt"} },
			status: 200,
			body: `{"m.homeserver":{"base_url":"https://example.org"},"org.matrix.msc4143.rtc_foci":` +
				`[{"type":"livekit","livekit_service_url":"https://rtc.example.org/jwt"}],"org.matrix.msc3814":true}`,
		},
		{
			name: "a policy server's key", path: "policy_server",
			set:    func(c *config.Config) { c.WellKnown.PolicyServerKey = "6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS+s=" },
			status: 200, body: `{"public_keys":{"ed25519":"6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS+s"}}`,
		},
		{
			name: "no policy server", path: "policy_server", set: func(*config.Config) {},
			status: 404, body: `{"errcode":"M_NOT_FOUND","error":"There is no policy server under this name"}`,
		},
		{
			name: "federation that is delegated", path: "server",
			set:    func(c *config.Config) { c.WellKnown.Server = "matrix.example.org:443" },
			status: 200, body: `{"m.server":"matrix.example.org:443"}`,
		},
		{
			name: "federation that is not delegated", path: "server", set: func(*config.Config) {},
			status: 404, body: `{"errcode":"M_NOT_FOUND","error":"Federation is not delegated: connect to the server's name"}`,
		},
		{
			name: "contacts and a page", path: "support",
			set: func(c *config.Config) {
				c.WellKnown.SupportPage = "https://example.org/help"
				c.WellKnown.Contacts = []config.Contact{{Role: "m.role.admin", MatrixID: "@ann:example.org"}}
			},
			status: 200,
			body:   `{"contacts":[{"role":"m.role.admin","matrix_id":"@ann:example.org"}],"support_page":"https://example.org/help"}`,
		},
		{
			name: "no contacts", path: "support", set: func(*config.Config) {},
			status: 404, body: `{"errcode":"M_NOT_FOUND","error":"The administrator has published no contacts"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			live := config.NewLive(named("other.example"))
			server, err := web.New(web.Options{}, WellKnown(live))
			if err != nil {
				t.Fatal(err)
			}
			// The answer is that of the configuration in force, not of the one at the start.
			cfg := named("example.org")
			test.set(&cfg)
			live.Set(cfg)
			rec := httptest.NewRecorder()
			server.ServeHTTP(rec, httptest.NewRequest("GET", "/.well-known/matrix/"+test.path, nil))
			if rec.Code != test.status || rec.Body.String() != test.body {
				t.Errorf("got %d %s\nwant %d %s", rec.Code, rec.Body, test.status, test.body)
			}
			if rec.Header().Get("Access-Control-Allow-Origin") != "*" || rec.Header().Get("Content-Type") != "application/json" {
				t.Errorf("headers are %v", rec.Header())
			}
		})
	}
}

func TestTheWelcomePageSaysHowToConnect(t *testing.T) {
	cfg := named("example.org")
	routes, err := Welcome(&cfg, "7.8.9")
	if err != nil {
		t.Fatal(err)
	}
	server, err := web.New(web.Options{}, routes)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	server.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != http.StatusOK || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("got %d, %v", rec.Code, rec.Header())
	}
	for _, want := range []string{"Hearth 7.8.9", "https://example.org", "@you:example.org"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func named(name string) config.Config {
	cfg := config.Default()
	cfg.Server.Name = name
	return cfg
}
