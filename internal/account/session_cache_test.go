package account

import (
	"testing"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

func TestSessionCache(t *testing.T) {
	session := func(u id.UserID) storage.Session { return storage.Session{UserID: u} }
	key := func(b byte) string { return string(rune(b)) }
	put := func(c *sessionCache, b byte, u id.UserID) {
		_, generation, _ := c.get(key(b))
		c.put(key(b), session(u), generation)
	}
	has := func(c *sessionCache, b byte) bool { _, _, ok := c.get(key(b)); return ok }

	t.Run("it forgets the least recently used", func(t *testing.T) {
		c := newSessionCache(budget.Fixed(budget.Sessions, 2*sessionBytes))
		put(c, 1, "@a:hs")
		put(c, 2, "@b:hs")
		has(c, 1)
		put(c, 3, "@c:hs")
		if !has(c, 1) || has(c, 2) || !has(c, 3) || len(c.byUser) != 2 {
			t.Errorf("%v, users %v", c.byToken, c.byUser)
		}
	})
	t.Run("it drops all of a user", func(t *testing.T) {
		c := newSessionCache(budget.Fixed(budget.Sessions, 9*sessionBytes))
		put(c, 1, "@a:hs")
		put(c, 2, "@a:hs")
		put(c, 3, "@b:hs")
		c.drop("@a:hs")
		if has(c, 1) || has(c, 2) || !has(c, 3) || len(c.byUser) != 1 || c.recent.Len() != 1 {
			t.Errorf("%v, users %v", c.byToken, c.byUser)
		}
	})
	t.Run("what was looked up before a drop is not kept", func(t *testing.T) {
		c := newSessionCache(budget.Fixed(budget.Sessions, 9*sessionBytes))
		_, generation, _ := c.get(key(1))
		c.drop("@a:hs")
		c.put(key(1), session("@a:hs"), generation)
		if has(c, 1) {
			t.Error("a session that was revoked came back")
		}
	})
}
