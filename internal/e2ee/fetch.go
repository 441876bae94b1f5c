package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/gate"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/storage"
)

const (
	// defaultWait and maxWait are how long a client waits for other servers if it does not say, and at most.
	//
	// Spec: client-server-api#post_matrixclientv3keysquery
	defaultWait = 10 * time.Second
	maxWait     = 30 * time.Second
	// maxAsking is the number of requests for keys that are under way at the same time, to all servers together, and maxAskingOne to one of them;
	// maxUnasked is how many may wait for that.
	maxAsking    = 64
	maxAskingOne = 4
	maxUnasked   = 1000
	// fetchBatch is how many users a server is asked for at once, storeBatch how many lists are stored in one transaction.
	fetchBatch = 200
	storeBatch = 20
	// maxRemoteUsers is how many users of other servers a client can ask for at once.
	maxRemoteUsers = 10000
)

// bounded is how long to wait for other servers when a client asks for a time.
func bounded(wait time.Duration) time.Duration {
	if wait <= 0 {
		return defaultWait
	}
	return min(wait, maxWait)
}

// fetches are the requests for keys that are under way. Whoever wants the keys of the same user at the same time waits for the same request.
type fetches struct {
	mu      sync.Mutex
	users   map[id.UserID]*fetch
	slots   chan struct{}
	servers *gate.Gate[id.ServerName]
}

// fetch is the keys of one user on their way. keys and err are there when done is closed.
type fetch struct {
	user id.UserID
	done chan struct{}
	keys *userKeys
	err  error
}

var (
	errPanicked = errors.New("the request for keys panicked")
	errNoAnswer = errors.New("the answer has nothing about the user")
	errAlone    = errors.New("this server does not federate")
)

func newFetches(c clock.Clock) fetches {
	return fetches{
		users: map[id.UserID]*fetch{}, slots: make(chan struct{}, maxAsking), servers: gate.New[id.ServerName](c, maxAskingOne, maxUnasked, maxWait),
	}
}

// begin finds the fetches of users that are under way, and makes those that are not, which fresh are.
func (f *fetches) begin(users []id.UserID) (all, fresh []*fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range users {
		c := f.users[u]
		if c == nil {
			c = &fetch{user: u, done: make(chan struct{}), err: errPanicked}
			f.users[u] = c
			fresh = append(fresh, c)
		}
		all = append(all, c)
	}
	return all, fresh
}

// end lets those go who wait for fetches.
func (f *fetches) end(list []*fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list {
		delete(f.users, c.user)
		close(c.done)
	}
}

