package clientapi

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/filter"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) syncRoutes() []web.Route {
	return []web.Route{
		{"GET", "/_matrix/client/v3/sync", web.Guest, web.RateNone, a.sync},
	}
}

// maxWait is more milliseconds than anybody waits.
const maxWait = 24 * 60 * 60 * 1000

// Spec: client-server-api#get_matrixclientv3sync
func (a *API) sync(ctx context.Context, r *web.Request) (any, error) {
	req := syncer.Request{User: r.Caller.User, Device: r.Caller.Device, Since: r.Query().Get("since"), Admitted: r.Reauthenticate}
	wait, err := r.IntQuery("timeout", 0, 0, maxWait)
	if err != nil {
		return nil, err
	}
	req.Timeout = time.Duration(wait) * time.Millisecond
	if req.FullState, err = r.BoolQuery("full_state", false); err != nil {
		return nil, err
	}
	if req.UseStateAfter, err = useStateAfter(r); err != nil {
		return nil, err
	}
	switch req.Presence = r.Query().Get("set_presence"); req.Presence {
	case "":
		req.Presence = edu.Online
	case edu.Online, edu.Offline, edu.Unavailable:
	default:
		return nil, merr.New(merr.InvalidParam, "Query parameter set_presence must be online, offline or unavailable")
	}
	if req.Filter, err = a.syncFilter(ctx, r.Caller.User, r.Query().Get("filter")); err != nil {
		return nil, err
	}
	out, err := a.syncer.Sync(ctx, req)
	return web.RawJSON(out), err
}

// useStateAfter reads the parameter under the name it has had since v1.16 and the one of the proposal.
func useStateAfter(r *web.Request) (bool, error) {
	unstable, err := r.BoolQuery("org.matrix.msc4222.use_state_after", false)
	if err != nil {
		return false, err
	}
	return r.BoolQuery("use_state_after", unstable)
}

// syncFilter finds the filter that a parameter names or is; nil for none.
func (a *API) syncFilter(ctx context.Context, user id.UserID, param string) (*filter.Filter, error) {
	if param == "" {
		return nil, nil
	}
	key := filterKey{user, param}
	if f := a.filters.get(key); f != nil {
		return f, nil
	}
	definition := json.RawMessage(param)
	if param[0] != '{' {
		var err error
		if definition, err = a.accounts.Filter(ctx, user, param); err != nil {
			return nil, err
		}
	}
	f, err := filter.Parse(definition)
	if err != nil {
		return nil, err
	}
	a.filters.put(key, f)
	return f, nil
}

// filterCache keeps parsed filters: what an id names never changes, and clients send the same one with every request.
type filterCache struct {
	mu    sync.RWMutex
	known map[filterKey]*filter.Filter
}

type filterKey struct {
	user  id.UserID
	param string
}

const (
	maxFilters   = 4096
	maxFilterKey = 4096 // bytes; larger ones are parsed each time
)

func newFilterCache() *filterCache { return &filterCache{known: map[filterKey]*filter.Filter{}} }

func (c *filterCache) get(k filterKey) *filter.Filter {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[k]
}

func (c *filterCache) put(k filterKey, f *filter.Filter) {
	if len(k.param) > maxFilterKey {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxFilters {
		clear(c.known)
	}
	c.known[k] = f
}
