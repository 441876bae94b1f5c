package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
)

// maxKeysBody is the length of requests with keys of many users or devices, in bytes.
const maxKeysBody = 4 << 20

func (a *API) keyRoutes() []web.Route {
	const guest, user = web.Guest | web.WhileSuspended, web.User | web.WhileSuspended
	return []web.Route{
		{"POST", "/_matrix/client/v3/keys/upload", guest, web.RateNone, web.BodyLimit(maxKeysBody, a.uploadKeys)},
		{"POST", "/_matrix/client/v3/keys/query", guest, web.RateNone, web.BodyLimit(maxKeysBody, a.queryKeys)},
		{"POST", "/_matrix/client/v3/keys/claim", guest, web.RateNone, web.BodyLimit(maxKeysBody, a.claimKeys)},
		{"GET", "/_matrix/client/v3/keys/changes", web.User, web.RateNone, a.keyChanges},
		{"POST", "/_matrix/client/v3/keys/device_signing/upload", user, web.RateWrite, a.uploadCrossSigning},
		{"POST", "/_matrix/client/v3/keys/signatures/upload", user, web.RateWrite, web.BodyLimit(maxKeysBody, a.uploadSignatures)},
	}
}

// Spec: client-server-api#post_matrixclientv3keysupload
func (a *API) uploadKeys(ctx context.Context, r *web.Request) (any, error) {
	var body e2ee.KeyUpload
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if r.Caller.Device == "" {
		// Spec: application-service-api#identity-assertion
		return nil, merr.New(merr.InvalidParam, "Keys are those of a device, which the request does not name")
	}
	counts, err := a.e2ee.UploadKeys(ctx, r.Caller.User, r.Caller.Device, body)
	return struct {
		Counts map[string]int `json:"one_time_key_counts"`
	}{counts}, err
}

// remoteWait is how long a client wants to wait for other servers.
type remoteWait struct {
	Timeout int64 `json:"timeout"` // ms
}

func (w remoteWait) duration() time.Duration {
	return time.Duration(max(0, min(w.Timeout, time.Minute.Milliseconds()))) * time.Millisecond
}

// Spec: client-server-api#post_matrixclientv3keysquery
func (a *API) queryKeys(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		DeviceKeys map[id.UserID][]id.DeviceID `json:"device_keys"`
		remoteWait
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.DeviceKeys == nil {
		return nil, merr.New(merr.MissingParam, "device_keys is missing")
	}
	return a.e2ee.QueryKeys(ctx, r.Caller.User, body.DeviceKeys, body.duration())
}

// Spec: client-server-api#post_matrixclientv3keysclaim
func (a *API) claimKeys(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		OneTimeKeys map[id.UserID]map[id.DeviceID]string `json:"one_time_keys"`
		remoteWait
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.OneTimeKeys == nil {
		return nil, merr.New(merr.MissingParam, "one_time_keys is missing")
	}
	return a.e2ee.ClaimKeys(ctx, body.OneTimeKeys, body.duration())
}

// Spec: client-server-api#get_matrixclientv3keyschanges
func (a *API) keyChanges(ctx context.Context, r *web.Request) (any, error) {
	var points [2]token.Sync
	for i, name := range []string{"from", "to"} {
		text, err := r.RequiredQuery(name)
		if err != nil {
			return nil, err
		}
		if points[i], err = token.ParseSync(text); err != nil {
			return nil, err
		}
	}
	// The end is only a hint: whoever has changed since then has changed as well.
	changed, left, err := a.e2ee.DeviceListChanges(ctx, r.Caller.User, points[0].Pos)
	return struct {
		Changed []id.UserID `json:"changed"`
		Left    []id.UserID `json:"left"`
	}{append([]id.UserID{}, changed...), append([]id.UserID{}, left...)}, err
}

// uploadCrossSigning asks for the password only where keys would be replaced or added.
//
// Spec: client-server-api#post_matrixclientv3keysdevice_signingupload
func (a *API) uploadCrossSigning(ctx context.Context, r *web.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	var keys e2ee.CrossSigningUpload
	if json.Unmarshal(body, &keys) != nil { // its members take anything
		return nil, merr.New(merr.BadJSON, "The body has a value of a wrong type")
	}
	// The last request of an authentication may have nothing but auth.
	if !keys.IsEmpty() || !gjson.GetBytes(body, "auth").IsObject() {
		err := a.e2ee.UploadCrossSigning(ctx, r.Caller.User, keys, r.Caller.AppserviceID != "")
		if !errors.Is(err, e2ee.ErrUnconfirmed) {
			return nil, err
		}
	}
	if body, err = a.accounts.Confirm(ctx, operation(r, body)); err != nil {
		return interactive(nil, err)
	}
	keys = e2ee.CrossSigningUpload{}
	if json.Unmarshal(body, &keys) != nil {
		return nil, merr.New(merr.BadJSON, "The body has a value of a wrong type")
	}
	return nil, a.e2ee.UploadCrossSigning(ctx, r.Caller.User, keys, true)
}

// Spec: client-server-api#post_matrixclientv3keyssignaturesupload
func (a *API) uploadSignatures(ctx context.Context, r *web.Request) (any, error) {
	var body map[id.UserID]map[string]json.RawMessage
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	failures, err := a.e2ee.UploadSignatures(ctx, r.Caller.User, body)
	return struct {
		Failures e2ee.SignatureFailures `json:"failures"`
	}{failures}, err
}