// enter waits for a place among the requests to a server that are under way; leave gives it back.
func (f *fetches) enter(ctx context.Context, server id.ServerName) (leave func(), err error) {
	done, err := f.servers.Enter(ctx, server)
	if err != nil {
		return nil, err
	}
	select {
	case f.slots <- struct{}{}:
		return func() { <-f.slots; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// remoteKeys is the keys of users of other servers: from the lists that are up to date, else from the servers. Users that the servers do not
// know are missing; failures has the servers that gave no answer in time.
func (s *Service) remoteKeys(ctx context.Context, users map[id.ServerName][]id.UserID, wait time.Duration) (
	found map[id.UserID]*userKeys, failures map[id.ServerName]*merr.Error, err error) {
	found, failures = map[id.UserID]*userKeys{}, map[id.ServerName]*merr.Error{}
	if len(users) == 0 {
		return found, failures, nil
	}
	if found, err = s.storedKeys(ctx, slices.Concat(slices.Collect(maps.Values(users))...)); err != nil {
		return nil, nil, err
	}
	var under []*fetch
	for server, list := range users {
		missing := slices.DeleteFunc(slices.Clone(list), func(u id.UserID) bool { return found[u] != nil })
		under = append(under, s.fetch(ctx, server, missing)...)
	}
	waiting, cancel := context.WithTimeout(ctx, bounded(wait))
	defer cancel()
	for _, f := range under {
		select {
		case <-f.done:
			if f.err == nil {
				found[f.user] = f.keys
				continue
			}
		case <-waiting.Done():
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			// What has come meanwhile is given out all the same.
			select {
			case <-f.done:
				if f.err == nil {
					found[f.user] = f.keys
					continue
				}
			default:
				failures[f.user.Server()] = unreachable
				continue
			}
		}
		if !errors.Is(f.err, errNoAnswer) {
			failures[f.user.Server()] = unreachable
		}
	}
	return found, failures, nil
}

// storedKeys is the keys of those users whose lists are up to date.
func (s *Service) storedKeys(ctx context.Context, users []id.UserID) (map[id.UserID]*userKeys, error) {
	if len(users) > maxRemoteUsers {
		return nil, merr.Newf(merr.InvalidParam, "At most %d users of other servers can be asked for at once", maxRemoteUsers)
	}
	var found map[id.UserID]*userKeys
	err := s.store.View(ctx, func(tx *storage.ReadTx) error {
		lists, err := tx.RemoteLists(users)
		if err == nil {
			found, err = keysOf(tx, lists)
		}
		return err
	})
	return found, err
}

// keysOf is the keys in those lists that are up to date.
func keysOf(tx *storage.ReadTx, lists map[id.UserID]*storage.RemoteList) (map[id.UserID]*userKeys, error) {
	found := map[id.UserID]*userKeys{}
	for u, l := range lists {
		if l.Usable() {
			found[u] = &userKeys{}
		}
	}
	if len(found) == 0 {
		return found, nil
	}
	usable := slices.Collect(maps.Keys(found))
	devices, err := tx.RemoteDevices(usable)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		found[d.User].devices = append(found[d.User].devices, d)
	}
	keys, err := tx.RemoteCrossSigningKeys(usable)
	for _, k := range keys {
		found[k.User].crossSigning = append(found[k.User].crossSigning, k)
	}
	return found, err
}

// fetch has the keys of users of one server fetched, which goes on when ctx ends: others may be waiting.
func (s *Service) fetch(ctx context.Context, server id.ServerName, users []id.UserID) []*fetch {
	all, fresh := s.fetches.begin(users)
	for batch := range slices.Chunk(fresh, fetchBatch) {
		s.start(ctx, batch, func(ctx context.Context, names []id.UserID) (map[id.UserID]*userKeys, error) {
			query := struct {
				Keys map[id.UserID][]id.DeviceID `json:"device_keys"`
			}{map[id.UserID][]id.DeviceID{}}
			for _, u := range names {
				query.Keys[u] = []id.DeviceID{}
			}
			body, err := json.Marshal(query)
			if err != nil {
				return nil, err
			}
			answer, err := s.remote.QueryKeys(ctx, server, body)
			if err != nil {
				return nil, err
			}
			return parseKeyAnswer(answer, names)
		})
	}
	return all
}

// fetchList is fetch for one user, with an answer that knows which updates are in it.
//
// Spec: server-server-api#get_matrixfederationv1userdevicesuserid
func (s *Service) fetchList(ctx context.Context, user id.UserID) *fetch {
	all, fresh := s.fetches.begin([]id.UserID{user})
	if len(fresh) > 0 {
		s.start(ctx, fresh, func(ctx context.Context, _ []id.UserID) (map[id.UserID]*userKeys, error) {
			answer, err := s.remote.UserDevices(ctx, user.Server(), user)
			if err != nil {
				return nil, err
			}
			keys, err := parseUserDevices(answer, user)
			return map[id.UserID]*userKeys{user: keys}, err
		})
	}
	return all[0]
}

// start runs ask in the background, keeps what it finds, and ends the fetches.
func (s *Service) start(ctx context.Context, list []*fetch, ask func(context.Context, []id.UserID) (map[id.UserID]*userKeys, error)) {
	fail := func(err error) {
		for _, f := range list {
			f.err = err
		}
	}
	if s.remote == nil {
		fail(errAlone)
		s.fetches.end(list)
		return
	}
	err := s.work.Start(ctx, maxWait, func(ctx context.Context) {
		defer s.fetches.end(list)
		names := make([]id.UserID, len(list))
		for i, f := range list {
			names[i] = f.user
		}
		found, err := s.askAndKeep(ctx, names, ask)
		if err != nil {
			fail(err)
			return
		}
		for _, f := range list {
			if f.keys = found[f.user]; f.keys != nil {
				f.err = nil
			} else {
				f.err = errNoAnswer
			}
		}
	})
	if err != nil {
		fail(err)
		s.fetches.end(list)
	}
}

// askAndKeep asks for the keys of users of one server and stores those of the users that we follow. A list that has come since the caller looked
// is not asked for again.
func (s *Service) askAndKeep(ctx context.Context, users []id.UserID, ask func(context.Context, []id.UserID) (map[id.UserID]*userKeys, error)) (
	map[id.UserID]*userKeys, error) {
	leave, err := s.fetches.enter(ctx, users[0].Server())
	if err != nil {
		return nil, err
	}
	defer leave()
	var before map[id.UserID]*storage.RemoteList
	var stored map[id.UserID]*userKeys
	var pos int64
	err = s.store.View(ctx, func(tx *storage.ReadTx) (err error) {
		if before, err = tx.RemoteLists(users); err != nil {
			return err
		}
		if stored, err = keysOf(tx, before); err != nil {
			return err
		}
		pos, err = tx.Position()
		return err
	})
	if err != nil {
		s.complain(ctx, err)
		return nil, err
	}
	users = slices.DeleteFunc(slices.Clone(users), func(u id.UserID) bool { return stored[u] != nil })
	if len(users) == 0 {
		return stored, nil
	}
	found, err := ask(ctx, users)
	if err != nil {
		return nil, err
	}
	followed := slices.DeleteFunc(slices.Clone(users), func(u id.UserID) bool { return found[u] == nil || !before[u].Followed })
	for batch := range slices.Chunk(followed, storeBatch) {
		err := s.store.Update(ctx, func(tx *storage.Tx) error {
			for _, u := range batch {
				if err := s.keepList(tx, before[u], found[u], pos); err != nil {
					return fmt.Errorf("keep a device list of %s: %w", u.Server(), err)
				}
			}
			return nil
		})
		if err != nil {
			s.complain(ctx, err)
			return nil, err
		}
	}
	maps.Copy(stored, found)
	return stored, nil
}
