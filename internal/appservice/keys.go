package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/clock"
	"github.com/hearthd/hearth/internal/id"
)

const (
	keysTimeout = 10 * time.Second
	// unknownRest is how long an application service that does not know a question is not asked it again, and failedRest one that fails.
	unknownRest = time.Hour
	failedRest  = time.Minute
)

// Keys asks application services for keys of users who are theirs alone, which they may keep to themselves. It is safe for concurrent use;
// nil is that of a server without any.
//
// Spec: MSC3983, MSC3984
type Keys struct {
	registry *Registry
	client   *client
	clock    clock.Clock
	log      *slog.Logger

	mu    sync.Mutex
	quiet map[question]time.Time // when they may be asked again
}

type question struct{ appservice, path string }

const (
	claimPath = "/_matrix/app/unstable/org.matrix.msc3983/keys/claim"
	queryPath = "/_matrix/app/unstable/org.matrix.msc3984/keys/query"
)

// NewKeys returns a Keys for the application services of a server.
func NewKeys(registry *Registry, c clock.Clock, log *slog.Logger) *Keys {
	if len(registry.All()) == 0 {
		return nil
	}
	return &Keys{registry: registry, client: newClient(), clock: c, log: log, quiet: map[question]time.Time{}}
}

// KeyAnswer is what one application service has answered about some of its users. Nothing about it is certain but that it is JSON.
type KeyAnswer struct {
	Users []id.UserID
	Body  json.RawMessage
}

// Claim asks for one-time keys, by user and device, of the algorithms that are given.
func (k *Keys) Claim(ctx context.Context, wanted map[id.UserID]map[id.DeviceID][]string) []KeyAnswer {
	return askForKeys(ctx, k, claimPath, wanted)
}

// Query asks for the keys of devices of users: of all if none are given.
func (k *Keys) Query(ctx context.Context, wanted map[id.UserID][]id.DeviceID) []KeyAnswer {
	return askForKeys(ctx, k, queryPath, wanted)
}

// MayClaim reports whether an application service would be asked for one-time keys of a user.
func (k *Keys) MayClaim(user id.UserID) bool { return k.asked(user, claimPath) != nil }

// asked is the application service that is to be asked about a user, or nil.
func (k *Keys) asked(user id.UserID, path string) *Registration {
	if k == nil {
		return nil
	}
	for _, r := range k.registry.all {
		if r.URL == nil || !r.OwnsUser(user) {
			continue
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.clock.Now().Before(k.quiet[question{r.ID, path}]) {
			return nil
		}
		return r
	}
	return nil
}

// askForKeys asks all application services whose users are wanted at the same time. Who does not answer is left out.
func askForKeys[T any](ctx context.Context, k *Keys, path string, wanted map[id.UserID]T) []KeyAnswer {
	parts := map[*Registration]map[id.UserID]T{}
	for user, of := range wanted {
		if r := k.asked(user, path); r != nil {
			if parts[r] == nil {
				parts[r] = map[id.UserID]T{}
			}
			parts[r][user] = of
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	answers := make([]KeyAnswer, 0, len(parts))
	var mu sync.Mutex
	var asking sync.WaitGroup
	for r, part := range parts {
		asking.Go(func() {
			body, err := json.Marshal(part)
			if err == nil {
				body, err = k.client.do(ctx, r, http.MethodPost, path, nil, body)
			}
			if err == nil && !json.Valid(body) {
				err = errors.New("the answer is not JSON")
			}
			if err != nil {
				k.rest(ctx, r, path, err)
				return
			}
			a := KeyAnswer{Body: body}
			for user := range part {
				a.Users = append(a.Users, user)
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, a)
		})
	}
	asking.Wait()
	return answers
}

// rest leaves an application service that has failed in peace.
func (k *Keys) rest(ctx context.Context, r *Registration, path string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // whoever asked has gone
	}
	pause := failedRest
	var status *statusError
	if errors.As(err, &status) && (status.status == http.StatusNotFound || status.status == http.StatusMethodNotAllowed) {
		pause = unknownRest
	} else {
		k.log.Info("asking an application service for keys failed", "appservice", r.ID, "error", reason(err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.quiet[question{r.ID, path}] = k.clock.Now().Add(pause)
}
