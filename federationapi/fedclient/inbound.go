package fedclient

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hearthd/hearth/internal/canonjson"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
)

// maxHeaders is how many Authorization headers of one request are looked at: one for each key that the other server has.
const maxHeaders = 4

// VerifyRequest says which server has made a request. body is that of the request, empty for none. What is wrong with it is a Matrix error.
//
// Spec: server-server-api#request-authentication
func (k *KeyRing) VerifyRequest(ctx context.Context, r *http.Request, body []byte, now time.Time) (id.ServerName, error) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return "", merr.New(merr.Unauthorized, "The request is not signed: it has no Authorization header")
	}
	if len(given) > maxHeaders {
		return "", merr.New(merr.Unauthorized, "The request has too many Authorization headers")
	}
	var origin id.ServerName
	signatures := map[string]string{}
	for _, header := range given {
		c, err := parseCredentials(header)
		switch {
		case err != nil:
			return "", merr.New(merr.Unauthorized, "The request is not signed: "+err.Error())
		case origin != "" && c.origin != origin:
			return "", merr.New(merr.Unauthorized, "The request claims to come from several servers")
		case c.destination != "" && c.destination != k.client.name:
			return "", merr.New(merr.Unauthorized, "The request is meant for another server")
		}
		origin = c.origin
		signatures[c.key] = encodeBase64(c.signature)
	}
	if origin == k.client.name {
		return "", merr.New(merr.Unauthorized, "The request claims to come from this server itself")
	}
	var content []byte
	if len(body) > 0 {
		var err error
		if content, err = canonjson.Canonical(body); err != nil {
			return "", merr.New(merr.NotJSON, "The body is not JSON")
		}
	}
	uri := r.RequestURI
	if uri == "" || uri[0] != '/' { // made by a test, or in the form for proxies
		uri = r.URL.RequestURI()
	}
	// Older servers leave the destination out of the header, but not out of what they sign.
	message := signedRequest(r.Method, uri, origin, k.client.name, content)
	check, err := newCheck(origin, signatures, message, now.UnixMilli(), true)
	if err == nil {
		err = k.settle(ctx, check, true)
	}
	switch {
	case errors.Is(err, ErrNoKey):
		return "", merr.Newf(merr.Unauthorized, "The signing key of %s is not known here", origin)
	case errors.Is(err, ErrSignature):
		return "", merr.Newf(merr.Unauthorized, "The signature of %s does not hold", origin)
	}
	return origin, err
}

// AuthenticateServer is VerifyRequest by the ring's own clock. Whoever signed a request lives: that is noted.
func (k *KeyRing) AuthenticateServer(ctx context.Context, r *http.Request, body []byte) (id.ServerName, error) {
	origin, err := k.VerifyRequest(ctx, r, body, k.clock.Now())
	if err == nil {
		k.client.backoff.heard(ctx, origin)
	}
	return origin, err
}
