package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) toDeviceRoutes() []web.Route {
	return []web.Route{
		// Devices are verified by such messages, which suspended users may do.
		{"PUT", "/_matrix/client/v3/sendToDevice/{eventType}/{txnID}", web.Guest | web.WhileSuspended, web.RateNone,
			web.BodyLimit(maxKeysBody, a.sendToDevice)},
	}
}

// Spec: client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
func (a *API) sendToDevice(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		Messages e2ee.Messages `json:"messages"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	if body.Messages == nil {
		return nil, merr.New(merr.MissingParam, "messages is missing")
	}
	return nil, a.e2ee.SendToDevice(ctx, transaction(r), r.Var("eventType"), body.Messages)
}
