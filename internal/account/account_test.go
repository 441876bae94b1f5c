package account

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/hub"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/push"
	"github.com/hearthd/hearth/storage"
	"github.com/hearthd/hearth/storage/storagetest"
)

// rooms counts who leaves, and can fail.
type rooms struct {
	mu   sync.Mutex
	left []id.UserID
	err  error
}

func (r *rooms) LeaveAll(_ context.Context, user id.UserID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, user)
	return r.err
}

// newService makes a service over s, at a time that stands still.
func newService(t testing.TB, s *storage.Store, leaver RoomLeaver) (*Service, *clock.Fake) {
	t.Helper()
	cfg := config.Default()
	cfg.Server.Name = "hs"
	cfg.Passwords.HashMemory, cfg.Passwords.HashIterations = 64*config.KiB, 1
	c := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	h, log := hub.New(0), slog.New(slog.DiscardHandler)
	svc, err := New(Deps{
		Notifier: NewNotifier(push.NewBook(push.Options{}), nil), Store: s, Hub: h, Config: config.NewLive(cfg), Clock: c, Log: log, Rooms: leaver,
		E2EE: e2ee.New(e2ee.Deps{Server: "hs", Store: s, Hub: h, Clock: c, Log: log}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc, c
}

// run starts the background work and returns what stops it.
func run(t *testing.T, s *Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

func alice(t *testing.T, s *Service) Login {
	t.Helper()
	user, err := s.CreateUser(t.Context(), NewUser{Localpart: "alice", Password: "password"})
	if err != nil {
		t.Fatal(err)
	}
	var out Login
	if err := s.store.Update(t.Context(), func(tx *storage.Tx) error {
		out, err = s.startSession(tx, user, loginOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func lastSeen(t *testing.T, s *Service, l Login) (d storage.Device) {
	t.Helper()
	if err := s.store.View(t.Context(), func(tx *storage.ReadTx) (err error) {
		d, err = tx.Device(l.UserID, l.DeviceID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSightingsAreWrittenOnceAMinute(t *testing.T) {
	s, c := newService(t, storagetest.Open(t), nil)
	login := alice(t, s)
	stop := run(t, s)
	c.BlockUntil(1)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("User-Agent", "agent\x00\xff")
	if _, err := s.Authenticate(t.Context(), login.AccessToken, "", request); err != nil {
		t.Fatal(err)
	}
	if d := lastSeen(t, s, login); d.LastSeenTS != 0 {
		t.Errorf("written at once: %+v", d)
	}
	seen := s.now()
	c.Advance(housekeeping)
	c.BlockUntil(1) // the worker has written and waits again
	want := storage.Device{UserID: login.UserID, ID: login.DeviceID, CreatedTS: seen, LastSeenTS: seen, LastSeenIP: "192.0.2.1", LastSeenAgent: "agent??"}
	if diff := cmp.Diff(want, lastSeen(t, s, login)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Authenticate(t.Context(), login.AccessToken, "", request); err != nil {
		t.Fatal(err)
	}
	stop() // writes what is left
	if d := lastSeen(t, s, login); d.LastSeenTS != seen+60_000 {
		t.Errorf("not written in the end: %+v", d)
	}
}

func TestADeactivatedUserLeavesAllRoomsInTheEnd(t *testing.T) {
	store, leaver := storagetest.Open(t), &rooms{err: errors.New("no")}
	s, _ := newService(t, store, leaver)
	login := alice(t, s)
	if err := s.Deactivate(t.Context(), login.UserID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), login.AccessToken, "", nil); !merr.HasCode(err, merr.UnknownToken) {
		t.Errorf("the token still works: %v", err)
	}
	leaver.err = nil
	for range 2 { // the second start has nothing to do
		s, c := newService(t, store, leaver)
		stop := run(t, s)
		c.BlockUntil(1)
		stop()
	}
	if diff := cmp.Diff([]id.UserID{login.UserID, login.UserID}, leaver.left); diff != "" {
		t.Error(diff)
	}
}

func TestConsole(t *testing.T) {
	s, _ := newService(t, storagetest.Open(t), nil)
	c, ctx := Console{s}, t.Context()
	for _, name := range []string{"root", "@alice:hs"} {
		if _, err := c.CreateUser(ctx, name, "password", name == "root"); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{
		"taken":          second(c.CreateUser(ctx, "alice", "password", false)),
		"other server":   second(c.CreateUser(ctx, "@a:elsewhere", "password", false)),
		"weak password":  second(c.CreateUser(ctx, "bob", "x", false)),
		"bad name":       second(c.CreateUser(ctx, "b ob", "password", false)),
		"reset nobody":   second(c.ResetPassword(ctx, "bob", "password")),
		"deactivate bob": second(c.Deactivate(ctx, "bob", false)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if user, err := c.ResetPassword(ctx, "alice", "another password"); user != "@alice:hs" || err != nil {
		t.Errorf("%q, %v", user, err)
	}
	another := "another password"
	if _, err := s.checkCredentials(ctx, credentials{User: "alice", Password: &another}); err != nil {
		t.Error(err)
	}
	if user, err := c.Deactivate(ctx, "alice", false); user != "@alice:hs" || err != nil {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := c.ResetPassword(ctx, "alice", "password"); err == nil {
		t.Error("a deactivated user got a password")
	}
	users, err := c.ListUsers(ctx)
	if err != nil || len(users) != 2 || users[0].ID != "@alice:hs" || !users[0].Deactivated || !users[1].Admin {
		t.Errorf("%+v, %v", users, err)
	}
}

func second(_ string, err error) error { return err }
