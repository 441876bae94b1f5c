package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) accountRoutes() []web.Route {
	const confirmed = web.Optional | web.WhileSuspended
	return []web.Route{
		{"GET", "/_matrix/client/v3/account/whoami", web.Guest, web.RateNone, a.whoami},
		{"POST", "/_matrix/client/v3/account/password", confirmed, web.RateNone, a.changePassword},
		{"POST", "/_matrix/client/v3/account/deactivate", confirmed, web.RateLogin, a.deactivate},
	}
}

// Spec: client-server-api#get_matrixclientv3accountwhoami
func (a *API) whoami(_ context.Context, r *web.Request) (any, error) {
	return struct {
		UserID   id.UserID   `json:"user_id"`
		DeviceID id.DeviceID `json:"device_id,omitempty"`
		IsGuest  bool        `json:"is_guest"`
	}{r.Caller.User, r.Caller.Device, r.Caller.Guest}, nil
}

// Spec: client-server-api#post_matrixclientv3accountpassword
func (a *API) changePassword(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	if err := spendAttempt(r, body, web.RateLogin); err != nil {
		return nil, err
	}
	if err := a.spendConfirmation(r, body); err != nil {
		return nil, err
	}
	return interactive(nil, a.accounts.ChangePassword(ctx, operation(r, body), r.Caller.Device))
}

// spendConfirmation is spendGuess for requests that anybody can confirm, also without a token.
func (a *API) spendConfirmation(r *web.Request, body json.RawMessage) error {
	if !r.Caller.IsZero() {
		return nil // who has a token can only guess the password of its owner, and draws from the owner's bucket
	}
	var members map[string]json.RawMessage // a struct would take "AUTH" for it too
	if json.Unmarshal(body, &members) != nil || members["auth"] == nil {
		return nil
	}
	return a.spendGuess(r, members["auth"])
}

// Spec: client-server-api#post_matrixclientv3accountdeactivate
func (a *API) deactivate(ctx context.Context, r *web.Request) (any, error) {
	body, err := optionalObject(r)
	if err != nil {
		return nil, err
	}
	if err := a.spendConfirmation(r, body); err != nil {
		return nil, err
	}
	// Nothing was ever bound to an identity server, so there is nothing that could fail to be unbound.
	return interactive(struct {
		Unbound string `json:"id_server_unbind_result"`
	}{"success"}, a.accounts.DeactivateOwn(ctx, operation(r, body)))
}
