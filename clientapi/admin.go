package clientapi

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) adminRoutes() []web.Route {
	const (
		lock    = "/_matrix/client/v1/admin/lock/{userID}"
		suspend = "/_matrix/client/v1/admin/suspend/{userID}"
	)
	return []web.Route{
		{"GET", "/_matrix/client/v3/admin/whois/{userID}", web.User, web.RateRead, a.whois},
		{"GET", lock, web.Admin, web.RateNone, a.restriction(account.Locked, "locked")},
		{"PUT", lock, web.Admin, web.RateNone, a.restrict(account.Locked, "locked")},
		{"GET", suspend, web.Admin, web.RateNone, a.restriction(account.Suspended, "suspended")},
		{"PUT", suspend, web.Admin, web.RateNone, a.restrict(account.Suspended, "suspended")},
	}
}

// whois answers administrators, and everybody about themselves.
//
// Spec: client-server-api#get_matrixclientv3adminwhoisuserid
func (a *API) whois(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.UserID("userID")
	if err != nil {
		return nil, err
	}
	if user != r.Caller.User && !r.Caller.Admin {
		return nil, merr.New(merr.Forbidden, "You are not an administrator of this server")
	}
	if _, err := a.accounts.User(ctx, user); errors.Is(err, storage.ErrNotFound) {
		return nil, merr.New(merr.NotFound, "User not found.")
	} else if err != nil {
		return nil, err
	}
	rows, err := a.accounts.Devices(ctx, user)
	if err != nil {
		return nil, err
	}
	type connection struct {
		IP        string `json:"ip"`
		LastSeen  int64  `json:"last_seen"`
		UserAgent string `json:"user_agent"`
	}
	type session struct {
		Connections []connection `json:"connections"`
	}
	type device struct {
		Sessions []session `json:"sessions"`
	}
	devices := map[id.DeviceID]device{}
	for _, d := range rows {
		connections := []connection{}
		if d.LastSeenTS != 0 {
			connections = append(connections, connection{d.LastSeenIP, d.LastSeenTS, d.LastSeenAgent})
		}
		devices[d.ID] = device{[]session{{connections}}}
	}
	return struct {
		UserID  id.UserID              `json:"user_id"`
		Devices map[id.DeviceID]device `json:"devices"`
	}{user, devices}, nil
}

// restriction tells whether a user is restricted.
//
// Spec: client-server-api#get_matrixclientv1adminlockuserid
func (a *API) restriction(kind account.Restriction, member string) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		user, err := r.UserID("userID")
		if err != nil {
			return nil, err
		}
		on, err := a.accounts.Restricted(ctx, user, kind)
		return map[string]bool{member: on}, err
	}
}

// restrict restricts a user or lifts that.
//
// Spec: client-server-api#put_matrixclientv1adminlockuserid
func (a *API) restrict(kind account.Restriction, member string) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		user, err := r.UserID("userID")
		if err != nil {
			return nil, err
		}
		var body map[string]any
		if err := r.JSON(&body); err != nil {
			return nil, err
		}
		on, ok := body[member].(bool)
		if !ok {
			return nil, merr.Newf(merr.BadJSON, "%s must be true or false", member)
		}
		return map[string]bool{member: on}, a.accounts.Restrict(ctx, r.Caller.User, user, kind, on)
	}
}
