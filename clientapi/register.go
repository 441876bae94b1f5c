package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/account"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) registerRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/register", web.None | web.ForAppservices, web.RateNone, a.register},
		{"GET", "/_matrix/client/v3/register/available", web.None, web.RateLogin, a.usernameAvailable},
		{"GET", "/_matrix/client/v1/register/m.login.registration_token/validity", web.None, web.RateRegister, a.registrationTokenValid},
		{"GET", "/_synapse/admin/v1/register", web.None, web.RateNone, a.registrationNonce},
		{"POST", "/_synapse/admin/v1/register", web.None, web.RateRegister, a.registerWithSecret},
	}
}

// Spec: client-server-api#post_matrixclientv3register
func (a *API) register(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	if err := spendAttempt(r, body, web.RateRegister); err != nil {
		return nil, err
	}
	if appserviceLogin(body) {
		return a.accounts.RegisterByAppservice(ctx, r.Token(), body)
	}
	switch r.Query().Get("kind") {
	case "guest":
		return a.accounts.RegisterGuest(ctx, body)
	case "", "user":
		return interactive(a.accounts.Register(ctx, operation(r, body)))
	}
	return nil, merr.New(merr.InvalidParam, "kind must be user or guest")
}

// Spec: client-server-api#get_matrixclientv3registeravailable
func (a *API) usernameAvailable(ctx context.Context, r *web.Request) (any, error) {
	name, err := r.RequiredQuery("username")
	if err != nil {
		return nil, err
	}
	if err := a.accounts.Available(ctx, name); err != nil {
		return nil, err
	}
	return struct {
		Available bool `json:"available"`
	}{true}, nil
}

// Spec: client-server-api#get_matrixclientv1registermloginregistration_tokenvalidity
func (a *API) registrationTokenValid(ctx context.Context, r *web.Request) (any, error) {
	token, err := r.RequiredQuery("token")
	if err != nil {
		return nil, err
	}
	valid, err := a.accounts.RegistrationTokenValid(ctx, token)
	return struct {
		Valid bool `json:"valid"`
	}{valid}, err
}

// registrationNonce and registerWithSecret are not in the specification: tools and tests make accounts in this way on many servers.
func (a *API) registrationNonce(context.Context, *web.Request) (any, error) {
	nonce, err := a.accounts.Nonce()
	return struct {
		Nonce string `json:"nonce"`
	}{nonce}, err
}

func (a *API) registerWithSecret(ctx context.Context, r *web.Request) (any, error) {
	var body account.SecretRegistration
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	return a.accounts.RegisterWithSecret(ctx, body)
}
