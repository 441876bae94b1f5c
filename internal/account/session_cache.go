package account

import (
	"container/list"
	"strings"
	"sync"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/storage"
)

// sessionBytes is what an access token takes that is known without asking the database.
const sessionBytes = 400

// sessionCache remembers what access tokens stand for. Every request asks it, so that it knows the tokens themselves: to check and to hash one
// costs many times what finding it does.
type sessionCache struct {
	mu         sync.Mutex
	share      *budget.Share
	generation uint64 // grows with every drop
	byToken    map[string]*list.Element
	byUser     map[id.UserID]map[string]struct{}
	recent     *list.List // of cachedSession; the least recently used is last
}

type cachedSession struct {
	token   string
	session storage.Session
}

func newSessionCache(share *budget.Share) *sessionCache {
	return &sessionCache{
		share:   share,
		byToken: map[string]*list.Element{},
		byUser:  map[id.UserID]map[string]struct{}{},
		recent:  list.New(),
	}
}

// get returns a session, or the generation to give to put once it was looked up.
func (c *sessionCache) get(token string) (s storage.Session, generation uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byToken[token]
	c.share.Asked(ok)
	if !ok {
		return s, c.generation, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(cachedSession).session, c.generation, true
}

// put remembers a session, unless something was dropped since the generation: it may have been this one.
func (c *sessionCache) put(token string, s storage.Session, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation || c.byToken[token] != nil {
		return
	}
	token = strings.Clone(token) // it is a part of the request
	c.byToken[token] = c.recent.PushFront(cachedSession{token, s})
	if c.byUser[s.UserID] == nil {
		c.byUser[s.UserID] = map[string]struct{}{}
	}
	c.byUser[s.UserID][token] = struct{}{}
	if !c.share.Hold(sessionBytes * c.recent.Len()) {
		c.remove(c.recent.Back())
	}
}

// drop forgets all sessions of a user. Call it once what changed them is durable.
func (c *sessionCache) drop(user id.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	for token := range c.byUser[user] {
		c.remove(c.byToken[token])
	}
}

func (c *sessionCache) remove(e *list.Element) {
	s := e.Value.(cachedSession)
	c.recent.Remove(e)
	delete(c.byToken, s.token)
	delete(c.byUser[s.session.UserID], s.token)
	if len(c.byUser[s.session.UserID]) == 0 {
		delete(c.byUser, s.session.UserID)
	}
}
