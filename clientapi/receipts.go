package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) receiptRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/rooms/{roomID}/receipt/{receiptType}/{eventID}", web.User | web.WhileSuspended, web.RateNone, a.setReceipt},
	}
}

// maxThread is the length of an event id in bytes.
const maxThread = 255

// Spec: client-server-api#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
func (a *API) setReceipt(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	event, err := r.EventID("eventID")
	if err != nil {
		return nil, err
	}
	receipt := edu.Receipt{Type: r.Var("receiptType"), Event: event}
	if receipt.Type != storage.Read && receipt.Type != storage.ReadPrivate && receipt.Type != edu.FullyRead {
		return nil, merr.Newf(merr.InvalidParam, "Receipts have one of the types %s, %s and %s", storage.Read, storage.ReadPrivate, edu.FullyRead)
	}
	var body struct {
		Thread json.RawMessage `json:"thread_id"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return nil, err
	}
	if body.Thread != nil {
		if json.Unmarshal(body.Thread, &receipt.Thread) != nil || receipt.Thread == "" || len(receipt.Thread) > maxThread {
			return nil, merr.New(merr.InvalidParam, "thread_id must be a string that is not empty")
		}
		if receipt.Type == edu.FullyRead {
			return nil, merr.Newf(merr.InvalidParam, "%s cannot have a thread_id", edu.FullyRead)
		}
	}
	return nil, a.edus.SetReceipts(ctx, room, r.Caller.User, receipt)
}
