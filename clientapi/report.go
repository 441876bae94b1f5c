package clientapi

import (
	"context"
	"errors"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

func (a *API) reportRoutes() []web.Route {
	const room = "/_matrix/client/v3/rooms/{roomID}/report"
	return []web.Route{
		{"POST", room, web.User | web.WhileSuspended, web.RateWrite, a.reportRoom},
		{"POST", room + "/{eventID}", web.User | web.WhileSuspended, web.RateWrite, a.reportEvent},
		{"POST", "/_matrix/client/v3/users/{userID}/report", web.User | web.WhileSuspended, web.RateWrite, a.reportUser},
	}
}

// maxReason is the greatest length of a reason in bytes.
const maxReason = 5000

// reason reads the body of a report.
func reason(r *web.Request) (string, error) {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := r.JSONOptional(&body); err != nil {
		return "", err
	}
	if len(body.Reason) > maxReason {
		return "", merr.Newf(merr.TooLarge, "reason is longer than %d bytes", maxReason)
	}
	return body.Reason, nil
}

// report keeps a report if what it is about is there.
func (a *API) report(ctx context.Context, report storage.Report, exists func(tx *storage.ReadTx) error) error {
	err := a.store.Update(ctx, func(tx *storage.Tx) error {
		if err := exists(&tx.ReadTx); err != nil {
			return err
		}
		report.TS = a.clock.Now().UnixMilli()
		_, err := tx.AddReport(report)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return merr.New(merr.NotFound, "What you report was not found")
	}
	return err
}

// Spec: client-server-api#post_matrixclientv3roomsroomidreport
func (a *API) reportRoom(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	text, err := reason(r)
	if err != nil {
		return nil, err
	}
	return nil, a.report(ctx, storage.Report{Reporter: r.Caller.User, Room: room, Reason: text}, func(tx *storage.ReadTx) error {
		_, err := tx.RoomNID(room)
		return err
	})
}

// Spec: client-server-api#post_matrixclientv3roomsroomidreporteventid
func (a *API) reportEvent(ctx context.Context, r *web.Request) (any, error) {
	room, err := r.RoomID("roomID")
	if err != nil {
		return nil, err
	}
	text, err := reason(r)
	if err != nil {
		return nil, err
	}
	event := id.EventID(r.Var("eventID"))
	return nil, a.report(ctx, storage.Report{Reporter: r.Caller.User, Room: room, Event: event, Reason: text}, func(tx *storage.ReadTx) error {
		nid, err := tx.RoomNID(room)
		if err != nil {
			return err
		}
		m, err := tx.Membership(nid, r.Caller.User)
		if err == nil && m.Membership != "join" {
			err = storage.ErrNotFound
		}
		if err == nil {
			_, err = tx.EventInRoom(nid, event)
		}
		return err
	})
}

// Users of other servers can be reported without being known: it would tell whom this server knows.
//
// Spec: client-server-api#post_matrixclientv3usersuseridreport
func (a *API) reportUser(ctx context.Context, r *web.Request) (any, error) {
	user, err := r.UserID("userID")
	if err != nil {
		return nil, err
	}
	text, err := reason(r)
	if err != nil {
		return nil, err
	}
	return nil, a.report(ctx, storage.Report{Reporter: r.Caller.User, User: user, Reason: text}, func(tx *storage.ReadTx) error {
		if user.Server() != id.ServerName(a.config.Get().Server.Name) {
			return nil
		}
		_, err := tx.User(user)
		return err
	})
}
