package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/directory"
	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/mail"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/internal/spec"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// rig is the account part of the API over a real store, at a time that stands still.
type rig struct {
	t        *testing.T
	clock    *clock.Fake
	config   *config.Live
	store    *storage.Store
	hub      *hub.Hub
	accounts *account.Service
	rooms    *fakeRooms
	handler  http.Handler

	elsewhere *elsewhere
}

// fakeRooms is what the room server would be told.
type fakeRooms struct {
	mu       sync.Mutex
	left     []id.UserID
	profiles []id.UserID
	err      error
}

func (f *fakeRooms) LeaveAll(_ context.Context, user id.UserID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = append(f.left, user)
	return f.err
}

func (f *fakeRooms) ProfileChanged(_ context.Context, user id.UserID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.profiles = append(f.profiles, user)
	return nil
}

// newRig makes a server named hs with open registration and cheap password hashes; edit changes its configuration.
func newRig(t *testing.T, edit ...func(*config.Config)) *rig {
	t.Helper()
	cfg := config.Default()
	cfg.Server.Name = "hs"
	cfg.Registration.Mode = config.RegistrationOpen
	cfg.Registration.SharedSecret = "shared secret"
	cfg.Passwords.HashMemory, cfg.Passwords.HashIterations = 64*config.KiB, 1
	for _, e := range edit {
		e(&cfg)
	}
	r := &rig{
		t: t, clock: clock.NewFake(time.UnixMilli(1_800_000_000_000)), config: config.NewLive(cfg), store: storagetest.Open(t),
		hub: hub.New(0), rooms: &fakeRooms{}, elsewhere: &elsewhere{},
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	sender, err := mail.New(r.config, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.accounts, err = account.New(account.Deps{
		Mail:     sender,
		Notifier: account.NewNotifier(push.NewBook(push.Options{}), nil), Store: r.store, Hub: r.hub, Config: r.config, Clock: r.clock,
		Log: log, Rooms: r.rooms, Profiles: r.rooms,
		E2EE: e2ee.New(e2ee.Deps{Server: "hs", Store: r.store, Hub: r.hub, Clock: r.clock, Log: log}),
	})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(web.Options{Auth: r.accounts, Clock: r.clock}, New(Deps{Config: r.config, Accounts: r.accounts, Directory: r.newDirectory()}).Routes())
	if err != nil {
		t.Fatal(err)
	}
	r.handler = spec.Responses(t).Wrap(handler)
	return r
}

// newDirectory looks at this server and at the rest of the world, which is elsewhere.
func (r *rig) newDirectory() *directory.Service {
	return directory.New(directory.Parts{Server: "hs", Store: r.store, Remote: r.elsewhere, Clock: r.clock})
}

// user is somebody who makes requests.
type user struct {
	rig               *rig
	id, token, device string
}

// nobody has no token.
func (r *rig) nobody() *user { return &user{rig: r} }

const password = "sUp3rs3kr1t"

// register makes an account and logs it in.
func (r *rig) register(name string) *user {
	r.t.Helper()
	got := r.nobody().must("POST", "/_matrix/client/v3/register",
		fmt.Sprintf(`{"username":%q,"password":%q,"auth":{"type":"m.login.dummy"}}`, name, password))
	return r.as(got)
}

// as is the user of an answer to a login.
func (r *rig) as(got answer) *user {
	return &user{rig: r, id: got.Get("user_id").Str, token: got.Get("access_token").Str, device: got.Get("device_id").Str}
}

// admin makes an administrator.
func (r *rig) admin(name string) *user {
	r.t.Helper()
	if _, err := r.accounts.CreateUser(context.Background(), account.NewUser{Localpart: name, Password: password, Admin: true}); err != nil {
		r.t.Fatal(err)
	}
	return r.login(name)
}

// login starts another session; extra members of the body are given as JSON.
func (r *rig) login(name string, extra ...string) *user {
	r.t.Helper()
	return r.as(r.nobody().must("POST", "/_matrix/client/v3/login", loginBody(name, password, extra...)))
}

func loginBody(name, password string, extra ...string) string {
	body := fmt.Sprintf(`{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":%q`, name, password)
	for _, e := range extra {
		body += "," + e
	}
	return body + "}"
}

// auth is the auth member with which a user confirms something.
func (u *user) auth(password string) string {
	return fmt.Sprintf(`"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":%q}`, u.id, password)
}

// answer is a status with a body.
type answer struct {
	gjson.Result
	Code   int
	Body   string
	Header http.Header
}

// do makes a request; an empty body is none.
func (u *user) do(method, path, body string) answer {
	u.rig.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, reader)
	req.Header.Set("User-Agent", "test agent")
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	rec := httptest.NewRecorder()
	u.rig.handler.ServeHTTP(rec, req)
	return answer{gjson.ParseBytes(rec.Body.Bytes()), rec.Code, rec.Body.String(), rec.Header()}
}

// must is do for requests that have to succeed.
func (u *user) must(method, path, body string) answer {
	u.rig.t.Helper()
	got := u.do(method, path, body)
	if got.Code != http.StatusOK {
		u.rig.t.Fatalf("%s %s: %d %s", method, path, got.Code, got.Raw)
	}
	return got
}

// refused makes a request that has to fail.
func (u *user) refused(method, path, body string, code int, errcode string) answer {
	u.rig.t.Helper()
	got := u.do(method, path, body)
	if got.Code != code || got.Get("errcode").Str != errcode {
		u.rig.t.Errorf("%s %s: got %d %s, want %d %s", method, path, got.Code, got.Raw, code, errcode)
	}
	return got
}

// challenged makes a request that has to be answered with a challenge, and returns the session.
func (u *user) challenged(method, path, body string) string {
	u.rig.t.Helper()
	got := u.refused(method, path, body, http.StatusUnauthorized, "")
	if got.Get("session").Str == "" || !got.Get("flows").IsArray() || !got.Get("params").IsObject() {
		u.rig.t.Fatalf("%s %s: not a challenge: %s", method, path, got.Raw)
	}
	return got.Get("session").Str
}

func (u *user) wantJSON(path, want string) {
	u.rig.t.Helper()
	got := u.must("GET", path, "")
	var a, b any
	if json.Unmarshal([]byte(got.Raw), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		u.rig.t.Errorf("GET %s: got %s, want %s", path, got.Raw, want)
	}
}
