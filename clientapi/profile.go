package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) profileRoutes() []web.Route {
	const field = "/_matrix/client/v3/profile/{userID}/{keyName}"
	return []web.Route{
		{"GET", "/_matrix/client/v3/profile/{userID}", web.Optional, web.RateRead, a.profile},
		{"GET", field, web.Optional, web.RateRead, a.profileField},
		{"PUT", field, web.Guest, web.RateWrite, a.setProfileField},
		{"DELETE", field, web.Guest, web.RateWrite, a.deleteProfileField},
	}
}

// Spec: client-server-api#get_matrixclientv3profileuserid
func (a *API) profile(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.UserID("userID")
	if err != nil {
		return nil, err
	}
	if a.isLocal(user.Server()) {
		profile, err := a.accounts.Profile(ctx, user)
		// Spec: application-service-api#querying
		if merr.HasCode(err, merr.NotFound) && a.appservices.MakeUser(ctx, user) {
			return a.accounts.Profile(ctx, user)
		}
		return profile, err
	}
	if err := mayAskOthers(r); err != nil {
		return nil, err
	}
	return a.directory.Profile(ctx, user)
}

// isLocal reports whether a name is that of this server.
func (a *API) isLocal(server id.ServerName) bool { return string(server) == a.config.Get().Server.Name }

// mayAskOthers lets those who have not logged in have other servers asked only now and then: everybody can make this one ask any of them.
func mayAskOthers(r *web.Request) error {
	if r.Caller.IsZero() {
		return r.SpendFrom(web.RateInvite, "other servers")
	}
	return nil
}

// Spec: client-server-api#get_matrixclientv3profileuseridkeyname
func (a *API) profileField(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.UserID("userID")
	if err != nil {
		return nil, err
	}
	key := r.Var("keyName")
	if err := account.CheckProfileKey(key); err != nil {
		return nil, err
	}
	field := a.accounts.ProfileField
	if !a.isLocal(user.Server()) {
		if err := mayAskOthers(r); err != nil {
			return nil, err
		}
		field = a.directory.ProfileField
	}
	value, err := field(ctx, user, key)
	if merr.HasCode(err, merr.NotFound) && a.appservices.MakeUser(ctx, user) {
		value, err = field(ctx, user, key)
	}
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{key: value}, nil
}

// Spec: client-server-api#put_matrixclientv3profileuseridkeyname
func (a *API) setProfileField(ctx context.Context, r *web.Request) (any, error) {
	user, key, err := ownProfileField(r)
	if err != nil {
		return nil, err
	}
	var body map[string]json.RawMessage
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	value, ok := body[key]
	if !ok {
		return nil, merr.Newf(merr.MissingParam, "The body has no %s", key)
	}
	return nil, a.accounts.SetProfileField(ctx, user, key, value)
}

// Spec: client-server-api#delete_matrixclientv3profileuseridkeyname
func (a *API) deleteProfileField(ctx context.Context, r *web.Request) (any, error) {
	user, key, err := ownProfileField(r)
	if err != nil {
		return nil, err
	}
	return nil, a.accounts.DeleteProfileField(ctx, user, key)
}

// ownProfileField returns what a caller wants to change, if it may.
func ownProfileField(r *web.Request) (id.UserID, string, error) {
	user, err := ownUserID(r)
	key := r.Var("keyName")
	if err == nil {
		err = account.CheckProfileKey(key)
	}
	// Spec: client-server-api#guest-access
	if err == nil && r.Caller.Guest && key != "displayname" {
		err = merr.New(merr.GuestAccessForbidden, "Guests may only change their display name")
	}
	return user, key, err
}

// ownUserID returns the user of the path, who must be the caller.
func ownUserID(r *web.Request) (id.UserID, error) {
	user, err := r.UserID("userID")
	if err == nil && user != r.Caller.User {
		err = merr.New(merr.Forbidden, "You can do this only for yourself")
	}
	return user, err
}
