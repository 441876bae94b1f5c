package clientapi

import (
	"context"
	"time"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/sliding"
	"github.com/hearthd/hearth/internal/syncer"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) slidingRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v4/sync", web.Guest, web.RateNone, a.slidingSync},
		{"POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", web.Guest, web.RateNone, a.simplifiedSync},
	}
}

// Spec: MSC4186#api
func (a *API) slidingSync(ctx context.Context, r *web.Request) (any, error) {
	req, err := slidingRequest(r, false)
	if err != nil {
		return nil, err
	}
	req.Pos, req.Presence = req.Asked.Pos, req.Asked.Presence
	req.Timeout = time.Duration(min(req.Asked.Timeout, maxWait)) * time.Millisecond
	return a.slide(ctx, req)
}

// simplifiedSync is slidingSync as it was before the proposal was accepted. Position and timeout are in the query.
//
// Spec: MSC4186#unstable-prefix
func (a *API) simplifiedSync(ctx context.Context, r *web.Request) (any, error) {
	req, err := slidingRequest(r, true)
	if err != nil {
		return nil, err
	}
	req.Pos, req.Presence = r.Query().Get("pos"), r.Query().Get("set_presence")
	wait, err := r.IntQuery("timeout", 0, 0, maxWait)
	if err != nil {
		return nil, err
	}
	req.Timeout = time.Duration(wait) * time.Millisecond
	return a.slide(ctx, req)
}

func slidingRequest(r *web.Request, experimental bool) (syncer.SlidingRequest, error) {
	req := syncer.SlidingRequest{User: r.Caller.User, Device: r.Caller.Device, Experimental: experimental, Admitted: r.Reauthenticate}
	body, err := r.Object()
	if err != nil {
		return req, err
	}
	req.Asked, err = sliding.Parse(body, r.Caller.User, experimental)
	return req, err
}

func (a *API) slide(ctx context.Context, req syncer.SlidingRequest) (any, error) {
	switch req.Presence {
	case "":
		req.Presence = edu.Online
	case edu.Online, edu.Offline, edu.Unavailable:
	default:
		return nil, merr.New(merr.InvalidParam, "set_presence must be online, offline or unavailable")
	}
	out, err := a.syncer.Slide(ctx, req)
	return web.RawJSON(out), err
}
