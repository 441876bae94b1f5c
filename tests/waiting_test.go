package tests

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
)

// waiting starts a server whose clock stands still, with two devices of alice that have nothing left to hear, and a function that makes
// a request in the background and returns once it waits for something to happen.
func waiting(t *testing.T) (a *hearthtest.Server, alice, phone *hearthtest.User, wait func(u *hearthtest.User, path string) <-chan hearthtest.Response) {
	t.Helper()
	c := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	a = hearthtest.Start(t, hearthtest.WithClock(c), hearthtest.WithConfig(func(cfg *config.Config) {
		cfg.Presence.Enabled = false
		cfg.Server.DrainTimeout = time.Minute // longer than the client's patience
	}))
	alice = a.User("alice")
	phone = alice.Login()
	wait = func(u *hearthtest.User, path string) <-chan hearthtest.Response {
		return asleep(t, c, u, "GET", path, nil)
	}
	return a, alice, phone, wait
}

// asleep makes a request in the background and returns once it waits for something to happen. The timeout in its path tells it from what else
// sleeps in a server, so it is a number of milliseconds that nothing else uses.
func asleep(t *testing.T, c *clock.Fake, u *hearthtest.User, method, path string, body any) <-chan hearthtest.Response {
	t.Helper()
	asked, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	patience, err := strconv.Atoi(cmp.Or(asked.Query().Get("timeout"), asked.Query().Get("timeout_ms")))
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan hearthtest.Response, 1)
	go func() {
		r, err := u.Try(method, path, body)
		if err != nil {
			t.Error(err)
		}
		answer <- r
	}()
	c.BlockUntilDue(time.Duration(patience) * time.Millisecond)
	return answer
}

func TestStoppingAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	a, alice, _, wait := waiting(t)
	pending := alice.Must("POST", "/_matrix/media/v1/create", nil).Get("content_uri").Str
	since := alice.Sync().Next()
	sync := wait(alice, "sync?timeout=50003&since="+since)
	media := wait(alice, "/_matrix/client/v1/media/download/"+pending[len("mxc://"):]+"?timeout_ms=40007")

	a.Restart()

	r := <-sync
	equal(t, "status of the sync", r.Status, http.StatusOK)
	equal(t, "its token", r.Next(), since)
	if r := <-media; !r.Refused(http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED") {
		t.Errorf("the download was answered %d %s", r.Status, r.Body)
	}
	alice.Sync("since", r.Next())
}

func TestASessionThatEndsHearsNothingMore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(alice, phone *hearthtest.User)
	}{
		{"logged out by the device itself", func(_, phone *hearthtest.User) { phone.Must("POST", "logout", fields{}) }},
		{"deleted by another device", func(alice, phone *hearthtest.User) {
			alice.Must("DELETE", path("devices", phone.Device), fields{"auth": alice.Confirmation()})
		}},
		{"all devices logged out", func(alice, _ *hearthtest.User) { alice.Must("POST", "logout/all", fields{}) }},
		{"the password changed", func(alice, _ *hearthtest.User) {
			alice.Must("POST", "account/password", fields{"new_password": "another password", "auth": alice.Confirmation()})
		}},
		{"the account closed", func(alice, _ *hearthtest.User) {
			alice.Must("POST", "account/deactivate", fields{"auth": alice.Confirmation()})
		}},
		{"the device logged in again", func(alice, phone *hearthtest.User) { alice.Login(fields{"device_id": phone.Device}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, alice, phone, wait := waiting(t)
			since := phone.Sync().Next()
			sync := wait(phone, "sync?timeout=50003&since="+since)
			test.end(alice, phone)
			r := <-sync
			equal(t, "status", r.Status, http.StatusOK)
			equal(t, "token", r.Next(), since) // so there was nothing in it
			phone.Refused("GET", "sync?since="+since, nil, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
		})
	}
}
