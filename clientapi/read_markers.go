package clientapi

import (
	"context"

	"github.com/hearthd/hearth/internal/edu"
	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) readMarkerRoutes() []web.Route {
	return []web.Route{
		{"POST", "/_matrix/client/v3/rooms/{roomID}/read_markers", web.User | web.WhileSuspended, web.RateNone, a.setReadMarkers},
	}
}

// Spec: client-server-api#post_matrixclientv3roomsroomidread_markers
func (a *API) setReadMarkers(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	var body struct {
		FullyRead   string `json:"m.fully_read"`
		Read        string `json:"m.read"`
		ReadPrivate string `json:"m.read.private"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	var receipts []edu.Receipt
	for _, m := range []edu.Receipt{
		{Type: edu.FullyRead, Event: id.EventID(body.FullyRead)},
		{Type: storage.Read, Event: id.EventID(body.Read)},
		{Type: storage.ReadPrivate, Event: id.EventID(body.ReadPrivate)},
	} {
		if m.Event == "" {
			continue
		}
		if _, err := id.ParseEventID(string(m.Event)); err != nil {
			return nil, merr.Newf(merr.InvalidParam, "%s: %v", m.Type, err)
		}
		receipts = append(receipts, m)
	}
	return nil, a.edus.SetReceipts(ctx, room, r.Caller.User, receipts...)
}
