package identity

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// Bind publishes that an address, which the session has proven to be somebody's, is a user's, and returns it.
//
// Spec: identity-service-api#post_matrixidentityv23pidbind
func (c *Client) Bind(ctx context.Context, a Access, session, secret string, user id.UserID) (Threepid, error) {
	var out struct {
		Threepid
		User id.UserID `json:"mxid"`
	}
	err := c.call(ctx, a, http.MethodPost, "3pid/bind", map[string]any{"sid": session, "client_secret": secret, "mxid": user}, &out)
	if err != nil {
		return Threepid{}, err
	}
	bound, err := ParseThreepid(out.Medium, out.Address)
	if err != nil || out.User != user {
		return Threepid{}, badAnswer("does not say what it has bound")
	}
	return bound, nil
}

// Unbind takes back what Bind has published. It reports false if the identity server does not do that.
//
// Spec: identity-service-api#post_matrixidentityv23pidunbind
func (c *Client) Unbind(ctx context.Context, server id.ServerName, t Threepid, user id.UserID) (bool, error) {
	const uri = "/_matrix/identity/v2/3pid/unbind"
	content, err := json.Marshal(map[string]any{"mxid": user, "threepid": t})
	if err == nil {
		content, err = canonjson.Canonical(content)
	}
	if err != nil {
		return false, err
	}
	// Each in a request of its own: common proxies refuse requests with two of these headers.
	for _, authorization := range c.signer.IdentityAuthorization(http.MethodPost, uri, server, content) {
		err = c.send(ctx, http.MethodPost, "https://"+string(server)+uri, http.Header{"Authorization": {authorization}}, content, nil)
		if !merr.HasCode(err, merr.Forbidden) && !merr.HasCode(err, merr.Unauthorized) {
			break
		}
	}
	if err == errUnsupported { // errors.Is would look at the code alone
		return false, nil
	}
	return err == nil, err
}
