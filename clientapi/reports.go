package clientapi

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/hearthd/hearth/internal/id"
	"github.com/hearthd/hearth/internal/merr"
	"github.com/hearthd/hearth/internal/reports"
	"github.com/hearthd/hearth/internal/web"
	"github.com/hearthd/hearth/storage"
)

// reportedRoutes are those of Synapse, which tools for administrators know.
func (a *API) reportedRoutes() []web.Route {
	const path = "/_synapse/admin/v1/"
	var out []web.Route
	for _, k := range []reportList{
		{storage.EventReports, "event_reports", "next_token"},
		{storage.UserReports, "user_reports", "next_token"},
		{storage.RoomReports, "room_reports", "next_batch"},
	} {
		out = append(out,
			web.Route{Method: "GET", Path: path + k.name, Auth: web.Admin, Rate: web.RateNone, Handler: a.listReports(k)},
			web.Route{Method: "GET", Path: path + k.name + "/{report}", Auth: web.Admin, Rate: web.RateNone, Handler: a.showReport(k)},
			web.Route{Method: "DELETE", Path: path + k.name + "/{report}", Auth: web.Admin, Rate: web.RateNone, Handler: a.deleteReport(k)},
		)
	}
	return out
}

// reportList is one of the lists of reports, with the names that it has and that the token of its next page has.
type reportList struct {
	kind       storage.ReportKind
	name, next string
}

// reported is a report as administrators are shown it. What the kind of report does not have is left out; what is unknown is null.
type reported struct {
	ID       int64           `json:"id"`
	Received int64           `json:"received_ts"`
	Reporter id.UserID       `json:"user_id"`
	Reason   string          `json:"reason"`
	Target   id.UserID       `json:"target_user_id,omitempty"`
	EventID  id.EventID      `json:"event_id,omitempty"`
	Event    json.RawMessage `json:"event_json,omitempty"`
	*reportedSender
	*reportedRoom
	*reportedTopic
}

type reportedSender struct {
	Sender *string `json:"sender"`
	Score  *int    `json:"score"` // which clients do not give any more
}

type reportedRoom struct {
	RoomID id.RoomID `json:"room_id"`
	Name   *string   `json:"name"`
	Alias  *string   `json:"canonical_alias"`
}

type reportedTopic struct {
	Topic *string `json:"topic"`
}

// showReported shows a report; whole adds the event that it is about.
func showReported(r reports.Report, whole bool) reported {
	out := reported{ID: r.NID, Received: r.TS, Reporter: r.Reporter, Reason: r.Reason, Target: r.User, EventID: r.Report.Event}
	kind := r.Kind()
	if kind != storage.UserReports {
		out.reportedRoom = &reportedRoom{r.Report.Room, nonEmpty(r.Room.Name), nonEmpty(r.Room.CanonicalAlias)}
	}
	switch kind {
	case storage.EventReports:
		out.reportedSender = &reportedSender{Sender: nonEmpty(string(r.Sender))}
		if whole && r.Event != nil {
			out.Event = r.Event.JSON
		}
	case storage.RoomReports:
		out.reportedTopic = &reportedTopic{nonEmpty(r.Room.Topic)}
	}
	return out
}

// maxReports is the largest page of reports.
const maxReports = 500

// listReports answers with a page of reports, the newest first unless dir says otherwise.
func (a *API) listReports(k reportList) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		q := storage.ReportQuery{Kind: k.kind, Reporter: r.Query().Get("user_id"), Room: r.Query().Get("room_id"), User: r.Query().Get("target_user_id")}
		if r.Query().Has("sender_user_id") {
			return nil, merr.New(merr.InvalidParam, "Reports cannot be searched by the sender of the event")
		}
		var err error
		if q.Limit, err = r.IntQuery("limit", 100, 0, maxReports); err != nil {
			return nil, err
		}
		if q.Skip, err = r.IntQuery("from", 0, 0, 1<<31-1); err != nil {
			return nil, err
		}
		back, err := direction(r, "b")
		if err != nil {
			return nil, err
		}
		q.OldestFirst = !back
		found, total, err := a.reports.List(ctx, q)
		if err != nil {
			return nil, err
		}
		list := make([]reported, len(found))
		for i, f := range found {
			list[i] = showReported(f, false)
		}
		out := map[string]any{k.name: list, "total": total}
		if end := q.Skip + len(found); end < total && len(found) > 0 {
			out[k.next] = end
		}
		return out, nil
	}
}

// reportNumber reads the number of a report from the path.
func reportNumber(r *web.Request) (int64, error) {
	n, err := strconv.ParseInt(r.Var("report"), 10, 64)
	if err != nil || n < 0 {
		return 0, merr.New(merr.InvalidParam, "The id of a report is a number")
	}
	return n, nil
}

func (a *API) showReport(k reportList) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		number, err := reportNumber(r)
		if err != nil {
			return nil, err
		}
		found, err := a.reports.Find(ctx, k.kind, number)
		return showReported(found, true), err
	}
}

func (a *API) deleteReport(k reportList) web.Handler {
	return func(ctx context.Context, r *web.Request) (any, error) {
		number, err := reportNumber(r)
		if err != nil {
			return nil, err
		}
		return nil, a.reports.Delete(ctx, k.kind, number)
	}
}
