package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearthd/hearth/internal/merr"
)

// fake is accounts that remember what was asked of them.
type fake struct {
	calls []string
	users []User
	err   error
}

func (f *fake) CreateUser(_ context.Context, user, password string, admin bool) (string, error) {
	if admin {
		user += " admin"
	}
	f.calls = append(f.calls, "create "+user+" "+password)
	return "@made:example.org", f.err
}

func (f *fake) ResetPassword(_ context.Context, user, password string) (string, error) {
	f.calls = append(f.calls, "reset "+user+" "+password)
	return "@reset:example.org", f.err
}

func (f *fake) Deactivate(_ context.Context, user string, erase bool) (string, error) {
	if erase {
		user += " erase"
	}
	f.calls = append(f.calls, "deactivate "+user)
	return "@gone:example.org", f.err
}

func (f *fake) ListUsers(context.Context) ([]User, error) { return f.users, f.err }

func (f *fake) ShowMedia(_ context.Context, mxc string) (File, error) {
	return File{URI: mxc, Size: 7}, f.err
}

func (f *fake) QuarantineMedia(_ context.Context, mxc string, hidden bool) error {
	f.calls = append(f.calls, fmt.Sprint("quarantine ", mxc, " ", hidden))
	return f.err
}

func (f *fake) SetMediaAccess(_ context.Context, mxc, access string) error {
	f.calls = append(f.calls, "access "+mxc+" "+access)
	return f.err
}

func (f *fake) SendNotice(_ context.Context, user, text string) (string, error) {
	return "@" + user + ":" + text, f.err
}

func (f *fake) ListReports(context.Context) ([]Report, error) {
	return []Report{{Number: 7, At: time.UnixMilli(5).UTC(), Reporter: "@ann:hs", About: "$event", Sender: "@bob:hs", Reason: "spam"}}, f.err
}

func (f *fake) DeleteReport(_ context.Context, number int64) error {
	return fmt.Errorf("no report %d", number)
}

func (f *fake) TestPushers(_ context.Context, user string) ([]PushTrial, error) {
	return []PushTrial{{App: "app of " + user, Gateway: "https://push.example.org/", Took: time.Second}, {Problem: "no answer"}}, f.err
}

// start serves what the command line asks for on a socket and returns its path.
func start(t *testing.T, accounts Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: Handler(accounts)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return path
}

func TestAClientSpeaksForTheAccounts(t *testing.T) {
	ctx := t.Context()
	accounts := &fake{users: []User{
		{ID: "@ann:example.org", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Admin: true, Suspended: true},
		{ID: "@bob:example.org", Deactivated: true, Guest: true, Locked: true},
	}}
	client, err := Dial(ctx, start(t, accounts))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want string
		call func() (string, error)
	}{
		{"@made:example.org", func() (string, error) { return client.CreateUser(ctx, "ann", "secret", true) }},
		{"@reset:example.org", func() (string, error) { return client.ResetPassword(ctx, "ann", "more secret") }},
		{"@gone:example.org", func() (string, error) { return client.Deactivate(ctx, "ann", true) }},
	} {
		if got, err := test.call(); err != nil || got != test.want {
			t.Errorf("got %q, %v; want %q", got, err, test.want)
		}
	}
	if diff := cmp.Diff([]string{"create ann admin secret", "reset ann more secret", "deactivate ann erase"}, accounts.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	users, err := client.ListUsers(ctx)
	if diff := cmp.Diff(accounts.users, users); err != nil || diff != "" {
		t.Errorf("users: %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"guest", "deactivated", "locked"}, users[1].Marks()); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}

func TestErrorsReachTheOperator(t *testing.T) {
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"a Matrix error by its text", "that name is taken", merr.New(merr.UserInUse, "that name is taken")},
		{"any other as it is", "disk on fire", errors.New("disk on fire")},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := Dial(t.Context(), start(t, &fake{err: test.err}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = client.CreateUser(t.Context(), "ann", "secret", false); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestTheSocketIsPrivateAndHasOneServer(t *testing.T) {
	path := start(t, &fake{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can open the socket: %v, %v", info.Mode(), err)
	}
	if ln, err := Listen(path); err == nil {
		ln.Close()
		t.Error("a second server took the socket over")
	}
}

func TestADeadServersSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as when the process is killed
	ln.Close()
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("Dial of a dead server's socket = %v", err)
	}
	again, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	for _, missing := range []string{path, ""} {
		if _, err := Dial(t.Context(), missing); !errors.Is(err, ErrNoServer) {
			t.Errorf("Dial(%q) = %v", missing, err)
		}
	}
}

func TestMediaCallsReachTheServer(t *testing.T) {
	f := &fake{}
	client, err := Dial(t.Context(), start(t, f))
	if err != nil {
		t.Fatal(err)
	}
	const mxc = "mxc://example.org/abc"
	if file, err := client.ShowMedia(t.Context(), mxc); err != nil || file != (File{URI: mxc, Size: 7}) {
		t.Errorf("%+v, %v", file, err)
	}
	for _, hidden := range []bool{true, false} {
		if err := client.QuarantineMedia(t.Context(), mxc, hidden); err != nil {
			t.Error(err)
		}
	}
	if err := client.SetMediaAccess(t.Context(), mxc, "public"); err != nil {
		t.Error(err)
	}
	want := []string{"quarantine " + mxc + " true", "quarantine " + mxc + " false", "access " + mxc + " public"}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheServerIsProfiled(t *testing.T) {
	client, err := Dial(t.Context(), start(t, &fake{}))
	if err != nil {
		t.Fatal(err)
	}
	var heap bytes.Buffer
	if err := client.Profile(t.Context(), "heap", 0, &heap); err != nil || !bytes.HasPrefix(heap.Bytes(), []byte("\x1f\x8b")) {
		t.Errorf("no compressed profile but %q, %v", heap.Bytes(), err)
	}
	if err := client.Profile(t.Context(), "nothing", 0, &heap); err == nil {
		t.Error("there is a profile of nothing")
	}
}

func TestNoticesAreSentByTheServer(t *testing.T) {
	f := &fake{}
	client, err := Dial(t.Context(), start(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if user, err := client.SendNotice(t.Context(), "ann", "hi"); err != nil || user != "@ann:hi" {
		t.Errorf("got %s, %v", user, err)
	}
	f.err = errors.New("no such user")
	if _, err := client.SendNotice(t.Context(), "ann", "hi"); err == nil || err.Error() != "no such user" {
		t.Errorf("got %v", err)
	}
}

func TestReportsAreThoseOfTheServer(t *testing.T) {
	f := &fake{}
	client, err := Dial(t.Context(), start(t, f))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := f.ListReports(t.Context())
	got, err := client.ListReports(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := client.DeleteReport(t.Context(), 7); err == nil || err.Error() != "no report 7" {
		t.Errorf("got %v", err)
	}
}

func TestPushersAreTriedByTheServer(t *testing.T) {
	f := &fake{}
	client, err := Dial(t.Context(), start(t, f))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := f.TestPushers(t.Context(), "ann")
	got, err := client.TestPushers(t.Context(), "ann")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	f.err = errors.New("no such user")
	if _, err := client.TestPushers(t.Context(), "ann"); err == nil || err.Error() != "no such user" {
		t.Errorf("got %v", err)
	}
}
