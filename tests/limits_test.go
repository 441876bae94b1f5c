package tests

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/config"
	"github.com/hearthd/hearth/internal/hearthtest"
	"github.com/hearthd/hearth/internal/id"
)

func TestRateLimits(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.UnixMilli(1_800_000_000_000))
	a := hearthtest.Start(t, hearthtest.WithClock(c), hearthtest.WithConfig(func(c *config.Config) {
		c.Presence.Enabled = false
		c.RateLimits.Enabled = true
		c.RateLimits.Message = config.RateLimit{PerSecond: 0.5, Burst: 3}
		c.RateLimits.Login = config.RateLimit{PerSecond: 0.5, Burst: 3}
		c.RateLimits.ExemptUsers = []string{"@bot:" + c.Server.Name}
	}))
	alice, bot := a.User("alice"), a.User("bot")
	room := alice.CreateRoom()
	bot.Join(room)
	say := func(u *hearthtest.User, n int) hearthtest.Response {
		return u.Do("PUT", path("rooms", room, "send", "m.room.message", fmt.Sprint("limit", n)), fields{"body": "hi"})
	}
	for n := range 3 {
		equal(t, "within the limit", say(alice, n).Status, 200)
	}
	limited := say(alice, 3)
	equal(t, "beyond it", limited.Refused(429, "M_LIMIT_EXCEEDED"), true)
	equal(t, "time to wait", []any{limited.Get("retry_after_ms").Int(), limited.Header.Get("Retry-After")}, []any{int64(2000), "2"})
	for n := range 6 {
		equal(t, "a user without limits", say(bot, n).Status, 200)
	}
	c.Advance(2 * time.Second)
	equal(t, "after the wait", say(alice, 3).Status, 200)

	// The proxy is trusted, so each client has a bucket; the account that is tried has one too.
	login := func(from, user string) int {
		return a.Nobody().DoWith("POST", "login", hearthtest.LoginRequest(id.UserID("@"+user+":"+string(a.Name)), fields{"password": "guess"}),
			http.Header{"X-Forwarded-For": {"192.0.2.99, " + from}}).Status
	}
	for n := range 3 {
		equal(t, "a guess", login("198.51.100.1", fmt.Sprint("somebody", n)), 403)
	}
	equal(t, "one guess too many", login("198.51.100.1", "somebody else"), 429)
	for n := range 3 {
		equal(t, "guesses at one account", login(fmt.Sprint("198.51.100.", n+10), "alice"), 403)
	}
	equal(t, "one more from another address", login("198.51.100.20", "alice"), 429)

	a.Reload(func(c *config.Config) { c.RateLimits.Enabled = false })
	for n := range 6 {
		equal(t, "with limits switched off", say(alice, 10+n).Status, 200)
	}
}
