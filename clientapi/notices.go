package clientapi

import (
	"context"
	"encoding/json"

	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/notices"
	"github.com/hearthd/hearth/internal/web"
)

// noticeRoutes are those of Synapse, which tools for administrators know.
func (a *API) noticeRoutes() []web.Route {
	const path = "/_synapse/admin/v1/send_server_notice"
	return []web.Route{
		{"POST", path, web.Admin, web.RateNone, a.sendNotice},
		{"PUT", path + "/{txnID}", web.Admin, web.RateNone, a.sendNotice},
	}
}

func (a *API) sendNotice(ctx context.Context, r *web.Request) (any, error) {
	var body struct {
		UserID   string          `json:"user_id"`
		Type     string          `json:"type"`
		StateKey *string         `json:"state_key"`
		Content  json.RawMessage `json:"content"`
	}
	if err := r.JSON(&body); err != nil {
		return nil, err
	}
	to, err := userIDField(body.UserID)
	if err != nil {
		return nil, err
	}
	if len(body.Content) == 0 {
		return nil, merr.New(merr.MissingParam, "content is missing")
	}
	event, err := a.notices.Send(ctx, notices.Notice{To: to, Type: body.Type, StateKey: body.StateKey, Content: body.Content, Txn: transaction(r)})
	return eventIDAnswer{event}, err
}
