package syncer

import (
	"errors"
	"fmt"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/budget"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/visibility"
	"github.com/hearthd/hearth/storage"
)

// wishes is what a user does not want to see, and which of the rooms are for talking with somebody directly.
type wishes struct {
	ignored visibility.Ignored
	invites visibility.Invites
	direct  map[id.RoomID]bool
}

// wishCache keeps the wishes of users for as long as their account data does not change.
type wishCache struct {
	mu    sync.Mutex
	share *budget.Share
	bytes int
	users map[id.UserID]wishesAt
}

type wishesAt struct {
	wishes
	pos int64
}

func newWishCache(share *budget.Share) *wishCache {
	return &wishCache{share: share, users: map[id.UserID]wishesAt{}}
}

// size estimates the bytes of an entry.
func (w wishes) size() int { return 400 + 80*(len(w.ignored)+len(w.direct)) }

// load finds the wishes of a user at pos, the position of the snapshot.
func (c *wishCache) load(tx *storage.ReadTx, user id.UserID, pos int64) (wishes, error) {
	c.mu.Lock()
	e, ok := c.users[user]
	c.mu.Unlock()
	ok = ok && e.pos <= pos && tx.AccountDataUnchanged(user, e.pos)
	c.share.Asked(ok)
	if ok {
		return e.wishes, nil
	}
	w, err := loadWishes(tx, user)
	if err != nil {
		return wishes{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += w.size()
	if old, ok := c.users[user]; ok {
		c.bytes -= old.size()
	}
	for other, old := range c.users {
		if c.share.Hold(c.bytes) {
			break
		}
		if other != user {
			c.bytes -= old.size()
			delete(c.users, other)
		}
	}
	c.users[user] = wishesAt{w, pos}
	c.share.Hold(c.bytes)
	return w, nil
}

func loadWishes(tx *storage.ReadTx, user id.UserID) (w wishes, err error) {
	if w.ignored, err = visibility.LoadIgnored(tx, user); err != nil {
		return w, err
	}
	// Spec: client-server-api#direct-messaging
	d, err := tx.AccountData(user, "", "m.direct")
	if err == nil {
		w.direct = map[id.RoomID]bool{}
		gjson.ParseBytes(d.Content).ForEach(func(_, rooms gjson.Result) bool {
			for _, room := range rooms.Array() {
				w.direct[id.RoomID(room.Str)] = true
			}
			return true
		})
	} else if !errors.Is(err, storage.ErrNotFound) {
		return w, fmt.Errorf("load the direct rooms: %w", err)
	}
	w.invites, err = visibility.LoadInvites(tx, user)
	return w, err
}
