package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/e2ee"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/token"
	"github.com/hearthd/hearth/internal/web"
)

func (a *API) dehydratedRoutes() []web.Route {
	const (
		device = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
		events = device + "/{deviceID}/events"
		write  = web.User | web.WhileSuspended
	)
	return []web.Route{
		{"PUT", device, write, web.RateWrite, a.setDehydrated},
		{"GET", device, web.User, web.RateNone, a.dehydrated},
		{"DELETE", device, write, web.RateWrite, a.deleteDehydrated},
		{"GET", events, web.User, web.RateRead, a.dehydratedEvents},
		{"POST", events, web.User, web.RateRead, a.dehydratedEventsOnce},
	}
}

type dehydratedID struct {
	Device id.DeviceID `json:"device_id"`
}

// Spec: MSC3814
func (a *API) setDehydrated(ctx context.Context, r *web.Request) (any, error) {
	var body e2ee.DehydratedUpload
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	return dehydratedID{body.Device}, a.e2ee.SetDehydrated(ctx, r.Caller.User, body)
}

// Spec: MSC3814
func (a *API) dehydrated(ctx context.Context, r *web.Request) (any, error) {
	d, err := a.e2ee.Dehydrated(ctx, r.Caller.User)
	return struct {
		dehydratedID
		Data json.RawMessage `json:"device_data"`
	}{dehydratedID{d.Device}, d.Data}, err
}

// Spec: MSC3814
func (a *API) deleteDehydrated(ctx context.Context, r *web.Request) (any, error) {
	device, err := a.e2ee.DeleteDehydrated(ctx, r.Caller.User)
	return dehydratedID{device}, err
}

// deviceMessage is a message to a device as clients see it.
type deviceMessage struct {
	Content json.RawMessage `json:"content"`
	Sender  id.UserID       `json:"sender"`
	Type    string          `json:"type"`
}

type dehydratedMessages struct {
	Events []deviceMessage `json:"events"`
	Next   string          `json:"next_batch,omitempty"`
}

// dehydratedEvents has a next_batch if and only if there are more messages.
//
// Spec: MSC3814
func (a *API) dehydratedEvents(ctx context.Context, r *web.Request) (any, error) {
	out, more, err := a.dehydratedBatch(ctx, r, r.Query().Get("from"))
	if !more {
		out.Next = ""
	}
	return out, err
}

// dehydratedEventsOnce is how clients ask that know the MSC as it was before July 2026: they go on until a batch is empty, and each must have a
// next_batch.
func (a *API) dehydratedEventsOnce(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		From string `json:"next_batch"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	out, _, err := a.dehydratedBatch(ctx, r, body.From)
	return out, err
}

// dehydratedBatch is the messages after those that a token stands for, with the token to go on from, and whether there are more.
func (a *API) dehydratedBatch(ctx context.Context, r *web.Request, from string) (out dehydratedMessages, more bool, err error) {
	device, err := r.DeviceID("deviceID")
	if err != nil {
		return out, false, err
	}
	var since token.Sync
	if from != "" {
		if since, err = token.ParseSync(from); err != nil {
			return out, false, err
		}
	}
	list, more, err := a.e2ee.DehydratedMessages(ctx, r.Caller.User, device, since.Pos)
	out.Events = make([]deviceMessage, len(list))
	for i, m := range list {
		out.Events[i] = deviceMessage{m.Content, m.Sender, m.Type}
		since.Pos = m.Pos
	}
	out.Next = since.String()
	return out, more, err
}
