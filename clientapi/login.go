package clientapi

import (
	"context"
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) loginRoutes() []web.Route {
	const leaving = web.Guest | web.WhileSuspended | web.WhileLocked
	return []web.Route{
		{"GET", "/_matrix/client/v3/login", web.None, web.RateNone, a.loginFlows},
		{"POST", "/_matrix/client/v3/login", web.None | web.ForAppservices, web.RateLogin, a.login},
		{"POST", "/_matrix/client/v1/login/get_token", web.User | web.WhileSuspended, web.RateLogin, a.loginToken},
		// Nobody guesses a refresh token, and a whole office may refresh from one address.
		{"POST", "/_matrix/client/v3/refresh", web.None, web.RateWrite, a.refresh},
		{"POST", "/_matrix/client/v3/logout", leaving, web.RateNone, a.logout},
		{"POST", "/_matrix/client/v3/logout/all", leaving, web.RateNone, a.logoutAll},
		{"GET", "/_matrix/client/v1/auth_metadata", web.None, web.RateNone, a.authMetadata},
	}
}

// Spec: client-server-api#get_matrixclientv3login
func (a *API) loginFlows(context.Context, *web.Request) (any, error) {
	return struct {
		Flows []account.LoginFlow `json:"flows"`
	}{a.accounts.LoginFlows()}, nil
}

// Spec: client-server-api#post_matrixclientv3login
func (a *API) login(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	if appserviceLogin(body) {
		return a.accounts.LoginByAppservice(ctx, r.Token(), body)
	}
	if err := a.spendGuess(r, body); err != nil {
		return nil, err
	}
	return a.accounts.Login(ctx, body)
}

// appserviceLogin reports whether a request to log in or to register is one of an application service.
func appserviceLogin(body json.RawMessage) bool {
	return gjson.GetBytes(body, "type").Str == account.LoginTypeAppservice
}

// spendGuess limits guessing from many addresses by the account that is tried.
func (a *API) spendGuess(r *web.Request, credentials json.RawMessage) error {
	if name := a.accounts.LoginAccount(credentials); name != "" {
		return r.Spend(web.RateLogin, name)
	}
	return nil
}

// Spec: client-server-api#post_matrixclientv1loginget_token
func (a *API) loginToken(ctx context.Context, r *web.Request) (any, error) {
	body, err := optionalObject(r)
	if err != nil {
		return nil, err
	}
	token, expires, err := a.accounts.NewLoginToken(ctx, operation(r, body))
	return interactive(struct {
		LoginToken  string `json:"login_token"`
		ExpiresInMS int64  `json:"expires_in_ms"`
	}{token, expires}, err)
}

// Spec: client-server-api#post_matrixclientv3refresh
func (a *API) refresh(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.RefreshToken == "" {
		return nil, merr.New(merr.MissingParam, "refresh_token is missing")
	}
	session, err := a.accounts.Refresh(ctx, body.RefreshToken)
	return struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresInMS  int64  `json:"expires_in_ms"`
	}{session.AccessToken, session.RefreshToken, session.ExpiresInMS}, err
}

// authMetadata tells clients that look for the OAuth 2.0 API that this server has the legacy one.
//
// Spec: client-server-api#get_matrixclientv1auth_metadata
func (a *API) authMetadata(context.Context, *web.Request) (any, error) {
	return nil, merr.New(merr.Unrecognized, "Legacy authentication is in use on this homeserver.")
}

// Spec: client-server-api#post_matrixclientv3logout
func (a *API) logout(ctx context.Context, r *web.Request) (any, error) {
	return nil, a.accounts.Logout(ctx, r.Caller.User, r.Caller.Device)
}

// Spec: client-server-api#post_matrixclientv3logoutall
func (a *API) logoutAll(ctx context.Context, r *web.Request) (any, error) {
	return nil, a.accounts.LogoutAll(ctx, r.Caller.User)
}
