package clientapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
)

func TestTheSpellingsOfAnAddressAreOneAccount(t *testing.T) {
	const burst = 2
	r := limited(t, burst)
	for i, address := range []string{"straße.s@example.org", "STRASSE.S@example.org", "strasse.ſ@Example.org"} {
		body := fmt.Sprintf(`{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":%q},"password":"guess"}`, address)
		req := httptest.NewRequest("POST", clientV3+"login", strings.NewReader(body))
		req.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i+1)
		rec := httptest.NewRecorder()
		r.handler.ServeHTTP(rec, req)
		code := gjson.Get(rec.Body.String(), "errcode").Str
		if want := map[bool]string{true: "M_FORBIDDEN", false: "M_LIMIT_EXCEEDED"}[i < burst]; code != want {
			t.Errorf("%s: got %d %s, want %s", address, rec.Code, rec.Body, want)
		}
	}
}

// limited is a rig with a limit on logging in.
func limited(t *testing.T, burst int) *rig {
	t.Helper()
	r := newRig(t)
	var err error
	r.handler, err = web.New(web.Options{Auth: r.accounts, Clock: r.clock, Limits: web.Limits{Classes: map[web.Rate]web.Limit{
		web.RateLogin: {PerSecond: 0.001, Burst: burst},
	}}}, New(Deps{Config: r.config, Accounts: r.accounts}).Routes())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGuessingAPasswordIsLimitedByAccount(t *testing.T) {
	for name, guess := range map[string]func(u *user) (path, body string){
		"by logging in": func(*user) (string, string) { return clientV3 + "login", loginBody("alice", "guess") },
		"by changing the password without a token": func(u *user) (string, string) {
			return clientV3 + "account/password", fmt.Sprintf(`{"new_password":%q,%s}`, password, u.auth("guess"))
		},
		"by changing the password, with a decoy": func(u *user) (string, string) {
			return clientV3 + "account/password", fmt.Sprintf(`{"new_password":%q,%s,"AUTH":{"user":"bob"}}`, password, u.auth("guess"))
		},
		"by deactivating without a token": func(u *user) (string, string) {
			return clientV3 + "account/deactivate", fmt.Sprintf(`{%s}`, u.auth("guess"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			const burst = 3
			r := limited(t, burst)
			path, body := guess(r.register("alice"))
			for i := range 2 * burst {
				req := httptest.NewRequest("POST", path, strings.NewReader(body))
				req.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", i+1)
				rec := httptest.NewRecorder()
				r.handler.ServeHTTP(rec, req)
				code := gjson.Get(rec.Body.String(), "errcode").Str
				if want := map[bool]string{true: "M_FORBIDDEN", false: "M_LIMIT_EXCEEDED"}[i < burst]; code != want {
					t.Errorf("guess %d from another address: got %d %s, want %s", i+1, rec.Code, rec.Body, want)
				}
			}
		})
	}
}

func TestStrangersCannotHaveServersAskedForEver(t *testing.T) {
	r := newRig(t)
	alice := r.register("alice")
	r.elsewhere.says("profile there @somebody:there", `{"displayname":"There"}`)
	const burst = 3
	var err error
	r.handler, err = web.New(web.Options{Auth: r.accounts, Clock: r.clock, Limits: web.Limits{Classes: map[web.Rate]web.Limit{
		web.RateInvite: {PerSecond: 0.001, Burst: burst},
	}}}, New(Deps{Config: r.config, Accounts: r.accounts, Directory: r.newDirectory()}).Routes())
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"profile/@a:made.up", "profile/@a:made.up/displayname", "directory/room/%23a:made.up", "publicRooms?server=made.up"}
	for i, path := range append(paths, paths...) {
		status, code := 502, "M_UNKNOWN"
		if i >= burst {
			status, code = 429, "M_LIMIT_EXCEEDED"
		}
		r.nobody().refused("GET", clientV3+path, "", status, code)
	}
	r.nobody().wantJSON(clientV3+"profile/"+alice.id, `{"displayname":"alice"}`)
	for range 2 * burst {
		alice.wantJSON(clientV3+"profile/@somebody:there", `{"displayname":"There"}`)
	}
}

func TestWhatWaitsForConfirmationIsSmall(t *testing.T) {
	r := newRig(t)
	long := fmt.Sprintf(`{"username":"alice","password":%q,"more":%q}`, password, strings.Repeat("a", 64<<10))
	r.nobody().refused("POST", clientV3+"register", long, 413, "M_TOO_LARGE")
}

func TestTheTokenForTheFirstAdministratorEndsWithThat(t *testing.T) {
	r := newRig(t, func(c *config.Config) { c.Registration.Mode = config.RegistrationToken })
	token, err := r.accounts.BootstrapToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	valid := clientV1 + "register/m.login.registration_token/validity?token=" + token
	r.nobody().wantJSON(valid, `{"valid":true}`)
	r.admin("made-on-the-command-line")
	r.nobody().wantJSON(valid, `{"valid":false}`)
}

func TestAGuestCanBecomeTheAdministrator(t *testing.T) {
	r := newRig(t, func(c *config.Config) {
		c.Registration.Mode, c.Registration.Guests = config.RegistrationToken, true
	})
	token, err := r.accounts.BootstrapToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guest := r.as(r.nobody().must("POST", clientV3+"register?kind=guest", `{}`))
	name, _, _ := strings.Cut(guest.id[1:], ":")
	r.nobody().must("POST", clientV3+"register", fmt.Sprintf(
		`{"username":%q,"password":%q,"guest_access_token":%q,"auth":{"type":"m.login.registration_token","token":%q}}`, name, password, guest.token, token))
	if u, err := r.accounts.User(t.Context(), id.UserID(guest.id)); err != nil || !u.Admin || u.Guest {
		t.Errorf("the account is %+v, %v", u, err)
	}
}
